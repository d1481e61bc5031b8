import { expect, test } from 'vitest';
import { type DatabaseEntry, parseDatabase } from '../../src/config/databases.ts';
import { needsRecycling } from '../../src/config/diff.ts';

const base = 'host=a port=1 dbname=d user=u';

function entry(text: string): DatabaseEntry {
  return parseDatabase('db', text, { file: 'x.ini', line: 1 }, () => {});
}

function isRecycled(before: string, after: string): boolean {
  return needsRecycling(entry(before), entry(after));
}

test.each([
  'host=b port=1 dbname=d user=u',
  'port=1 dbname=d user=u',
  'host=a port=2 dbname=d user=u',
  'host=a port=1 dbname=e user=u',
  'host=a port=1 dbname=d user=v',
  'host=a port=1 dbname=d',
  "host=a port=1 dbname=d user=u connect_query='select 1'",
  'host=a port=1 dbname=d user=u auth_dbname=x',
  'host=a port=1 dbname=d user=u auth_query=x',
  'host=a port=1 dbname=d user=u load_balance_hosts=disable',
])('connections of a database that leads elsewhere now (%s) are recycled', (after) => {
  expect(isRecycled(base, after)).toBe(true);
  expect(isRecycled(after, base)).toBe(true);
});

test.each([
  '',
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
  expect(isRecycled(base, `${base} ${extra}`)).toBe(false);
});
