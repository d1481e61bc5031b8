import type { Load, LoadResult } from './load.ts';
import type { BenchOptions } from './options.ts';
import { processCost, type ProcessCost } from './process-cost.ts';
import { percentile, type Cell, type Sample } from './summary.ts';
import type { RunningSystem } from './systems.ts';
import { workloads } from './workloads.ts';

/** What the pooler used between two readings, spread over the window's transactions. */
export function toSample(result: LoadResult, before: ProcessCost | null, after: ProcessCost | null): Sample {
  const { transactions, windowMs, latenciesUs } = result;
  if (transactions === 0) throw new Error('not one transaction completed in the measured window');
  return {
    tps: (transactions * 1000) / windowMs,
    p50Us: percentile(latenciesUs, 0.5),
    p99Us: percentile(latenciesUs, 0.99),
    cpuUsPerTransaction:
      before === null || after === null ? null : (after.cpuUs - before.cpuUs) / transactions,
    residentBytes: after?.residentBytes ?? null,
  };
}

async function runOnce(load: Load, system: RunningSystem, cell: Cell, seconds: number): Promise<Sample> {
  const cost = () => (system.child === null ? null : processCost(system.child.pid));
  let before: ProcessCost | null = null;
  let after: ProcessCost | null = null;
  const result = await load.run({
    target: system.target,
    workload: workloads[cell.workload],
    clients: cell.clients,
    seconds,
    onWindowStart: () => {
      before = cost();
    },
    onWindowEnd: () => {
      after = cost();
    },
  });
  return toSample(result, before, after);
}

/** About how long `measureRounds` takes: every run has settle time, start and end around its window. */
export function expectedSeconds(options: BenchOptions): number {
  const runs = options.systems.length * options.workloads.length * options.clients.length;
  const aroundSeconds = 1.3;
  return runs * (1 + aroundSeconds + options.rounds * (options.seconds + aroundSeconds));
}

/** The systems in another order each round, so that none always runs after the same one. */
export function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

/**
 * Runs everything: one unmeasured round, which warms code and caches and finds out what a system cannot do, then
 * the measured rounds. A cell that fails is not tried again; its reason is kept.
 *
 * Errors: rejects only with the reason of `interrupt`.
 */
export async function measureRounds(
  options: BenchOptions,
  load: Load,
  systems: readonly RunningSystem[],
  print: (line: string) => void,
  interrupt: AbortSignal,
): Promise<Cell[]> {
  const groups = options.workloads.flatMap((workload) =>
    options.clients.map((clients) =>
      systems.map((system) => {
        const cell: Cell = { workload, clients, system: system.name, samples: [], failure: null };
        return { system, cell };
      }),
    ),
  );
  for (let round = 0; round <= options.rounds; round++) {
    print(round === 0 ? 'warm-up' : `round ${round} of ${options.rounds}`);
    for (const group of groups) {
      for (const { system, cell } of rotated(group, round)) {
        if (cell.failure !== null) continue;
        interrupt.throwIfAborted();
        try {
          const sample = await runOnce(load, system, cell, round === 0 ? 1 : options.seconds);
          if (round > 0) cell.samples.push(sample);
        } catch (error) {
          interrupt.throwIfAborted();
          cell.failure = error instanceof Error ? error.message : String(error);
          print(`  ${cell.workload}, ${cell.clients} clients, ${cell.system}: ${cell.failure}`);
        }
      }
    }
  }
  return groups.flat().map(({ cell }) => cell);
}
