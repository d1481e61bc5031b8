import { describe, expect, test } from 'vitest';
import { rotated } from './rounds.ts';
import { toSample } from './runs.ts';
import { percentile, ratio, spreadOf, summarize, type Cell } from './summary.ts';
import { renderTable } from './table.ts';

function cell(system: Cell['system'], tps: number, cpu: number | null, failure: string | null = null): Cell {
  const sample = {
    tps,
    p50Us: 1500,
    p99Us: 3000,
    p999Us: 4000,
    errors: 0,
    cpuUsPerTransaction: cpu,
    residentBytes: cpu && 5 * 2 ** 20,
  };
  return { workload: 'simple', clients: 50, system, samples: failure === null ? [sample] : [], failure };
}

describe('summary of a benchmark', () => {
  test('percentiles are values of the list by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([percentile(hundred, 0.5), percentile(hundred, 0.99), percentile([7], 0.99)]).toEqual([50, 99, 7]);
    expect(percentile([], 0.5)).toBeNaN();
  });

  test('the median of an even number of rounds is the middle of the two in the middle', () => {
    expect(spreadOf([40, 10, 20, 30])).toEqual({ median: 25, spread: 0.6 });
  });

  test('rounds without the figure do not count, and no figure at all gives none', () => {
    expect(spreadOf([null, 10, null])).toEqual({ median: 10, spread: 0 });
    expect(spreadOf([null])).toBeNull();
  });

  test('a ratio needs both sides', () => {
    expect(ratio({ median: 14, spread: 0 }, { median: 10, spread: 0 })).toBe(1.4);
    expect(ratio({ median: 14, spread: 0 }, undefined)).toBeNull();
  });

  test('CPU per transaction is what the pooler used in the window over what completed in it', () => {
    const result = {
      transactions: 2000,
      errors: 3,
      windowMs: 500,
      latenciesUs: Float64Array.of(1, 2, 3, 4),
    };
    const sample = toSample(result, { cpuUs: 20_000, residentBytes: 9 });
    expect(sample).toEqual({
      tps: 4000,
      p50Us: 2,
      p99Us: 4,
      p999Us: 4,
      cpuUsPerTransaction: 10,
      residentBytes: 9,
      errors: 3,
    });
  });

  test('transactions without a latency have none, and without a pooler there is no CPU', () => {
    const result = { transactions: 2, errors: 0, windowMs: 1000, latenciesUs: new Float64Array(0) };
    expect(toSample(result, { cpuUs: null, residentBytes: null })).toEqual({
      tps: 2,
      p50Us: null,
      p99Us: null,
      p999Us: null,
      cpuUsPerTransaction: null,
      residentBytes: null,
      errors: 0,
    });
  });

  test('a run without a completed transaction is an error, not a zero', () => {
    const result = { transactions: 0, errors: 0, windowMs: 500, latenciesUs: new Float64Array(0) };
    expect(() => toSample(result, { cpuUs: 1, residentBytes: 1 })).toThrow('not one transaction completed');
  });

  test('each round starts with another system', () => {
    expect([0, 1, 2, 3].map((round) => rotated(['a', 'b', 'c'], round).join(''))).toEqual([
      'abc',
      'bca',
      'cab',
      'abc',
    ]);
    expect(rotated([], 3)).toEqual([]);
  });

  test('the table shows ratios to PgBouncer, a dash without a pooler, and why something is missing', () => {
    const text = renderTable([
      cell('pgbouncer', 20_000, 10),
      cell('pgweir', 15_000, 13),
      cell('direct', 30_000, null),
    ]);
    const [, , , first, second, third] = text.split('\n');
    expect(first).toMatch(/^ {2}pgbouncer +20000 +0% +1\.00× +1\.500 +3\.000 +0% +1\.00× +4\.000 +10\.0 /);
    expect(second).toMatch(
      /^ {2}pgweir +15000 +0% +0\.75× +1\.500 +3\.000 +0% +1\.00× +4\.000 +13\.0 +0% +1\.30× +5\.0 +0 +–$/,
    );
    expect(third).toMatch(/^ {2}direct +30000 +0% +1\.50× +1\.500 +3\.000 +0% +1\.00× +4\.000 +– +– +0 +–$/);
    expect(renderTable([cell('pgweir', 0, null, 'no such thing')])).toContain(
      'pgweir: not measured: no such thing',
    );
  });

  test('a cell that failed after some rounds says so beside its figures', () => {
    const half = { ...cell('pgweir', 15_000, 13), failure: 'it fell over' };
    const text = renderTable([half]);
    expect(text).toMatch(/^ {2}pgweir +15000/m);
    expect(text).toContain('pgweir: stopped in the middle: it fell over');
  });

  test('figures that belong to no round of a load are in no summary', () => {
    const idle: Cell = {
      workload: 'idle',
      clients: 10_000,
      system: 'pgweir',
      samples: [{ bytesPerClient: 6000 }],
      failure: null,
    };
    expect(summarize(idle)).toEqual({ bytesPerClient: { median: 6000, spread: 0 } });
    expect(renderTable([idle])).toMatch(/^ {2}pgweir +6\.00 +0% +–$/m);
  });
});
