import { describe, expect, test } from 'vitest';
import { type Bar, bars, judge, judgementRows, unknownBars } from './bars.ts';
import { cell } from './kit.ts';
import { metrics } from './metrics.ts';
import { settingsOf, workloadNames } from './workloads.ts';

const cpuBar: Bar = {
  workload: 'simple',
  clients: 50,
  metric: 'cpuUsPerTransaction',
  of: 'ratio',
  bar: 1.15,
  goal: 1,
};
const speedBar: Bar = {
  workload: 'result',
  clients: 1,
  metric: 'bytesPerSecond',
  of: 'ratio',
  bar: 1.3,
  goal: 1.6,
};
const callsBar: Bar = {
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
      { pgbouncer: 10, pgweir, ratio: pgweir / 10, verdict },
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
    expect(judge(cells, [callsBar])).toMatchObject([{ pgbouncer: null, ratio: null, verdict: 'bar' }]);
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
    expect(judge(cells, [cpuBar])).toMatchObject([{ pgweir: 9, verdict: 'goal' }]);
  });

  test('a row has PgBouncer first, the ratio, bounds with their side, and the verdict', () => {
    expect(judgementRows(judge([...cpu(12), ...speed(140)], [cpuBar, speedBar, callsBar]))).toEqual([
      ['load', 'figure', 'PgBouncer', 'pgweir', 'ratio', 'bar', 'goal', ''],
      ['simple, 50', 'CPU µs/tx', '10.0', '12.0', '1.20×', '≤ 1.15×', '≤ 1.00×', 'missed'],
      ['result, 1', 'MB/s', '0', '0', '1.40×', '≥ 1.30×', '≥ 1.60×', 'bar met'],
    ]);
    expect(unknownBars(judge(cpu(12), [cpuBar, callsBar]))).toBe('calls with 50 (calls/tx)');
  });

  test('a whole run measures everything that a bar is for', () => {
    const settings = settingsOf(workloadNames, null, 10_000);
    for (const { workload, clients } of bars) expect(settings).toContainEqual({ workload, clients });
  });

  test('each goal is at least as much as its bar, and each figure has one bar', () => {
    for (const { metric, bar, goal } of bars)
      expect(metrics[metric].better === 'lower' ? goal <= bar : goal >= bar, metric).toBe(true);
    const figures = bars.map(({ workload, clients, metric }) => `${workload} ${clients} ${metric}`);
    expect(new Set(figures).size).toBe(figures.length);
  });
});
