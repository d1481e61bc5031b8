import { runBulk } from './bulk-load.ts';
import type { Children } from './children.ts';
import { idlePlaces, measureIdle } from './idle-clients.ts';
import type { Load, LoadJob, LoadResult } from './load.ts';
import type { Sample } from './metrics.ts';
import { processCpuUs, processMemory, threadCpuUs } from './process-cost.ts';
import { percentile, type Cell } from './summary.ts';
import { type CallCount, countCalls } from './system-calls.ts';
import type { RunningSystem, Systems } from './systems.ts';
import { type TransactionWorkload, type Workload, workloads } from './workloads.ts';

/** What a pooler has used in a window, CPU in µs; `null` without a pooler process or a `/proc`. */
export interface Used {
  readonly cpuUs: number | null;
  /** At its end. */
  readonly residentBytes: number | null;
  /** How far its threads' CPU lies apart, as a share of the busiest one's; of one thread there is none. */
  readonly threadSpread?: number;
}

/** What event loops in threads of their own are called, as `src/daemon/workforce.ts` does. */
const threadNames = 'pgweir-';

/** As {@link Used} has it, between two looks at the threads. */
export function threadSpread(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): number | undefined {
  const used = [...after].map(([thread, us]) => us - (before.get(thread) ?? 0));
  const most = Math.max(...used);
  return used.length < 2 || most === 0 ? undefined : (most - Math.min(...used)) / most;
}

/** The figures of a window of transactions. Errors: throws when there was none. */
export function toSample(result: LoadResult, { cpuUs, residentBytes, threadSpread: spread }: Used): Sample {
  const { transactions, windowMs, latenciesUs, errors } = result;
  if (transactions === 0) throw new Error('not one transaction completed in the measured window');
  // With a connection for each transaction a latency takes two of a client.
  const latency = (p: number) => (latenciesUs.length === 0 ? null : percentile(latenciesUs, p));
  return {
    tps: (transactions * 1000) / windowMs,
    p50Us: latency(0.5),
    p99Us: latency(0.99),
    p999Us: latency(0.999),
    cpuUsPerTransaction: cpuUs === null ? null : cpuUs / transactions,
    residentBytes,
    errors,
    ...(spread === undefined ? {} : { threadSpread: spread }),
  };
}

/** What measures: everything that a run needs beside its system and its load. */
export interface Bench {
  readonly load: Load;
  readonly systems: Systems;
  readonly children: Children;
  /** For files that live as long as a run. */
  readonly folder: string;
}

/** Reads what a pooler uses at the edges of a window. */
class Gauge {
  #beforeUs: number | null = null;
  #afterUs: number | null = null;
  #residentBytes: number | null = null;
  #threadsBefore = new Map<string, number>();
  #threadsAfter = new Map<string, number>();
  readonly #pid: number | null;

  constructor({ child }: RunningSystem) {
    this.#pid = child?.pid ?? null;
  }

  readonly onWindowStart = (): void => {
    if (this.#pid === null) return;
    this.#beforeUs = processCpuUs(this.#pid);
    this.#threadsBefore = threadCpuUs(this.#pid, threadNames);
  };

  readonly onWindowEnd = (): void => {
    if (this.#pid === null) return;
    this.#afterUs = processCpuUs(this.#pid);
    this.#threadsAfter = threadCpuUs(this.#pid, threadNames);
    this.#residentBytes = processMemory(this.#pid);
  };

  get used(): Used {
    const [before, after] = [this.#beforeUs, this.#afterUs];
    const spread = threadSpread(this.#threadsBefore, this.#threadsAfter);
    return {
      cpuUs: before === null || after === null ? null : after - before,
      residentBytes: this.#residentBytes,
      ...(spread === undefined ? {} : { threadSpread: spread }),
    };
  }
}

async function transactionsOnce(
  { load, systems }: Bench,
  cell: Cell,
  workload: TransactionWorkload,
  seconds: number,
): Promise<Sample> {
  const system = await systems.open(cell.system, workload.door);
  const gauge = new Gauge(system);
  const { onWindowStart, onWindowEnd } = gauge;
  const { clients } = cell;
  const job: LoadJob = { target: system.target, workload, clients, seconds, onWindowStart, onWindowEnd };
  return toSample(await load.run(job), gauge.used);
}

async function bulkOnce(
  { systems }: Bench,
  cell: Cell,
  { door, transfer }: Extract<Workload, { kind: 'bulk' }>,
  seconds: number,
): Promise<Sample> {
  const system = await systems.open(cell.system, door);
  const gauge = new Gauge(system);
  const { onWindowStart, onWindowEnd } = gauge;
  const { clients } = cell;
  const { bytes, windowMs, latenciesUs } = await runBulk({
    target: system.target,
    transfer,
    clients,
    seconds,
    onWindowStart,
    onWindowEnd,
  });
  if (bytes === 0) throw new Error('not one byte moved in the measured window');
  const { cpuUs, residentBytes } = gauge.used;
  return {
    bytesPerSecond: (bytes * 1000) / windowMs,
    bytesPerCpuSecond: cpuUs === null || cpuUs === 0 ? null : (bytes * 1e6) / cpuUs,
    // No transfer may have ended in a short window.
    p50Us: latenciesUs.length === 0 ? null : percentile(latenciesUs, 0.5),
    residentBytes,
    errors: 0,
  };
}

async function idleOnce({ systems }: Bench, cell: Cell, { door }: Workload): Promise<Sample> {
  const system = await systems.openAnother(cell.system, door, idlePlaces(cell.clients));
  try {
    return { ...(await measureIdle(system, cell.clients)) };
  } finally {
    await system.child?.stop('SIGQUIT', 5000);
  }
}

async function callsOnce(bench: Bench, cell: Cell, { door }: Workload, seconds: number): Promise<Sample> {
  const { load, systems, children, folder } = bench;
  const { target, child } = await systems.open(cell.system, door);
  if (child === null) throw new Error('takes a pooler');
  let count: CallCount | null = null;
  let counted: Promise<number> = Promise.resolve(0);
  const result = await load.run({
    target,
    workload: workloads.simple,
    clients: cell.clients,
    // Each call costs a pooler more than usual now: what ends late has its share in a short window.
    seconds: Math.max(2, seconds),
    beforeWindow: async () => {
      count = await countCalls(children, child.pid, folder);
    },
    onWindowStart: () => {},
    onWindowEnd: () => {
      counted = count?.end() ?? counted;
      // It is awaited when the load has ended; until then nobody listens.
      counted.catch(() => {});
    },
  });
  const calls = await counted;
  const { tps = null } = toSample(result, { cpuUs: null, residentBytes: null });
  return { callsPerTransaction: calls / result.transactions, tps };
}

/** Puts a system through its load once. Errors: rejects with the reason why there is no figure. */
export async function runOnce(bench: Bench, cell: Cell, seconds: number): Promise<Sample> {
  const workload: Workload = workloads[cell.workload];
  switch (workload.kind) {
    case 'transactions':
      return await transactionsOnce(bench, cell, workload, seconds);
    case 'bulk':
      return await bulkOnce(bench, cell, workload, seconds);
    case 'idle':
      return await idleOnce(bench, cell, workload);
    case 'calls':
      return await callsOnce(bench, cell, workload, seconds);
  }
}
