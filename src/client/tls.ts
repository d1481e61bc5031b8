import type { TLSSocket } from 'node:tls';
import type { TlsSession } from '../net/native-tls.ts';
import type { ClientTls } from '../tls/client-side.ts';
import { tlsErrorText } from '../tls/setting-error.ts';
import { fatal } from '../wire/pg-error.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';

/** What a peer's leaving looks like, which probes do, too. */
const LEFT_CODES: readonly unknown[] = ['ECONNRESET', 'EPIPE'];

/**
 * The TLS handshake: between an SSLRequest, or the first byte of direct TLS, and the packets that come encrypted. What
 * it is made of it keeps, whatever RELOAD does meanwhile.
 */
export class TlsPhase implements ClientPhase {
  readonly #connection: ClientConnection;
  readonly #tls: ClientTls;
  readonly #next: (connection: ClientConnection) => ClientPhase;
  #isDirect = false;

  /** `next`: what reads the packets. */
  constructor(
    connection: ClientConnection,
    tls: ClientTls,
    next: (connection: ClientConnection) => ClientPhase,
  ) {
    this.#connection = connection;
    this.#tls = tls;
    this.#next = next;
  }

  /** `seen`: what has come of the client's first message already, for direct TLS; borrowed. */
  begin(seen: Buffer | null): void {
    const connection = this.#connection;
    this.#isDirect = seen !== null;
    connection.phase = this;
    connection.conn.startTls(
      {
        inPlace: {
          session: () => this.#tls.session(connection.services.native.tls),
          secured: (session) => this.#secured(session),
        },
        wrap: (plain) => this.#tls.accept(plain),
        readyEvent: 'secure',
        secured: (socket) => this.#secured(socket),
      },
      seen,
    );
  }

  /** None come before the handshake is over. */
  bytes(): void {}

  drained(): void {}

  /** In the middle of a handshake nothing can be said. */
  isMidAnswer(): boolean {
    return this.#connection.conn.isSecuring;
  }

  sweep(nowMs: number): void {
    const { services, loginFromMs } = this.#connection;
    const timeoutMs = services.settings().clientLoginTimeoutMs;
    if (timeoutMs > 0 && nowMs - loginFromMs > timeoutMs) this.#connection.close('client_login_timeout');
  }

  closing(): void {}

  lost(error: Error): void {
    if (!LEFT_CODES.includes(Reflect.get(error, 'code')))
      this.#connection.log('WARNING', `TLS handshake failed: ${tlsErrorText(error)}`);
  }

  #secured(socket: TLSSocket | TlsSession): void {
    const connection = this.#connection;
    if (connection.isClosing) return;
    connection.countHidden();
    const result = this.#tls.result(socket);
    if ('refusal' in result) {
      // Node cannot refuse a certificate in the handshake itself; said so, the client knows why.
      connection.fail(fatal(`certificate verify failed: ${result.refusal}`));
    } else if (this.#isDirect && !this.#tls.hasNamedProtocol(socket)) {
      // Who doesn't say which protocol it speaks may be a browser that was lured here. Source: manual, protocol-flow.
      connection.close('direct TLS without ALPN');
    } else {
      connection.tls = result.info;
      connection.phase = this.#next(connection);
    }
  }
}
