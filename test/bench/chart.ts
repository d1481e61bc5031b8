import { inUnit, type MetricName, metrics } from './metrics.ts';
import type { BenchResult } from './report.ts';
import { type SystemName, systemNames, systemTitles } from './systems.ts';
import { settingTitle } from './table.ts';
import type { WorkloadName } from './workloads.ts';

/** Bars of one figure, all to the same scale. */
interface Panel {
  readonly title: string;
  readonly metric: MetricName;
  /** Loads in order, with their numbers of clients; none: whatever number was measured. */
  readonly rows: readonly (readonly [workload: WorkloadName, clients?: number])[];
}

const panels: readonly Panel[] = [
  {
    title: 'CPU per transaction, µs',
    metric: 'cpuUsPerTransaction',
    rows: [
      ['simple', 50],
      ['extended', 50],
      ['prepared', 50],
      ['simple', 900],
      ['tls', 50],
      ['tpcb', 50],
    ],
  },
  {
    title: 'CPU with a connection per transaction, µs',
    metric: 'cpuUsPerTransaction',
    rows: [
      ['connect', 50],
      ['connect-scram', 50],
      ['connect-scram1', 50],
      ['connect-tls', 50],
    ],
  },
  {
    title: 'Transactions per second',
    metric: 'tps',
    rows: [
      ['simple', 50],
      ['prepared', 50],
      ['simple', 900],
      ['tpcb', 50],
    ],
  },
  {
    title: 'p99 latency, ms',
    metric: 'p99Us',
    rows: [
      ['simple', 50],
      ['prepared', 50],
      ['simple', 900],
    ],
  },
  {
    title: 'Large transfers, MB per CPU second',
    metric: 'bytesPerCpuSecond',
    rows: [['result'], ['copy-out'], ['copy-in']],
  },
  {
    title: 'Large transfers, MB per second',
    metric: 'bytesPerSecond',
    rows: [['result'], ['copy-out'], ['copy-in']],
  },
  { title: 'Memory of an idle client, kB', metric: 'bytesPerClient', rows: [['idle'], ['idle-tls']] },
];

/** All in pixels. */
const columnWidth = 430;
const labelWidth = 152;
const longestBar = 200;
const barHeight = 11;
const rowGap = 7;
const panelGap = 26;
const margin = 16;
const headHeight = 62;

interface DrawnRow {
  readonly label: string;
  readonly bars: readonly { readonly system: SystemName; readonly value: number }[];
}

