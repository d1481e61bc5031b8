import { describe, expect, test } from 'vitest';
import { type Bar, barsFor, judge, judgementRows, unknownBars } from './bars.ts';
import { cell } from './kit.ts';
import { metrics } from './metrics.ts';
import { settingsOf, workloadNames } from './workloads.ts';

const oneLoop = { system: 'pgweir', reference: 'pgbouncer' } as const;
const cpuBar: Bar = {
  ...oneLoop,
  workload: 'simple',
  clients: 50,
  metric: 'cpuUsPerTransaction',
  of: 'ratio',
  bar: 1.15,
  goal: 1,
};
const speedBar: Bar = {
  ...oneLoop,
  workload: 'result',
  clients: 1,
  metric: 'bytesPerSecond',
  of: 'ratio',
  bar: 1.3,
  goal: 1.6,
};
const callsBar: Bar = {
  ...oneLoop,
  workload: 'calls',
  clients: 50,
  metric: 'callsPerTransaction',
  of: 'value',
  bar: 4.3,
  goal: 4.1,
};

function cpu(pgweir: number) {
  return [
    cell('simple', 50, 'pgbouncer', [{ cpuUsPerTransaction: 10 }]),
    cell('simple', 50, 'pgweir', [{ cpuUsPerTransaction: pgweir }]),
  ];
}

function speed(pgweir: number) {
  return [
    cell('result', 1, 'pgbouncer', [{ bytesPerSecond: 100 }]),
    cell('result', 1, 'pgweir', [{ bytesPerSecond: pgweir }]),
  ];
}

describe('bars', () => {
  test.each([
    [9, 'goal'],
    [10, 'goal'],
    [10.1, 'bar'],
    [11.5, 'bar'],
    [11.6, 'missed'],
  ])('what should be low is judged from above: %d to 10 is %s', (pgweir, verdict) => {
    expect(judge(cpu(pgweir), [cpuBar])).toMatchObject([
      { theirs: 10, ours: pgweir, ratio: pgweir / 10, verdict },
    ]);
  });

  test.each([
    [160, 'goal'],
    [159, 'bar'],
    [130, 'bar'],
    [129, 'missed'],
  ])('what should be high is judged from below: %d to 100 is %s', (pgweir, verdict) => {
    expect(judge(speed(pgweir), [speedBar])).toMatchObject([{ verdict }]);
  });

  test('a bar for the figure itself needs no PgBouncer', () => {
    const cells = [cell('calls', 50, 'pgweir', [{ callsPerTransaction: 4.2 }])];
    expect(judge(cells, [callsBar])).toMatchObject([{ theirs: null, ratio: null, verdict: 'bar' }]);
  });

  test('a ratio without PgBouncer, another number of clients or a failed cell is unknown', () => {
    const alone = cpu(9).filter(({ system }) => system === 'pgweir');
    const others = cpu(9).map((each) => ({ ...each, clients: 10 }));
    const failed = cpu(9).map((each) => ({ ...each, samples: [], failure: 'no' }));
    for (const cells of [alone, others, failed, []])
      expect(judge(cells, [cpuBar])).toMatchObject([{ ratio: null, verdict: 'unknown' }]);
  });

  test('the median of the rounds is judged', () => {
    const rounds = [8, 30, 9].map((cpuUsPerTransaction) => ({ cpuUsPerTransaction }));
    const cells = [...cpu(0).slice(0, 1), cell('simple', 50, 'pgweir', rounds)];
    expect(judge(cells, [cpuBar])).toMatchObject([{ ours: 9, verdict: 'goal' }]);
  });

  test('several event loops are judged beside one', () => {
    const bar: Bar = { ...cpuBar, bar: 1.2, system: 'workers', reference: 'pgweir' };
    const cells = [...cpu(12), cell('simple', 50, 'workers', [{ cpuUsPerTransaction: 13.2 }])];
    expect(judge(cells, [bar])).toMatchObject([{ theirs: 12, ours: 13.2, verdict: 'bar' }]);
    expect(judgementRows(judge(cells, [bar]))[1]).toEqual([
      ...['simple, 50, 2 workers', 'CPU µs/tx', '12.0 (pgweir)', '13.2', '1.10×', '≤ 1.20×', '≤ 1.00×'],
      'bar met',
    ]);
    expect(unknownBars(judge([], [bar]))).toBe('workers, simple with 50 (CPU µs/tx)');
  });

  test('what they carry is judged where clients and PostgreSQL have cores of their own', () => {
    const judged = (cores: number) => barsFor(cores).filter(({ metric }) => metric === 'tps').length;
    expect([judged(2), judged(5), judged(6)]).toEqual([0, 0, 3]);
  });

  test('a row has PgBouncer first, the ratio, bounds with their side, and the verdict', () => {
    expect(judgementRows(judge([...cpu(12), ...speed(140)], [cpuBar, speedBar, callsBar]))).toEqual([
      ['load', 'figure', 'compared with', 'pgweir', 'ratio', 'bar', 'goal', ''],
      ['simple, 50', 'CPU µs/tx', '10.0 (PgBouncer)', '12.0', '1.20×', '≤ 1.15×', '≤ 1.00×', 'missed'],
      ['result, 1', 'MB/s', '0 (PgBouncer)', '0', '1.40×', '≥ 1.30×', '≥ 1.60×', 'bar met'],
    ]);
    expect(unknownBars(judge(cpu(12), [cpuBar, callsBar]))).toBe('calls with 50 (calls/tx)');
  });

  test('a whole run measures everything that a bar is for', () => {
    const settings = settingsOf(workloadNames, null, 10_000);
    for (const { workload, clients } of barsFor(64)) expect(settings).toContainEqual({ workload, clients });
  });

  test('each goal is at least as much as its bar, and each figure has one bar', () => {
    for (const { metric, bar, goal } of barsFor(64))
      expect(metrics[metric].better === 'lower' ? goal <= bar : goal >= bar, metric).toBe(true);
    const figures = barsFor(64).map(
      ({ system, workload, clients, metric }) => `${system} ${workload} ${clients} ${metric}`,
    );
    expect(new Set(figures).size).toBe(figures.length);
  });
});
