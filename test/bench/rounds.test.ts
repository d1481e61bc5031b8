import { describe, expect, test } from 'vitest';
import { Children } from './children.ts';
import type { Load } from './load.ts';
import { readOptions } from './options.ts';
import { measureRounds } from './rounds.ts';
import type { Bench } from './runs.ts';
import type { SystemName, Systems } from './systems.ts';

/** A bench whose systems are names only, and whose load does as `run` says; `order` has who ran. */
function pretend(names: readonly SystemName[], run: (system: SystemName, nth: number) => void) {
  const order: SystemName[] = [];
  const load: Load = {
    version: 'none',
    prepareData: async () => {},
    run: async ({ target, onWindowStart, onWindowEnd }) => {
      const system = target.user as SystemName;
      order.push(system);
      onWindowStart();
      run(system, order.filter((each) => each === system).length);
      onWindowEnd();
      return { transactions: 10, errors: 0, windowMs: 1000, latenciesUs: Float64Array.of(1, 2) };
    },
  };
  const entrants = names.map((name) => ({ name, version: '', facts: '' }));
  const open = async (name: SystemName) => ({ name, target: { user: name }, child: null });
  const systems = { entrants, open } as unknown as Systems;
  const bench: Bench = { load, systems, children: new Children(), folder: '' };
  return { bench, order };
}

const options = (rounds: number) =>
  readOptions(['--workloads', 'simple', '--clients', '3', '--rounds', String(rounds)]);

describe('rounds', () => {
  test('after a warm-up each system runs once in each round, and each round begins with another one', async () => {
    const { bench, order } = pretend(['pgbouncer', 'pgweir', 'direct'], () => {});
    const cells = await measureRounds(options(2), bench, () => {}, new AbortController().signal);
    expect(order.slice(0, 3)).toEqual(['pgbouncer', 'pgweir', 'direct']);
    expect(order.slice(3, 6)).toEqual(['pgweir', 'direct', 'pgbouncer']);
    expect(order.slice(6)).toEqual(['direct', 'pgbouncer', 'pgweir']);
    expect(cells.map(({ system, samples }) => [system, samples.map(({ tps }) => tps)])).toEqual([
      ['pgbouncer', [10, 10]],
      ['pgweir', [10, 10]],
      ['direct', [10, 10]],
    ]);
  });

  test('what fails is not tried again, keeps what it has shown before, and is printed with its reason', async () => {
    const printed: string[] = [];
    const { bench, order } = pretend(['pgbouncer', 'pgweir'], (system, nth) => {
      // In the second round.
      if (system === 'pgweir' && nth === 3) throw new Error('it fell over');
    });
    const cells = await measureRounds(
      options(3),
      bench,
      (line) => printed.push(line),
      new AbortController().signal,
    );
    expect(order.filter((system) => system === 'pgweir')).toHaveLength(3);
    expect(cells).toMatchObject([
      { system: 'pgbouncer', failure: null, samples: [{}, {}, {}] },
      { system: 'pgweir', failure: 'it fell over', samples: [{ tps: 10 }] },
    ]);
    expect(printed).toContain('  simple, 3 clients, pgweir: it fell over');
  });

  test('an interrupt ends it, and is no failure of a system', async () => {
    const interrupt = new AbortController();
    const { bench, order } = pretend(['pgbouncer', 'pgweir'], () => {
      interrupt.abort(new Error('enough'));
      throw new Error('cut off');
    });
    await expect(measureRounds(options(2), bench, () => {}, interrupt.signal)).rejects.toThrow('enough');
    expect(order).toHaveLength(1);
  });
});
