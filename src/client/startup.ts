import type { ClientTls } from '../tls/client-side.ts';
import { FrontendType } from '../wire/codes.ts';
import { fatal } from '../wire/pg-error.ts';
import { parseStartupPacket, startupPacketLength, type StartupPacket } from '../wire/startup-packet.ts';
import { CancelPhase } from './cancel.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';
import { HeldBytes } from './held-bytes.ts';
import { LoginPhase } from './login.ts';
import { TlsPhase } from './tls.ts';

/** To SSLRequest and GSSENCRequest. We have no GSSAPI. */
const REFUSED = Buffer.from('N');
const GRANTED = Buffer.from('S');

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
    this.#gathered.add(chunk, 0, end);
    if (this.#gathered.length < this.#needed) return;
    const bytes = this.#gathered.take();
    // No startup packet is long enough to begin with this byte.
    if (bytes[0] === FrontendType.Password) {
      this.#connection.fail(fatal('client password pkt before startup packet'));
      return;
    }
    const length = bytes.length < 4 ? 4 : startupPacketLength(bytes);
    if (bytes.length < length) {
      this.#gathered.add(bytes, 0, bytes.length);
      this.#needed = length;
      return;
    }
    this.#needed = 1;
    this.#packet(parseStartupPacket(bytes.subarray(0, length)), Buffer.from(bytes.subarray(length)));
  }

  drained(): void {}

  isMidAnswer(): boolean {
    return false;
  }

  sweep(nowMs: number): void {
    const { services, connectMs } = this.#connection;
    const timeoutMs = services.settings().clientLoginTimeoutMs;
    if (timeoutMs > 0 && nowMs - connectMs > timeoutMs) this.#connection.fail(fatal('client_login_timeout'));
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
