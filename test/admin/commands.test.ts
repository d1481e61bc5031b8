import { describe, expect, test } from 'vitest';
import { commands } from '../../src/admin/commands.ts';
import { controlFailure, type ControlRequest } from '../../src/admin/control.ts';
import { showTables } from '../../src/admin/show.ts';
import { ask, query, rig } from './fake-control.ts';

/** Every command that isn't a SHOW: its text, what the process is asked, its tag, the line in the log. */
const changing: readonly (readonly [string, ControlRequest, string, string])[] = [
  ['RELOAD', { kind: 'reload' }, 'RELOAD', 'RELOAD'],
  ['pause', { kind: 'pause', database: null }, 'PAUSE', 'PAUSE'],
  ['PAUSE Shop', { kind: 'pause', database: 'Shop' }, 'PAUSE', "PAUSE 'Shop'"],
  ['SUSPEND', { kind: 'suspend' }, 'SUSPEND', 'SUSPEND'],
  ['RESUME', { kind: 'resume', database: null }, 'RESUME', 'RESUME'],
  ['RESUME shop', { kind: 'resume', database: 'shop' }, 'RESUME', "RESUME 'shop'"],
  ['DISABLE shop', { kind: 'disable', database: 'shop' }, 'DISABLE', "DISABLE 'shop'"],
  ['ENABLE shop', { kind: 'enable', database: 'shop' }, 'ENABLE', "ENABLE 'shop'"],
  ['RECONNECT', { kind: 'reconnect', database: null }, 'RECONNECT', 'RECONNECT'],
  ['RECONNECT shop', { kind: 'reconnect', database: 'shop' }, 'RECONNECT', "RECONNECT 'shop'"],
  ['KILL', { kind: 'kill', database: null }, 'KILL', 'KILL'],
  ['KILL shop', { kind: 'kill', database: 'shop' }, 'KILL', "KILL 'shop'"],
  ['KILL_CLIENT 017', { kind: 'killClient', id: 17 }, 'KILL_CLIENT', "KILL_CLIENT '017'"],
  ['WAIT_CLOSE', { kind: 'waitClose', database: null }, 'WAIT_CLOSE', 'WAIT_CLOSE'],
  ['WAIT_CLOSE shop', { kind: 'waitClose', database: 'shop' }, 'WAIT_CLOSE', "WAIT_CLOSE 'shop'"],
  [
    'SHUTDOWN wait_for_servers',
    { kind: 'shutdown', mode: 'wait_for_servers' },
    'SHUTDOWN',
    'SHUTDOWN WAIT_FOR_SERVERS',
  ],
  [
    'SHUTDOWN WAIT_FOR_CLIENTS',
    { kind: 'shutdown', mode: 'wait_for_clients' },
    'SHUTDOWN',
    'SHUTDOWN WAIT_FOR_CLIENTS',
  ],
  ["SET Verbose TO '2 2'", { kind: 'set', key: 'Verbose', value: '2 2' }, 'SET Verbose=2 2', 'SET Verbose'],
];

describe('an administrator', () => {
  test.each(
    changing,
  )('%s is asked of the process and answered with its tag', async (text, request, tag, issued) => {
    const target = rig('admin');
    const answer = await query(target, `${text};`);
    expect(answer).toMatchObject({ types: 'CZ', tag, error: null, closeReason: null });
    expect(target.control.requests).toEqual([request]);
    expect(target.lines).toEqual([`LOG ${issued} command issued`]);
  });

  test('SHUTDOWN closes without a word', async () => {
    const target = rig('admin');
    const answer = await query(target, 'SHUTDOWN');
    expect(answer).toMatchObject({ types: '', closeReason: 'SHUTDOWN' });
    expect(target.control.requests).toEqual([{ kind: 'shutdown', mode: 'immediate' }]);
  });

  test('a SHUTDOWN that the process refuses leaves the console open', async () => {
    const target = rig('admin');
    target.control.answer = async () => controlFailure.shuttingDown();
    const answer = await query(target, 'SHUTDOWN');
    expect(answer).toMatchObject({ types: 'EZ', closeReason: null });
  });

  test('the log of SET holds no value', async () => {
    const target = rig('admin');
    await query(target, "SET auth_query = 'secret'");
    expect(target.lines.join()).not.toContain('secret');
  });
});

