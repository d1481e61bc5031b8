import { closeSync } from 'node:fs';
import { Socket } from 'node:net';

/**
 * A socket around an accepted descriptor, which is its own from then on: half-open, without Nagle's delay, nothing read
 * yet. Null when there can be none; the descriptor is closed then.
 */
export function acceptedSocket(fd: number): Socket | null {
  // As a server makes them; the option to begin paused is missing in the type declarations.
  const options = { fd, allowHalfOpen: true, pauseOnCreate: true, readable: true, writable: true };
  try {
    const socket = new Socket(options);
    socket.setNoDelay(true);
    return socket;
  } catch {
    closeSync(fd);
    return null;
  }
}
