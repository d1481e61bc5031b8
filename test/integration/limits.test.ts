import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { backendPids, backendsOf, Holders, poolRow, poolShows } from '../support/backends.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { workersOfTests } from '../support/pooler-config.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { fatal, refusalOf } from '../support/refusals.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

// Roles of this file: the shared server counts sessions of others, too.
const A = 'limits_a';
const B = 'limits_b';
const C = 'limits_c';
const SECRET = 'limits secret';
const userlist = { [A]: SECRET, [B]: SECRET, [C]: SECRET };
const alice = { user: A, password: SECRET };
const bob = { user: B, password: SECRET };

beforeAll(async () => {
  const postgres = sharedPostgres();
  for (const name of [A, B, C]) await createRole(postgres, { name, auth: 'trust' });
  for (const name of ['limits_one', 'limits_two']) await createDatabase(postgres, name);
});

const databases = { one: 'dbname=limits_one', two: 'dbname=limits_two' };

async function current(pooler: LocalPooler, what: 'USERS' | 'DATABASES', name: string): Promise<unknown> {
  const row = (await pooler.show(`SHOW ${what}`)).find((each) => each['name'] === name);
  return row?.['current_client_connections'];
}

describe('limits on clients', () => {
  test('max_client_conn lets in exactly that many, and the console besides', async () => {
    await using pooler = await startPooler({ settings: { max_client_conn: 3 }, databases, userlist });
    const clients = [];
    for (let i = 0; i < 3; i++) clients.push(await pooler.client({ ...alice, database: 'one' }));
    const refused = fatal('no more connections allowed (max_client_conn)');
    for (let i = 0; i < 3; i++) {
      expect(await refusalOf(pooler.client({ ...alice, database: i === 0 ? 'two' : 'one' }))).toEqual(
        refused,
      );
    }
    const admin = await pooler.admin();
    expect((await admin.query('SHOW VERSION')).rows).toHaveLength(1);
    await admin.end();
    await clients[0]?.end();
    clients[0] = await waitFor(() => pooler.client({ ...alice, database: 'one' }).catch(() => null));
    expect(await refusalOf(pooler.client({ ...bob, database: 'one' }))).toEqual(refused);
    for (const client of clients) await client.end();
  });

  test('max_client_conn counts a client from its StartupMessage on, before it has proved who it is', async () => {
    await using pooler = await startPooler({
      settings: { max_client_conn: 1, auth_type: 'plain' },
      databases,
      userlist,
    });
    for (let i = 0; i < 3; i++) {
      expect(await refusalOf(pooler.client({ ...alice, password: 'wrong', database: 'one' }))).toEqual(
        fatal('password authentication failed'),
      );
    }
    const client = await pooler.client({ ...alice, database: 'one' });
    expect(await refusalOf(pooler.client({ ...alice, password: 'wrong', database: 'one' }))).toEqual(
      fatal('no more connections allowed (max_client_conn)'),
    );
    await client.end();
  });

  test('max_db_client_connections counts per database; an entry of the database overrides it', async () => {
    await using pooler = await startPooler({
      settings: { max_db_client_connections: 1 },
      databases: { one: 'dbname=limits_one', two: 'dbname=limits_two max_db_client_connections=2' },
      userlist,
    });
    const refused = fatal('client connections exceeded (max_db_client_connections)');
    const clients = [
      await pooler.client({ ...alice, database: 'one' }),
      await pooler.client({ ...alice, database: 'two' }),
      await pooler.client({ ...bob, database: 'two' }),
    ];
    expect(await refusalOf(pooler.client({ ...bob, database: 'one' }))).toEqual(refused);
    expect(await refusalOf(pooler.client({ ...alice, database: 'two' }))).toEqual(refused);
    expect(await current(pooler, 'DATABASES', 'one')).toBe(1);
    expect(await current(pooler, 'DATABASES', 'two')).toBe(2);
    for (const client of clients) await client.end();
    await waitFor(async () => (await current(pooler, 'DATABASES', 'two')) === 0);
    expect(await current(pooler, 'DATABASES', 'one')).toBe(0);
  });

  test('max_user_client_connections counts per login user over all databases; [users] overrides it', async () => {
    await using pooler = await startPooler({
      settings: { max_user_client_connections: 1 },
      databases: { ...databases, forced: `dbname=limits_one user=${C}` },
      users: { [B]: 'max_user_client_connections=2', [C]: 'max_user_client_connections=1' },
      userlist,
    });
    const refused = fatal('client connections exceeded (max_user_client_connections)');
    const clients = [
      await pooler.client({ ...alice, database: 'one' }),
      await pooler.client({ ...bob, database: 'one' }),
      // The forced user is the pool's: it is the login user that counts.
      await pooler.client({ ...bob, database: 'forced' }),
    ];
    expect(await refusalOf(pooler.client({ ...alice, database: 'two' }))).toEqual(refused);
    expect(await refusalOf(pooler.client({ ...bob, database: 'two' }))).toEqual(refused);
    clients.push(await pooler.client({ user: C, password: SECRET, database: 'forced' }));
    expect(await current(pooler, 'USERS', A)).toBe(1);
    expect(await current(pooler, 'USERS', B)).toBe(2);
    for (const client of clients) await client.end();
    await waitFor(async () => (await current(pooler, 'USERS', B)) === 0);
  });

  test('refused and failed logins give their places back', async () => {
    await using pooler = await startPooler({
      settings: {
        auth_type: 'md5',
        max_user_client_connections: 1,
        max_db_client_connections: 2,
        server_login_retry: 0,
      },
      databases: { ...databases, missing: 'dbname=limits_missing', off: '' },
      userlist,
    });
    await pooler.show('DISABLE off');
    const refusals = [
      { ...alice, password: 'wrong', database: 'one' },
      { ...alice, database: 'missing' },
      { ...alice, database: 'off' },
      { ...alice, database: 'limits_unknown' },
      { ...alice, database: 'one', options: '-c is_superuser=1' },
    ];
    const texts = [];
    for (let round = 0; round < 2; round++) {
      for (const config of refusals) texts.push((await refusalOf(pooler.client(config))).message);
    }
    const once = [
      'password authentication failed',
      'database "limits_missing" does not exist',
      'database "off" is disabled',
      'no such database: limits_unknown',
      'unsupported startup parameter in options: is_superuser',
    ];
    expect(texts).toEqual([...once, ...once]);
    expect(await current(pooler, 'USERS', A)).toBe(0);
    expect(await current(pooler, 'DATABASES', 'one')).toBe(0);
    expect(await current(pooler, 'DATABASES', 'missing')).toBe(0);
    const client = await pooler.client({ ...alice, database: 'one' });
    expect(await current(pooler, 'USERS', A)).toBe(1);
    await client.end();
  });
});

