import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  authorization,
  consoleRole,
  entersWithoutPassword,
  isListed,
  mayRun,
} from '../../src/admin/access.ts';
import { commands } from '../../src/admin/commands.ts';
import { showTables } from '../../src/admin/show.ts';

const base = { authType: 'md5', adminUsers: 'ann, bob', statsUsers: 'mon bob', unixSameUid: false };

test.each([
  ['ann', 'admin'],
  ['bob', 'admin'],
  ['mon', 'stats'],
  ['eve', null],
  ['Ann', null],
  ['', null],
  ['pgbouncer', null],
] as const)('user %j of the lists gets role %s', (user, role) => {
  expect(consoleRole({ ...base, user })).toBe(role);
});

test('with auth_type any, whoever is in no list may look, and lists still count', () => {
  expect(consoleRole({ ...base, authType: 'any', user: 'eve' })).toBe('stats');
  expect(consoleRole({ ...base, authType: 'any', user: 'ann' })).toBe('admin');
  expect(consoleRole({ ...base, authType: 'any', user: 'mon' })).toBe('stats');
});

test('only user pgbouncer with the process’s own uid on the unix socket needs no password', () => {
  expect(entersWithoutPassword('pgbouncer', true)).toBe(true);
  expect(entersWithoutPassword('pgbouncer', false)).toBe(false);
  expect(entersWithoutPassword('postgres', true)).toBe(false);
  expect(consoleRole({ ...base, user: 'pgbouncer', unixSameUid: true })).toBe('admin');
  expect(consoleRole({ ...base, user: 'eve', unixSameUid: true })).toBe(null);
});

test.each([
  ['a,b', 'b', true],
  ['a b', 'b', true],
  ['a\tb\n,c', 'c', true],
  [' a ', 'a', true],
  ['ab', 'a', false],
  ['a,b', 'A', false],
  ['"a"', 'a', false],
  ['"a"', '"a"', true],
  ['a,b', 'a,b', false],
  ['', '', false],
  [',,', '', false],
])('list %j holds %j: %s', (list, name, held) => {
  expect(isListed(list, name)).toBe(held);
});

test('a list already split at commas is still split at blanks', () => {
  expect(isListed(['a b', 'c'], 'b')).toBe(true);
  expect(isListed(['a b', 'c'], 'd')).toBe(false);
});

test('a name is held exactly when it is one of the names joined', () => {
  const name = fc.stringMatching(/^[a-c]{1,2}$/);
  fc.assert(
    fc.property(fc.array(name), name, fc.constantFrom(',', ' ', ' , ', '\t'), (names, wanted, separator) => {
      expect(isListed(names.join(separator), wanted)).toBe(names.includes(wanted));
    }),
  );
});

test('every command and every SHOW has its row in the table of authorization, and no row is without one', () => {
  const shows = [...showTables.keys(), 'help'].map((name) => `show ${name}`);
  expect([...authorization.keys()].toSorted()).toEqual(
    [...shows, ...commands.keys(), 'set', 'driver'].toSorted(),
  );
});

test('a read-only user may run each SHOW but FDS and what drivers ask, and nothing else', () => {
  const open = [...authorization.keys()].filter((command) => mayRun('stats', command));
  const shows = [...showTables.keys(), 'help'].filter((name) => name !== 'fds').map((name) => `show ${name}`);
  expect(open.toSorted()).toEqual([...shows, 'driver'].toSorted());
  for (const command of authorization.keys()) expect(mayRun('admin', command)).toBe(true);
});

test.each([
  '',
  'show',
  'show nothing',
  'SHOW POOLS',
  'kill_all',
  'constructor',
  '__proto__',
])('what has no row, such as %j, nobody may run', (command) => {
  expect([mayRun('admin', command), mayRun('stats', command)]).toEqual([false, false]);
});
