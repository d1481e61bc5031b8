import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { TlsSession } from './native-tls.ts';

/** How a connection goes over to TLS. */
export interface TlsUpgrade {
  /** Goes first, where the connection stands on a raw socket. */
  readonly inPlace?: TlsInPlace;
  /** Begins the handshake on a connected socket, which is the TLS socket's alone from then on. */
  wrap(plain: Socket): TLSSocket;
  /** What the TLS socket says when the handshake is over: `secure` a server's, `secureConnect` a client's. */
  readonly readyEvent: 'secure' | 'secureConnect';
  /** The handshake is over: from here on bytes come in the clear, and may be written so. */
  secured(socket: TLSSocket): void;
}

/** Without a socket of Node's. */
export interface TlsInPlace {
  /** The connection's from then on, which frees it; null: it is not to be had. */
  session(): TlsSession | null;
  /** As {@link TlsUpgrade.secured}. */
  secured(session: TlsSession): void;
}
