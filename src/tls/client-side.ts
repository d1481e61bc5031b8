import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { TlsCalls, TlsServerContext, TlsSession } from '../net/native-tls.ts';
import type { TlsContextParts } from '../net/native-tls-context.ts';
import { sessionInfo, type TlsInfo, tlsInfo } from './info.ts';
import { peerCertificate } from './peer-certificate.ts';
import { tlsErrorText } from './setting-error.ts';

/** The name that PostgreSQL's protocol has in ALPN, with its length in front. Source: manual, `protocol-flow`. */
export const ALPN_POSTGRESQL = Buffer.from('\x0apostgresql', 'latin1');

/** The name alone. */
export const ALPN_NAME = 'postgresql';

/** What TLS towards clients is made of. */
export interface ClientTlsParts {
  readonly context: SecureContext;
  readonly isRequired: boolean;
  /** Clients are asked for a certificate; `required`: one without is no client. */
  readonly certificates: 'none' | 'optional' | 'required';
  readonly endPointHash: Buffer | null;
  /** What the context is made of. */
  readonly source: TlsContextParts;
}

/** A handshake that is over: what it came to, or why the client is not welcome. */
export type ClientTlsResult = { readonly info: TlsInfo } | { readonly refusal: string };

/** TLS towards clients by one reading of settings and files: what begins with it stays with it. */
export class ClientTls {
  readonly #parts: ClientTlsParts;
  /** Of OpenSSL itself; undefined: not asked for yet. */
  #native: TlsServerContext | null | undefined = undefined;

  constructor(parts: ClientTlsParts) {
    this.#parts = parts;
  }

  /** Clients over TCP have to use it. */
  get isRequired(): boolean {
    return this.#parts.isRequired;
  }

  /**
   * A session as its server's side, on the connection's own socket; for `Conn.startTls`. Null: {@link accept} has to do, as
   * where clients are asked for certificates.
   */
  session(calls: TlsCalls): TlsSession | null {
    if (this.#parts.certificates !== 'none') return null;
    if (this.#native === undefined) this.#native = calls.serverContext(this.#parts.source);
    return this.#native?.accept() ?? null;
  }

  /** Begins the handshake as its server's side; for `Conn.startTls`. */
  accept(plain: Socket): TLSSocket {
    const { context, certificates } = this.#parts;
    return new TLSSocket(plain, {
      isServer: true,
      secureContext: context,
      requestCert: certificates !== 'none',
      // Looked at when the handshake is over: the alert that OpenSSL would refuse it with may be lost, and an error says
      // more. PostgreSQL does the same.
      rejectUnauthorized: false,
      // A client that names other protocols alone is refused in the handshake.
      ALPNProtocols: ALPN_POSTGRESQL,
    });
  }

  /** Looks at a handshake that is over. */
  result(socket: TLSSocket | TlsSession): ClientTlsResult {
    const { certificates, endPointHash } = this.#parts;
    if (!(socket instanceof TLSSocket)) return { info: sessionInfo(socket, endPointHash) };
    let certificate = null;
    if (certificates !== 'none') {
      const shown = socket.getPeerX509Certificate();
      if (shown === undefined) {
        if (certificates === 'required') return { refusal: 'no certificate' };
      } else {
        const refusal = verificationError(socket);
        if (refusal !== null) return { refusal };
        certificate = peerCertificate(shown);
      }
    }
    return { info: tlsInfo(socket, { endPointHash, peerCertificate: certificate }) };
  }

  /** Whether the client has named PostgreSQL's protocol as the one that it speaks. */
  hasNamedProtocol(socket: TLSSocket | TlsSession): boolean {
    return socket instanceof TLSSocket ? socket.alpnProtocol === ALPN_NAME : socket.hasNamedProtocol;
  }
}

/**
 * Why the client's certificate is not to be trusted, or null. Node's server would ask its handle the same; a TLS
 * socket of its own has no public way to it.
 */
function verificationError(socket: TLSSocket): string | null {
  const handle: unknown = Reflect.get(socket, '_handle');
  const verify: unknown =
    typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'verifyError') : null;
  if (typeof verify !== 'function') return 'it cannot be verified';
  const error: unknown = verify.call(handle);
  if (error === null || error === undefined) return null;
  return error instanceof Error ? tlsErrorText(error) : 'it cannot be verified';
}
