import type { ClientConfig } from 'pg';
import type { TransactionWorkload } from './workloads.ts';

/** Where a load connects to, and how; loopback only. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Empty: none is asked for. */
  readonly password: string;
  readonly database: string;
  /** By TLS, without a look at the certificate; otherwise without even asking for it. */
  readonly tls: boolean;
}

/** The target as node-postgres takes it. */
export function clientConfig({ host, port, user, password, database, tls }: Target): ClientConfig {
  return { host, port, user, password, database, ssl: tls ? { rejectUnauthorized: false } : false };
}

/** The target as libpq's programs take it, beside host, port and user, which go on their command lines. */
export function libpqEnvironment({ password, tls }: Target): Record<string, string> {
  return {
    PGSSLMODE: tls ? 'require' : 'disable',
    // Otherwise each connection may begin with a question for it.
    PGGSSENCMODE: 'disable',
    ...(password === '' ? {} : { PGPASSWORD: password }),
  };
}

/** One run of one load against one system. */
export interface LoadJob {
  readonly target: Target;
  readonly workload: TransactionWorkload;
  readonly clients: number;
  /** Length of the measured window, in whole seconds. */
  readonly seconds: number;
  /** Called at the window's edges, so that CPU is read at the same instants. */
  readonly onWindowStart: () => void;
  readonly onWindowEnd: () => void;
  /** Goes ahead of the window, which begins when it is done. */
  readonly beforeWindow?: () => Promise<void>;
}

/** What happened inside the measured window. */
export interface LoadResult {
  readonly transactions: number;
  /** Transactions that ended in an error; not among the others. */
  readonly errors: number;
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

/** Time between a load's first transaction and its measured window: caches and code get warm. */
export const settleMs = 900;
