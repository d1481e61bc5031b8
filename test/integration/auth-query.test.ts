import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres, startPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const PASSWORD = 'aq right one';
const LOOKER = 'aq_looker';
const REFUSED = 'SASL authentication failed';

beforeAll(async () => {
  const postgres = sharedPostgres();
  await createRole(postgres, { name: LOOKER, auth: 'scram', password: 'aq looker', options: 'SUPERUSER' });
  await createRole(postgres, { name: 'aq_user', auth: 'scram', password: PASSWORD });
  await createRole(postgres, {
    name: 'aq_expired',
    auth: 'scram',
    password: PASSWORD,
    options: "VALID UNTIL '2001-01-01'",
  });
  await createRole(postgres, { name: 'aq_none', auth: 'scram' });
  await createDatabase(postgres, 'aq_secrets');
});

/** A pooler with auth_user; SCRAM unless `settings` says otherwise. */
function start(options: TestPoolerOptions = {}): Promise<LocalPooler> {
  return startPooler({
    ...options,
    settings: {
      auth_type: 'scram-sha-256',
      auth_user: LOOKER,
      pool_mode: 'transaction',
      ...options.settings,
    },
    userlist: { [LOOKER]: 'aq looker', ...options.userlist },
    databases: options.databases ?? { postgres: '', aq_secrets: '' },
  });
}

/** Logs in; gives who PostgreSQL says the client is, or the error's text. */
async function login(pooler: LocalPooler, config: pg.ClientConfig = {}): Promise<string> {
  try {
    const client = await pooler.client({ user: 'aq_user', password: PASSWORD, ...config });
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user ?? 'nobody';
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    expect(error.severity).toBe('FATAL');
    return error.message;
  }
}

/** How many auth queries have been run on `database`. */
async function queriesOn(pooler: LocalPooler, database = 'postgres'): Promise<number> {
  const rows = pooler.pooler.state.pools.all(database).filter(({ user }) => user === LOOKER);
  return rows.reduce((sum, pool) => sum + pool.stats.queryCount, 0);
}

