import type { SystemName } from './systems.ts';
import type { WorkloadName } from './workloads.ts';

/** One measured run. */
export interface Sample {
  readonly tps: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Pooler CPU, user and system, per transaction; `null` without a pooler process or a `/proc`. */
  readonly cpuUsPerTransaction: number | null;
  /** Memory of the pooler at the end of the window; `null` as above. */
  readonly residentBytes: number | null;
}

/** All runs of one system under one load with one number of clients. */
export interface Cell {
  readonly workload: WorkloadName;
  readonly clients: number;
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

/** Medians of a cell over its rounds. */
export interface CellSummary {
  readonly tps: Spread | null;
  readonly p50Us: Spread | null;
  readonly p99Us: Spread | null;
  readonly cpuUsPerTransaction: Spread | null;
  readonly residentBytes: Spread | null;
}

export function summarize({ samples }: Cell): CellSummary {
  return {
    tps: spreadOf(samples.map((sample) => sample.tps)),
    p50Us: spreadOf(samples.map((sample) => sample.p50Us)),
    p99Us: spreadOf(samples.map((sample) => sample.p99Us)),
    cpuUsPerTransaction: spreadOf(samples.map((sample) => sample.cpuUsPerTransaction)),
    residentBytes: spreadOf(samples.map((sample) => sample.residentBytes)),
  };
}

/** A median as a multiple of another, or `null` when either is missing. */
export function ratio(ours: Spread | null, theirs: Spread | null): number | null {
  return ours === null || theirs === null || theirs.median === 0 ? null : ours.median / theirs.median;
}
