import { inUnit, type MetricName, metrics } from './metrics.ts';
import { cellOf, summarize, type Cell } from './summary.ts';
import type { Setting, WorkloadName } from './workloads.ts';

/**
 * What pgweir with one event loop has to show: the one place where it stands. `bar` must be met, `goal` is what we
 * want; both are multiples of PgBouncer's figure in the same run, or, where `of` is `value`, pgweir's own figure in the
 * unit that the metric is kept in. Whether they are upper or lower bounds is the metric's to say.
 */
export interface Bar extends Setting {
  readonly metric: MetricName;
  readonly of: 'ratio' | 'value';
  readonly bar: number;
  readonly goal: number;
}

function ratioBar(
  workload: WorkloadName,
  clients: number,
  metric: MetricName,
  bar: number,
  goal: number,
): Bar {
  return { workload, clients, metric, of: 'ratio', bar, goal };
}

/** Idle clients at which their memory is judged. */
const idleClients = 10_000;

export const bars: readonly Bar[] = [
  ratioBar('simple', 50, 'cpuUsPerTransaction', 1.15, 1),
  ratioBar('extended', 50, 'cpuUsPerTransaction', 1.15, 1),
  ratioBar('prepared', 50, 'cpuUsPerTransaction', 1.05, 0.9),
  ...(['simple', 'extended', 'prepared'] as const).flatMap((workload) => [
    ratioBar(workload, 900, 'cpuUsPerTransaction', 1.15, 1),
    ratioBar(workload, 900, 'p99Us', 1.1, 0.9),
  ]),
  ratioBar('tls', 50, 'cpuUsPerTransaction', 1.15, 1.05),
  ratioBar('connect', 50, 'cpuUsPerTransaction', 1.15, 1),
  ratioBar('connect-scram', 50, 'cpuUsPerTransaction', 1.15, 1),
  ratioBar('connect-tls', 50, 'cpuUsPerTransaction', 1.15, 1),
  ratioBar('result', 1, 'bytesPerCpuSecond', 1.5, 2.2),
  ratioBar('result', 1, 'bytesPerSecond', 1.3, 1.6),
  ...(['simple', 'extended', 'prepared'] as const).map((workload) => ratioBar(workload, 1, 'p50Us', 1.05, 1)),
  { workload: 'calls', clients: 50, metric: 'callsPerTransaction', of: 'value', bar: 4.3, goal: 4.1 },
  {
    workload: 'idle',
    clients: idleClients,
    metric: 'bytesPerClient',
    of: 'value',
    bar: 6000,
    goal: 6000,
  },
];

/** How a bar was met. `unknown`: nothing to compare. */
export type Verdict = 'goal' | 'bar' | 'missed' | 'unknown';

/** A bar with what the run showed. */
export interface Judgement extends Bar {
  /** Medians, in the unit that the metric is kept in; null: not measured. */
  readonly pgbouncer: number | null;
  readonly pgweir: number | null;
  /** pgweir's as a multiple of PgBouncer's. */
  readonly ratio: number | null;
  readonly verdict: Verdict;
}

function verdictOf({ metric, bar, goal }: Bar, shown: number | null): Verdict {
  if (shown === null) return 'unknown';
  const isWithin = (bound: number): boolean =>
    metrics[metric].better === 'lower' ? shown <= bound : shown >= bound;
  return isWithin(goal) ? 'goal' : isWithin(bar) ? 'bar' : 'missed';
}

/** What a run shows of each bar. */
export function judge(cells: readonly Cell[], all: readonly Bar[] = bars): Judgement[] {
  return all.map((bar) => {
    const median = (system: 'pgbouncer' | 'pgweir'): number | null => {
      const cell = cellOf(cells, system, bar);
      return cell === undefined ? null : (summarize(cell)[bar.metric]?.median ?? null);
    };
    const [pgbouncer, pgweir] = [median('pgbouncer'), median('pgweir')];
    const ratio = pgbouncer === null || pgweir === null || pgbouncer === 0 ? null : pgweir / pgbouncer;
    return { ...bar, pgbouncer, pgweir, ratio, verdict: verdictOf(bar, bar.of === 'ratio' ? ratio : pgweir) };
  });
}

const verdictWords: Readonly<Record<Verdict, string>> = {
  goal: 'goal met',
  bar: 'bar met',
  missed: 'missed',
  unknown: 'not measured',
};

function isKnown({ verdict }: Judgement): boolean {
  return verdict !== 'unknown';
}

/** The bars that the run says nothing of, in a line; empty: it says something of all. */
export function unknownBars(judgements: readonly Judgement[]): string {
  return judgements
    .filter((each) => !isKnown(each))
    .map(({ workload, clients, metric }) => `${workload} with ${clients} (${metrics[metric].title})`)
    .join(', ');
}

/** The judgements of what was measured as rows of texts, headings first. */
export function judgementRows(judgements: readonly Judgement[]): string[][] {
  return [
    ['load', 'figure', 'PgBouncer', 'pgweir', 'ratio', 'bar', 'goal', ''],
    ...judgements.filter(isKnown).map((each) => {
      const { metric, of, bar, goal, pgbouncer, pgweir, ratio, verdict } = each;
      const sign = metrics[metric].better === 'lower' ? '≤' : '≥';
      const figure = (value: number | null): string => (value === null ? '–' : inUnit(metric, value));
      const bound = (value: number): string =>
        `${sign} ${of === 'ratio' ? `${value.toFixed(2)}×` : inUnit(metric, value)}`;
      return [
        `${each.workload}, ${each.clients}`,
        metrics[metric].title,
        figure(pgbouncer),
        figure(pgweir),
        ratio === null ? '–' : `${ratio.toFixed(2)}×`,
        bound(bar),
        bound(goal),
        verdictWords[verdict],
      ];
    }),
  ];
}
