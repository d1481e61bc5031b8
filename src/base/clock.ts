import { performance } from 'node:perf_hooks';

/**
 * Time for everything above: one monotonic clock for decisions, one wall clock for what people read.
 * Nothing else in `src/` asks the system for the time, so tests can step it.
 */
export interface Clock {
  /** Monotonic milliseconds with a fraction (microsecond resolution); its zero has no meaning. */
  nowMs(): number;
  /** Milliseconds since the Unix epoch, for timestamps in logs and `SHOW`. */
  wallMs(): number;
  /**
   * Until {@link letGo}, `nowMs` answers as of now: a chunk of bytes is dealt with in microseconds, and asking
   * the system a dozen times in between costs more than some of the work. Synchronous code only; does not nest.
   */
  hold(): void;
  letGo(): void;
}

/** The process's real clock, by which all of its threads tell the same time. */
export class SystemClock implements Clock {
  /** Where this thread's `performance.now` begins, on the clock that all share. */
  readonly #zeroMs = threadZeroMs();
  /** 0 = not held. */
  #heldMs = 0;

  nowMs(): number {
    return this.#heldMs === 0 ? this.#zeroMs + performance.now() : this.#heldMs;
  }

  wallMs(): number {
    return Date.now();
  }

  hold(): void {
    this.#heldMs = this.#zeroMs + performance.now();
  }

  letGo(): void {
    this.#heldMs = 0;
  }
}

/** Good to a few microseconds: of several readings the pair counts that lay closest together. */
function threadZeroMs(): number {
  let zeroMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const localMs = performance.now();
    zeroMs = Math.min(zeroMs, Number(process.hrtime.bigint()) / 1e6 - localMs);
  }
  return zeroMs;
}
