import { arch, cpus, release, totalmem, type } from 'node:os';
import type { Load } from './load.ts';
import type { BenchOptions } from './options.ts';
import { ratio, summarize, type Cell } from './summary.ts';
import type { LineUp } from './systems.ts';
import { renderTable } from './table.ts';

/** pgweir's CPU per transaction as a multiple of PgBouncer's, one line for each load that both ran. */
function comparison(cells: readonly Cell[]): string[] {
  const lines: string[] = [];
  for (const cell of cells) {
    if (cell.system !== 'pgweir') continue;
    const other = cells.find(
      ({ system, workload, clients }) =>
        system === 'pgbouncer' && workload === cell.workload && clients === cell.clients,
    );
    if (other === undefined) continue;
    const value = ratio(summarize(cell).cpuUsPerTransaction, summarize(other).cpuUsPerTransaction);
    if (value === null) continue;
    lines.push(`  ${cell.workload}, ${cell.clients} clients: ${value.toFixed(2)}× PgBouncer`);
  }
  return lines.length === 0 ? [] : ['', 'CPU per transaction of pgweir', ...lines];
}

/** The result as the text to print and as the object to write. Times in µs, memory in bytes, spread as a share. */
export function report(
  options: BenchOptions,
  load: Load,
  { systems, leftOut }: LineUp,
  cells: readonly Cell[],
): { text: string; json: object } {
  return {
    text: [renderTable(cells), ...comparison(cells)].join('\n'),
    json: {
      format: 1,
      date: new Date().toISOString(),
      machine: {
        processor: cpus()[0]?.model ?? null,
        cores: cpus().length,
        memoryBytes: totalmem(),
        system: `${type()} ${release()} ${arch()}`,
        node: process.version,
      },
      options,
      load: load.version,
      systems: systems.map(({ name, version }) => ({ name, version })),
      leftOut,
      cells: cells.map((cell) => ({ ...cell, summary: summarize(cell) })),
    },
  };
}
