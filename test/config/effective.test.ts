import { expect, test } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import {
  type ClientLimits,
  clientLimits,
  doorLimits,
  unixDoorLimits,
  type PoolLimits,
  poolLimits,
} from '../../src/config/effective.ts';
import { load } from './files.ts';

function files(main: string, db: string, user: string): Config {
  return load(`[pgbouncer]\n${main}\n[databases]\ndb = ${db}\n[users]\nu = ${user}\n`);
}

function pool(main: string, db = '', user = '', poolUser = 'u'): PoolLimits {
  const config = files(main, db, user);
  const entry = config.databases.get('db');
  if (entry === undefined) throw new Error('no entry');
  return poolLimits(config, entry, poolUser);
}

function client(main: string, db = '', user = '', loginUser = 'u'): ClientLimits {
  const config = files(main, db, user);
  const entry = config.databases.get('db');
  if (entry === undefined) throw new Error('no entry');
  return clientLimits(config, entry, loginUser);
}

test('the defaults make these pool limits', () => {
  expect(pool('')).toEqual({
    poolMode: 'session',
    poolSize: 20,
    minPoolSize: 0,
    reservePoolSize: 0,
    reservePoolTimeoutMs: 5000,
    maxDbConnections: 0,
    maxUserConnections: 0,
    serverLifetimeMs: 3_600_000,
    serverIdleTimeoutMs: 600_000,
    serverConnectTimeoutMs: 15_000,
    serverLoginRetryMs: 15_000,
    serverCheckDelayMs: 30_000,
    serverCheckQuery: '',
    serverResetQuery: 'DISCARD ALL',
    serverResetQueryAlways: false,
    serverRoundRobin: false,
    serverFastClose: false,
    queryTimeoutMs: 0,
    idleTransactionTimeoutMs: 0,
    transactionTimeoutMs: 0,
    cancelWaitTimeoutMs: 10_000,
    poolIdleTimeoutMs: 0,
    maxPreparedStatements: 200,
    serverCloseTimeoutMs: 1000,
    serverCancelTimeoutMs: 5000,
  });
});

test('the defaults make these client limits', () => {
  expect(client('')).toEqual({
    clientIdleTimeoutMs: 0,
    queryWaitTimeoutMs: 120_000,
    queryWaitNotifySec: 5,
    queryTimeoutMs: 0,
    clientLoginTimeoutMs: 60_000,
    maxClientConn: 100,
    maxDbClientConnections: 0,
    maxUserClientConnections: 0,
  });
});

test.each([
  ['poolMode', 'pool_mode', 'pool_mode', 'statement', 'transaction', 'session', 'statement'],
  ['poolSize', 'default_pool_size', 'pool_size', '1', '2', '3', 1],
  ['reservePoolSize', 'reserve_pool_size', 'reserve_pool_size', '1', '2', '3', 1],
] as const)('%s: the user beats the database, which beats the global value', (field, global, key, u, d, g, value) => {
  const main = `${global} = ${g}`;
  expect(pool(main, `${key}=${d}`, `${key}=${u}`)[field]).toBe(value);
  expect(String(pool(main, `${key}=${d}`)[field])).toBe(d);
  expect(String(pool(main, `${key}=${d}`, `${key}=${u}`, 'other')[field])).toBe(d);
  expect(String(pool(main)[field])).toBe(g);
});

test('a pool size of 0 for a user or database means no limit, not inherit', () => {
  expect(pool('default_pool_size = 5', 'pool_size=0').poolSize).toBe(0);
  expect(pool('default_pool_size = 5', 'pool_size=3', 'pool_size=0').poolSize).toBe(0);
});

test.each([
  ['minPoolSize', 'min_pool_size'],
  ['maxDbConnections', 'max_db_connections'],
] as const)('%s: the database beats the global value', (field, key) => {
  expect(pool(`${key} = 7`, `${key}=2`)[field]).toBe(2);
  expect(pool(`${key} = 7`)[field]).toBe(7);
});

test('serverLifetimeMs: the database beats the global value unless it says 0; a global 0 stays', () => {
  expect(pool('server_lifetime = 7', 'server_lifetime=2').serverLifetimeMs).toBe(2000);
  expect(pool('server_lifetime = 7', 'server_lifetime=0').serverLifetimeMs).toBe(7000);
  expect(pool('server_lifetime = 0').serverLifetimeMs).toBe(0);
});

test.each([
  ['queryTimeoutMs', 'query_timeout'],
  ['idleTransactionTimeoutMs', 'idle_transaction_timeout'],
  ['transactionTimeoutMs', 'transaction_timeout'],
] as const)('%s: the pool user beats the global value', (field, key) => {
  expect(pool(`${key} = 0.5`, '', `${key}=2`)[field]).toBe(2000);
  expect(pool(`${key} = 0.5`, '', `${key}=2`, 'other')[field]).toBe(500);
  expect(pool(`${key} = 0.5`, '', `${key}=0`)[field]).toBe(500);
});

