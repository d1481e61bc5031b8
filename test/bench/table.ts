import { inUnit, metrics } from './metrics.ts';
import { ratio, summarize, type Cell, type CellSummary } from './summary.ts';
import { type Column, columnsOf, type Setting, workloads } from './workloads.ts';

/** What a block of figures is about. */
export function settingTitle({ workload, clients }: Setting): string {
  return `${workload}, ${clients} client${clients > 1 ? 's' : ''}`;
}

function headings(columns: readonly Column[]): string[] {
  return [
    'system',
    ...columns.flatMap(({ metric, isCompared }) => [
      metrics[metric].title,
      ...(isCompared ? ['±', 'vs PgB'] : []),
    ]),
  ];
}

function row(
  system: string,
  summary: CellSummary,
  pgbouncer: CellSummary,
  columns: readonly Column[],
): string[] {
  const texts = columns.flatMap(({ metric, isCompared }) => {
    const spread = summary[metric];
    const median = spread === undefined ? '–' : inUnit(metric, spread.median);
    if (!isCompared) return [median];
    const multiple = ratio(spread, pgbouncer[metric]);
    return [
      median,
      spread === undefined ? '' : `${(spread.spread * 100).toFixed(0)}%`,
      multiple === null ? '' : `${multiple.toFixed(2)}×`,
    ];
  });
  return [system, ...texts];
}

/** Rows of equal length as lines, the first column to the left and the others to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((texts) => (texts[column] ?? '').length)),
  );
  return rows.map((texts) =>
    texts
      .map((text, column) =>
        column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** The result as text: one block for each load and number of clients, one line for each system. */
export function renderTable(cells: readonly Cell[]): string {
  const lines: string[] = [];
  for (const [title, block] of Map.groupBy(cells, settingTitle)) {
    const [first] = block;
    if (first === undefined) continue;
    const reference = block.find((cell) => cell.system === 'pgbouncer');
    const pgbouncer = reference === undefined ? {} : summarize(reference);
    const { kind, title: words } = workloads[first.workload];
    const columns = columnsOf[kind];
    const measured = block.filter((cell) => cell.samples.length > 0);
    const rows = measured.map((cell) => row(cell.system, summarize(cell), pgbouncer, columns));
    lines.push('', `${title} (${words})`);
    if (rows.length > 0) lines.push(...alignColumns([headings(columns), ...rows]).map((line) => `  ${line}`));
    for (const { system, failure, samples } of block)
      if (failure !== null)
        lines.push(
          `  ${system}: ${samples.length === 0 ? 'not measured' : 'stopped in the middle'}: ${failure}`,
        );
  }
  return lines.join('\n');
}
