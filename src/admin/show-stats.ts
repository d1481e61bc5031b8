import { type PoolsSum, sumPools } from './averages.ts';
import type { StatCounters } from './snapshot.ts';
import { byName, type Field, numeric, type Show, type ShowContext, show, text } from './table.ts';

/** One database's sums and averages. */
interface DatabaseStats extends PoolsSum {
  readonly database: string;
}

/** A counter's names: in SHOW STATS behind `total_` and `avg_`, in the two SHOWs of one half, in SHOW TOTALS. */
interface Counter {
  readonly key: keyof StatCounters;
  readonly total: string;
  readonly average: string;
  readonly totalsOnly: string;
  readonly averagesOnly: string;
  readonly row: string;
}

/** Most counters have one name everywhere; `different` holds the exceptions that history left. */
function counter(key: keyof StatCounters, name: string, different: Partial<Counter> = {}): Counter {
  return { key, total: name, average: name, totalsOnly: name, averagesOnly: name, row: name, ...different };
}

/** In column order. */
const COUNTERS: readonly Counter[] = [
  counter('serverAssignmentCount', 'server_assignment_count'),
  counter('xactCount', 'xact_count'),
  counter('queryCount', 'query_count'),
  counter('received', 'bytes_received', { total: 'received', average: 'recv', row: 'client_bytes' }),
  counter('sent', 'bytes_sent', { total: 'sent', average: 'sent', row: 'server_bytes' }),
  counter('xactTimeUs', 'xact_time'),
  counter('queryTimeUs', 'query_time'),
  counter('waitTimeUs', 'wait_time'),
  counter('clientParseCount', 'client_parse_count', {
    averagesOnly: 'avg_client_parse_count',
    row: 'ps_client_parse_count',
  }),
  counter('serverParseCount', 'server_parse_count', {
    averagesOnly: 'avg_server_parse_count',
    row: 'ps_server_parse_count',
  }),
  counter('bindCount', 'bind_count', { averagesOnly: 'avg_bind_count', row: 'ps_bind_count' }),
  counter('clientLoginCount', 'client_login_count', { averagesOnly: 'avg_client_login_count' }),
];

async function statsByDatabase({ control }: ShowContext): Promise<DatabaseStats[]> {
  const byDatabase = Map.groupBy(await control.snapshot('stats'), (pool) => pool.database);
  return [...byDatabase]
    .map(([database, pools]) => ({ database, ...sumPools(pools) }))
    .sort((a, b) => byName(a.database, b.database));
}

const DATABASE: Field<DatabaseStats> = text('database', (s) => s.database);

function totalFields(nameOf: (c: Counter) => string): Field<DatabaseStats>[] {
  return COUNTERS.map((c) => numeric(nameOf(c), (s) => s.totals[c.key]));
}

function averageFields(nameOf: (c: Counter) => string): Field<DatabaseStats>[] {
  return COUNTERS.map((c) => numeric(nameOf(c), (s) => s.average[c.key]));
}

/** SHOW STATS: totals and averages of each database that has a pool. */
export const showStats: Show = show(
  [DATABASE, ...totalFields((c) => `total_${c.total}`), ...averageFields((c) => `avg_${c.average}`)],
  statsByDatabase,
);

/** SHOW STATS_TOTALS. */
export const showStatsTotals: Show = show([DATABASE, ...totalFields((c) => c.totalsOnly)], statsByDatabase);

/** SHOW STATS_AVERAGES. */
export const showStatsAverages: Show = show(
  [DATABASE, ...averageFields((c) => c.averagesOnly)],
  statsByDatabase,
);

/** SHOW TOTALS: a row per counter, over all databases, then a row per average. */
export const showTotals: Show = show<{ readonly name: string; readonly value: number }>(
  [text('name', (row) => row.name), numeric('value', (row) => row.value)],
  async ({ control }) => {
    const { totals, average } = sumPools(await control.snapshot('stats'));
    return [
      ...COUNTERS.map((c) => ({ name: `total_${c.row}`, value: totals[c.key] })),
      ...COUNTERS.map((c) => ({ name: `avg_${c.row}`, value: average[c.key] })),
    ];
  },
);
