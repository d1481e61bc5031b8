import type { ClientTls } from '../tls/client-side.ts';
import { FrontendType } from '../wire/codes.ts';
import { fatal } from '../wire/pg-error.ts';
import { startupPacketLength, type StartupPacket } from '../wire/startup-packet.ts';
import { CancelPhase } from './cancel.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';
import { HeldBytes } from './held-bytes.ts';
import { KnownStartupPackets } from './known-startup-packets.ts';
import { LoginPhase } from './login.ts';
import { TlsPhase } from './tls.ts';

/** To SSLRequest and GSSENCRequest. We have no GSSAPI. */
const REFUSED = Buffer.from('N');
const GRANTED = Buffer.from('S');

const NOTHING = Buffer.alloc(0);

/** Of a packet's length, which counts itself. */
const LENGTH_BYTES = 4;

const knownPackets = new KnownStartupPackets();

/** A TLS record of the handshake begins with it, and no packet does. */
const TLS_HANDSHAKE = 0x16;

/**
 * The first phase: packets without a type byte, until a StartupMessage or CancelRequest. At most 64 KiB is
 * gathered. Source: manual, `protocol-flow`, Start-up.
 */
export class StartupPhase implements ClientPhase {
  readonly #connection: ClientConnection;
  readonly #gathered = new HeldBytes();
  /** How many bytes make it worth looking again: a packet that comes byte by byte is joined once. */
  #needed = 1;
  #sawSsl = false;
  #sawGss = false;
  #sawAny = false;

  constructor(connection: ClientConnection) {
    this.#connection = connection;
  }

  bytes(chunk: Buffer, end: number): void {
    if (!this.#sawAny) {
      this.#sawAny = true;
      if (chunk[0] === TLS_HANDSHAKE && this.#beginsTls(chunk.subarray(0, end))) return;
    }
    // Mostly a packet comes as a whole, and can be read where it is.
    let bytes = chunk;
    let length = end;
    if (this.#gathered.length > 0 || !isWhole(chunk, end)) {
      this.#gathered.add(chunk, 0, end);
      if (this.#gathered.length < this.#needed) return;
      length = this.#gathered.length;
      bytes = this.#gathered.takeBuffer();
    }
    this.#look(bytes, length);
  }

  /** Takes the packet at the front of `bytes[0, end)`, if it is all there. */
  #look(bytes: Buffer, end: number): void {
    // No startup packet is long enough to begin with this byte.
    if (bytes[0] === FrontendType.Password) {
      this.#connection.fail(fatal('client password pkt before startup packet'));
      return;
    }
    const length = end < LENGTH_BYTES ? LENGTH_BYTES : startupPacketLength(bytes, end);
    if (end < length) {
      this.#gathered.add(bytes, 0, end);
      this.#needed = length;
      return;
    }
    this.#needed = 1;
    const rest = end === length ? NOTHING : Buffer.from(bytes.subarray(length, end));
    this.#packet(knownPackets.read(bytes, length), rest);
  }

  drained(): void {}

  isMidAnswer(): boolean {
    return false;
  }

  sweep(nowMs: number): void {
    const { services, loginFromMs } = this.#connection;
    const timeoutMs = services.settings().clientLoginTimeoutMs;
    if (timeoutMs > 0 && nowMs - loginFromMs > timeoutMs)
      this.#connection.fail(fatal('client_login_timeout'));
  }

  closing(): void {}

  #packet(packet: StartupPacket, rest: Buffer): void {
    const connection = this.#connection;
    switch (packet.kind) {
      case 'ssl':
        if (connection.tls !== null) connection.close('SSL req inside SSL');
        else if (rest.length > 0) connection.fail(fatal('received unencrypted data after SSL request'));
        else if (this.#sawSsl) connection.close('bad packet');
        else this.#ssl();
        return;
      case 'gssenc':
        // Bytes stuffed behind the request would later pass for encrypted ones: such a client is lying.
        if (rest.length > 0) {
          connection.fail(fatal('received unencrypted data after GSSAPI encryption request'));
        } else if (this.#sawGss) connection.close('bad packet');
        else connection.conn.write(REFUSED);
        this.#sawGss = true;
        return;
      case 'cancel':
        if (connection.visit?.cancels() === false) {
          connection.close('too many cancel requests');
          return;
        }
        connection.phase = new CancelPhase(connection, packet.key);
        return;
      case 'bad-cancel':
        connection.close('bad cancel request');
        return;
      case 'v2':
        connection.fail(fatal('old V2 protocol not supported'));
        return;
      case 'bad':
        connection.fail(fatal(`bad packet header: '${packet.headerHex}'`));
        return;
      case 'startup': {
        if (connection.tls === null && this.#tls()?.isRequired === true) {
          connection.fail(fatal('SSL required'));
          return;
        }
        const login = new LoginPhase(connection);
        connection.phase = login;
        login.start(packet);
        if (rest.length > 0 && !connection.isClosing) connection.phase.bytes(rest, rest.length);
        return;
      }
    }
  }

  /** TLS as it is for this connection, null for none. */
  #tls(): ClientTls | null {
    return this.#connection.address.kind === 'tcp' ? this.#connection.services.tls() : null;
  }

  #ssl(): void {
    this.#sawSsl = true;
    const tls = this.#tls();
    this.#connection.conn.write(tls === null ? REFUSED : GRANTED);
    if (tls !== null) this.#secure(tls, null);
  }

  /** Direct TLS: the handshake without a request for it. False where there is none, and these are a bad packet. */
  #beginsTls(seen: Buffer): boolean {
    const tls = this.#connection.tls === null ? this.#tls() : null;
    if (tls !== null) this.#secure(tls, seen);
    return tls !== null;
  }

  #secure(tls: ClientTls, seen: Buffer | null): void {
    new TlsPhase(this.#connection, tls, (connection) => new StartupPhase(connection)).begin(seen);
  }
}

/** A packet, and nothing else, is in `bytes[0, end)`. */
function isWhole(bytes: Buffer, end: number): boolean {
  return end >= LENGTH_BYTES && bytes.readUInt32BE(0) === end;
}