describe('limits on server connections', () => {
  test('pool_size of [users] goes before that of the database, and that before default_pool_size', async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1 },
      databases: { one: 'dbname=limits_one', two: 'dbname=limits_two pool_size=2' },
      users: { [B]: 'pool_size=3' },
      userlist,
    });
    await using holders = new Holders();
    const expected = [
      [alice, 'one', 1],
      [alice, 'two', 2],
      [bob, 'one', 3],
      [bob, 'two', 3],
    ] as const;
    for (const [login, database, size] of expected) {
      await holders.add(pooler, 4, { ...login, database });
      await poolShows(pooler, database, login.user, {
        cl_active: size,
        cl_waiting: 4 - size,
        sv_active: size,
      });
    }
    await sweepsPass();
    for (const [login, database, size] of expected) {
      expect(await poolRow(pooler, database, login.user)).toMatchObject({ sv_active: size, sv_login: 0 });
    }
    expect(await backendsOf(pooler, A)).toBe(3);
    expect(await backendsOf(pooler, B)).toBe(6);
  });

  test("the login user's pool_size has no say where the database forces another user", async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1 },
      databases: { forced: `dbname=limits_one user=${C}` },
      users: { [A]: 'pool_size=5', [C]: 'pool_size=2' },
      userlist,
    });
    await using holders = await new Holders().add(pooler, 4, { ...alice, database: 'forced' });
    await poolShows(pooler, 'forced', C, { sv_active: 2, cl_waiting: 2 });
    await sweepsPass();
    expect(await backendsOf(pooler, C)).toBe(2);
    expect(holders.holding).toBe(2);
  });

  test('a larger default_pool_size lets waiting clients in at once; a smaller one closes what is too many', async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1 },
      databases,
      userlist,
    });
    await using holders = await new Holders().add(pooler, 4, { ...alice, database: 'one' });
    await poolShows(pooler, 'one', A, { sv_active: 1, cl_waiting: 3 });
    await pooler.reload({ settings: { default_pool_size: 2 } });
    await poolShows(pooler, 'one', A, { sv_active: 2, cl_waiting: 2 });
    await pooler.show('SET default_pool_size = 4');
    await poolShows(pooler, 'one', A, { sv_active: 4, cl_waiting: 0 });
    await pooler.show('SET default_pool_size = 1');
    for (const client of holders.clients) await client.query('COMMIT');
    await poolShows(pooler, 'one', A, { sv_active: 0, sv_idle: 1 });
    expect(pooler.lines.filter((line) => line.includes('too many servers in the pool'))).toHaveLength(3);
    await waitFor(async () => (await backendsOf(pooler, A)) === 1);
  });

  test('pool_size 0 is no limit', async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1 },
      databases: { one: 'dbname=limits_one pool_size=0' },
      userlist,
    });
    await using holders = await new Holders().add(pooler, 6, { ...alice, database: 'one' });
    await waitFor(() => holders.holding === 6);
    // Nothing keeps a further thread from having an idle one. Sessions of an earlier pooler may still be ending.
    await waitFor(async () => (await backendsOf(pooler, A)) <= 5 + workersOfTests());
  });
});

