import { barsFor, beyond, judge, type Judgement, judgementRows, unknownBars } from './bars.ts';
import { pgweirFolder } from './ini-poolers.ts';
import type { Load } from './load.ts';
import { type Checkout, checkout, type Machine, machine } from './machine.ts';
import type { BenchOptions } from './options.ts';
import { type Cell, type CellSummary, summarize } from './summary.ts';
import type { Absentee, Entrant, SystemName, Systems } from './systems.ts';
import { alignColumns, renderTable } from './table.ts';

/** Rounds that the bars ask for. */
const judgedRounds = 5;

/** The PgBouncer that the bars are against. */
const judgedVersion = [1, 24] as const;

/** What a run has shown: the JSON. Times in µs, amounts and memory in bytes, spread as a share of the median. */
export interface BenchResult {
  readonly format: 2;
  /** ISO 8601, of its end. */
  readonly date: string;
  readonly machine: Machine;
  /** Load average before it began: what else the machine had to do. */
  readonly loadBefore: number;
  readonly pgweir: Checkout | null;
  readonly options: BenchOptions;
  readonly load: string;
  readonly systems: readonly Entrant[];
  readonly absentees: readonly Absentee[];
  /** The first file of each pooler's configuration, by system and door. */
  readonly configurations: Readonly<Record<string, string>>;
  /** Connections that PostgreSQL refused because a pooler had more than its pool size, by system. */
  readonly refusals: Readonly<Partial<Record<SystemName, number>>>;
  readonly cells: readonly (Cell & { readonly summary: CellSummary })[];
  readonly bars: readonly Judgement[];
}

/** Puts together what a run has shown. */
export function resultOf(
  options: BenchOptions,
  load: Load,
  systems: Systems,
  cells: readonly Cell[],
  loadBefore: number,
): BenchResult {
  const here = machine();
  return {
    format: 2,
    date: new Date().toISOString(),
    machine: here,
    loadBefore,
    pgweir: checkout(pgweirFolder()),
    // Where it is written to is nobody's business.
    options: { ...options, json: null },
    load: load.version,
    systems: systems.entrants,
    absentees: systems.absentees,
    configurations: systems.configurations,
    refusals: systems.refusals(),
    cells: cells.map((cell) => ({ ...cell, summary: summarize(cell) })),
    bars: judge(cells, barsFor(here.cores)),
  };
}

/** Why the bars say less than they seem to; none: they say it. */
export function reservations({ options, systems, machine: { cores }, loadBefore }: BenchResult): string[] {
  const found: string[] = [];
  if (options.quick) found.push('a quick run, in which code is hardly warm');
  if (options.rounds < judgedRounds)
    found.push(
      `${options.rounds} round${options.rounds > 1 ? 's' : ''}; the bars are for the medians of ${judgedRounds} or more`,
    );
  const version = systems.find(({ name }) => name === 'pgbouncer')?.version;
  const [, major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(version ?? '') ?? []).map(Number);
  const isOld = major < judgedVersion[0] || (major === judgedVersion[0] && minor < judgedVersion[1]);
  if (version !== undefined && isOld)
    found.push(`${version}; the bars are against ${judgedVersion.join('.')} or later`);
  if (options.poolSize !== 20) found.push(`a pool of ${options.poolSize}; the bars are for 20`);
  if (loadBefore > cores / 2)
    found.push(`load average ${loadBefore.toFixed(1)} before the run: the machine had other work`);
  return found;
}

/** The result as text to print. */
export function renderText(result: BenchResult): string {
  const lines = [renderTable(result.cells), '', 'pgweir against the bars'];
  const rows = judgementRows(result.bars);
  if (rows.length > 1) lines.push(...alignColumns(rows).map((line) => `  ${line}`));
  const unknown = unknownBars(result.bars);
  if (unknown !== '') lines.push(`  Not measured: ${unknown}.`);
  const unmeasurable = beyond(result.machine.cores);
  if (unmeasurable !== '') lines.push(`  ${unmeasurable}.`);
  lines.push(...reservations(result).map((text) => `  Only a look: ${text}.`));
  const counted = Object.entries(result.refusals).map(([name, count]) => `${name} ${count}`);
  if (counted.length > 0)
    lines.push(
      '',
      `Connections refused by PostgreSQL (a role may have pool_size of them): ${counted.join(', ')}`,
    );
  if (result.absentees.length > 0) lines.push('', 'Not there');
  lines.push(...result.absentees.map(({ name, reason }) => `  ${name}: ${reason}`));
  return lines.join('\n');
}
