import { pbkdf2 } from 'node:crypto';
import { IntrusiveList, type ListNode } from '../base/list.ts';

/**
 * Highest iteration count that we compute. PostgreSQL's default is 4,096; a million takes about a second of one
 * thread, and a hostile server or secret must not be able to ask for the 35 minutes of 2³¹.
 */
export const MAX_PBKDF2_ITERATIONS = 1_000_000;

/** Why a derivation gave no key: too many iterations, nobody waits for it any more, or OpenSSL failed. */
export class Pbkdf2Error extends Error {
  override readonly name = 'Pbkdf2Error';
}

class Job implements ListNode {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  readonly isWanted: () => boolean;
  /** `leave` is called when it is over. */
  readonly start: (leave: () => void) => void;
  readonly drop: () => void;

  constructor({ isWanted, start, drop }: Pick<Job, 'isWanted' | 'start' | 'drop'>) {
    this.isWanted = isWanted;
    this.start = start;
    this.drop = drop;
  }
}

/**
 * Derivations at a time: a flood of logins leaves the other threads of libuv's pool, of which a process has one, to file and
 * DNS work.
 */
export const MAX_DERIVATIONS = 2;

/** Bounds the derivations of several queues together. */
export interface DerivationGate {
  /** What is to be called when the derivation is over; null: not now, and {@link onRoom} is called later. */
  enter(): (() => void) | null;
  /** Set by the queue: there may be room again. */
  onRoom: () => void;
}

/**
 * Runs PBKDF2 off the event loop, at most `concurrency` at once and first come, first served. One per event loop,
 * injected; where there are several of those, a gate in common holds them to the same bound.
 */
export class Pbkdf2Queue {
  readonly #concurrency: number;
  readonly #gate: DerivationGate | null;
  readonly #waiting = new IntrusiveList<Job>();
  #running = 0;

  constructor(concurrency = MAX_DERIVATIONS, gate: DerivationGate | null = null) {
    this.#concurrency = concurrency;
    this.#gate = gate;
    if (gate !== null) gate.onRoom = () => this.#startNext();
  }

  /** Derivations in the thread pool now. */
  get running(): number {
    return this.#running;
  }

  /** Derivations that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * The SaltedPassword: PBKDF2 with HMAC-SHA-256, 32 bytes. `stillWanted` is asked when the turn comes; when it
   * says no, the work is skipped. Ownership: `password` and `salt` must not change until the promise settles.
   * Errors: rejects with {@link Pbkdf2Error} alone, never throws.
   */
  derive(
    password: Buffer,
    salt: Buffer,
    iterations: number,
    stillWanted: () => boolean = () => true,
  ): Promise<Buffer> {
    if (!Number.isInteger(iterations) || iterations < 1 || iterations > MAX_PBKDF2_ITERATIONS) {
      const text = `iteration count ${iterations} is not between 1 and ${MAX_PBKDF2_ITERATIONS}`;
      return Promise.reject(new Pbkdf2Error(text));
    }
    return new Promise((resolve, reject) => {
      const start = (leave: () => void): void => {
        this.#running++;
        pbkdf2(password, salt, iterations, 32, 'sha256', (error, key) => {
          this.#running--;
          leave();
          if (error === null) resolve(key);
          else reject(new Pbkdf2Error('PBKDF2 failed', { cause: error }));
          this.#startNext();
        });
      };
      const drop = (): void => reject(new Pbkdf2Error('nobody waits for the key any more'));
      this.#waiting.pushBack(new Job({ isWanted: stillWanted, start, drop }));
      this.#startNext();
    });
  }

  #startNext(): void {
    while (this.#running < this.#concurrency) {
      const job = this.#waiting.first;
      if (job === null) return;
      // Ahead of the gate: a place there is one that another thread goes without.
      const isWanted = job.isWanted();
      const leave = this.#gate === null || !isWanted ? () => {} : this.#gate.enter();
      if (leave === null) return;
      this.#waiting.shift();
      if (isWanted) job.start(leave);
      else job.drop();
    }
  }
}