describe('min_pool_size', () => {
  test('fills a pool of a forced user without any client, others only while they have one', async () => {
    await using pooler = await startPooler({
      settings: { min_pool_size: 2 },
      databases: { forced: `dbname=limits_one user=${C} min_pool_size=3`, one: 'dbname=limits_one' },
      userlist,
    });
    await poolShows(pooler, 'forced', C, { sv_idle: 3 });
    expect(await backendsOf(pooler, A)).toBe(0);
    const client = await pooler.client({ ...alice, database: 'one' });
    await poolShows(pooler, 'one', A, { sv_idle: 2 });
    await sweepsPass();
    expect(await backendsOf(pooler, A)).toBe(2);
    expect(await backendsOf(pooler, C)).toBe(3);
    await client.end();
  });

  test('stays within pool_size', async () => {
    await using pooler = await startPooler({
      databases: { forced: `dbname=limits_one user=${C} min_pool_size=5 pool_size=2` },
      userlist,
    });
    await poolShows(pooler, 'forced', C, { sv_idle: 2 });
    await sweepsPass(4);
    expect(await backendsOf(pooler, C)).toBe(2);
  });

  test('stays within max_user_connections and max_db_connections, and evicts nobody', async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction' },
      databases: {
        forced: `dbname=limits_one user=${C} min_pool_size=3`,
        full: `dbname=limits_two user=${B} min_pool_size=3 max_db_connections=1`,
      },
      users: { [C]: 'max_user_connections=2' },
      userlist,
    });
    await poolShows(pooler, 'forced', C, { sv_idle: 2 });
    await poolShows(pooler, 'full', B, { sv_idle: 1 });
    const before = [...(await backendPids(pooler, C)), ...(await backendPids(pooler, B))];
    await sweepsPass(4);
    expect([...(await backendPids(pooler, C)), ...(await backendPids(pooler, B))]).toEqual(before);
    expect(pooler.lines.filter((line) => line.includes('evicted'))).toEqual([]);
  });
});

