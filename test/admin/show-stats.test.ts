import { expect, test } from 'vitest';
import { zeroCounters } from '../../src/admin/averages.ts';
import type { StatsSnapshot } from '../../src/admin/snapshot.ts';
import { counters, query, record, rig } from './fake-control.ts';

const stats: readonly StatsSnapshot[] = [
  { database: 'shop', totals: counters(1000), since: counters(400), windowUs: 60_000_000 },
  { database: 'Zoo', totals: counters(1), since: counters(1), windowUs: 60_000_000 },
  // A second pool of shop, half a window old.
  { database: 'shop', totals: counters(600), since: zeroCounters, windowUs: 30_000_000 },
];

/** shop: deltas of 600 + 600…611 over 60 seconds. */
const SHOP_AVERAGES = ['20', '20', '20', '20', '20', '1', '1', '1', '20', '20', '20', '20'];

test('SHOW STATS sums a database’s pools, by name in ASCII order', async () => {
  const answer = await query(rig('stats', { stats }), 'SHOW STATS');
  expect(answer.rows.map((row) => row[0])).toEqual(['Zoo', 'shop']);
  expect(answer.rows[1]?.slice(1, 13)).toEqual(Array.from({ length: 12 }, (_, i) => String(1600 + 2 * i)));
  expect(answer.rows[1]?.slice(13)).toEqual(SHOP_AVERAGES);
  expect(answer.rows[0]?.slice(13)).toEqual(Array(12).fill('0'));
});

test('STATS_TOTALS and STATS_AVERAGES are the halves of STATS', async () => {
  const both = (await query(rig('stats', { stats }), 'SHOW STATS')).rows[1];
  const totals = (await query(rig('stats', { stats }), 'SHOW STATS_TOTALS')).rows[1];
  const halves = (await query(rig('stats', { stats }), 'SHOW STATS_AVERAGES')).rows[1];
  expect([...(totals ?? []), ...(halves?.slice(1) ?? [])]).toEqual(both);
});

test('each total stands under the name of its own counter', async () => {
  const one = { database: 'd', totals: counters(10), since: counters(10), windowUs: 1 };
  expect(record(await query(rig('stats', { stats: [one] }), 'SHOW STATS'))).toMatchObject({
    total_server_assignment_count: '10',
    total_xact_count: '11',
    total_query_count: '12',
    total_received: '13',
    total_sent: '14',
    total_xact_time: '15',
    total_query_time: '16',
    total_wait_time: '17',
    total_client_parse_count: '18',
    total_server_parse_count: '19',
    total_bind_count: '20',
    total_client_login_count: '21',
  });
});

test('SHOW TOTALS has a row per counter over all databases, then a row per average', async () => {
  const answer = await query(rig('stats', { stats }), 'SHOW TOTALS');
  const names = [
    ...['server_assignment_count', 'xact_count', 'query_count', 'client_bytes', 'server_bytes', 'xact_time'],
    ...['query_time', 'wait_time', 'ps_client_parse_count', 'ps_server_parse_count', 'ps_bind_count'],
    'client_login_count',
  ];
  const totals = names.map((name, i) => [`total_${name}`, String(1601 + 3 * i)]);
  const averages = names.map((name, i) => [`avg_${name}`, SHOP_AVERAGES[i]]);
  expect(answer.rows).toEqual([...totals, ...averages]);
});

test('without a pool SHOW STATS is empty and SHOW TOTALS all zeros', async () => {
  expect((await query(rig('stats'), 'SHOW STATS')).rows).toEqual([]);
  const totals = await query(rig('stats'), 'SHOW TOTALS');
  expect(totals.rows.map((row) => row[1])).toEqual(Array(24).fill('0'));
});

test('large counters are written out in digits', async () => {
  const totals = { ...zeroCounters, sent: 2e21 };
  const row = await query(
    rig('stats', { stats: [{ database: 'd', totals, since: totals, windowUs: 1 }] }),
    'SHOW STATS',
  );
  expect(record(row)['total_sent']).toBe('2000000000000000000000');
});
