import { connect, type NetConnectOpts, Socket } from 'node:net';
import type { Logger } from '../base/log.ts';
import type { Native } from '../net/native.ts';
import type { Orphan } from '../pool/budget-keeper.ts';
import { cancelRequest } from '../wire/startup-message.ts';

/** What an orphan's end needs of the process. */
export interface OrphanHost {
  readonly log: Logger;
  readonly native: Native;
  /** How long PostgreSQL may take, in all. */
  readonly patienceMs: number;
}

/**
 * Ends a server connection that a dead thread has left behind: what runs there is cancelled, and PostgreSQL is told that
 * nobody is there any more. Resolves when its end is gone, or its time is up: only then may its place be another's. See
 * docs/decisions/0002-slot-ownership.md.
 */
export function endOrphan({ fd, backendKey }: Orphan, host: OrphanHost): Promise<void> {
  return new Promise((resolve) => {
    let socket: Socket;
    try {
      // Its own: the budget's is the keeper's to close.
      const own = host.native.listen.duplicate(fd);
      if (own === null) throw new Error('no descriptor is left');
      socket = new Socket({ fd: own, allowHalfOpen: true, readable: true, writable: true });
    } catch (error) {
      host.log.log('ERROR', `a server connection that a worker has left cannot be closed: ${String(error)}`);
      resolve();
      return;
    }
    const timer = setTimeout(() => {
      host.log.log('WARNING', 'a server connection that a worker has left did not end in time');
      socket.destroy();
    }, host.patienceMs);
    socket.on('error', () => {});
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once('end', () => socket.destroy());
    socket.resume();
    const where = whereTo(socket, fd, host.native);
    if (backendKey === null || where === null) socket.end();
    // What runs is cancelled first: PostgreSQL looks whether anybody is there only when it has done that.
    else void sendCancel(where, backendKey, host.patienceMs).then(() => socket.end());
  });
}

function whereTo(socket: Socket, fd: number, native: Native): NetConnectOpts | null {
  const { remoteAddress: host, remotePort: port } = socket;
  if (host !== undefined && port !== undefined) return { host, port };
  const path = native.listen.unixPeerPath(fd) ?? '';
  return path === '' ? null : { path: path.replace(/^@/, '\0') };
}

/** Resolves when PostgreSQL has dealt with it, or cannot be reached. It takes such a request in the clear, too. */
function sendCancel(where: NetConnectOpts, backendKey: Buffer, patienceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(where, () => socket.write(cancelRequest(backendKey)));
    socket.setTimeout(patienceMs, () => socket.destroy());
    socket.on('error', () => {});
    socket.once('close', () => resolve());
    socket.resume();
  });
}
