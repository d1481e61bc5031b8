import { expect, test } from 'vitest';
import { parseUser } from '../../src/config/users.ts';
import { configErrorOf } from './files.ts';

const at = { file: 'a.ini', line: 3 };
const warn = (text: string): void => {
  throw new Error(`unexpected warning: ${text}`);
};

test('every key of a user lands in its field', () => {
  const text =
    'pool_mode=session pool_size=1 reserve_pool_size=2 max_user_connections=3 query_timeout=4 ' +
    'idle_transaction_timeout=5 transaction_timeout=6 max_user_client_connections=7 client_idle_timeout=8 ' +
    'query_wait_timeout=9';
  expect(parseUser('u', text, at, warn)).toEqual({
    name: 'u',
    poolMode: 'session',
    poolSize: 1,
    reservePoolSize: 2,
    maxUserConnections: 3,
    queryTimeout: 4,
    idleTransactionTimeout: 5,
    transactionTimeout: 6,
    maxUserClientConnections: 7,
    clientIdleTimeout: 8,
    queryWaitTimeout: 9,
  });
});

test('an empty user entry inherits everything', () => {
  const { name, ...rest } = parseUser('u', '', at, warn);
  expect(name).toBe('u');
  expect(Object.values(rest).every((value) => value === null)).toBe(true);
});

test('wrong user entries are refused', () => {
  expect(configErrorOf(() => parseUser('u', 'password=x', at, warn)).message).toBe(
    'a.ini:3: u: expected only keys of [users], found password',
  );
  expect(configErrorOf(() => parseUser('u', 'pool_mode=x', at, warn)).expected).toContain('for pool_mode');
  expect(configErrorOf(() => parseUser('x'.repeat(128), '', at, warn)).expected).toContain('127 bytes');
});
