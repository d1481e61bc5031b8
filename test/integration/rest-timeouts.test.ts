import { beforeAll, describe, expect, test } from 'vitest';
import { backendPids, Holders, poolRow, poolShows } from '../support/backends.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { fatal, refusalOf } from '../support/refusals.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { expectStruckAfter, sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

const A = 'rest_a';
const B = 'rest_b';
const alice = { user: A, password: '', database: 'one' };

beforeAll(async () => {
  const postgres = sharedPostgres();
  for (const name of [A, B]) await createRole(postgres, { name, auth: 'trust' });
  for (const name of ['rest_one', 'rest_two']) await createDatabase(postgres, name);
});

/** Transaction mode, one server connection per pool. */
function start(options: NonNullable<Parameters<typeof startPooler>[0]>): Promise<LocalPooler> {
  return startPooler({
    userlist: { [A]: '', [B]: '' },
    ...options,
    settings: { pool_mode: 'transaction', default_pool_size: 1, ...options.settings },
  });
}

describe.concurrent('limits on rest and age of server connections', () => {
  test('server_idle_timeout closes what nobody uses, down to min_pool_size', async () => {
    await using pooler = await start({
      settings: { default_pool_size: 3, server_idle_timeout: 3 },
      databases: { one: 'dbname=rest_one', two: 'dbname=rest_two min_pool_size=1' },
    });
    let startMs = Number.POSITIVE_INFINITY;
    for (const database of ['one', 'two']) {
      await using holders = await new Holders().add(pooler, 3, { ...alice, database });
      await waitFor(() => holders.holding === 3);
      startMs = Math.min(startMs, performance.now());
      for (const client of holders.clients) await client.query('COMMIT');
    }
    const anchor = await pooler.client({ ...alice, database: 'two' });
    expect(await poolRow(pooler, 'one', A)).toMatchObject({ sv_active: 0, sv_idle: 3 });
    await poolShows(pooler, 'one', A, { sv_idle: 0, sv_used: 0 });
    // The first of them has rested a little longer.
    expectStruckAfter(2.95, startMs);
    await poolShows(pooler, 'two', A, { sv_idle: 1 });
    const [last] = pooler.lines.filter((line) => line.includes('closing because: server idle timeout'));
    expect(last).toMatch(/^LOG S-0x/);
    await sweepsPass(3);
    expect(await poolRow(pooler, 'two', A)).toMatchObject({ sv_idle: 1 });
    await anchor.end();
  });

  test('server_lifetime replaces a connection at rest or on release; that of a database goes before', async () => {
    await using pooler = await start({
      settings: { server_lifetime: 3 },
      databases: { one: 'dbname=rest_one', two: 'dbname=rest_two server_lifetime=1000' },
    });
    const pidOf = async (database: string): Promise<number | undefined> => {
      const client = await pooler.client({ ...alice, database });
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await client.end();
      return rows[0]?.pid;
    };
    const startMs = performance.now();
    const [first, lasting] = [await pidOf('one'), await pidOf('two')];
    expect(await pidOf('one')).toBe(first);
    // In use beyond its time: it stays until it is released.
    const client = await pooler.client(alice);
    await client.query('BEGIN');
    await client.query('SELECT pg_sleep(3.4)');
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    expect(rows[0]?.pid).toBe(first);
    await client.query('COMMIT');
    expectStruckAfter(3.4, startMs);
    const second = await pidOf('one');
    expect(second).not.toBe(first);
    expect(await pidOf('two')).toBe(lasting);
    // At rest the sweep sees to it.
    await waitFor(async () => !(await backendPids(pooler, A)).includes(second ?? 0));
    expect(
      pooler.lines.filter((line) => line.includes('closing because: server lifetime over')),
    ).toHaveLength(2);
    await client.end();
  });
});

describe.concurrent('limits on unused pools', () => {
  test('autodb_idle_timeout forgets a database that was made from * and that nobody uses', async () => {
    await using pooler = await start({
      settings: { autodb_idle_timeout: 0.5, server_idle_timeout: 0.3 },
      databases: { '*': '', kept: 'dbname=rest_one' },
    });
    const client = await pooler.client({ ...alice, database: 'rest_two' });
    await client.query('SELECT 1');
    await sweepsPass(3);
    const names = async (): Promise<unknown[]> =>
      (await pooler.show('SHOW DATABASES')).map((row) => row['name']);
    expect(await names()).toEqual(['kept', 'pgbouncer', 'rest_two']);
    await client.end();
    const leftMs = performance.now();
    await waitFor(async () => (await names()).length === 2);
    expectStruckAfter(0.5, leftMs);
    expect(await names()).toEqual(['kept', 'pgbouncer']);
    expect(await poolRow(pooler, 'rest_two', A)).toBe(undefined);
    expect(pooler.lines).toContain(
      "WARNING dropping database 'rest_two' as it does not exist anymore or inactive auto-database",
    );
  });

  test('autodb_idle_timeout does not undo DISABLE', async () => {
    await using pooler = await start({
      settings: { autodb_idle_timeout: 0.3, server_login_retry: 0.3 },
      databases: { '*': '', kept: 'dbname=rest_one' },
    });
    await pooler.show('DISABLE rest_two');
    await sweepsPass(4);
    const disabled = fatal('database "rest_two" is disabled');
    expect(await refusalOf(pooler.client({ ...alice, database: 'rest_two' }))).toEqual(disabled);
    await pooler.show('ENABLE rest_two');
    await waitFor(async () => (await pooler.show('SHOW DATABASES')).length === 2);
  });

  test('pool_idle_timeout forgets a pool without clients and servers, but no forced user’s min_pool_size', async () => {
    await using pooler = await start({
      settings: { pool_idle_timeout: 0.5, server_idle_timeout: 0.3 },
      databases: {
        one: 'dbname=rest_one',
        forced: `dbname=rest_two user=${B} min_pool_size=1`,
        empty: `dbname=rest_missing user=${B} min_pool_size=1`,
      },
    });
    const client = await pooler.client(alice);
    await client.query('SELECT 1');
    await sweepsPass(4);
    expect(await poolRow(pooler, 'one', A)).toMatchObject({ cl_active: 1 });
    await client.end();
    const leftMs = performance.now();
    await waitFor(async () => (await poolRow(pooler, 'one', A)) === undefined);
    expectStruckAfter(0.5, leftMs);
    await sweepsPass(3);
    expect(await poolRow(pooler, 'forced', B)).toMatchObject({ sv_idle: 1 });
    // Its database doesn't exist, so nothing is connected: it stays all the same.
    expect(await poolRow(pooler, 'empty', B)).toMatchObject({ sv_idle: 0 });
  });
});
