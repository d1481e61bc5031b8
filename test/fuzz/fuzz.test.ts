import { randomInt } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { fuzzRound } from './round.ts';
import { targets } from './targets.ts';
import { byEffort, isFull } from '../support/effort.ts';

/** Inputs per parser; `npm run fuzz` goes on for as long as one likes. */
const RUNS = byEffort({ wide: 500, full: 100_000 });
/** Logins derive keys, in a thread. */
const SLOW = new Set(['client-login']);
const GROWTH_BYTES = 64 * 1024 * 1024;

describe('whatever comes from outside is read or refused', () => {
  test.each(targets.map((target) => [target.name, target] as const))(
    '%s',
    async (name, target) => {
      const seed = Number(process.env['PGWEIR_TEST_SEED'] ?? randomInt(2 ** 31));
      const runs = SLOW.has(name) && !isFull ? RUNS / 5 : RUNS;
      const before = process.memoryUsage().rss;
      try {
        expect(await fuzzRound(target, seed, { runs })).toBeGreaterThanOrEqual(runs);
      } catch (error) {
        throw new Error(`with PGWEIR_TEST_SEED=${seed}: ${String(error)}`, { cause: error });
      }
      if (isFull) expect(process.memoryUsage().rss - before).toBeLessThan(GROWTH_BYTES * 4);
    },
    600_000,
  );
});