test('maxUserConnections: the pool user beats the global value', () => {
  expect(pool('max_user_connections = 5', '', 'max_user_connections=2').maxUserConnections).toBe(2);
  expect(pool('max_user_connections = 5', '', 'max_user_connections=0').maxUserConnections).toBe(5);
});

test('the check query is off when empty, the empty query when <empty>, else itself', () => {
  expect(pool('server_check_query =').serverCheckQuery).toBe(null);
  expect(pool('server_check_query = <empty>').serverCheckQuery).toBe('');
  expect(pool('server_check_query = select 1').serverCheckQuery).toBe('select 1');
});

test('an empty reset query is none', () => {
  expect(pool('server_reset_query =').serverResetQuery).toBe(null);
});

test('our own deadlines reach the pool', () => {
  const limits = pool(';pgweir server_close_timeout = 0.25\n;pgweir server_cancel_timeout = 2');
  expect([limits.serverCloseTimeoutMs, limits.serverCancelTimeoutMs]).toEqual([250, 2000]);
});

test('switches and global times reach the pool', () => {
  const limits = pool(
    'server_round_robin = 1\nserver_fast_close = 1\nserver_reset_query_always = 1\nserver_idle_timeout = 1\n' +
      'server_connect_timeout = 2\nserver_login_retry = 3\nserver_check_delay = 4\ncancel_wait_timeout = 5\n' +
      'pool_idle_timeout = 6\nreserve_pool_timeout = 7',
  );
  expect(limits).toMatchObject({
    serverRoundRobin: true,
    serverFastClose: true,
    serverResetQueryAlways: true,
    serverIdleTimeoutMs: 1000,
    serverConnectTimeoutMs: 2000,
    serverLoginRetryMs: 3000,
    serverCheckDelayMs: 4000,
    cancelWaitTimeoutMs: 5000,
    poolIdleTimeoutMs: 6000,
    reservePoolTimeoutMs: 7000,
  });
});

test('queryWaitTimeoutMs: the login user beats the database, which beats the global value; 0 is no limit', () => {
  const main = 'query_wait_timeout = 7';
  const db = 'query_wait_timeout=2';
  expect(client(main, db, 'query_wait_timeout=1').queryWaitTimeoutMs).toBe(1000);
  expect(client(main, db, 'query_wait_timeout=0').queryWaitTimeoutMs).toBe(0);
  expect(client(main, db).queryWaitTimeoutMs).toBe(2000);
  expect(client(main, 'query_wait_timeout=0').queryWaitTimeoutMs).toBe(0);
  expect(client(main, db, 'query_wait_timeout=1', 'other').queryWaitTimeoutMs).toBe(2000);
  expect(client(main).queryWaitTimeoutMs).toBe(7000);
});

test('client limits: user and database beat the global values', () => {
  const main = 'client_idle_timeout = 7\nmax_user_client_connections = 8\nmax_db_client_connections = 9';
  const limits = client(
    main,
    'max_db_client_connections=3',
    'client_idle_timeout=1 max_user_client_connections=2',
  );
  expect(limits).toMatchObject({
    clientIdleTimeoutMs: 1000,
    maxUserClientConnections: 2,
    maxDbClientConnections: 3,
  });
  expect(client(main, '', '', 'other')).toMatchObject({
    clientIdleTimeoutMs: 7000,
    maxUserClientConnections: 8,
    maxDbClientConnections: 9,
  });
});

test('the query timeout of a waiting client is the global one', () => {
  expect(client('query_timeout = 4', '', 'query_timeout=1').queryTimeoutMs).toBe(4000);
});

test.each([
  ['', '', [100, 100, 100]],
  ['max_client_conn = 20', '', [100, 100, 100]],
  ['max_client_conn = 2000', '', [2000, 2000, 2000]],
  ['max_client_conn = 0', '', [0, 0, 0]],
  ['max_client_conn = 0', 'max_login_conn = 20', [20, 20, 0]],
  ['max_client_conn = 2000', 'max_login_conn = 50', [50, 50, 2000]],
  ['max_client_conn = 20', 'max_login_conn = 50', [50, 50, 100]],
  ['max_client_conn = 20', 'max_login_conn = 500', [500, 500, 500]],
  ['', 'max_login_conn_per_address = 7', [100, 7, 100]],
  ['', 'max_login_conn = 0\nmax_login_conn_per_address = 7', [0, 7, 0]],
  ['', 'max_login_conn_per_address = 0', [100, 0, 100]],
])('before login there may be, with %j and %j: %j, in all and of one address, and by unix sockets', (main, own, expected) => {
  const config = load(`[pgbouncer]\n${main}\n[pgweir]\n${own}\n`);
  const { total, perAddress } = doorLimits(config);
  const unix = unixDoorLimits(config);
  expect([total, perAddress, unix.total]).toEqual(expected);
  expect(unix.perAddress).toBe(0);
});
