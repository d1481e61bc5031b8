import type { Clock } from '../base/clock.ts';
import type { Logger, LogLevel } from '../base/log.ts';

/** As often as this is a line written that each connection may bring about. */
const SPACING_MS = 5000;

/** Keeps the log from being flooded by lines that say the same: those in between are counted. */
export class SpacedLines {
  readonly #clock: Clock;
  readonly #log: Logger;
  #writtenMs = Number.NEGATIVE_INFINITY;
  #omitted = 0;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  write(level: LogLevel, text: string): void {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#writtenMs < SPACING_MS) {
      this.#omitted++;
      return;
    }
    const before = this.#omitted === 0 ? '' : ` (${this.#omitted} more such lines suppressed before)`;
    this.#log.log(level, `${text}${before}`);
    this.#writtenMs = nowMs;
    this.#omitted = 0;
  }
}
