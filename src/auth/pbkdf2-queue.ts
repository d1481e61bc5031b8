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
  readonly start: () => void;

  constructor(start: () => void) {
    this.start = start;
  }
}

/**
 * Runs PBKDF2 off the event loop, at most `concurrency` at once and first come, first served: a flood of logins
 * then leaves threads of the shared pool to file and DNS work. One per process (or thread), injected.
 */
export class Pbkdf2Queue {
  readonly #concurrency: number;
  readonly #waiting = new IntrusiveList<Job>();
  #running = 0;

  constructor(concurrency = 2) {
    this.#concurrency = concurrency;
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
      const job = new Job(() => {
        if (!stillWanted()) {
          reject(new Pbkdf2Error('nobody waits for the key any more'));
          return;
        }
        this.#running++;
        pbkdf2(password, salt, iterations, 32, 'sha256', (error, key) => {
          this.#running--;
          if (error === null) resolve(key);
          else reject(new Pbkdf2Error('PBKDF2 failed', { cause: error }));
          this.#startNext();
        });
      });
      this.#waiting.pushBack(job);
      this.#startNext();
    });
  }

  #startNext(): void {
    while (this.#running < this.#concurrency) {
      const job = this.#waiting.shift();
      if (job === null) return;
      job.start();
    }
  }
}
