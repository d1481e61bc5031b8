import fc from 'fast-check';
import { describe, it } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { PoolWorld, STEPS, type Step } from './pool-world.ts';

/** Settings under which a run begins; RELOAD changes some of them on the way. */
const limits: fc.Arbitrary<Partial<PoolLimits>> = fc.record({
  poolMode: fc.constantFrom('session', 'transaction'),
  poolSize: fc.integer({ min: 1, max: 4 }),
  reservePoolSize: fc.integer({ min: 0, max: 2 }),
  minPoolSize: fc.integer({ min: 0, max: 2 }),
  maxDbConnections: fc.integer({ min: 0, max: 4 }),
  serverLifetimeMs: fc.constantFrom(0, 5000, 86_400_000, 86_400_000, 86_400_000),
  serverIdleTimeoutMs: fc.constantFrom(0, 3000),
  serverCheckDelayMs: fc.constantFrom(0, 1000),
  serverCheckQuery: fc.constantFrom(null, ''),
  serverRoundRobin: fc.boolean(),
  serverLoginRetryMs: fc.constantFrom(0, 1000, 15_000),
  cancelWaitTimeoutMs: fc.constantFrom(0, 5000),
});

/** How often each thing happens. What ends much (PAUSE, broken connectors) is rare and passes soon. */
const WEIGHTS: Readonly<Record<Step['kind'], number>> = {
  arrive: 6,
  arriveDedicated: 2,
  acquire: 16,
  finish: 12,
  leave: 3,
  vanish: 3,
  drained: 3,
  drainFails: 1,
  loginReady: 16,
  loginFails: 1,
  loginRefused: 1,
  break: 1,
  gone: 10,
  test: 12,
  testFails: 1,
  dirty: 3,
  unsure: 2,
  cancel: 5,
  carrierConnects: 5,
  carrierEnds: 3,
  time: 8,
  pause: 1,
  resume: 4,
  reconnect: 1,
  reload: 2,
  opening: 2,
};

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.oneof(
    ...STEPS.map((kind) => ({ weight: WEIGHTS[kind], arbitrary: fc.constant<Step['kind']>(kind) })),
  ),
  pick: fc.nat({ max: 11 }),
  flavor: fc.nat({ max: 59 }),
});

const histories = fc.array(step, { minLength: 30, maxLength: 200, size: 'max' });

describe('any order of events', () => {
  it('keeps limits, order and links, loses no wake-up and no slot', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(limits, histories, async (start, steps) => {
        const world = new PoolWorld(start);
        for (const each of steps) await world.step(each);
        await world.end();
      }),
      { numRuns: 1500 },
    );
  });
});