describe('a read-only user', () => {
  const texts = [
    ...changing.map(([text]) => text),
    'SHUTDOWN',
    'SHOW FDS',
    'SELECT FDS',
    'DISABLE',
    'KILL_CLIENT x',
  ];

  test.each(texts)('may not %s, and the process isn’t asked', async (text) => {
    const target = rig('stats');
    const answer = await query(target, text);
    expect(answer).toMatchObject({ types: 'EZ', tag: null, closeReason: null });
    expect(answer.error).toEqual({
      S: 'ERROR',
      V: 'ERROR',
      C: '08P01',
      M: 'admin access needed',
    });
    expect(target.control.requests).toEqual([]);
    expect(target.lines).toEqual([]);
  });

  test.each(
    [...showTables.keys(), 'help', 'timezone'].filter((name) => name !== 'fds'),
  )('may SHOW %s', async (name) => {
    const answer = await query(rig('stats'), `SHOW ${name}`);
    expect(answer).toMatchObject({ error: null, tag: 'SHOW' });
  });

  test('no command is without a case here', () => {
    const tested = new Set(changing.map(([text]) => text.split(' ')[0]?.toLowerCase()));
    tested.delete('set');
    expect(new Set(commands.keys())).toEqual(tested);
  });
});

describe('errors', () => {
  test.each([
    ['SET auth_ldap_options = ldapserver=a ldapbindpasswd=HUSH', 'SET auth_ldap_options ...'],
    ["RELOAD; set  auth_ldap_options to 'ldapbindpasswd=HUSH'", 'RELOAD; set  auth_ldap_options ...'],
    ['SET "auth_ldap_options=HUSH', 'SET "auth_ldap_options ...'],
    ["ALTER USER a PASSWORD 'HUSH'", 'ALTER USER a PASS ...'],
    ['ldapbindpasswd=HUSH', 'ldap ...'],
    ['SELECT 1 +', 'SELECT 1 +'],
  ])('%s is told whole to whoever said it, and to the log without a value', async (text, logged) => {
    const target = rig('admin');
    const { error } = await query(target, text);
    expect(error?.['M']).toBe(`invalid command '${text}', use SHOW HELP;`);
    const zero = Buffer.from(`${text}\0`);
    const reply = await ask(target.console, 0x51, zero, target.abort.signal);
    expect(reply.error).toBe(`invalid command '${logged}', use SHOW HELP;`);
  });

  test.each([
    ['PAUSE pgbouncer', 'cannot pause admin db: pgbouncer'],
    ['DISABLE pgbouncer', 'cannot disable admin db: pgbouncer'],
    ['ENABLE pgbouncer', 'cannot enable admin db: pgbouncer'],
    ['RECONNECT pgbouncer', 'cannot reconnect admin db: pgbouncer'],
    ['KILL pgbouncer', 'cannot kill admin db: pgbouncer'],
    ['WAIT_CLOSE pgbouncer', 'cannot wait in admin db: pgbouncer'],
    ['DISABLE', 'a database is required'],
    ['ENABLE', 'a database is required'],
    ['KILL_CLIENT', 'invalid client pointer supplied'],
    ['KILL_CLIENT 0x10', 'invalid client pointer supplied'],
    ['KILL_CLIENT 99999999999999999999', 'invalid client pointer supplied'],
    ['RELOAD shop', "invalid command 'RELOAD shop', use SHOW HELP;"],
    ['SUSPEND shop', "invalid command 'SUSPEND shop', use SHOW HELP;"],
    ['SHUTDOWN now', "invalid command 'SHUTDOWN now', use SHOW HELP;"],
    ['SHOW', "invalid command 'SHOW', use SHOW HELP;"],
    ['SHOW ALL;', "invalid command 'SHOW ALL;', use SHOW HELP;"],
    ['SELECT 1 +', "invalid command 'SELECT 1 +', use SHOW HELP;"],
    ['SET verbose', "invalid command 'SET verbose', use SHOW HELP;"],
    ['begin now', "invalid command 'begin now', use SHOW HELP;"],
    ['RELOAD; RELOAD', "invalid command 'RELOAD; RELOAD', use SHOW HELP;"],
    ['SHOW STATE; RELOAD', "invalid command 'SHOW STATE; RELOAD', use SHOW HELP;"],
    ['constructor', "invalid command 'constructor', use SHOW HELP;"],
    [`SHOW ${'x'.repeat(64)}`, 'bad arguments'],
  ])('%s: %s', async (text, message) => {
    const target = rig('admin');
    const answer = await query(target, text);
    expect(answer).toMatchObject({ types: 'EZ', closeReason: null });
    expect(answer.error).toMatchObject({ S: 'ERROR', C: '08P01', M: message });
    expect(target.control.requests).toEqual([]);
  });

  test.each([
    ['PAUSE x', controlFailure.noSuchDatabase('x'), 'no such database: x', '08P01'],
    ['PAUSE', controlFailure.alreadyPaused(), 'already suspended/paused', '08P01'],
    ['SUSPEND', controlFailure.pausedDatabases(), 'cannot suspend with paused databases', '08P01'],
    ['RESUME', controlFailure.notPaused(), 'pooler is not paused/suspended', '08P01'],
    ['RESUME', controlFailure.shuttingDown(), 'pooler is shutting down', '08P01'],
    ['RESUME x', controlFailure.databaseNotPaused('x'), 'database x is not paused', '08P01'],
    ['KILL_CLIENT 5', controlFailure.clientNotFound(), 'client not found', '08P01'],
    ['SET a = b', controlFailure.setFailed(), 'SET failed', '08P01'],
    ['RELOAD', controlFailure.reloadFailed(), 'RELOAD failed, see logs for additional details', 'F0000'],
    ['SUSPEND', controlFailure.canceled(), 'canceling statement due to user request', '57014'],
  ])('%s that fails in the process is answered with its text and SQLSTATE', async (text, reply, message, code) => {
    const target = rig('admin');
    target.control.answer = async () => reply;
    const answer = await query(target, text);
    expect(answer).toMatchObject({ types: 'EZ', tag: null, closeReason: null });
    expect(answer.error).toMatchObject({ S: 'ERROR', C: code, M: message });
  });
});

