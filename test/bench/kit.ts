import { barsFor, judge } from './bars.ts';
import type { BenchResult } from './report.ts';
import { type Cell, type Sample, summarize } from './summary.ts';
import type { SystemName } from './systems.ts';
import type { WorkloadName } from './workloads.ts';

/** A cell of a run that nobody has made. */
export function cell(
  workload: WorkloadName,
  clients: number,
  system: SystemName,
  samples: readonly Sample[],
  failure: string | null = null,
): Cell {
  return { workload, clients, system, samples: [...samples], failure };
}

/** A result with these cells; what else it says is made up, too. */
export function resultWith(cells: readonly Cell[], changes: Partial<BenchResult> = {}): BenchResult {
  return {
    format: 2,
    date: '2026-11-26T12:00:00.000Z',
    machine: {
      processor: 'Made-up <CPU> & Co.',
      cores: 4,
      memoryBytes: 16e9,
      system: 'Linux 6.1 x64',
      node: 'v26.1.0',
      openssl: '3.5.0',
    },
    loadBefore: 0.1,
    pgweir: { commit: '0123456789abcdef0123456789abcdef01234567', isChanged: false },
    options: {
      quick: false,
      rounds: 5,
      seconds: 5,
      warmUpSeconds: 5,
      clients: null,
      idleClients: 10_000,
      poolSize: 20,
      workloads: ['simple'],
      systems: ['pgbouncer', 'pgweir'],
      scale: 10,
      load: 'pgbench',
      variantSettings: [],
      json: null,
    },
    load: 'pgbench (PostgreSQL) 18.4',
    systems: [
      { name: 'pgbouncer', version: 'PgBouncer 1.24.1', facts: 'made up' },
      { name: 'pgweir', version: 'pgweir 0.1.0', facts: 'made up' },
    ],
    absentees: [{ name: 'odyssey', reason: 'not in PATH' }],
    configurations: {},
    refusals: { pgbouncer: 0, pgweir: 0 },
    cells: cells.map((each) => ({ ...each, summary: summarize(each) })),
    bars: judge(cells, barsFor(4)),
    ...changes,
  };
}
