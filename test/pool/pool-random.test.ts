import fc from 'fast-check';
import { describe, it } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { PoolWorld, STEPS } from './pool-world.ts';

/** Settings under which a run begins; RELOAD changes some of them on the way. */
const limits: fc.Arbitrary<Partial<PoolLimits>> = fc.record({
  poolMode: fc.constantFrom('session', 'transaction'),
  poolSize: fc.integer({ min: 1, max: 4 }),
  reservePoolSize: fc.integer({ min: 0, max: 2 }),
  minPoolSize: fc.integer({ min: 0, max: 2 }),
  maxDbConnections: fc.integer({ min: 0, max: 4 }),
  serverLifetimeMs: fc.constantFrom(0, 5000, 86_400_000),
  serverIdleTimeoutMs: fc.constantFrom(0, 3000),
  serverCheckDelayMs: fc.constantFrom(0, 1000),
  serverCheckQuery: fc.constantFrom(null, ''),
  serverRoundRobin: fc.boolean(),
  serverLoginRetryMs: fc.constantFrom(0, 1000, 15_000),
  cancelWaitTimeoutMs: fc.constantFrom(0, 5000),
});

const step = fc.record({
  // Arriving and asking are the common things.
  kind: fc.constantFrom(...STEPS, 'arrive', 'acquire', 'acquire', 'finish', 'loginReady', 'test', 'gone'),
  pick: fc.nat({ max: 11 }),
  flavor: fc.nat({ max: 59 }),
});

describe('any order of events', () => {
  it('keeps limits, order and links, loses no wake-up and no slot', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(limits, fc.array(step, { minLength: 20, maxLength: 150 }), async (start, steps) => {
        const world = new PoolWorld(start);
        for (const each of steps) await world.step(each);
        await world.end();
      }),
      { numRuns: 400 },
    );
  });
});
