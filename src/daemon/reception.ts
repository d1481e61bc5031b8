import type { Reader } from '../net/readiness.ts';
import type { ConnectionRing, GivenConnection } from './connection-ring.ts';

/** How many connections are taken at a time, so that those which are there already get their turn. */
export const TAKEN_AT_A_TIME = 8;

/** What a {@link Reception} has of its thread. */
export interface ReceptionHost {
  /** See `ThreadEnd`. */
  readonly closeAtEnd: (fd: number) => void;
  /** What goes wrong with one is that one's: it throws nothing. */
  accept(connection: GivenConnection): void;
  /** Calls `call` once the others have had their turn. */
  later(call: () => void): void;
}

/** A worker's side of the connections that it is given. */
export class Reception {
  readonly #ring: ConnectionRing;
  readonly #host: ReceptionHost;
  readonly #closeAtEnd: (fd: number) => void;
  #goesOn = false;
  /** To be watched for. */
  readonly bell: Reader = {
    ahead: null,
    mayRead: false,
    readable: () => this.hearBell(),
    took() {},
    hungUp() {},
  };

  constructor(ring: ConnectionRing, host: ReceptionHost) {
    this.#ring = ring;
    this.#host = host;
    this.#closeAtEnd = host.closeAtEnd;
  }

  /** There are connections: takes some, and the others in later turns. */
  hearBell(): void {
    this.#ring.beginLooking();
    this.#take(TAKEN_AT_A_TIME);
    if (this.#ring.length === 0 || this.#goesOn) return;
    this.#goesOn = true;
    this.#host.later(() => {
      this.#goesOn = false;
      this.hearBell();
    });
  }

  /** Takes all that are there now. */
  takeAll(): void {
    this.#take(this.#ring.length);
  }

  #take(most: number): void {
    for (let i = 0; i < most; i++) {
      const next = this.#ring.take();
      if (next === null) return;
      // Right behind it, and nothing else: the thread may be ended where a function of ours or another round of a loop begins.
      this.#closeAtEnd(next.fd);
      this.#host.accept(next);
    }
  }
}
