import type { Clock } from '../base/clock.ts';

/** A processor that does not come back sooner has gone to somebody who computes, not to somebody with an answer to send. */
const LONG_MS = 1;
/** How long it is kept then: so long at first, twice as long each time it is so again, and no longer than the other. */
const FIRST_KEPT_MS = 50;
const LONGEST_KEPT_MS = 2000;

/**
 * Leaves the processor to others that want it, by sched_yield(2), and learns whether that is any good. PostgreSQL's servers
 * and the clients on the same machine run for microseconds: what they send then is dealt with in one go. A program that
 * computes runs its whole slice, which is milliseconds, and the kernel takes no less from who yields; beside one of these
 * the processor is kept, but for a try now and then.
 */
export class ProcessorYield {
  readonly #yieldProcessor: () => void;
  readonly #clock: Clock;
  #keptUntilMs = 0;
  #keptMs = FIRST_KEPT_MS;

  constructor(yieldProcessor: () => void, clock: Clock) {
    this.#yieldProcessor = yieldProcessor;
    this.#clock = clock;
  }

  /** Yields, unless that has not been good lately. */
  yield(): void {
    const startMs = this.#clock.nowMs();
    if (startMs < this.#keptUntilMs) return;
    this.#yieldProcessor();
    const endMs = this.#clock.nowMs();
    if (endMs - startMs < LONG_MS) {
      this.#keptMs = FIRST_KEPT_MS;
      return;
    }
    this.#keptUntilMs = endMs + this.#keptMs;
    this.#keptMs = Math.min(2 * this.#keptMs, LONGEST_KEPT_MS);
  }
}
