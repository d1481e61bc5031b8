import { Conn } from '../net/conn.ts';
import type { ConnSocket } from '../net/raw-socket.ts';
import type { CancelCarrier } from '../pool/peers.ts';
import type { ServerTls } from '../tls/server-side.ts';
import { cancelRequest } from '../wire/startup-message.ts';
import { Encryption } from './encryption.ts';
import { connectOptions, isUnixHost, type ServerAddress } from './target.ts';

/**
 * Carries one CancelRequest to PostgreSQL. Its end matters as much as its bytes: PostgreSQL closes this
 * connection only after the signal has been sent, and until then the cancelled server connection must not
 * serve anybody else. `tls`: what the server connection is encrypted by; then the request is, too, or isn't sent.
 * `tune` is called for a TCP connection once it has come about.
 * Source: manual, `protocol-flow`, Canceling Requests in Progress.
 */
export function openCancel(
  address: ServerAddress,
  backendKey: Buffer,
  maySend: () => boolean,
  done: (reason: string) => void,
  tune: (socket: ConnSocket) => void,
  tls: ServerTls | null = null,
): CancelCarrier {
  let isSent = false;
  let encryption: Encryption | null = null;
  const send = (): void => {
    encryption = null;
    isSent = maySend();
    if (isSent) conn.write(cancelRequest(backendKey));
    else conn.destroy();
  };
  const conn: Conn = Conn.connect(
    connectOptions(address),
    {
      onBytes: (chunk, end) => void encryption?.feed(chunk, 0, end),
      onEnd: () => conn.destroy(),
      onDrain: () => {},
      onFault: () => {},
      onClosed: () => done(isSent ? 'successfully sent cancel request' : 'failed to send cancel request'),
    },
    () => {
      if (!isUnixHost(address.host)) tune(conn.socket);
      if (tls === null) send();
      else {
        encryption = new Encryption(
          { conn, ready: send, refused: () => conn.destroy() },
          tls,
          address.host,
          true,
        );
        encryption.begin();
      }
    },
  );
  return { cut: () => conn.destroy() };
}
