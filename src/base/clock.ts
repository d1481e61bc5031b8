/**
 * Time for everything above: one monotonic clock for decisions, one wall clock for what people read.
 * Nothing else in `src/` asks the system for the time, so tests can step it.
 */
export interface Clock {
  /** Monotonic milliseconds with a fraction (microsecond resolution); its zero has no meaning. */
  nowMs(): number;
  /** Milliseconds since the Unix epoch, for timestamps in logs and `SHOW`. */
  wallMs(): number;
}

/** The process's real clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
};
