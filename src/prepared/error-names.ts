import { BackendType as B, HEADER_BYTES } from '../wire/codes.ts';

/** The field of ErrorResponse that holds a position in the query's text. */
const POSITION = 0x50; // P

/** What an ErrorResponse says of statements and texts that the server knows differently than the client. */
export interface ErrorNames {
  /** Beginning of every name for servers, see StatementCache. */
  readonly prefix: string;
  /** What the client is to read (latin1) for a statement's name for servers: its own name, as far as it has one. */
  nameOf(serverName: string): string;
  /** A position (characters from 1) in what the server was sent, as one in what the client sent. */
  position(sent: number): number;
  /** It is in an encoding that is not the client's: only what is ASCII of it can be read. */
  readonly isForeign: boolean;
}

/**
 * The ErrorResponse with `body` as the client may see it: its own statement names in place of ours, positions in
 * its own text. A whole message, in bytes of its own.
 * Source: manual, `protocol-error-fields`.
 */
export function errorForClient(body: Buffer, names: ErrorNames): Buffer {
  const parts: Buffer[] = [];
  let pos = 0;
  while (pos < body.length && body[pos] !== 0) {
    const zero = body.indexOf(0, pos + 1);
    const end = zero < 0 ? body.length : zero;
    parts.push(fieldForClient(body, pos, end, names));
    if (zero < 0) break;
    pos = zero + 1;
    parts.push(body.subarray(zero, pos));
  }
  parts.push(body.subarray(pos));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header[0] = B.ErrorResponse;
  header.writeInt32BE(length + 4, 1);
  const message = Buffer.concat([header, ...parts], HEADER_BYTES + length);
  if (names.isForeign) hideNonAscii(message, HEADER_BYTES);
  return message;
}

function fieldForClient(body: Buffer, start: number, end: number, names: ErrorNames): Buffer {
  const field = body.subarray(start, end);
  if (body[start] === POSITION) {
    const sent = Number(field.toString('latin1', 1));
    return Number.isInteger(sent) ? Buffer.from(`P${names.position(sent)}`, 'latin1') : field;
  }
  if (!field.includes(names.prefix, 1, 'latin1')) return field;
  const text = field.toString('latin1');
  let out = '';
  let from = 0;
  for (let at = text.indexOf(names.prefix); at >= 0; at = text.indexOf(names.prefix, from)) {
    let to = at + names.prefix.length;
    while (to < text.length && isHexDigit(text.charCodeAt(to))) to++;
    out += text.slice(from, at) + names.nameOf(text.slice(at, to));
    from = to;
  }
  return Buffer.from(out + text.slice(from), 'latin1');
}

function hideNonAscii(message: Buffer, from: number): void {
  for (let at = from; at < message.length; at++) {
    if ((message[at] as number) >= 0x80) message[at] = QUESTION_MARK;
  }
}

const QUESTION_MARK = 0x3f;

function isHexDigit(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66);
}
