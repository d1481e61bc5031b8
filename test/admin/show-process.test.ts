import { expect, test } from 'vitest';
import type { ListsSnapshot } from '../../src/admin/snapshot.ts';
import { query, rig } from './fake-control.ts';

const lists: ListsSnapshot = {
  databases: 1,
  users: 2,
  peers: 3,
  pools: 4,
  peerPools: 5,
  freeClients: 6,
  usedClients: 7,
  loginClients: 8,
  freeServers: 9,
  usedServers: 10,
  dnsNames: 11,
  dnsZones: 12,
  dnsQueries: 13,
};

const LIST_NAMES = [
  ...['databases', 'users', 'peers', 'pools', 'peer_pools', 'free_clients', 'used_clients', 'login_clients'],
  ...['free_servers', 'used_servers', 'dns_names', 'dns_zones', 'dns_queries', 'dns_pending'],
];

test('SHOW LISTS has its rows in order and adds threads up', async () => {
  const one = await query(rig('stats', { lists: [lists] }), 'SHOW LISTS');
  expect(one.rows).toEqual(LIST_NAMES.map((name, i) => [name, name === 'dns_pending' ? '0' : String(i + 1)]));
  const two = await query(rig('stats', { lists: [lists, lists] }), 'SHOW LISTS');
  expect(two.rows[12]).toEqual(['dns_queries', '26']);
});

test('SHOW CONFIG shows the rows in the order given and keeps NULL apart from the empty text', async () => {
  const config = [
    { key: 'verbose', value: null, default: null, changeable: 'yes' },
    { key: 'logfile', value: '', default: '', changeable: 'yes' },
    { key: 'listen_port', value: '6432', default: '6432', changeable: 'no' },
  ] as const;
  expect((await query(rig('stats', { config }), 'SHOW CONFIG')).rows).toEqual([
    ['verbose', null, null, 'yes'],
    ['logfile', '', '', 'yes'],
    ['listen_port', '6432', '6432', 'no'],
  ]);
});

test('SHOW MEM always has the same rows', async () => {
  const cache = { name: 'client_cache', sizeBytes: 100, used: 3, free: 1, totalBytes: 400 } as const;
  const answer = await query(rig('stats', { mem: [cache, cache] }), 'SHOW MEM');
  const names = [
    ...['user_cache', 'credentials_cache', 'db_cache', 'peer_cache', 'peer_pool_cache', 'pool_cache'],
    ...['outstanding_request_cache', 'server_cache', 'client_cache', 'iobuf_cache', 'var_list_cache'],
    'server_prepared_statement_cache',
  ];
  expect(answer.rows.map((row) => row[0])).toEqual(names);
  expect(answer.rows[8]).toEqual(['client_cache', '100', '6', '2', '800']);
  expect(answer.rows[0]).toEqual(['user_cache', '0', '0', '0', '0']);
});

test('SHOW DNS_HOSTS lists addresses with port 0', async () => {
  const dnsHosts = [
    { hostname: 'z', ttlSec: 0, addresses: [] },
    { hostname: 'db', ttlSec: 14.9, addresses: ['10.0.0.1', '::1'] },
  ];
  expect((await query(rig('stats', { dnsHosts }), 'SHOW DNS_HOSTS')).rows).toEqual([
    ['db', '14', '10.0.0.1:0,[::1]:0'],
    ['z', '0', ''],
  ]);
});

test('SHOW DNS_ZONES has serial numbers beyond 2³¹', async () => {
  const dnsZones = [{ zone: 'example.org', serial: 4_000_000_000, count: 2 }];
  expect((await query(rig('stats', { dnsZones }), 'SHOW DNS_ZONES')).rows).toEqual([
    ['example.org', '4000000000', '2'],
  ]);
});

test.each([
  [false, false, ['yes', 'no', 'no']],
  [true, false, ['no', 'yes', 'no']],
  [false, true, ['no', 'no', 'yes']],
])('SHOW STATE with paused %s, suspended %s', async (paused, suspended, values) => {
  const answer = await query(rig('stats', { state: [{ paused, suspended }] }), 'SHOW STATE');
  expect(answer.rows.map((row) => row[0])).toEqual(['active', 'paused', 'suspended']);
  expect(answer.rows.map((row) => row[1])).toEqual(values);
});

test('SHOW VERSION is the version it was given', async () => {
  const answer = await query(rig('stats'), 'SHOW VERSION');
  expect(answer.rows).toEqual([['PgBouncer 1.25.2 (pgweir 9.9.9)']]);
});
