import type { TLSSocket } from 'node:tls';
import type { TlsSession } from '../net/native-tls.ts';
import type { PeerCertificate } from './peer-certificate.ts';

/** What a connection's handshake has come to. It stays as it is, whatever RELOAD does to files and settings. */
export interface TlsInfo {
  /** Such as `TLSv1.3`. */
  readonly protocol: string;
  /** OpenSSL's name. */
  readonly cipher: string;
  /** Curve or group of the key exchange, where it is known: Node doesn't tell a server. */
  readonly curve: string | null;
  /** The hash of the server side's certificate for `tls-server-end-point`; null where there is none. */
  readonly endPointHash: Buffer | null;
  /** A client's, which is verified; null when it showed none, and towards servers. */
  readonly peerCertificate: PeerCertificate | null;
}

/** What the handshake of `socket` has settled. */
export function tlsInfo(socket: TLSSocket, of: Pick<TlsInfo, 'endPointHash' | 'peerCertificate'>): TlsInfo {
  const exchange = socket.getEphemeralKeyInfo();
  const curve = exchange !== null && 'name' in exchange ? exchange.name : null;
  return {
    protocol: socket.getProtocol() ?? '',
    cipher: socket.getCipher().name,
    curve: typeof curve === 'string' && curve !== '' ? curve : null,
    endPointHash: of.endPointHash,
    peerCertificate: of.peerCertificate,
  };
}

/** As {@link tlsInfo}, of a session of our own, as its server's side: who the client is has not been asked. */
export function sessionInfo(session: TlsSession, hash: Buffer | null): TlsInfo {
  return {
    protocol: session.version,
    cipher: session.cipher,
    curve: session.group,
    endPointHash: hash,
    peerCertificate: null,
  };
}

/** As log lines and `SHOW` have it: `TLSv1.3/CIPHER` or `TLSv1.3/CIPHER/ECDH=curve`. */
export function formatTls({ protocol, cipher, curve }: TlsInfo): string {
  return `${protocol}/${cipher}${curve === null ? '' : `/ECDH=${curve}`}`;
}
