import { expect, test } from 'vitest';
import type { DatabaseSnapshot, PoolSnapshot, UserSnapshot } from '../../src/admin/snapshot.ts';
import { query, record, rig } from './fake-control.ts';

const pool: PoolSnapshot = {
  database: 'shop',
  user: 'ann',
  clActive: 1,
  clWaiting: 2,
  clActiveCancelReq: 3,
  clWaitingCancelReq: 4,
  svActive: 5,
  svActiveCancel: 6,
  svBeingCanceled: 7,
  svIdle: 8,
  svUsed: 9,
  svTested: 10,
  svLogin: 11,
  maxWaitUs: 12_000_013,
  poolMode: 'transaction',
  loadBalanceHosts: null,
};

test('SHOW POOLS splits the longest wait into seconds and microseconds', async () => {
  const answer = await query(rig('stats', { pools: [pool] }), 'SHOW POOLS');
  const counts = Array.from({ length: 13 }, (_, i) => String(i + 1));
  expect(answer.rows).toEqual([['shop', 'ann', ...counts, 'transaction', null]]);
});

test('SHOW POOLS is sorted by database, then user', async () => {
  const pools = [
    { ...pool, database: 'b', user: 'a' },
    { ...pool, database: 'a', user: 'b' },
    { ...pool, database: 'B', user: 'z' },
    { ...pool, database: 'a', user: 'a' },
  ];
  const answer = await query(rig('stats', { pools }), 'SHOW POOLS');
  expect(answer.rows.map((row) => `${row[0]}/${row[1]}`)).toEqual(['B/z', 'a/a', 'a/b', 'b/a']);
});

test('SHOW POOLS shows the parts of one pool in several threads as one', async () => {
  const pools = [pool, { ...pool, maxWaitUs: 5 }, { ...pool, user: 'bob' }];
  const answer = await query(rig('stats', { pools }), 'SHOW POOLS');
  const doubled = Array.from({ length: 11 }, (_, i) => String(2 * (i + 1)));
  expect(answer.rows).toHaveLength(2);
  expect(answer.rows[0]).toEqual(['shop', 'ann', ...doubled, '12', '13', 'transaction', null]);
});

const database: DatabaseSnapshot = {
  name: 'shop',
  host: '127.0.0.1',
  port: 5432,
  database: 'shop_live',
  forceUser: null,
  poolSize: 20,
  minPoolSize: 1,
  reservePoolSize: 2,
  serverLifetimeSec: 3600,
  poolMode: null,
  loadBalanceHosts: null,
  maxConnections: 30,
  currentConnections: 4,
  maxClientConnections: 50,
  currentClientConnections: 6,
  paused: false,
  disabled: true,
};

test('SHOW DATABASES, cell by cell', async () => {
  const answer = await query(rig('stats', { databases: [database] }), 'SHOW DATABASES');
  expect(record(answer)).toEqual({
    name: 'shop',
    host: '127.0.0.1',
    port: '5432',
    database: 'shop_live',
    force_user: null,
    pool_size: '20',
    min_pool_size: '1',
    reserve_pool_size: '2',
    server_lifetime: '3600',
    pool_mode: null,
    load_balance_hosts: null,
    max_connections: '30',
    current_connections: '4',
    max_client_connections: '50',
    current_client_connections: '6',
    paused: '0',
    disabled: '1',
  });
});

test('times that are set to for ever are the longest that a column can show', async () => {
  const endless = { ...database, serverLifetimeSec: Number.POSITIVE_INFINITY };
  const answer = await query(rig('stats', { databases: [endless] }), 'SHOW DATABASES');
  expect(record(answer)).toMatchObject({ server_lifetime: '2147483647' });
  const dnsHosts = [{ hostname: 'db', ttlSec: Number.POSITIVE_INFINITY, addresses: [] }];
  const hosts = await query(rig('stats', { dnsHosts }), 'SHOW DNS_HOSTS');
  expect(record(hosts)).toMatchObject({ ttl: '2147483647' });
});

const user: UserSnapshot = {
  name: 'ann',
  poolSize: null,
  reservePoolSize: null,
  poolMode: 'session',
  maxUserConnections: 1,
  currentConnections: 2,
  maxUserClientConnections: 3,
  currentClientConnections: 4,
};

test('SHOW USERS prints sizes as text of width 9, empty when unset, each row for itself', async () => {
  const users = [{ ...user, name: 'zed', poolSize: 7, reservePoolSize: 1234567890 }, user];
  const answer = await query(rig('stats', { users }), 'SHOW USERS');
  expect(answer.rows).toEqual([
    ['ann', '', '', 'session', '1', '2', '3', '4'],
    ['zed', '        7', '1234567890', 'session', '1', '2', '3', '4'],
  ]);
});

test('databases and users are sorted by name', async () => {
  const names = ['b', 'a', 'C'];
  const databases = names.map((name) => ({ ...database, name }));
  const users = names.map((name) => ({ ...user, name }));
  const target = rig('stats', { databases, users });
  expect((await query(target, 'SHOW DATABASES')).rows.map((row) => row[0])).toEqual(['C', 'a', 'b']);
  expect((await query(target, 'SHOW USERS')).rows.map((row) => row[0])).toEqual(['C', 'a', 'b']);
});

test('peers and their pools are sorted by number', async () => {
  const peers = [10, 9].map((peerId) => ({ peerId, host: null, port: 6432, poolSize: null }));
  const peerPools = [10, 9].map((peerId) => {
    return { peerId, clActiveCancelReq: 1, clWaitingCancelReq: 2, svActiveCancel: 3, svLogin: 4 };
  });
  const target = rig('stats', { peers, peerPools });
  expect((await query(target, 'SHOW PEERS')).rows).toEqual([
    ['9', null, '6432', null],
    ['10', null, '6432', null],
  ]);
  expect((await query(target, 'SHOW PEER_POOLS')).rows).toEqual([
    ['9', '1', '2', '3', '4'],
    ['10', '1', '2', '3', '4'],
  ]);
});
