import type { MetricName } from './metrics.ts';

/**
 * How clients get in: `plain` by trust, `scram` by a password (SCRAM-SHA-256), `scram1` by one whose secret has a single
 * iteration, `tls` by trust over TLS. Each pooler has a process for each door.
 */
export type Door = 'plain' | 'scram' | 'scram1' | 'tls';

/** Whether clients need a password there. */
export function asksPassword(door: Door): boolean {
  return door === 'scram' || door === 'scram1';
}

/** How often a client hashes its password at that door: 4096 times is what PostgreSQL has by default. */
export function scramIterations(door: Door): number {
  return door === 'scram1' ? 1 : 4096;
}

interface WorkloadBase {
  /** What it is, in words for a heading. */
  readonly title: string;
  readonly door: Door;
}

/** pgbench's transactions, by many clients at a time. */
export interface TransactionWorkload extends WorkloadBase {
  readonly kind: 'transactions';
  /** pgbench's built-in script: one SELECT by primary key, or TPC-B. */
  readonly script: 'select-only' | 'tpcb-like';
  /** pgbench's `--protocol`. */
  readonly protocol: 'simple' | 'extended' | 'prepared';
  /**
   * A new connection for each transaction (`-C`). Its latency is the whole cycle of a client, from the end of one
   * transaction to the end of the next, because the connection is the cost that a pooler takes away.
   */
  readonly reconnects: boolean;
  /** Numbers of clients, unless `--clients` says otherwise. */
  readonly clients: readonly number[];
}

/** 20 MB at a time, by one client that throws them away, or sends them. */
export interface BulkWorkload extends WorkloadBase {
  readonly kind: 'bulk';
  readonly transfer: 'result' | 'copy-out' | 'copy-in';
}

/** Clients that have logged in and then say nothing: what each of them takes of the pooler's memory. */
export interface IdleWorkload extends WorkloadBase {
  readonly kind: 'idle';
}

/** System calls of the pooler, counted by `strace -c` while 50 clients send one SELECT after the other. */
export interface CallsWorkload extends WorkloadBase {
  readonly kind: 'calls';
}

export type Workload = TransactionWorkload | BulkWorkload | IdleWorkload | CallsWorkload;

const select = {
  kind: 'transactions',
  door: 'plain',
  script: 'select-only',
  protocol: 'simple',
  reconnects: false,
  clients: [50],
} as const;

/** One client logs in as soon as the last login is over; fifty do so all at a time. */
const reconnecting = { ...select, reconnects: true, clients: [1, 50] } as const;

const manyCounts = [1, 50, 500, 900] as const;

/** The loads, by the name that `--workloads` takes. */
export const workloads = {
  simple: { ...select, title: 'simple protocol', clients: manyCounts },
  extended: { ...select, title: 'extended protocol', protocol: 'extended', clients: manyCounts },
  prepared: { ...select, title: 'prepared statements', protocol: 'prepared', clients: manyCounts },
  tls: { ...select, title: 'simple protocol over TLS', door: 'tls' },
  connect: { ...reconnecting, title: 'connection per transaction' },
  'connect-scram': { ...reconnecting, title: 'connection per transaction, SCRAM', door: 'scram' },
  // To hash a password 4096 times takes pgbench many times what the whole login takes a pooler, on the same cores.
  'connect-scram1': {
    ...reconnecting,
    title: 'connection per transaction, SCRAM with one iteration',
    door: 'scram1',
  },
  'connect-tls': { ...reconnecting, title: 'connection per transaction, TLS', door: 'tls' },
  tpcb: { ...select, title: 'TPC-B', script: 'tpcb-like' },
  result: { kind: 'bulk', title: '20 MB results', door: 'plain', transfer: 'result' },
  'copy-out': { kind: 'bulk', title: '20 MB COPY TO', door: 'plain', transfer: 'copy-out' },
  'copy-in': { kind: 'bulk', title: '20 MB COPY FROM', door: 'plain', transfer: 'copy-in' },
  idle: { kind: 'idle', title: 'idle clients', door: 'plain' },
  'idle-tls': { kind: 'idle', title: 'idle TLS clients', door: 'tls' },
  calls: { kind: 'calls', title: 'system calls at saturation, simple protocol', door: 'plain' },
} as const satisfies Readonly<Record<string, Workload>>;

export type WorkloadName = keyof typeof workloads;

export const workloadNames = Object.keys(workloads) as readonly WorkloadName[];

/** A load with a number of clients: what each system is put through in each round. */
export interface Setting {
  readonly workload: WorkloadName;
  readonly clients: number;
}

/** Clients while system calls are counted, and in a `--quick` run. */
export const usualClients = 50;

/** One of so many idle clients has TLS, where both are counted: its client side costs more than the pooler's. */
const idlePerIdleTls = 5;

/** How many clients a load has; `clients` and `idleClients` as in the options, `clients` null for each load's own. */
export function settingsOf(
  names: readonly WorkloadName[],
  clients: readonly number[] | null,
  idleClients: number,
): Setting[] {
  return names.flatMap((workload) => {
    return countsOf(workloads[workload], clients, idleClients).map((count) => ({ workload, clients: count }));
  });
}

function countsOf(load: Workload, clients: readonly number[] | null, idleClients: number): readonly number[] {
  switch (load.kind) {
    case 'transactions':
      return clients ?? load.clients;
    case 'bulk':
      return [1];
    case 'idle':
      return [load.door === 'tls' ? Math.max(1, Math.floor(idleClients / idlePerIdleTls)) : idleClients];
    case 'calls':
      return [usualClients];
  }
}

/** A column of a table: a figure, and whether its spread and its ratio to PgBouncer stand beside it. */
export interface Column {
  readonly metric: MetricName;
  readonly isCompared: boolean;
}

function shown(...names: readonly MetricName[]): Column[] {
  return names.map((metric) => ({ metric, isCompared: false }));
}

function compared(metric: MetricName): Column {
  return { metric, isCompared: true };
}

/** What is shown of each kind of load, in order. */
export const columnsOf: Readonly<Record<Workload['kind'], readonly Column[]>> = {
  transactions: [
    compared('tps'),
    ...shown('p50Us'),
    compared('p99Us'),
    ...shown('p999Us'),
    compared('cpuUsPerTransaction'),
    ...shown('residentBytes', 'errors', 'threadSpread'),
  ],
  bulk: [
    compared('bytesPerSecond'),
    compared('bytesPerCpuSecond'),
    ...shown('p50Us', 'residentBytes', 'errors'),
  ],
  idle: [compared('bytesPerClient'), ...shown('residentBytes')],
  calls: [compared('callsPerTransaction'), ...shown('tps')],
};
