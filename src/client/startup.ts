import { FrontendType } from '../wire/codes.ts';
import { fatal } from '../wire/pg-error.ts';
import { parseStartupPacket, startupPacketLength, type StartupPacket } from '../wire/startup-packet.ts';
import { CancelPhase } from './cancel.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';
import { HeldBytes } from './held-bytes.ts';
import { LoginPhase } from './login.ts';

/** SSLRequest and GSSENCRequest: we have neither (yet). */
const REFUSED = Buffer.from('N');

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

  constructor(connection: ClientConnection) {
    this.#connection = connection;
  }

  bytes(chunk: Buffer, end: number): void {
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
        this.#refuseEncryption(this.#sawSsl, 'received unencrypted data after SSL request', rest);
        this.#sawSsl = true;
        return;
      case 'gssenc':
        this.#refuseEncryption(
          this.#sawGss,
          'received unencrypted data after GSSAPI encryption request',
          rest,
        );
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
        const login = new LoginPhase(connection);
        connection.phase = login;
        login.start(packet);
        if (rest.length > 0 && !connection.isClosing) connection.phase.bytes(rest, rest.length);
        return;
      }
    }
  }

  /** Bytes stuffed behind the request would later pass for encrypted ones: such a client is lying. */
  #refuseEncryption(isRepeated: boolean, stuffed: string, rest: Buffer): void {
    if (rest.length > 0) this.#connection.fail(fatal(stuffed));
    else if (isRepeated) this.#connection.close('bad packet');
    else this.#connection.conn.write(REFUSED);
  }
}
