import { Socket } from 'node:net';
import type { SocketName } from './native-address.ts';
import type { Native } from './native.ts';
import { type ConnSocket, RawSocket, rawReadiness } from './raw-socket.ts';

/**
 * A socket around a descriptor that another thread has accepted, which is its own from then on: half-open, without Nagle's
 * delay, nothing read yet. The caller has had it closed at the thread's end (`closeAtEnd`). `peer` as it was accepted.
 * Null when there can be none; the descriptor is closed then.
 */
export function acceptedSocket(native: Native, fd: number, peer: SocketName | null): ConnSocket | null {
  const readiness = rawReadiness(native);
  // Nagle's delay is off already: the option is the connection's, whoever has set it.
  if (readiness !== null) return new RawSocket(readiness, fd, peer);
  // As a server makes them; the option to begin paused is missing in the type declarations.
  const options = { fd, allowHalfOpen: true, pauseOnCreate: true, readable: true, writable: true };
  native.spareAtEnd(fd);
  try {
    const socket = new Socket(options);
    socket.setNoDelay(true);
    return socket;
  } catch {
    native.closeFd(fd);
    return null;
  }
}
