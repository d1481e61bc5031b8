/** Set in the word beside the holder's number: somebody may be asleep. */
const SLEEPERS = 1 << 30;

/** Critical sections last about a microsecond: most end before this many looks have been taken. */
const SPINS = 100;

/** A notice that went missing (its sender died before it was sent) costs at most this much. */
const SLEEP_MS = 2;

/**
 * A lock among threads that may die at any instruction, in a word of shared memory: 0 = free, otherwise the number (from 1
 * up, below 2^30) of who holds it. Nobody finds out by itself that a holder is dead: whoever sees threads end calls
 * {@link freeOf}. Not reentrant.
 */
export class SharedLock {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #me: number;

  constructor(words: Int32Array, at: number, me: number) {
    this.#words = words;
    this.#at = at;
    this.#me = me;
  }

  /** Waits for as long as it takes, asleep. */
  acquire(): void {
    while (!this.tryAcquire(Number.POSITIVE_INFINITY));
  }

  /** Waits for about `patienceMs`, which is for threads that may have to free it themselves: false when it is still held. */
  tryAcquire(patienceMs: number): boolean {
    const [words, at, me] = [this.#words, this.#at, this.#me];
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.compareExchange(words, at, 0, me) === 0) return true;
    }
    for (let sleptMs = 0; ; sleptMs += SLEEP_MS) {
      const seen = Atomics.load(words, at);
      // Others may be asleep still, and only one is woken: whoever has slept leaves word of them.
      if (seen === 0) {
        if (Atomics.compareExchange(words, at, 0, me | SLEEPERS) === 0) return true;
        continue;
      }
      if (sleptMs >= patienceMs) return false;
      if ((seen & SLEEPERS) === 0 && Atomics.compareExchange(words, at, seen, seen | SLEEPERS) !== seen)
        continue;
      Atomics.wait(words, at, seen | SLEEPERS, SLEEP_MS);
    }
  }

  release(): void {
    const was = Atomics.exchange(this.#words, this.#at, 0);
    if ((was & SLEEPERS) !== 0) Atomics.notify(this.#words, this.#at, 1);
  }

  /** Whether `holder` has it: final once that one is dead. */
  isHeldBy(holder: number): boolean {
    return (Atomics.load(this.#words, this.#at) & ~SLEEPERS) === holder;
  }

  /** Frees it if `holder`, which is dead, has it; what the lock guards must be sound by then. */
  freeOf(holder: number): void {
    const [words, at] = [this.#words, this.#at];
    for (let seen = Atomics.load(words, at); (seen & ~SLEEPERS) === holder; seen = Atomics.load(words, at)) {
      // Fails only when somebody goes to sleep meanwhile.
      if (Atomics.compareExchange(words, at, seen, 0) === seen) break;
    }
    Atomics.notify(words, at);
  }
}