describe('auth_query', () => {
  let pooler: LocalPooler;
  beforeAll(async () => {
    pooler = await start({ own: { auth_query_cache_time: 0 } });
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test('lets users in who stand in PostgreSQL alone, as themselves', async () => {
    expect(await login(pooler)).toBe('aq_user');
    expect(await login(pooler)).toBe('aq_user');
  });

  test.each([
    ['a wrong password', { password: 'wrong' }],
    ['an unknown user', { user: 'aq_nobody' }],
    ['a user without a password', { user: 'aq_none' }],
    ['the name of the pooler’s own user and a wrong password', { user: LOOKER }],
  ])('refuses %s with the same text', async (_what, config) => {
    expect(await login(pooler, config)).toBe(REFUSED);
  });

  test('trap: VALID UNTIL ignored (CVE-2025-2291): an expired password lets nobody in, until it is valid again', async () => {
    expect(await login(pooler, { user: 'aq_expired' })).toBe(REFUSED);
    await withClient(sharedPostgres(), (client) =>
      client.query("ALTER ROLE aq_expired VALID UNTIL 'infinity'"),
    );
    expect(await login(pooler, { user: 'aq_expired' })).toBe('aq_expired');
    await withClient(sharedPostgres(), (client) =>
      client.query("ALTER ROLE aq_expired VALID UNTIL '2001-01-01'"),
    );
    expect(await login(pooler, { user: 'aq_expired' })).toBe(REFUSED);
  });

  test('trap: an unknown user is not logged in as auth_user (CVE-2015-6817)', async () => {
    for (const password of ['x', 'aq looker', PASSWORD]) {
      expect(await login(pooler, { user: 'aq_nobody', password })).not.toBe(LOOKER);
    }
  });

  test('is not run for a database that doesn’t exist, nor told apart from a wrong password', async () => {
    expect(await login(pooler, { database: 'aq_nowhere' })).toBe(REFUSED);
    expect(pooler.pooler.state.databases.get('aq_nowhere')).toBeNull();
  });

  test('does not find a name that the database’s encoding does not have, and says no more of it than of others', async () => {
    await withClient(sharedPostgres(), (client) =>
      client.query(
        "CREATE DATABASE aq_latin1 ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
      ),
    );
    await using other = await start({
      settings: { auth_dbname: 'aq_latin1' },
      databases: { postgres: '', aq_latin1: '' },
    });
    expect(await login(other)).toBe('aq_user');
    expect(await login(other, { user: '日本' })).toBe(REFUSED);
    expect(other.lines.filter((line) => /^(ERROR|WARNING)/.test(line))).toEqual([
      expect.stringContaining(`pooler error: ${REFUSED}`),
    ]);
  });

  test('shows in SHOW SERVERS and SHOW STATS, on one connection', async () => {
    const servers = await pooler.show('SHOW SERVERS');
    expect(servers.filter(({ user }) => user === LOOKER)).toMatchObject([
      { database: 'postgres', state: 'active' },
    ]);
    expect(await queriesOn(pooler)).toBeGreaterThan(3);
    const pools = await pooler.show('SHOW POOLS');
    expect(pools.find(({ user }) => user === LOOKER)).toMatchObject({
      cl_active: 0,
      cl_waiting: 0,
      sv_active: 1,
    });
  });

  test('nothing of a secret is logged', () => {
    const log = pooler.lines.join('\n');
    expect(log).not.toMatch(/SCRAM-SHA-256\$|aq right one|aq looker|\$4096:/);
    expect(log).toContain('no such user: aq_nobody');
  });
});

describe('trap: …search_path at the time of auth_query (CVE-2025-12819)', () => {
  /** A schema with a pg_authid of an attacker's own, in which everyone has the attacker's password. */
  async function plant(database: string): Promise<void> {
    const postgres = sharedPostgres();
    const verifier = await createRole(postgres, {
      name: `aq_mallory_${database}`,
      auth: 'scram',
      password: 'mallory',
    });
    await withClient(
      postgres,
      async (client) => {
        await client.query('CREATE SCHEMA evil');
        await client.query(
          'CREATE TABLE evil.pg_authid (rolname text, rolpassword text, rolvaliduntil timestamptz, rolcanlogin bool)',
        );
        await client.query('INSERT INTO evil.pg_authid VALUES ($1, $2, NULL, true)', ['aq_user', verifier]);
        await client.query('GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT SELECT ON evil.pg_authid TO PUBLIC');
      },
      { database },
    );
  }

  test.each([
    ['options', { options: '-c search_path=evil,pg_catalog' }],
    ['a parameter of its own', { options: '', search_path: 'evil,pg_catalog' }],
  ])('a client’s search_path, given by %s, is not the query’s', async (_how, given) => {
    const database = `aq_path_${given.options === '' ? 'own' : 'options'}`;
    await createDatabase(sharedPostgres(), database);
    await plant(database);
    await using pooler = await start({
      databases: { [database]: '' },
      own: { auth_query_cache_time: 0 },
      settings: { track_extra_parameters: 'IntervalStyle, search_path' },
    });
    const attempt = { database, ...given } as pg.ClientConfig;
    expect(await login(pooler, { ...attempt, password: 'mallory' })).toBe(REFUSED);
    expect(await login(pooler, { ...attempt, password: PASSWORD })).toBe('aq_user');
  });

  test('nor is that of a client who is auth_user itself, in the same pool and transaction mode', async () => {
    const database = 'aq_path_same';
    await createDatabase(sharedPostgres(), database);
    await plant(database);
    await using pooler = await start({
      databases: { [database]: 'pool_size=2' },
      own: { auth_query_cache_time: 0 },
    });
    const asLooker = await pooler.client({ user: LOOKER, password: 'aq looker', database });
    await asLooker.query('SET search_path = evil, pg_catalog');
    await asLooker.query("SET SESSION AUTHORIZATION 'aq_user'");
    await asLooker.end();
    expect(await login(pooler, { database, password: 'mallory' })).toBe(REFUSED);
    expect(await login(pooler, { database, password: PASSWORD })).toBe('aq_user');
  });
});

describe('where it runs', () => {
  test('auth_dbname, of the database before the global one', async () => {
    await using pooler = await start({
      settings: { auth_dbname: 'aq_secrets' },
      databases: { postgres: '', other: 'dbname=postgres auth_dbname=postgres', aq_secrets: '' },
    });
    expect(await login(pooler)).toBe('aq_user');
    expect([await queriesOn(pooler, 'aq_secrets'), await queriesOn(pooler, 'postgres')]).toEqual([1, 0]);
    expect(await login(pooler, { database: 'other' })).toBe('aq_user');
    expect([await queriesOn(pooler, 'aq_secrets'), await queriesOn(pooler, 'postgres')]).toEqual([1, 1]);
  });

  test('an auth_dbname that `*` stands for', async () => {
    await using pooler = await start({ settings: { auth_dbname: 'aq_secrets' }, databases: { '*': '' } });
    expect(await login(pooler, { database: 'postgres' })).toBe('aq_user');
    expect(await queriesOn(pooler, 'aq_secrets')).toBe(1);
  });

  test.each([
    ['is not configured', 'aq_missing', 'bouncer config error'],
    ['is the console', 'pgbouncer', 'bouncer config error'],
  ])('an auth_dbname that %s is an error of the login', async (_what, name, text) => {
    await using pooler = await start({ databases: { postgres: `auth_dbname=${name}` } });
    expect(await login(pooler)).toBe(text);
    expect(pooler.lines.some((line) => line.startsWith('ERROR') && line.includes(name))).toBe(true);
  });

  test('a disabled one is told by its name', async () => {
    await using pooler = await start({ settings: { auth_dbname: 'aq_secrets' } });
    await pooler.show('DISABLE aq_secrets');
    expect(await login(pooler)).toBe('authentication database "aq_secrets" is disabled');
    await pooler.show('ENABLE aq_secrets');
    expect(await login(pooler)).toBe('aq_user');
  });

  test('one that PostgreSQL doesn’t have gets PostgreSQL’s text', async () => {
    await using pooler = await start({
      databases: { gone: 'dbname=aq_gone' },
      settings: { server_login_retry: 3600 },
    });
    expect(await login(pooler, { database: 'gone' })).toBe('database "aq_gone" does not exist');
    const [pool] = pooler.pooler.state.pools.all('gone');
    await waitFor(() => pool !== undefined && pool.emptySinceMs > 0, { what: 'a sweep' });
    const connections = () => pooler.lines.filter((line) => line.includes('new connection to server'));
    // Before server_login_retry is over nobody asks PostgreSQL again, but behind a RELOAD.
    expect(await login(pooler, { database: 'gone' })).toBe('database "aq_gone" does not exist');
    expect(connections()).toHaveLength(1);
    await pooler.reload();
    expect(await login(pooler, { database: 'gone' })).toBe('database "aq_gone" does not exist');
    expect(connections()).toHaveLength(2);
  });

  test('an auth_user that PostgreSQL refuses is not named to clients', async () => {
    await using pooler = await start({ userlist: { [LOOKER]: 'wrong' } });
    expect(await login(pooler)).toBe('bouncer config error');
    expect(pooler.lines.join('\n')).toContain(`password authentication failed for user "${LOOKER}"`);
  });

  test('auth_user of a database before the global one, also beside a forced user', async () => {
    await using pooler = await start({
      settings: { auth_user: 'aq_nonsense' },
      databases: { postgres: `auth_user=${LOOKER} user=aq_user password='${PASSWORD}'` },
    });
    expect(await login(pooler)).toBe('aq_user');
  });

  test('users of [users] alone are looked up and keep their own settings', async () => {
    await using pooler = await start({ users: { aq_user: 'pool_mode=session' } });
    expect(await login(pooler)).toBe('aq_user');
    const pools = await pooler.show('SHOW POOLS');
    expect(pools.find(({ user }) => user === 'aq_user')).toMatchObject({ pool_mode: 'session' });
  });

  test('a name in auth_file is not looked up, were its secret empty', async () => {
    await using pooler = await start({ userlist: { aq_user: '' } });
    expect(await login(pooler)).toBe(REFUSED);
    expect(await queriesOn(pooler)).toBe(0);
  });

  test('a console login asks auth_dbname, and without it nobody', async () => {
    await using pooler = await start({ settings: { admin_users: 'aq_user' } });
    expect(await login(pooler, { database: 'pgbouncer' })).toBe(REFUSED);
    await pooler.reload({ settings: { auth_dbname: 'aq_secrets' } });
    const admin = await pooler.admin({ user: 'aq_user', password: PASSWORD });
    expect((await admin.query('SHOW VERSION')).rows).toHaveLength(1);
    await admin.end();
  });
});

describe('the query', () => {
  test.each([
    [
      'with one column',
      'SELECT rolname FROM pg_authid WHERE rolname = $1',
      'expected 2 columns from auth_query, not 1',
    ],
    ['with three columns', "SELECT rolname, '', '' FROM pg_authid WHERE rolname = $1", 'not 3'],
    ['that fails', 'SELECT 1 / 0, $1', 'error in auth_query: ERROR: division by zero'],
    ['that gives no name', 'SELECT NULL::text, $1::text', 'contained null user name'],
    ['that gives an empty name', "SELECT '', $1::text", 'can be nobody'],
    ['that gives no rows at all', 'SET search_path = x', ''],
  ])('%s is a bouncer config error', async (_what, sql, logged) => {
    await using pooler = await start({ settings: { auth_query: sql } });
    expect(await login(pooler)).toBe('bouncer config error');
    expect(pooler.lines.join('\n')).toContain(logged);
    // The next one finds the connection, or another, fit for use.
    await pooler.reload({
      settings: { auth_query: 'SELECT rolname, rolpassword FROM pg_authid WHERE rolname=$1' },
    });
    expect(await login(pooler)).toBe('aq_user');
  });

  test('of a database goes before the global one; the last row counts, and its name', async () => {
    const sql =
      "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = lower($1) OR rolname = ''aq_none'' ORDER BY 1";
    await using pooler = await start({ databases: { postgres: `auth_query='${sql}'` } });
    expect(await login(pooler, { user: 'AQ_User' })).toBe('aq_user');
    expect(pooler.lines.join('\n')).toContain('logged in as aq_user');
  });

  test('gives no other name where nothing is proved', async () => {
    await using pooler = await start({
      settings: {
        auth_type: 'trust',
        auth_query: `SELECT rolname, '${PASSWORD}'::text FROM pg_authid WHERE rolname = lower($1)`,
      },
    });
    expect(await login(pooler, { user: 'AQ_User' })).toBe('bouncer config error');
    expect(await login(pooler, { user: 'aq_nobody' })).toBe('no such user');
    expect(await login(pooler)).toBe('aq_user');
  });
});

describe('answers are used again', () => {
  test('for auth_query_cache_time; logins at the same time share one query', async () => {
    await using pooler = await start({ own: { auth_query_cache_time: 3600 } });
    await Promise.all(Array.from({ length: 20 }, () => login(pooler)));
    expect(await queriesOn(pooler)).toBe(1);
    expect(await login(pooler)).toBe('aq_user');
    expect(await queriesOn(pooler)).toBe(1);
    await pooler.reload();
    expect(await login(pooler)).toBe('aq_user');
    expect(await queriesOn(pooler)).toBe(2);
  });

  test('but a failed login has the secret looked up anew: at once where the method allows it', async () => {
    const name = 'aq_changing';
    await createRole(sharedPostgres(), { name, auth: 'scram', password: 'first' });
    await using pooler = await start({
      settings: { auth_type: 'plain' },
      own: { auth_query_cache_time: 3600 },
      databases: { postgres: `user=${LOOKER}` },
    });
    const change = (password: string) =>
      withClient(sharedPostgres(), (client) => client.query(`ALTER ROLE ${name} PASSWORD '${password}'`));
    expect(await login(pooler, { user: name, password: 'first' })).toBe(LOOKER);
    await change('second');
    expect(await login(pooler, { user: name, password: 'second' })).toBe(LOOKER);
    expect(await login(pooler, { user: name, password: 'first' })).toBe('password authentication failed');
    await pooler.reload({ settings: { auth_type: 'scram-sha-256' } });
    expect(await login(pooler, { user: name, password: 'second' })).toBe(LOOKER);
    await change('third');
    // The salt has been said when the proof fails.
    expect(await login(pooler, { user: name, password: 'third' })).toBe(REFUSED);
    expect(await login(pooler, { user: name, password: 'third' })).toBe(LOOKER);
  });

  test('a user who is made after an attempt gets in at the next one', async () => {
    await using pooler = await start({ own: { auth_query_cache_time: 3600 } });
    const user = 'aq_made_later';
    expect(await login(pooler, { user })).toBe(REFUSED);
    await createRole(sharedPostgres(), { name: user, auth: 'scram', password: PASSWORD });
    expect(await login(pooler, { user })).toBe(REFUSED);
    expect(await login(pooler, { user })).toBe(user);
  });
});

describe('the connection', () => {
  test('that PostgreSQL has ended is replaced unseen', async () => {
    await using pooler = await start({ own: { auth_query_cache_time: 0 } });
    expect(await login(pooler)).toBe('aq_user');
    await withClient(sharedPostgres(), (client) =>
      client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [LOOKER]),
    );
    expect(await login(pooler)).toBe('aq_user');
  });

  test('lost in the middle of the query twice: bouncer config error', async () => {
    await using pooler = await start({
      settings: { auth_query: 'SELECT $1::text, pg_terminate_backend(pg_backend_pid())::text' },
    });
    expect(await login(pooler)).toBe('bouncer config error');
  });

  test('is given up while others wait for a server', async () => {
    await using pooler = await start({
      databases: { postgres: 'pool_size=1 max_db_connections=1' },
      own: { auth_query_cache_time: 3600 },
    });
    expect(await login(pooler)).toBe('aq_user');
    expect(await login(pooler)).toBe('aq_user');
    const asLooker = await pooler.client({ user: LOOKER, password: 'aq looker' });
    expect((await asLooker.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await asLooker.end();
  });

  test('goes with PAUSE, and comes back with RESUME', async () => {
    await using pooler = await start({ own: { auth_query_cache_time: 0 } });
    const admin = await pooler.admin({ user: sharedPostgres().user });
    expect(await login(pooler)).toBe('aq_user');
    await admin.query('PAUSE');
    expect(pooler.pooler.state.budget.count('server')).toBe(0);
    const waiting = login(pooler);
    await waitFor(() => pooler.pooler.state.connections.size === 2, { what: 'the login' });
    await admin.query('RESUME');
    expect(await waiting).toBe('aq_user');
    await admin.end();
  });

  test('survives RECONNECT and KILL, RESUME', async () => {
    await using pooler = await start({ own: { auth_query_cache_time: 0 } });
    expect(await login(pooler)).toBe('aq_user');
    await pooler.show('RECONNECT');
    expect(await login(pooler)).toBe('aq_user');
    await pooler.show('KILL postgres');
    await pooler.show('RESUME postgres');
    expect(await login(pooler)).toBe('aq_user');
  });

  test('SHUTDOWN WAIT_FOR_SERVERS does not wait for it', async () => {
    await using pooler = await start();
    expect(await login(pooler)).toBe('aq_user');
    await pooler.show('SHUTDOWN WAIT_FOR_SERVERS').catch(() => []);
    await waitFor(() => pooler.hasExited, { what: 'the end of the pooler' });
  });

  test('a login that waits for PostgreSQL ends with client_login_timeout, and goes on when it is there', async () => {
    await using server = await startPostgres();
    const postgres = server.address;
    await createRole(postgres, { name: LOOKER, auth: 'trust', options: 'SUPERUSER' });
    await createRole(postgres, { name: 'aq_user', auth: 'scram', password: PASSWORD });
    await using pooler = await start({
      postgres,
      settings: { client_login_timeout: 1, server_login_retry: 0 },
    });
    await server.stop();
    expect(await login(pooler)).toBe('client_login_timeout');
    await pooler.reload({ settings: { client_login_timeout: 60 } });
    const waiting = login(pooler);
    await server.restart();
    expect(await waiting).toBe('aq_user');
  });
});

test('max_user_client_connections counts those who have proved who they are, and nobody else under their name', async () => {
  await using pooler = await start({ users: { aq_user: 'max_user_client_connections=1' } });
  const stranger = await connectPeer(pooler.port);
  await stranger.send(frontend.startup({ user: 'aq_user', database: 'postgres' }));
  await stranger.message('R');
  const first = await pooler.client({ user: 'aq_user', password: PASSWORD });
  expect(await login(pooler)).toBe('client connections exceeded (max_user_client_connections)');
  expect(await login(pooler, { password: 'wrong' })).toBe(REFUSED);
  await first.end();
  await waitFor(async () => (await login(pooler)) === 'aq_user', { what: 'the place' });
  await stranger.close();
});
