import type { Native } from './native.ts';
import type { EpollSet } from './native-io.ts';

/** Who reads from a descriptor that a {@link Readiness} watches. */
export interface Reader {
  /** There are bytes. May be told once too often: then there is nothing to read. */
  readable(): void;
  /** The peer has finished or the connection has failed; bytes may have come before that. */
  hungUp(): void;
}

/** How often a turn of the event loop asks for more before timers and new connections are due again. */
const ROUNDS_PER_TURN = 4;

/**
 * Tells readers that there is something to read: an epoll set of our own, which the event loop watches as a single
 * descriptor. Node's way of handing a chunk to JavaScript costs more than everything that is done with the chunk
 * here; with the set it is gone once for all that is ready. See docs/decisions/0006-direct-io.md.
 */
export class Readiness {
  readonly #epoll: EpollSet;
  /** By descriptor. */
  readonly #readers: (Reader | null)[] = [];
  #count = 0;

  constructor(epoll: EpollSet) {
    this.#epoll = epoll;
    epoll.onReady(() => this.#drain());
  }

  /** False when the kernel refuses: the caller has to read in another way. */
  add(fd: number, reader: Reader): boolean {
    if (!this.#epoll.add(fd)) return false;
    while (this.#readers.length <= fd) this.#readers.push(null);
    this.#readers[fd] = reader;
    this.#count++;
    if (this.#count === 1) this.#epoll.keepAlive(true);
    return true;
  }

  /** `isOpen`: the descriptor is still the reader's. The kernel itself takes closed ones out. */
  remove(fd: number, reader: Reader, isOpen: boolean): void {
    if (isOpen) this.#epoll.remove(fd);
    // A connection that was opened since may have the number now.
    if (this.#readers[fd] === reader) this.#readers[fd] = null;
    this.#count--;
    if (this.#count === 0) this.#epoll.keepAlive(false);
  }

  #drain(): void {
    const epoll = this.#epoll;
    for (let round = 0; round < ROUNDS_PER_TURN; round++) {
      const count = epoll.wait();
      if (count < 1) return;
      for (let i = 0; i < count; i++) {
        // None when an earlier one of this round has ended it; a later owner of the number will find nothing.
        const reader = this.#readers[epoll.fdAt(i)] ?? null;
        if (reader === null) continue;
        if (epoll.isHungUpAt(i)) reader.hungUp();
        else reader.readable();
      }
    }
  }
}

const made = new WeakMap<Native, Readiness>();

/** The one that goes with these native calls, made when it is first asked for; null when they cannot make one. */
export function readinessOf(native: Native): Readiness | null {
  const known = made.get(native);
  if (known !== undefined) return known;
  const epoll = native.epoll();
  if (epoll === null) return null;
  const readiness = new Readiness(epoll);
  made.set(native, readiness);
  return readiness;
}