describe('reserve_pool_size', () => {
  let pooler: LocalPooler;
  beforeAll(async () => {
    pooler = await startPooler({
      settings: {
        pool_mode: 'transaction',
        default_pool_size: 1,
        reserve_pool_size: 1,
        reserve_pool_timeout: 0.5,
      },
      databases: { one: 'dbname=limits_one', two: 'dbname=limits_two reserve_pool=2' },
      users: { [B]: 'reserve_pool_size=3' },
      userlist,
    });
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test.for([
    [A, 'one', 1],
    [A, 'two', 2],
    [B, 'two', 3],
  ] as const)('for %s on %s opens %i more, each after reserve_pool_timeout', async ([
    user,
    database,
    reserve,
  ]) => {
    const login = { user, password: SECRET };
    await using holders = await new Holders().add(pooler, 1, { ...login, database });
    await waitFor(() => holders.holding === 1);
    const warned = pooler.lines.length;
    const startMs = performance.now();
    await holders.add(pooler, reserve + 1, { ...login, database });
    await waitFor(() => holders.holding > 1);
    expect(performance.now() - startMs).toBeGreaterThan(490);
    await waitFor(() => holders.holding === reserve + 1);
    await sweepsPass();
    expect(holders.holding).toBe(reserve + 1);
    expect(await poolRow(pooler, database, login.user)).toMatchObject({
      sv_active: reserve + 1,
      cl_waiting: 1,
    });
    const warnings = pooler.lines.slice(warned).filter((line) => line.includes('from reserve_pool'));
    expect(warnings).toHaveLength(reserve);
    for (const line of warnings) expect(line).toMatch(/^WARNING .*taking connection from reserve_pool$/);
  });
});

describe('limits over several pools', () => {
  /** Why threads differ: see docs/decisions/0013-threads.md. */
  const OWN_FIRST =
    'a thread closes its own idle servers before those of others, whichever has rested longer';

  test('max_db_connections counts over all users and makes room by closing the most idle connection', async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', max_db_connections: 2 },
      databases: { ...databases },
      oneLoop: OWN_FIRST,
      userlist,
    });
    const login = { user: C, password: SECRET };
    const first = await pooler.client({ ...alice, database: 'one' });
    const second = await pooler.client({ ...bob, database: 'one' });
    const third = await pooler.client({ ...login, database: 'two' });
    await first.query('SELECT 1');
    await second.query('SELECT 1');
    await third.query('SELECT 1');
    const [older] = await backendPids(pooler, A);
    const [younger] = await backendPids(pooler, B);
    await first.query('SELECT 1');
    // The limit is reached; bob's connection has been idle for longer.
    const fourth = await pooler.client({ ...login, database: 'one' });
    await fourth.query('SELECT 1');
    expect(await backendPids(pooler, A)).toEqual([older]);
    expect(await backendPids(pooler, B)).not.toContain(younger);
    expect(pooler.lines.filter((line) => line.includes('closing because: evicted'))).toHaveLength(1);
    // With all in use there is nothing to close: the next one waits.
    await first.query('BEGIN');
    await fourth.query('BEGIN');
    let isServed = false;
    const answer = second.query('SELECT 1').then(() => {
      isServed = true;
    });
    await poolShows(pooler, 'one', B, { cl_waiting: 1, sv_login: 0 });
    await sweepsPass();
    expect(isServed).toBe(false);
    expect(await backendPids(pooler, A)).toEqual([older]);
    await first.query('COMMIT');
    await answer;
    expect(await backendsOf(pooler, A)).toBe(0);
    for (const client of [first, second, third, fourth]) await client.end();
  });

  test('max_user_connections counts the pool user over all databases and evicts within its pools', async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', max_user_connections: 5 },
      databases: { ...databases, forced: `dbname=postgres user=${A}` },
      users: { [A]: 'max_user_connections=2' },
      userlist,
      oneLoop: OWN_FIRST,
    });
    const first = await pooler.client({ ...alice, database: 'one' });
    const second = await pooler.client({ ...alice, database: 'two' });
    const other = await pooler.client({ ...bob, database: 'one' });
    for (const client of [other, first, second]) await client.query('SELECT 1');
    const bobs = await backendPids(pooler, B);
    // A login as bob, but the pool's user is the one that is full.
    const third = await pooler.client({ ...bob, database: 'forced' });
    await third.query('BEGIN');
    await waitFor(async () => (await backendsOf(pooler, A)) === 2);
    expect(await poolRow(pooler, 'one', A)).toMatchObject({ sv_idle: 0 });
    expect(await poolRow(pooler, 'two', A)).toMatchObject({ sv_idle: 1 });
    expect(await backendPids(pooler, B)).toEqual(bobs);
    await second.query('BEGIN');
    const answer = first.query('SELECT 1');
    await poolShows(pooler, 'one', A, { cl_waiting: 1 });
    await sweepsPass();
    expect(await backendsOf(pooler, A)).toBe(2);
    await third.query('COMMIT');
    await answer;
    expect(await backendsOf(pooler, A)).toBe(2);
    for (const client of [first, second, third, other]) await client.end();
  });
});
