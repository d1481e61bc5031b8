import { execFile, spawn } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { promisify } from 'node:util';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VERSION_LINE } from '../../src/daemon/version.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { within } from '../support/wait-for.ts';

const USERLIST = { cl_admin: 'a', cl_stats: 's', cl_both: 'b', cl_other: 'o', pgbouncer: 'p' };
const LISTS = { admin_users: 'cl_admin, cl_both', stats_users: 'cl_stats cl_both' };

/** The least that may and the least that may not, each by what a user of `stats_users` is told. */
const FORBIDDEN = [
  'SHOW FDS',
  'RELOAD',
  'PAUSE',
  'PAUSE postgres',
  'RESUME',
  'DISABLE postgres',
  'ENABLE postgres',
  'RECONNECT',
  'KILL',
  'KILL postgres',
  'KILL_CLIENT 1',
  'WAIT_CLOSE',
  'SUSPEND',
  'SHUTDOWN',
  'SHUTDOWN WAIT_FOR_CLIENTS',
  'SHUTDOWN WAIT_FOR_SERVERS',
  "SET verbose = '2'",
];

async function refusalOf(login: Promise<unknown>): Promise<string> {
  const error: unknown = await login.then(
    () => null,
    (reason: unknown) => reason,
  );
  return error instanceof Error ? error.message : 'no refusal';
}

