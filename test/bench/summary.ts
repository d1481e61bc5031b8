import { type MetricName, metrics, type Sample } from './metrics.ts';
import type { SystemName } from './systems.ts';
import type { Setting } from './workloads.ts';

export type { Sample } from './metrics.ts';

/** All runs of one system under one load with one number of clients. */
export interface Cell extends Setting {
  readonly system: SystemName;
  readonly samples: Sample[];
  /** Why there are no (further) samples. */
  failure: string | null;
}

/** Median and how far the rounds lie apart: half of (largest - smallest), as a share of the median. */
export interface Spread {
  readonly median: number;
  readonly spread: number;
}

/** The value below which the share `p` (0 to 1) of an ascending list lies; nearest rank. `NaN` when empty. */
export function percentile(ascending: ArrayLike<number>, p: number): number {
  const rank = Math.max(1, Math.ceil(p * ascending.length));
  return ascending[rank - 1] ?? Number.NaN;
}

/** Median and spread of the rounds that have the figure; `null` when none has it. */
export function spreadOf(values: readonly (number | null)[]): Spread | null {
  const ascending = values.filter((value) => value !== null).sort((a, b) => a - b);
  const [smallest, largest] = [ascending.at(0), ascending.at(-1)];
  if (smallest === undefined || largest === undefined) return null;
  const middle = (ascending.length - 1) / 2;
  const low = ascending[Math.floor(middle)] ?? Number.NaN;
  const high = ascending[Math.ceil(middle)] ?? Number.NaN;
  const median = (low + high) / 2;
  return { median, spread: median === 0 ? 0 : (largest - smallest) / 2 / median };
}

/** Medians of a cell over its rounds: of each figure that any round has. */
export type CellSummary = { readonly [Name in MetricName]?: Spread };

export function summarize({ samples }: Pick<Cell, 'samples'>): CellSummary {
  const found: { [Name in MetricName]?: Spread } = {};
  for (const name of Object.keys(metrics) as MetricName[]) {
    const spread = spreadOf(samples.map((sample) => sample[name] ?? null));
    if (spread !== null) found[name] = spread;
  }
  return found;
}

/** A median as a multiple of another, or `null` when either is missing. */
export function ratio(ours: Spread | undefined, theirs: Spread | undefined): number | null {
  return ours === undefined || theirs === undefined || theirs.median === 0
    ? null
    : ours.median / theirs.median;
}

/** The cell of a system that ran the same as `setting`, if it took part. */
export function cellOf<Found extends Setting & { readonly system: SystemName }>(
  cells: readonly Found[],
  system: SystemName,
  setting: Setting,
): Found | undefined {
  return cells.find(
    (cell) =>
      cell.system === system && cell.workload === setting.workload && cell.clients === setting.clients,
  );
}
