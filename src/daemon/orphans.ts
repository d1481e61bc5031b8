import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../base/log.ts';
import type { Native } from '../net/native.ts';
import type { ConnSocket } from '../net/raw-socket.ts';
import type { BudgetKeeper, Orphan } from '../pool/budget-keeper.ts';
import type { CancelCarrier } from '../pool/peers.ts';
import { openCancel } from '../server/cancel.ts';
import type { ServerAddress } from '../server/target.ts';
import type { ServerTls } from '../tls/server-side.ts';

/** How long to wait where no descriptor is left: others come back all the time. */
const RETRY_MS = 100;

/**
 * So many cancels are begun in so long, or as fast as they are over: a handshake takes this thread's time, and a descriptor
 * more. One that hangs keeps nobody else's back.
 */
const CANCELS_AT_A_TIME = 16;
const TURN_MS = 100;

/** Begins something when its turn comes; `leave` is to be called once, when that is over. */
type Turn = (begin: (leave: () => void) => void) => void;

/** What an orphan's end needs of the process. */
export interface OrphanHost {
  readonly log: Logger;
  readonly native: Native;
  /** TLS towards servers that is in force; null = there is none. */
  readonly tls: ServerTls | null;
  readonly tune: (socket: ConnSocket) => void;
  /** How long PostgreSQL may take, in all. */
  readonly patienceMs: number;
}

/** Ends what the keeper of the budget has, each connection once, and gives its grant back. */
export class Orphans {
  readonly #keeper: Pick<BudgetKeeper, 'orphans' | 'release'>;
  readonly #host: () => OrphanHost;
  readonly #ending = new Set<number>();
  readonly #queue: ((leave: () => void) => void)[] = [];
  #cancels = 0;
  readonly #turn: Turn = (begin) => {
    this.#queue.push(begin);
    this.#pump();
  };

  readonly #turnMs: number;

  constructor(
    keeper: Pick<BudgetKeeper, 'orphans' | 'release'>,
    host: () => OrphanHost,
    turnMs: number = TURN_MS,
  ) {
    this.#keeper = keeper;
    this.#host = host;
    this.#turnMs = turnMs;
  }

  /** Whether what runs on one may not have been cancelled yet. */
  get areEnding(): boolean {
    return this.#ending.size > 0;
  }

  /** All that are there now, but for those that it is at already. */
  endAll(): void {
    for (const orphan of this.#keeper.orphans()) {
      if (this.#ending.has(orphan.id)) continue;
      this.#ending.add(orphan.id);
      const host = this.#host();
      void endOrphan(orphan, host, this.#turn)
        .then(() => this.#keeper.release(orphan))
        .catch((error) => host.log.log('ERROR', `internal error: ${String(error)}`))
        .finally(() => this.#ending.delete(orphan.id));
    }
  }

  #pump(): void {
    while (this.#cancels < CANCELS_AT_A_TIME) {
      const begin = this.#queue.shift();
      if (begin === undefined) return;
      this.#cancels++;
      let isOver = false;
      const leave = (): void => {
        clearTimeout(timer);
        if (isOver) return;
        isOver = true;
        this.#cancels--;
        this.#pump();
      };
      const timer = setTimeout(leave, this.#turnMs);
      timer.unref();
      begin(leave);
    }
  }
}

/**
 * Ends a server connection that a thread has left behind: what runs there is cancelled, and PostgreSQL is told that
 * nobody is there any more. Resolves when its end is gone, or its time is up: only then may its place be another's. See
 * docs/decisions/0002-slot-ownership.md. `turn`: when it may be cancelled; its time runs meanwhile.
 */
export async function endOrphan(orphan: Orphan, host: OrphanHost, turn: Turn): Promise<void> {
  const socket = await ownSocket(orphan.fd, host);
  if (socket === null) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      host.log.log('WARNING', 'a server connection that a worker has left did not end in time');
      socket.destroy();
    }, host.patienceMs);
    socket.on('error', () => {});
    socket.once('close', () => {
      clearTimeout(timer);
      carrier?.cut();
      resolve();
    });
    socket.once('end', () => socket.destroy());
    socket.resume();
    let carrier: CancelCarrier | null = null;
    // What runs is cancelled first: PostgreSQL looks whether anybody is there only when it has done that.
    turn((leave) => {
      const done = (): void => {
        leave();
        socket.end();
      };
      carrier = socket.destroyed ? null : sendCancel(orphan, socket, host, done);
      if (carrier === null) done();
    });
  });
}

/** Cancels what runs there; then `done`. In the clear only what was in the clear; null: it cannot be cancelled. */
function sendCancel(
  { fd, backendKey, tlsHost }: Orphan,
  socket: Socket,
  { native, tls, tune }: OrphanHost,
  done: () => void,
): CancelCarrier | null {
  const address = whereTo(socket, fd, tlsHost, native);
  if (backendKey === null || address === null || (tlsHost !== null && tls === null)) return null;
  const maySend = () => !socket.destroyed;
  return openCancel(address, backendKey, maySend, done, tune, tlsHost === null ? null : tls);
}

/** Around a descriptor of its own: the budget's is the keeper's to close. */
async function ownSocket(fd: number, { native, log, patienceMs }: OrphanHost): Promise<Socket | null> {
  for (let waitedMs = 0; waitedMs <= patienceMs; waitedMs += RETRY_MS) {
    const own = native.listen.duplicate(fd);
    try {
      if (own !== null) return new Socket({ fd: own, allowHalfOpen: true, readable: true, writable: true });
    } catch (error) {
      log.log('ERROR', `a server connection that a worker has left cannot be closed: ${String(error)}`);
      native.closeFd(own as number);
      return null;
    }
    await delay(RETRY_MS, undefined, { ref: false });
  }
  log.log('ERROR', 'a server connection that a worker has left cannot be closed: no descriptor is left');
  return null;
}

function whereTo(socket: Socket, fd: number, name: string | null, native: Native): ServerAddress | null {
  const { remoteAddress: ip, remotePort: port } = socket;
  if (ip !== undefined && port !== undefined) return { host: name ?? ip, ip, port };
  return unixAddress(native.listen.unixPeerPath(fd));
}

/** Of the path that PostgreSQL has bound; null: not one to be found by. One relative to its folder would be a host's name here. */
export function unixAddress(path: string | null): ServerAddress | null {
  const [, host, number] = /^([/@].*)\/\.s\.PGSQL\.(\d+)$/.exec(path ?? '') ?? [];
  return host === undefined ? null : { host, port: Number(number) };
}
