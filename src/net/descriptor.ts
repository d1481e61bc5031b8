import { Socket, type SocketConstructorOpts } from 'node:net';
import type { ConnHandler } from './conn-handler.ts';

/**
 * The socket of a connection that was made elsewhere in the process, by a descriptor of its own, which is the socket's from
 * now on. Nothing is read yet, as with `pauseOnConnect`: so it can be read directly (see `Conn.accept`). Throws when
 * `fd` is no socket; it is the caller's still then.
 */
export function socketOf(fd: number): Socket {
  // What net.Server's `pauseOnConnect` sets; it is among the constructor's options, but not among their types.
  const options: SocketConstructorOpts & { pauseOnCreate: boolean } = {
    fd,
    allowHalfOpen: true,
    pauseOnCreate: true,
  };
  return new Socket(options);
}

/** The handler of a connection that is somebody else's now. */
export const NOBODY: ConnHandler = {
  onBytes() {},
  onEnd() {},
  onDrain() {},
  onClosed() {},
  onFault() {},
};

/** As the system says it of a reset: in the middle of a handshake an end is nothing else. */
export function peerLeft(): Error {
  return Object.assign(new Error('the peer has left'), { code: 'ECONNRESET' });
}
