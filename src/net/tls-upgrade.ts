import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/** How a connection goes over to TLS. */
export interface TlsUpgrade {
  /** Begins the handshake on a connected socket, which is the TLS socket's alone from then on. */
  wrap(plain: Socket): TLSSocket;
  /** What the TLS socket says when the handshake is over: `secure` a server's, `secureConnect` a client's. */
  readonly readyEvent: 'secure' | 'secureConnect';
  /** The handshake is over: from here on bytes come in the clear, and may be written so. */
  secured(socket: TLSSocket): void;
}
