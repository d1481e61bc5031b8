import type { Socket } from 'node:net';
import { Conn } from '../net/conn.ts';
import type { CancelCarrier } from '../pool/peers.ts';
import { cancelRequest } from '../wire/startup-message.ts';
import { connectOptions, isUnixHost, type ServerAddress } from './target.ts';

/**
 * Carries one CancelRequest to PostgreSQL. Its end matters as much as its bytes: PostgreSQL closes this
 * connection only after the signal has been sent, and until then the cancelled server connection must not
 * serve anybody else. `tune` is called for a TCP connection once it has come about. Source: manual, `protocol-flow`, Canceling Requests in Progress.
 */
export function openCancel(
  address: ServerAddress,
  backendKey: Buffer,
  maySend: () => boolean,
  done: (reason: string) => void,
  tune: (socket: Socket) => void,
): CancelCarrier {
  let isSent = false;
  const conn: Conn = Conn.connect(
    connectOptions(address),
    {
      onBytes: () => {},
      onEnd: () => conn.destroy(),
      onDrain: () => {},
      onFault: () => {},
      onClosed: () => done(isSent ? 'successfully sent cancel request' : 'failed to send cancel request'),
    },
    () => {
      if (!isUnixHost(address.host)) tune(conn.socket);
      isSent = maySend();
      if (isSent) conn.write(cancelRequest(backendKey));
      else conn.destroy();
    },
  );
  return { cut: () => conn.destroy() };
}
