import { describe, expect, it } from 'vitest';
import { ProcessorYield } from '../../src/net/processor-yield.ts';
import { ManualClock } from '../support/manual-clock.ts';

/** A processor that is away for `awayMs` each time, and how often it was given. */
class Machine {
  readonly clock = new ManualClock();
  readonly processor: ProcessorYield;
  awayMs: number;
  yields = 0;

  constructor(awayMs: number) {
    this.awayMs = awayMs;
    const give = () => {
      this.yields++;
      this.clock.advance(this.awayMs);
    };
    this.processor = new ProcessorYield(give, this.clock);
  }

  /** Has it yielded every tenth of a millisecond for so long, and tells how long it was away. */
  run(ms: number): number {
    const endMs = this.clock.nowMs() + ms;
    const { yields } = this;
    while (this.clock.nowMs() < endMs) {
      this.processor.yield();
      this.clock.advance(0.1);
    }
    return (this.yields - yields) * this.awayMs;
  }
}

describe('a processor', () => {
  it('is yielded each time to those who give it back soon', () => {
    const machine = new Machine(0.3);
    machine.run(400);
    expect(machine.yields).toBeGreaterThanOrEqual(999);
  });

  it('is lost to those who compute for a hundredth of the time at most', () => {
    const machine = new Machine(3);
    machine.run(10_000);
    expect(machine.run(60_000)).toBeLessThanOrEqual(600);
    expect(machine.yields).toBeGreaterThan(30);
  });

  it('is yielded each time again within two seconds of their going', () => {
    const machine = new Machine(3);
    machine.run(10_000);
    machine.awayMs = 0.3;
    machine.run(2100);
    const before = machine.yields;
    machine.run(400);
    expect(machine.yields - before).toBeGreaterThanOrEqual(999);
  });

  it('is kept for a short while alone by who has lost it once', () => {
    const machine = new Machine(3);
    machine.processor.yield();
    machine.awayMs = 0.3;
    machine.run(51);
    const before = machine.yields;
    machine.run(40);
    expect(machine.yields - before).toBeGreaterThanOrEqual(99);
    machine.awayMs = 3;
    machine.processor.yield();
    machine.awayMs = 0.3;
    machine.run(51);
    expect(machine.yields - before).toBeGreaterThan(102);
  });
});
