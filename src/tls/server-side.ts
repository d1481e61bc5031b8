import { X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { ALPN_POSTGRESQL } from './client-side.ts';
import { endPointHash } from './end-point.ts';
import { type TlsInfo, tlsInfo } from './info.ts';
import { isForHost } from './peer-certificate.ts';

/** What TLS towards servers is made of. */
export interface ServerTlsParts {
  readonly context: SecureContext;
  /** A server that refuses it is no server. */
  readonly isRequired: boolean;
  /** What is asked of the server's certificate: nothing, that it is signed, or that it is the host's, too. */
  readonly verifies: 'nothing' | 'signature' | 'host';
}

/** TLS towards servers by one reading of settings and files: what begins with it stays with it. */
export class ServerTls {
  readonly #parts: ServerTlsParts;

  constructor(parts: ServerTlsParts) {
    this.#parts = parts;
  }

  get isRequired(): boolean {
    return this.#parts.isRequired;
  }

  /** Begins the handshake with the server that was connected to as `host`; for `Conn.startTls`. */
  connect(plain: Socket, host: string): TLSSocket {
    const { context, verifies } = this.#parts;
    return connect({
      socket: plain,
      secureContext: context,
      rejectUnauthorized: verifies !== 'nothing',
      checkServerIdentity: (_name, { raw }) =>
        verifies === 'host' && !isForHost(new X509Certificate(raw), host)
          ? new Error(`the server's certificate is not for host "${host}"`)
          : undefined,
      ALPNProtocols: ALPN_POSTGRESQL,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
  }

  /** What a handshake that is over has come to. */
  info(socket: TLSSocket): TlsInfo {
    const shown = socket.getPeerX509Certificate();
    return tlsInfo(socket, {
      endPointHash: shown === undefined ? null : endPointHash(shown.raw),
      peerCertificate: null,
    });
  }
}
