import { expect, test } from 'vitest';
import { autoDatabase, type DatabaseEntry, parseDatabase } from '../../src/config/databases.ts';
import { configErrorOf, load } from './files.ts';

const at = { file: 'a.ini', line: 3 };
const warnings: string[] = [];
const warn = (text: string): void => void warnings.push(text);

function database(text: string, name = 'db'): DatabaseEntry {
  return parseDatabase(name, text, at, warn);
}

test('an empty database entry is its own name on the unix socket, everything else inherited', () => {
  const { name, dbname, host, hosts, port, loadBalanceHosts, ...rest } = database('');
  expect({ name, dbname, host, hosts, port, loadBalanceHosts }).toEqual({
    name: 'db',
    dbname: 'db',
    host: null,
    hosts: [],
    port: 5432,
    loadBalanceHosts: 'round-robin',
  });
  expect(Object.values(rest).every((value) => value === null)).toBe(true);
});

test('every key of a database lands in its field', () => {
  const entry = database(
    "dbname=d host=h1,h2 port=1 user=u password='p w' auth_user=au auth_query='select 1' auth_dbname=ad " +
      'pool_size=2 min_pool_size=3 reserve_pool_size=4 max_db_connections=5 max_db_client_connections=6 ' +
      'server_lifetime=7 query_wait_timeout=8 pool_mode=Statement load_balance_hosts=disable ' +
      "connect_query='select 2' client_encoding=UTF8 datestyle=ISO timezone=UTC application_name=app",
  );
  expect(entry).toEqual({
    name: 'db',
    dbname: 'd',
    host: 'h1,h2',
    hosts: ['h1', 'h2'],
    port: 1,
    user: 'u',
    password: 'p w',
    poolSize: 2,
    minPoolSize: 3,
    reservePoolSize: 4,
    maxDbConnections: 5,
    maxDbClientConnections: 6,
    serverLifetime: 7,
    queryWaitTimeout: 8,
    poolMode: 'statement',
    loadBalanceHosts: 'disable',
    connectQuery: 'select 2',
    clientEncoding: 'UTF8',
    datestyle: 'ISO',
    timezone: 'UTC',
    applicationName: 'app',
    authUser: 'au',
    authQuery: 'select 1',
    authDbname: 'ad',
  });
});

test('the old spelling reserve_pool still works', () => {
  expect(database('reserve_pool=4').reservePoolSize).toBe(4);
});

test('numbers that mean inherit are null, those that mean no limit stay', () => {
  const low = database(
    'pool_size=-1 min_pool_size=-1 reserve_pool_size=-1 max_db_connections=0 max_db_client_connections=-5 ' +
      'server_lifetime=0 query_wait_timeout=-1',
  );
  expect([low.poolSize, low.minPoolSize, low.reservePoolSize, low.maxDbConnections]).toEqual([
    null,
    null,
    null,
    null,
  ]);
  expect([low.maxDbClientConnections, low.serverLifetime, low.queryWaitTimeout]).toEqual([null, null, null]);
  const zero = database('pool_size=0 query_wait_timeout=0');
  expect([zero.poolSize, zero.queryWaitTimeout]).toEqual([0, 0]);
});

test('garbage in a number counts as atoi has it, with a warning that names the place', () => {
  warnings.length = 0;
  expect(database('pool_size=1O').poolSize).toBe(1);
  expect(database('pool_size=many').poolSize).toBe(0);
  expect(warnings).toEqual([
    'a.ini:3: db: pool_size is not an integer in range, taken as 1',
    'a.ini:3: db: pool_size is not an integer in range, taken as 0',
  ]);
});

test.each([
  ['port=0', 'a port from 1 to 65535 for port'],
  ['port=abc', 'a port from 1 to 65535 for port'],
  ['port=65536', 'a port from 1 to 65535 for port'],
  ['pool_mode=both', 'session, transaction or statement for pool_mode'],
  ['load_balance_hosts=random', 'round-robin or disable for load_balance_hosts'],
  ['host=a,,b', 'hosts with one comma between them for host'],
  ['hots=a', 'only keys of [databases], found hots'],
  ['__proto__=a', 'only keys of [databases], found __proto__'],
])('the database entry %s is refused', (text, expected) => {
  const error = configErrorOf(() => database(text));
  expect([error.file, error.line, error.key, error.expected]).toEqual(['a.ini', 3, 'db', expected]);
});

test('the name pgbouncer is reserved, names end at 63 bytes', () => {
  expect(configErrorOf(() => database('', 'pgbouncer')).key).toBe('pgbouncer');
  expect(database('', 'x'.repeat(63)).name).toHaveLength(63);
  expect(configErrorOf(() => database('', 'é'.repeat(32))).expected).toBe(
    'a database name of at most 63 bytes',
  );
});

test('* makes an entry for any name, whose dbname is that name unless it says otherwise', () => {
  const config = load('[databases]\n* = host=h pool_size=3\n[pgbouncer]\n');
  const entry = autoDatabase(config, 'shop');
  expect([entry.name, entry.dbname, entry.host, entry.poolSize]).toEqual(['shop', 'shop', 'h', 3]);
  expect(autoDatabase(load('[databases]\n* = dbname=one\n[pgbouncer]\n'), 'shop').dbname).toBe('one');
});

test('* is kept verbatim; when it is wrong loading only warns and asking for a database throws', () => {
  const config = load('[pgbouncer]\n[databases]\n* = host=h  hots=x\n');
  expect(config.autoDatabase).toBe('host=h  hots=x');
  expect(config.warnings).toHaveLength(1);
  expect(config.warnings[0]).toContain('my.ini:3: *: expected only keys of [databases]');
  const error = configErrorOf(() => autoDatabase(config, 'shop'));
  expect([error.file, error.line, error.key]).toEqual(['my.ini', 3, 'shop']);
});

test('without * asking for an unknown database throws', () => {
  expect(configErrorOf(() => autoDatabase(load('[pgbouncer]\n'), 'shop')).key).toBe('shop');
});

test('* refuses names that no database can have', () => {
  const config = load('[databases]\n* =\n[pgbouncer]\n');
  expect(configErrorOf(() => autoDatabase(config, 'x'.repeat(64))).key).toBe('x'.repeat(64));
  expect(configErrorOf(() => autoDatabase(config, 'pgbouncer')).key).toBe('pgbouncer');
});
