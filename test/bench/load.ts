import type { Workload } from './workloads.ts';

/** Where a load connects to; loopback only, no password. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

/** One run of one load against one system. */
export interface LoadJob {
  readonly target: Target;
  readonly workload: Workload;
  readonly clients: number;
  /** Length of the measured window, in whole seconds. */
  readonly seconds: number;
  /** Called at the window's edges, so that CPU is read at the same instants. */
  readonly onWindowStart: () => void;
  readonly onWindowEnd: () => void;
}

/** What happened inside the measured window. */
export interface LoadResult {
  readonly transactions: number;
  readonly windowMs: number;
  /** Ascending. */
  readonly latenciesUs: Float64Array;
}

/** A program or loop that sends transactions and clocks each of them. */
export interface Load {
  /** Name and version, for the heading. */
  readonly version: string;
  /** Creates the `pgbench_*` tables in the target's database. */
  prepareData(target: Target, scale: number): Promise<void>;
  /** Errors: rejects with a one-line reason when any client fails or the run exceeds its deadline. */
  run(job: LoadJob): Promise<LoadResult>;
}

/** Time between the start of a load and its measured window: connections opened, caches and code warm. */
export const settleMs = 900;
