/** A try takes less than a microsecond: before a thread goes to sleep, it has waited for about as long as one is held. */
const SPINS = 200;

/** Whoever sleeps looks again after so long, should a wake-up be lost with a thread that has died. */
const NAP_MS = 10;

/**
 * A lock between threads, in one word of shared memory: 0, or the number of the thread that holds it. Held for
 * microseconds, never across an await. A thread may die with it: whoever knows that frees it by {@link freeOf}, so what it
 * guards has to be sound at every instruction.
 */
export class SharedLock {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #number: number;

  /** The lock at `words[at]`, for the thread with this number, from 1 on. */
  constructor(words: Int32Array, at: number, number: number) {
    this.#words = words;
    this.#at = at;
    this.#number = number;
  }

  /** Waits until this thread has it; gives up after `patienceMs`: false. */
  take(patienceMs = Number.POSITIVE_INFINITY): boolean {
    const words = this.#words;
    const at = this.#at;
    for (let spins = 0; spins < SPINS; spins++) {
      if (Atomics.compareExchange(words, at, 0, this.#number) === 0) return true;
    }
    for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += NAP_MS) {
      const holder = Atomics.load(words, at);
      if (holder !== 0) Atomics.wait(words, at, holder, NAP_MS);
      if (Atomics.compareExchange(words, at, 0, this.#number) === 0) return true;
    }
    return false;
  }

  release(): void {
    Atomics.store(this.#words, this.#at, 0);
    Atomics.notify(this.#words, this.#at, 1);
  }

  /** The thread with this number has died: should it hold the lock, it doesn't any more. */
  freeOf(number: number): void {
    if (Atomics.compareExchange(this.#words, this.#at, number, 0) === number)
      Atomics.notify(this.#words, this.#at);
  }
}
