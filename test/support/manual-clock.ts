import type { Clock } from '../../src/base/clock.ts';

/** A clock that stands still until it is stepped; both of its times move together. */
export class ManualClock implements Clock {
  #nowMs: number;
  #wallMs: number;

  /** The monotonic time begins away from zero, so that an unset time stamp of 0 shows. */
  constructor(nowMs = 1000, wallMs = Date.UTC(2026, 0, 2, 3, 4, 5)) {
    this.#nowMs = nowMs;
    this.#wallMs = wallMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  /** It stands still anyway. */
  hold(): void {}

  letGo(): void {}

  /** Moves time forward. */
  advance(ms: number): void {
    if (!(ms >= 0)) throw new RangeError(`a clock does not go back: ${ms} ms`);
    this.#nowMs += ms;
    this.#wallMs += ms;
  }

  /** Sets the wall clock as an operator would, in any direction; the monotonic time stays. */
  setWall(ms: number): void {
    this.#wallMs = ms;
  }
}