describe('the console with passwords', () => {
  let pooler: LocalPooler;

  beforeAll(async () => {
    pooler = await startPooler({
      settings: { auth_type: 'scram-sha-256', ...LISTS },
      userlist: USERLIST,
    });
  });

  afterAll(() => pooler[Symbol.asyncDispose]());

  const enter = (user: keyof typeof USERLIST, config: pg.ClientConfig = {}): Promise<pg.Client> =>
    pooler.admin({ user, password: USERLIST[user], ...config });

  test('users of admin_users may run everything, also when they are in stats_users', async () => {
    for (const user of ['cl_admin', 'cl_both'] as const) {
      const client = await enter(user);
      expect((await client.query('SHOW FDS')).command).toBe('SHOW');
      expect((await client.query('RECONNECT')).command).toBe('RECONNECT');
      await client.end();
    }
  });

  test.each(FORBIDDEN)('a user of stats_users may not %s', async (command) => {
    const client = await enter('cl_stats');
    await expect(client.query(command)).rejects.toMatchObject({
      severity: 'ERROR',
      code: '08P01',
      message: 'admin access needed',
    });
    // The connection lives on, and so does the pooler.
    expect((await client.query('SHOW VERSION')).rows).toEqual([{ version: VERSION_LINE }]);
    await client.end();
    expect(pooler.hasExited).toBe(false);
  });

  test('everyone else is turned away after having proved who they are', async () => {
    expect(await refusalOf(enter('cl_other'))).toBe('not allowed');
    expect(await refusalOf(pooler.admin({ user: 'cl_other', password: 'x' }))).toBe(
      'SASL authentication failed',
    );
    expect(await refusalOf(pooler.admin({ user: 'cl_admin', password: 'x' }))).toBe(
      'SASL authentication failed',
    );
    expect(await refusalOf(pooler.admin({ user: 'cl_nobody', password: 'x' }))).toBe(
      'SASL authentication failed',
    );
  });

  test('user pgbouncer of our own uid enters over the unix socket without a password', async () => {
    const client = await pooler.admin({ user: 'pgbouncer', password: '', host: pooler.socketDir });
    expect((await client.query('SHOW FDS')).command).toBe('SHOW');
    await client.end();
    expect(pooler.lines.some((line) => line.endsWith('pgbouncer access from unix socket'))).toBe(true);
  });

  test('user pgbouncer gets no such favour over TCP, nor on another database, nor does another name', async () => {
    const refused = 'SASL authentication failed';
    const password = 'wrong';
    expect(await refusalOf(pooler.admin({ user: 'pgbouncer', password }))).toBe(refused);
    const host = pooler.socketDir;
    expect(await refusalOf(pooler.client({ user: 'pgbouncer', password, host }))).toBe(refused);
    expect(await refusalOf(pooler.admin({ user: 'cl_admin', password, host }))).toBe(refused);
    // In no list, the right password doesn't help it either.
    expect(await refusalOf(enter('pgbouncer'))).toBe('not allowed');
  });

  test('user pgbouncer of another uid has to prove itself', async () => {
    if (process.getuid?.() !== 0) {
      process.stderr.write('not root: logging in under another uid cannot be tried\n');
      return;
    }
    chmodSync(pooler.folder, 0o755);
    // Loaded as root, because the folder of Node may be out of the other user's reach.
    const script = `
      const { connect } = require('node:net');
      process.setgid(65534);
      process.setuid(65534);
      const socket = connect(process.argv[1]);
      socket.write(Buffer.from(process.argv[2], 'base64'));
      socket.once('data', (bytes) => {
        process.stdout.write(bytes.toString('base64'));
        socket.destroy();
      });`;
    const startup = frontend.startup({ user: 'pgbouncer', database: 'pgbouncer' }).toString('base64');
    const answer = async (options: string[]): Promise<Buffer> => {
      const child = spawn(process.execPath, ['-e', script, ...options], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      await within(new Promise((resolve) => child.once('close', resolve)), 'the end of the child');
      return Buffer.from(output, 'base64');
    };
    const bytes = await answer([pooler.socketPath, startup]);
    // Authentication, code 10: SASL; not 0, which would be the welcome.
    expect([bytes.toString('latin1', 0, 1), bytes.readInt32BE(5)]).toEqual(['R', 10]);
  });

  test('psql finds its way: password, unix socket, rows', async () => {
    if (!(await hasPsql())) return;
    const port = String(pooler.port);
    const psql = (...args: string[]) =>
      promisify(execFile)('psql', ['-X', '-A', '-t', '-p', port, ...args], {
        env: { PATH: process.env['PATH'], LC_ALL: 'C', PGPASSWORD: USERLIST.cl_stats },
      });
    const viaTcp = await psql('-h', '127.0.0.1', '-U', 'cl_stats', '-d', 'pgbouncer', '-c', 'SHOW VERSION');
    expect(viaTcp.stdout.trim()).toBe(VERSION_LINE);
    const viaSocket = await psql(
      '-h',
      pooler.socketDir,
      '-U',
      'pgbouncer',
      '-d',
      'pgbouncer',
      '-c',
      'SHOW STATE',
    );
    expect(viaSocket.stdout.trim().split('\n')).toEqual(['active|yes', 'paused|no', 'suspended|no']);
  });
});

test('psql logs in through every auth_type to every kind of secret', async () => {
  if (!(await hasPsql())) return;
  const { user, password } = sharedPostgres();
  for (const auth_type of ['any', 'trust', 'plain', 'md5', 'scram-sha-256']) {
    await using pooler = await startPooler({
      settings: { auth_type },
      databases: { forced: `dbname=postgres user=${user} password=${password}` },
    });
    const { stdout } = await promisify(execFile)(
      'psql',
      [
        '-X',
        '-A',
        '-t',
        '-h',
        '127.0.0.1',
        '-p',
        String(pooler.port),
        '-U',
        user,
        '-d',
        'forced',
        '-c',
        'SELECT 7',
      ],
      { env: { PATH: process.env['PATH'], LC_ALL: 'C', PGPASSWORD: password } },
    );
    expect(`${auth_type} ${stdout.trim()}`).toBe(`${auth_type} 7`);
  }
});

test('with auth_type any names are not proved: the lists count, whoever else may only look', async () => {
  await using pooler = await startPooler({ settings: { auth_type: 'any', ...LISTS }, databases: {} });
  const look = await pooler.admin({ user: 'cl_whoever' });
  expect((await look.query('SHOW VERSION')).rows).toEqual([{ version: VERSION_LINE }]);
  await expect(look.query('RECONNECT')).rejects.toThrow('admin access needed');
  await look.end();
  const admin = await pooler.admin({ user: 'cl_admin' });
  expect((await admin.query('RECONNECT')).command).toBe('RECONNECT');
  await admin.end();
});

test('the console welcomes as PgBouncer does, with what the client itself has asked for', async () => {
  await using pooler = await startPooler();
  const peer = await connectPeer(pooler.port);
  const { user } = sharedPostgres();
  await peer.send(frontend.startup({ user, database: 'pgbouncer', application_name: 'cl_app' }));
  const messages = await peer.messagesTo('Z');
  const parameters = messages
    .filter(({ type }) => type === 'S')
    .map(({ body }) => body.toString().split('\0').slice(0, 2));
  expect(messages.map(({ type }) => type).join('')).toBe('RSSSSSSSSKZ');
  expect(parameters).toEqual([
    ['server_version', '1.25.2/bouncer'],
    ['client_encoding', 'UTF8'],
    ['server_encoding', 'UTF8'],
    ['DateStyle', 'ISO'],
    ['TimeZone', 'GMT'],
    ['standard_conforming_strings', 'on'],
    ['is_superuser', 'on'],
    ['application_name', 'cl_app'],
  ]);
  await peer.close();
});

test('max_client_conn does not keep operators out', async () => {
  await using pooler = await startPooler({ settings: { max_client_conn: 1 } });
  const client = await pooler.client();
  expect(await refusalOf(pooler.client())).toBe('no more connections allowed (max_client_conn)');
  const admins = [await pooler.admin(), await pooler.admin()];
  for (const admin of admins) expect((await admin.query('SHOW STATE')).rows).toHaveLength(3);
  for (const each of [client, ...admins]) await each.end();
});

test('limits per user and database hold for watchers on the console, not for administrators', async () => {
  await using pooler = await startPooler({
    settings: { max_user_client_connections: 1, max_db_client_connections: 2, ...LISTS },
    userlist: { ...USERLIST, cl_stats_2: '', cl_stats_3: '' },
    databases: { db: `dbname=postgres user=${sharedPostgres().user}` },
  });
  await pooler.reload({ settings: { stats_users: 'cl_stats cl_stats_2 cl_stats_3' } });
  const inside = [await pooler.admin({ user: 'cl_stats' })];
  expect(await refusalOf(pooler.admin({ user: 'cl_stats' }))).toBe(
    'client connections exceeded (max_user_client_connections)',
  );
  inside.push(await pooler.admin({ user: 'cl_stats_2' }));
  expect(await refusalOf(pooler.admin({ user: 'cl_stats_3' }))).toBe(
    'client connections exceeded (max_db_client_connections)',
  );
  for (let i = 0; i < 3; i++) inside.push(await pooler.admin({ user: 'cl_admin' }));
  // Their consoles took no place of theirs elsewhere.
  inside.push(await pooler.client({ user: 'cl_admin', database: 'db' }));
  expect(await refusalOf(pooler.client({ user: 'cl_admin', database: 'db' }))).toBe(
    'client connections exceeded (max_user_client_connections)',
  );
  for (const client of inside) await client.end();
});

/** Debian's package postgresql-client; without it the reason is told and the test has nothing to say. */
async function hasPsql(): Promise<boolean> {
  try {
    await promisify(execFile)('psql', ['--version']);
    return true;
  } catch {
    process.stderr.write('psql is not installed: not tried\n');
    return false;
  }
}
