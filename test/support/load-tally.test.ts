import { expect, test } from 'vitest';
import { abortsOf, errorsOf, Tally, tallyTable } from './load-tally.ts';

const closed = [
  'server closed the connection unexpectedly',
  '\tThis probably means the server terminated abnormally',
  '\tbefore or while processing the request.',
];

test("an error of the server is one error, whatever pgbench says of its client's end", () => {
  const complaints = [
    'ended with 2: pgbench (15.20 (Debian 15.20-0+deb12u1))',
    'pgbench: error: client 1 script 0 aborted in command 4 query 0: FATAL:  server conn crashed?',
    ...closed,
    'pgbench: error: client 1 aborted in command 4 (SQL) of script 0; perhaps the backend died while processing',
    'pgbench: error: FATAL:  too late (server_login_retry)',
    'CONTEXT:  while updating tuple (5,5) in relation "pgbench_branches"',
    'SSL connection has been closed unexpectedly',
    'pgbench: error: client 1 aborted in command 1 (SQL) of script 0; SQL command send failed',
    'pgbench: error: Run was aborted; the above results are incomplete.',
  ].join('\n');
  expect(errorsOf(complaints)).toEqual(['server conn crashed?', 'too late (server_login_retry)']);
  expect(abortsOf(complaints)).toBe(1);
});

test('an end without an error of the server is an error, and so is what a connection fails by', () => {
  const address = 'connection to server at "localhost" (127.0.0.1), port 6432 failed';
  const complaints = [
    `pgbench: error: client 0 script 0 aborted in command 1 query 0: ${closed.join('\n')}`,
    'pgbench: error: client 2 script 0 aborted in command 1 query 0: SSL SYSCALL error: EOF detected',
    `pgbench: error: ${address}: Connection refused`,
    '\tIs the server running on that host and accepting TCP/IP connections?',
    `pgbench: error: ${address}: FATAL:  database "load" is disabled`,
    'pgbench: error: client 3 aborted while establishing connection',
    `pgbench: error: ${address}: could not find digest for NID SHA256`,
    'something else',
  ].join('\n');
  expect(errorsOf(complaints)).toEqual([
    closed[0],
    'SSL SYSCALL error: EOF detected',
    'Connection refused',
    'database "load" is disabled',
    'something else',
  ]);
  expect(abortsOf(complaints)).toBe(3);
});

test('silence is no error, and an end that nothing is said about is one', () => {
  expect(errorsOf('')).toEqual([]);
  expect(errorsOf('pgbench: error: Run was aborted; the above results are incomplete.')).toHaveLength(1);
  expect(errorsOf('ended with 1:')).toHaveLength(1);
  expect(errorsOf('ended with SIGTERM:')).toHaveLength(1);
});

test('node-postgres says the same', () => {
  expect(errorsOf('error: server conn crashed?\nError: Connection terminated unexpectedly')).toEqual([
    'server conn crashed?',
    'Error: Connection terminated unexpectedly',
  ]);
});

test('errors of the contract are told from faults by text and SQLSTATE', () => {
  const tally = new Tally('a restart', [{ sqlstate: '08P01', text: /^server conn crashed\?$/ }]);
  tally.thrown(Object.assign(new Error('server conn crashed?'), { code: '08P01' }));
  tally.error(null, 'server conn crashed?');
  tally.error('57P01', 'server conn crashed?');
  tally.thrown(new Error('read ECONNRESET'));
  expect([...tally.contracted]).toEqual([['08P01 server conn crashed?', 2]]);
  expect([...tally.faults]).toEqual([
    ['57P01 server conn crashed?', 1],
    ['????? read ECONNRESET', 1],
  ]);
  tally.transactions = 12;
  expect(tallyTable([tally])).toBe(
    [
      'phase      transactions  connections  cancels  errors',
      'a restart            12            0        0       2',
      '    2 x 08P01 server conn crashed?',
      '    1 x 57P01 server conn crashed?',
      '    1 x ????? read ECONNRESET',
    ].join('\n'),
  );
});
