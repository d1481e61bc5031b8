import { StartupCode } from './codes.ts';
import { isCancelKeyLength } from './backend-key-data.ts';
import { ProtocolViolation } from './pg-error.ts';

/** Bytes before a startup packet's body: Int32 length (counts itself) and Int32 code. */
const STARTUP_HEADER_BYTES = 8;
const PROTOCOL_MAJOR = 3;
const PROTOCOL_V2 = 0x0002_0000;
const PROTOCOL_OPTION_PREFIX = '_pq_.';
const BAD_LAYOUT = 'invalid startup packet layout: expected terminator as last byte';

/** One name and value of a StartupMessage. */
export type StartupParameter = readonly [name: string, value: string];

/**
 * What the first packet of a connection asks for.
 * - `startup`: a login. `protocolMinor` is what the client asked for, 0 for 3.0. `parameters` stand in the order sent,
 *   doubles included (PostgreSQL lets the last one win); the `_pq_.` names are in `unsupportedOptions` and nowhere else,
 *   as the bytes that were sent, for they go back to the client.
 * - `cancel`: `key` is a copy of process ID and secret together, 8 to 260 bytes.
 * - `bad-cancel`: a CancelRequest of impossible size. Such connections are closed without an answer.
 * - `v2`: answer `old V2 protocol not supported`.
 * - `bad`: anything else; answer `bad packet header: 'HEX'` with `headerHex`.
 */
export type StartupPacket =
  | { readonly kind: 'ssl' }
  | { readonly kind: 'gssenc' }
  | { readonly kind: 'cancel'; readonly key: Buffer }
  | { readonly kind: 'bad-cancel' }
  | {
      readonly kind: 'startup';
      readonly protocolMinor: number;
      readonly parameters: readonly StartupParameter[];
      readonly unsupportedOptions: readonly Buffer[];
    }
  | { readonly kind: 'v2' }
  | { readonly kind: 'bad'; readonly headerHex: string };

/**
 * Length of the startup packet that begins with `head[0, end)` (at least its first 4 bytes), counting itself: 8 to 65535.
 * What is behind `end` is somebody else's. Throws ProtocolViolation `bad packet header: 'HEX'` on any other length, so that nobody ever waits for, or
 * makes room for, more than 64 KiB before login. Source: manual, `protocol-message-formats`, StartupMessage.
 */
export function startupPacketLength(head: Buffer, end = head.length): number {
  if (end < 4) throw new ProtocolViolation(badHeader(head, end));
  // Unsigned on purpose: a length with the top bit set must look huge, not negative.
  const length = head.readUInt32BE(0);
  if (length < STARTUP_HEADER_BYTES || length > 0xffff) throw new ProtocolViolation(badHeader(head, end));
  return length;
}

/**
 * Reads one whole packet without type byte, its length included. Text is decoded as UTF-8; bytes that aren't
 * become U+FFFD, so such a name matches no configured one. Nothing in the result refers to `packet`.
 * Throws ProtocolViolation when the layout is broken (text as PgBouncer's and PostgreSQL's) or `packet` isn't
 * exactly one packet. Source: manual, `protocol-message-formats`, StartupMessage, CancelRequest, SSLRequest.
 */
export function parseStartupPacket(packet: Buffer): StartupPacket {
  if (packet.length < STARTUP_HEADER_BYTES || startupPacketLength(packet) !== packet.length) {
    throw new ProtocolViolation(badHeader(packet, packet.length));
  }
  const code = packet.readInt32BE(4);
  const bodyBytes = packet.length - STARTUP_HEADER_BYTES;
  switch (code) {
    case StartupCode.SSLRequest:
      return bodyBytes === 0 ? { kind: 'ssl' } : bad(packet);
    case StartupCode.GSSENCRequest:
      return bodyBytes === 0 ? { kind: 'gssenc' } : bad(packet);
    case StartupCode.CancelRequest:
      if (!isCancelKeyLength(bodyBytes)) return { kind: 'bad-cancel' };
      return { kind: 'cancel', key: Buffer.from(packet.subarray(STARTUP_HEADER_BYTES)) };
    case PROTOCOL_V2:
      return { kind: 'v2' };
    default:
      return code >>> 16 === PROTOCOL_MAJOR ? parseStartupMessage(packet, code & 0xffff) : bad(packet);
  }
}

/**
 * ```
 *  length(4) code(4) | name \0 value \0 | name \0 value \0 | \0
 * ```
 * The empty name is the terminator and has to be the packet's last byte.
 */
function parseStartupMessage(packet: Buffer, protocolMinor: number): StartupPacket {
  const parameters: StartupParameter[] = [];
  const unsupportedOptions: Buffer[] = [];
  let pos = STARTUP_HEADER_BYTES;
  while (packet[pos] !== 0) {
    const nameEnd = endOfString(packet, pos);
    const valueEnd = endOfString(packet, nameEnd + 1);
    const name = packet.toString('utf8', pos, nameEnd);
    if (name.startsWith(PROTOCOL_OPTION_PREFIX)) {
      unsupportedOptions.push(Buffer.from(packet.subarray(pos, nameEnd)));
    } else parameters.push([name, packet.toString('utf8', nameEnd + 1, valueEnd)]);
    pos = valueEnd + 1;
  }
  if (pos !== packet.length - 1) throw new ProtocolViolation(BAD_LAYOUT);
  return { kind: 'startup', protocolMinor, parameters, unsupportedOptions };
}

/** Position of the zero byte that ends the string at `pos`. */
function endOfString(packet: Buffer, pos: number): number {
  const end = packet.indexOf(0, pos);
  if (end < 0) throw new ProtocolViolation(BAD_LAYOUT);
  return end;
}

function bad(packet: Buffer): StartupPacket {
  return { kind: 'bad', headerHex: headerHex(packet, packet.length) };
}

function badHeader(head: Buffer, end: number): string {
  return `bad packet header: '${headerHex(head, end)}'`;
}

/** Length and code, as far as they have come. */
function headerHex(head: Buffer, end: number): string {
  return head.toString('hex', 0, Math.min(end, STARTUP_HEADER_BYTES));
}
