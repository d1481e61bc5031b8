import { expect, test } from 'vitest';
import { diffConfig } from '../../src/config/diff.ts';
import { load } from './files.ts';

const base = 'host=a port=1 dbname=d user=u';

function diffOf(before: string, after: string): ReturnType<typeof diffConfig> {
  const old = load(`[pgbouncer]\n[databases]\n${before}\n`);
  return diffConfig(old, load(`[pgbouncer]\n[databases]\n${after}\n`, old));
}

test('the same file makes no difference', () => {
  const nothing = {
    removed: [],
    added: [],
    recycled: [],
    forcedUserChanged: [],
    autoChanged: false,
    changedSettings: [],
    userlistChanged: false,
    removedPeers: [],
  };
  expect(diffOf(`db = ${base}\n* = host=x`, `db = ${base}\n* = host=x`)).toEqual(nothing);
});

test('removed and added databases are named', () => {
  const diff = diffOf('one =\ntwo =', 'two =\nthree =');
  expect([diff.removed, diff.added, diff.recycled]).toEqual([['one'], ['three'], []]);
});

test.each([
  'host=b port=1 dbname=d user=u',
  'port=1 dbname=d user=u',
  'host=a port=2 dbname=d user=u',
  'host=a port=1 dbname=e user=u',
  "host=a port=1 dbname=d user=u connect_query='select 1'",
  'host=a port=1 dbname=d user=u auth_dbname=x',
  'host=a port=1 dbname=d user=u auth_query=x',
  'host=a port=1 dbname=d user=u load_balance_hosts=disable',
])('a database that leads elsewhere now (%s) is recycled', (after) => {
  const diff = diffOf(`db = ${base}`, `db = ${after}`);
  expect([diff.recycled, diff.forcedUserChanged]).toEqual([['db'], []]);
});

test.each([
  ['host=a', 'host=a user=u'],
  ['host=a user=u', 'host=a user=v'],
  ['host=a user=u', 'host=a'],
])('a forced user that comes, changes or goes (%s, %s) recycles and is named', (before, after) => {
  const diff = diffOf(`db = ${before}`, `db = ${after}`);
  expect([diff.recycled, diff.forcedUserChanged]).toEqual([['db'], ['db']]);
});

test.each([
  'password=p',
  'client_encoding=UTF8',
  'datestyle=ISO',
  'timezone=UTC',
  'application_name=x',
  'pool_size=3 min_pool_size=1 reserve_pool_size=1 max_db_connections=5 max_db_client_connections=5',
  'server_lifetime=5 query_wait_timeout=3 pool_mode=transaction',
  'auth_user=x',
  'port=1  dbname=d',
])('%s does not recycle', (extra) => {
  expect(diffOf(`db = ${base}`, `db = ${base} ${extra}`).recycled).toEqual([]);
});

test('a changed * is told apart', () => {
  expect(diffOf('* = host=a', '* = host=b').autoChanged).toBe(true);
  expect(diffOf('* = host=a', 'db =').autoChanged).toBe(true);
});

test('changed settings, users and peers are named', () => {
  const old = load('[pgbouncer]\nquery_timeout = 1\n[peers]\n1 = host=a\n2 = host=b\n');
  const next = load(
    '[pgbouncer]\nmax_client_conn = 5\n;pgweir log_format = json\n[peers]\n2 = host=c\n',
    old,
  );
  const diff = diffConfig(old, { ...next, userlist: new Map([['a', 'b']]) });
  expect([...diff.changedSettings].sort()).toEqual(['log_format', 'max_client_conn', 'query_timeout']);
  expect([diff.removedPeers, diff.userlistChanged]).toEqual([[1], true]);
  const same = diffConfig(
    { ...old, userlist: new Map([['a', 'b']]) },
    { ...old, userlist: new Map([['a', 'c']]) },
  );
  expect(same.userlistChanged).toBe(true);
});
