import { inUnit, type MetricName, metrics } from './metrics.ts';
import { cellOf, summarize, type Cell } from './summary.ts';
import { type SystemName, systemTitles } from './systems.ts';
import type { Setting, WorkloadName } from './workloads.ts';

/**
 * What pgweir has to show: the one place where it stands. `bar` must be met, `goal` is what we want; both are multiples of
 * another system's figure in the same run, or, where `of` is `value`, its own figure in the unit that the metric is kept
 * in. Whether they are upper or lower bounds is the metric's to say.
 */
export interface Bar extends Setting {
  readonly system: SystemName;
  /** What it is compared with. */
  readonly reference: SystemName;
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
  return { workload, clients, metric, of: 'ratio', bar, goal, ...oneLoop };
}

/** One event loop, which is what PgBouncer has. */
const oneLoop = { system: 'pgweir', reference: 'pgbouncer' } as const;

/** What two event loops show beside one. */
const twoLoops = { system: 'workers', reference: 'pgweir' } as const;

/** Fewer are busy with the clients and PostgreSQL. */
const coresForThroughput = 6;

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
  ratioBar('connect-scram1', 50, 'cpuUsPerTransaction', 1.15, 1),
  ratioBar('connect-tls', 50, 'cpuUsPerTransaction', 1.15, 1),
  ratioBar('result', 1, 'bytesPerCpuSecond', 1.5, 2.2),
  ratioBar('result', 1, 'bytesPerSecond', 1.3, 1.6),
  ...(['simple', 'extended', 'prepared'] as const).map((workload) => ratioBar(workload, 1, 'p50Us', 1.05, 1)),
  {
    ...{ workload: 'calls', clients: 50, metric: 'callsPerTransaction', of: 'value', bar: 4.3, goal: 4.1 },
    ...oneLoop,
  },
  {
    workload: 'idle',
    clients: idleClients,
    metric: 'bytesPerClient',
    of: 'value',
    bar: 6000,
    goal: 6000,
    ...oneLoop,
  },
  ...(['simple', 'extended', 'prepared'] as const).flatMap((workload): Bar[] => [
    // Of the transactions per CPU second 0.85 or more.
    { ...ratioBar(workload, 50, 'cpuUsPerTransaction', 1 / 0.85, 1), ...twoLoops },
    ...[50, 900].map(
      (clients): Bar => ({
        ...{ workload, clients, metric: 'threadSpread', of: 'value', bar: 0.15, goal: 0.15 },
        ...twoLoops,
      }),
    ),
  ]),
];

/** Only where there are cores enough: how much more two event loops carry. */
export const throughputBars: readonly Bar[] = (['simple', 'extended', 'prepared'] as const).map(
  (workload): Bar => ({ ...ratioBar(workload, 900, 'tps', 1.7, 1.7), ...twoLoops }),
);

/** All that can be measured on a machine of so many cores. */
export function barsFor(cores: number): readonly Bar[] {
  return cores < coresForThroughput ? bars : [...bars, ...throughputBars];
}

/** What there are bars for that a machine of so many cores says nothing of; empty: there is none. */
export function beyond(cores: number): string {
  if (cores >= coresForThroughput) return '';
  const [{ bar }] = throughputBars as [Bar];
  return (
    `Not measurable on ${cores} cores: how much more two event loops carry than one (bar: ${bar.toFixed(2)}×). ` +
    `Clients and PostgreSQL need cores of their own, ${coresForThroughput} in all`
  );
}

/** How a bar was met. `unknown`: nothing to compare. */
export type Verdict = 'goal' | 'bar' | 'missed' | 'unknown';

/** A bar with what the run showed. */
export interface Judgement extends Bar {
  /** Medians, in the unit that the metric is kept in; null: not measured. */
  readonly theirs: number | null;
  readonly ours: number | null;
  /** Ours as a multiple of theirs. */
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
export function judge(cells: readonly Cell[], all: readonly Bar[]): Judgement[] {
  return all.map((bar) => {
    const median = (system: SystemName): number | null => {
      const cell = cellOf(cells, system, bar);
      return cell === undefined ? null : (summarize(cell)[bar.metric]?.median ?? null);
    };
    const [theirs, ours] = [median(bar.reference), median(bar.system)];
    const ratio = theirs === null || ours === null || theirs === 0 ? null : ours / theirs;
    return { ...bar, theirs, ours, ratio, verdict: verdictOf(bar, bar.of === 'ratio' ? ratio : ours) };
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
    .map(
      ({ system, workload, clients, metric }) =>
        `${system === 'pgweir' ? '' : `${system}, `}${workload} with ${clients} (${metrics[metric].title})`,
    )
    .join(', ');
}

/** The judgements of what was measured as rows of texts, headings first. */
export function judgementRows(judgements: readonly Judgement[]): string[][] {
  return [
    ['load', 'figure', 'compared with', 'pgweir', 'ratio', 'bar', 'goal', ''],
    ...judgements.filter(isKnown).map((each) => {
      const { metric, of, bar, goal, reference, theirs, ours, ratio, verdict } = each;
      const sign = metrics[metric].better === 'lower' ? '≤' : '≥';
      const figure = (value: number | null): string => (value === null ? '–' : inUnit(metric, value));
      const bound = (value: number): string =>
        `${sign} ${of === 'ratio' ? `${value.toFixed(2)}×` : inUnit(metric, value)}`;
      return [
        `${each.workload}, ${each.clients}${each.system === 'workers' ? ', 2 workers' : ''}`,
        metrics[metric].title,
        theirs === null ? '–' : `${figure(theirs)} (${systemTitles[reference]})`,
        figure(ours),
        ratio === null ? '–' : `${ratio.toFixed(2)}×`,
        bound(bar),
        bound(goal),
        verdictWords[verdict],
      ];
    }),
  ];
}
