import { ratio, summarize, type Cell, type CellSummary, type Spread } from './summary.ts';

const headings = ['system', 'tps', '±', 'vs PgB', 'p50 ms', 'p99 ms', 'CPU µs/tx', '±', 'vs PgB', 'RSS MiB'];

function number(spread: Spread | null, divisor: number, digits: number): string {
  return spread === null ? '–' : (spread.median / divisor).toFixed(digits);
}

function percent(spread: Spread | null): string {
  return spread === null ? '' : `${(spread.spread * 100).toFixed(0)}%`;
}

function times(value: number | null): string {
  return value === null ? '' : `${value.toFixed(2)}×`;
}

function row(cell: Cell, pgbouncer: CellSummary | null): string[] {
  const summary = summarize(cell);
  return [
    cell.system,
    number(summary.tps, 1, 0),
    percent(summary.tps),
    times(ratio(summary.tps, pgbouncer?.tps ?? null)),
    number(summary.p50Us, 1000, 3),
    number(summary.p99Us, 1000, 3),
    number(summary.cpuUsPerTransaction, 1, 1),
    percent(summary.cpuUsPerTransaction),
    times(ratio(summary.cpuUsPerTransaction, pgbouncer?.cpuUsPerTransaction ?? null)),
    number(summary.residentBytes, 1024 * 1024, 1),
  ];
}

/** The result as text: one block for each load and number of clients, one line for each system. */
export function renderTable(cells: readonly Cell[]): string {
  const lines: string[] = [];
  const blocks = Map.groupBy(
    cells,
    (cell) => `${cell.workload}, ${cell.clients} client${cell.clients > 1 ? 's' : ''}`,
  );
  for (const [title, block] of blocks) {
    const reference = block.find((cell) => cell.system === 'pgbouncer');
    const pgbouncer = reference === undefined ? null : summarize(reference);
    const rows = [
      headings,
      ...block.filter((cell) => cell.samples.length > 0).map((cell) => row(cell, pgbouncer)),
    ];
    const widths = headings.map((_, column) =>
      Math.max(...rows.map((cells_) => (cells_[column] ?? '').length)),
    );
    lines.push('', title);
    for (const texts of rows) {
      const padded = texts.map((text, column) =>
        column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0),
      );
      lines.push(`  ${padded.join('  ').trimEnd()}`);
    }
    for (const cell of block)
      if (cell.failure !== null) lines.push(`  ${cell.system}: not measured: ${cell.failure}`);
  }
  return lines.join('\n');
}