/** The rows of a panel that the run has figures for. */
function rowsOf(panel: Panel, { cells }: BenchResult): DrawnRow[] {
  return panel.rows.flatMap(([workload, clients]) => {
    const block = cells.filter(
      (cell) => cell.workload === workload && (clients === undefined || cell.clients === clients),
    );
    const bars = systemNames.flatMap((system) => {
      const value = block.find((cell) => cell.system === system)?.summary[panel.metric]?.median;
      return value === undefined ? [] : [{ system, value }];
    });
    const [first] = block;
    return bars.length === 0 || first === undefined ? [] : [{ label: settingTitle(first), bars }];
  });
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

function text(x: number, y: number, words: string, kind: string): string {
  return `<text x="${x}" y="${y}" class="${kind}">${escapeXml(words)}</text>`;
}

/** A panel drawn with its upper left corner at (`x`, `y`), and its height. */
function drawPanel(
  panel: Panel,
  rows: readonly DrawnRow[],
  x: number,
  y: number,
): { svg: string[]; height: number } {
  const { better } = metrics[panel.metric];
  const most = Math.max(...rows.flatMap(({ bars }) => bars.map(({ value }) => value)));
  const svg = [text(x, y + 12, panel.title, 'title')];
  svg.push(text(x + columnWidth - margin, y + 12, `${better} is better`, 'hint end'));
  let top = y + 22;
  for (const { label, bars } of rows) {
    const height = bars.length * barHeight;
    svg.push(text(x + labelWidth - 8, top + height / 2 + 4, label, 'label end'));
    for (const { system, value } of bars) {
      const width = most > 0 ? Math.max(0, (value / most) * longestBar) : 0;
      const at = x + labelWidth;
      svg.push(
        `<rect x="${at}" y="${top}" width="${width.toFixed(2)}" height="${barHeight - 1}" class="${system}"/>`,
        text(Math.round(at + width + 4), top + barHeight - 2, inUnit(panel.metric, value), 'value'),
      );
      top += barHeight;
    }
    top += rowGap;
  }
  return { svg, height: top - y };
}

const style = `
text { font: 11px system-ui, sans-serif; fill: #1f2328; }
.head { font-size: 15px; font-weight: 600; } .title { font-weight: 600; }
.hint, .foot { fill: #59636e; } .value { font-size: 10px; } .end { text-anchor: end; }
.paper { fill: #ffffff; }
.pgbouncer { fill: #8c959f; } .pgweir { fill: #0969da; } .odyssey { fill: #bf8700; }
.pgpool { fill: #a475f9; } .direct { fill: #1a7f37; } .variant { fill: #54aeff; } .workers { fill: #0550ae; }
.relay { fill: #cf222e; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; } .hint, .foot { fill: #9198a1; } .paper { fill: #0d1117; }
.pgbouncer { fill: #7d8590; } .pgweir { fill: #4493f8; } .odyssey { fill: #d29922; }
.pgpool { fill: #ab7df8; } .direct { fill: #3fb950; } .variant { fill: #1f6feb; } .workers { fill: #a5d6ff; }
.relay { fill: #f85149; }
}
`;

/** What was measured where, in two lines. */
function footLines({ machine, options, date, systems }: BenchResult): string[] {
  const versions = systems
    .map(({ name, version }) =>
      version.startsWith(systemTitles[name]) ? version : `${systemTitles[name]}: ${version}`,
    )
    .join(' · ');
  const place = `${machine.cores} × ${machine.processor ?? 'unknown processor'}, ${machine.system}, Node ${machine.node}`;
  const rounds = `medians of ${options.rounds} × ${options.seconds} s, pool of ${options.poolSize}`;
  return [`${place}; ${rounds}; ${date.slice(0, 10)}`, versions];
}

/**
 * A run as an SVG of its own: bars in panels, each to one scale; PgBouncer's come first. Colours follow the reader's
 * light or dark scheme.
 */
export function renderChart(result: BenchResult): string {
  const drawn = panels
    .map((panel) => ({ panel, rows: rowsOf(panel, result) }))
    .filter(({ rows }) => rows.length > 0);
  const shown = systemNames.filter((name) =>
    drawn.some(({ rows }) => rows.some(({ bars }) => bars.some(({ system }) => system === name))),
  );
  const body: string[] = [];
  const bottoms = [headHeight, headHeight];
  for (const { panel, rows } of drawn) {
    // The shorter column gets the next one.
    const column = (bottoms[0] ?? 0) <= (bottoms[1] ?? 0) ? 0 : 1;
    const y = bottoms[column] ?? 0;
    const { svg, height } = drawPanel(panel, rows, margin + column * columnWidth, y);
    body.push(...svg);
    bottoms[column] = y + height + panelGap;
  }
  const footTop = Math.max(...bottoms);
  const feet = footLines(result).map((line, i) => text(margin, footTop + i * 15, line, 'foot'));
  const width = 2 * columnWidth + margin;
  const height = footTop + feet.length * 15 + 4;
  let legendX = margin;
  const legend = shown.flatMap((name) => {
    const title = systemTitles[name];
    const x = legendX;
    legendX += 30 + title.length * 7;
    return [
      `<rect x="${x}" y="36" width="10" height="10" class="${name}"/>`,
      text(x + 15, 45, title, 'label'),
    ];
  });
  const description = 'PgBouncer, pgweir and others under the same loads; figures in docs/bench/README.md';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="t d">`,
    '<title id="t">pgweir beside other connection poolers</title>',
    `<desc id="d">${escapeXml(description)}</desc>`,
    `<style>${style}</style>`,
    `<rect width="${width}" height="${height}" class="paper"/>`,
    text(margin, 24, 'pgweir beside other connection poolers', 'head'),
    ...legend,
    ...body,
    ...feet,
    '</svg>',
    '',
  ].join('\n');
}