test('why a setting was refused stands in the error’s detail', async () => {
  const target = rig('admin');
  target.control.answer = async () => controlFailure.setFailed('verbose: expected a number');
  const answer = await query(target, 'SET verbose = much');
  expect(answer.error).toMatchObject({ M: 'SET failed', D: 'verbose: expected a number' });
});

describe('SET', () => {
  test.each([
    'admin',
    'stats',
  ] as const)('of a driver’s setting is ignored with a notice, as %s', async (role) => {
    const target = rig(role);
    const answer = await query(target, "SET DateStyle TO 'ISO'");
    expect(answer).toMatchObject({ types: 'NCZ', tag: 'SET', error: null });
    expect(answer.notice).toMatchObject({ S: 'NOTICE', C: '00000', M: 'SET ignored' });
    expect(target.control.requests).toEqual([]);
  });

  test('passes the process’s notice on before its tag', async () => {
    const target = rig('admin');
    const notice = 'TLS settings could not be applied, still using old configuration';
    target.control.answer = async () => ({ ok: true, notice });
    const answer = await query(target, "SET client_tls_ciphers = 'x'");
    expect(answer).toMatchObject({ types: 'NCZ', tag: 'SET client_tls_ciphers=x' });
    expect(answer.notice?.['M']).toBe(notice);
  });
});

test('SELECT is SHOW by another name', async () => {
  const answer = await query(rig('stats'), 'SELECT version');
  expect(answer).toMatchObject({ tag: 'SHOW', columns: ['version:25'] });
});
