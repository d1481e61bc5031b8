import { barsFor, beyond, judge, judgementRows, unknownBars } from './bars.ts';
import { inUnit, metrics } from './metrics.ts';
import { type BenchResult, reservations } from './report.ts';
import { ratio } from './summary.ts';
import { systemTitles } from './systems.ts';
import { settingTitle } from './table.ts';
import { columnsOf, workloads } from './workloads.ts';

/** Between these README.md holds what {@link renderReadmePart} gives. */
const start = '<!-- speed:start -->\n';
const end = '<!-- speed:end -->';

/** What stands there as long as no result has been published: figures that somebody has typed in. */
export const byHand = '<!-- by hand: no result is published yet -->';

function markdown(rows: readonly (readonly string[])[]): string[] {
  const [headings = [], ...others] = rows;
  return [headings, headings.map(() => '---'), ...others].map((row) => `| ${row.join(' | ')} |`);
}

/** The part of README.md between its marks. Errors: throws when they aren't there. */
export function readmePart(readme: string): string {
  const [from, to] = [readme.indexOf(start), readme.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`README.md has no ${start.trim()} … ${end}`);
  return readme.slice(from + start.length, to);
}

/** README.md with another part between its marks. Errors: as {@link readmePart}. */
export function withReadmePart(readme: string, part: string): string {
  const before = readmePart(readme);
  return readme.replace(`${start}${before}${end}`, () => `${start}${part}${end}`);
}

/** Where, when and what of: a paragraph. */
/** Runs of before it was an option do not say how long it was. */
function behindWarmUp({ warmUpSeconds }: Partial<BenchResult['options']>): string {
  return warmUpSeconds === undefined ? '' : `, behind ${warmUpSeconds} s of warm-up`;
}

function circumstances(result: BenchResult): string {
  const { machine, options, date, systems, pgweir, load } = result;
  const versions = [...new Set(systems.map(({ version }) => version))].join(', ');
  const commit =
    pgweir === null
      ? ''
      : ` pgweir at commit ${pgweir.commit.slice(0, 12)}${pgweir.isChanged ? ', changed' : ''}.`;
  return (
    `Measured on ${date.slice(0, 10)} on ${machine.cores} × ${machine.processor ?? 'an unknown processor'} with ` +
    `${Math.round(machine.memoryBytes / 1e9)} GB, ${machine.system}, Node ${machine.node}: medians of ` +
    `${options.rounds} interleaved rounds of ${options.seconds} s${behindWarmUp(options)}, ${options.poolSize} server connections in ` +
    `transaction mode, load by ${load}, all on the one machine. ${versions}.${commit}`
  );
}

/** What README.md shows: the chart, and the bars. */
export function renderReadmePart(result: BenchResult): string {
  // By the bars that there are now, which may not be those of the run.
  const { cores } = result.machine;
  const judgements = judge(result.cells, barsFor(cores));
  const unknown = unknownBars(judgements);
  return [
    '![Bars of each load, PgBouncer first](docs/bench/speed.svg)',
    '',
    circumstances(result),
    '',
    ...markdown(judgementRows(judgements)),
    '',
    ...(unknown === '' ? [] : [`Not measured: ${unknown}.\n`]),
    ...(beyond(cores) === '' ? [] : [`${beyond(cores)}.\n`]),
    ...reservations(result).map((text) => `Only a look: ${text}.\n`),
    'Ratios are multiples of PgBouncer in the same run; the number behind a load is that of its clients. All loads and',
    'figures, with the spread of the rounds, are in [docs/bench](docs/bench/README.md).',
    '',
  ].join('\n');
}

function refusals({ refusals: counted, systems }: BenchResult): string {
  return systems.map(({ name }) => `${systemTitles[name]} ${counted[name] ?? 'not counted'}`).join(', ');
}

/** docs/bench/README.md: every load, every system. */
export function renderPage(result: BenchResult): string {
  const lines = [
    '# Speed',
    '',
    'Written by `npm run bench:publish` from [speed.json](speed.json), which `npm run bench` wrote: do not edit.',
    '[test/bench/README.md](../../test/bench/README.md) says what the figures mean and how to repeat them;',
    '[limits.md](limits.md), where the time goes and what was tried.',
    '',
    '![Bars of each load, PgBouncer first](speed.svg)',
    '',
    circumstances(result),
    '',
    ...result.systems.map(({ name, facts }) => `- ${systemTitles[name]}: ${facts}.`),
    ...result.absentees.map(({ name, reason }) => `- ${systemTitles[name]} did not take part: ${reason}.`),
    '',
    `Connections that PostgreSQL has refused, for a role may have as many as a pool's size: ${refusals(result)}.`,
    '',
    'In brackets: half of what lies between the smallest and the largest round, and the multiple of PgBouncer.',
  ];
  for (const [title, block] of Map.groupBy(result.cells, settingTitle)) {
    const [first] = block;
    if (first === undefined) continue;
    const columns = columnsOf[workloads[first.workload].kind];
    const pgbouncer = block.find(({ system }) => system === 'pgbouncer')?.summary ?? {};
    const rows = block
      .filter(({ samples }) => samples.length > 0)
      .map(({ system, summary }) => [
        systemTitles[system],
        ...columns.map(({ metric, isCompared }) => {
          const found = summary[metric];
          if (found === undefined) return '–';
          if (!isCompared) return inUnit(metric, found.median);
          const spread = `±${(found.spread * 100).toFixed(0)}%`;
          const multiple = system === 'pgbouncer' ? null : ratio(found, pgbouncer[metric]);
          const beside = multiple === null ? spread : `${spread}, ${multiple.toFixed(2)}×`;
          return `${inUnit(metric, found.median)} (${beside})`;
        }),
      ]);
    lines.push('', `## ${title}: ${workloads[first.workload].title}`, '');
    if (rows.length > 0)
      lines.push(...markdown([['', ...columns.map(({ metric }) => metrics[metric].title)], ...rows]));
    const failures = block.filter(({ failure }) => failure !== null);
    if (rows.length > 0 && failures.length > 0) lines.push('');
    lines.push(...failures.map(({ system, failure }) => `- ${systemTitles[system]}: ${failure}`));
  }
  return `${lines.join('\n')}\n`;
}
