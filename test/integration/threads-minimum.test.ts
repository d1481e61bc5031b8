import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { refusedLogins } from '../support/backends.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { waitFor } from '../support/wait-for.ts';

const FORCED = 'threads_min_forced';
const GUEST = 'threads_min_guest';
const SPREAD = 'threads_min_spread';
const MINIMUM = 3;
const POOL_SIZE = 6;

beforeAll(async () => {
  // PostgreSQL is the witness: where nothing but min_pool_size opens connections, one more is refused there, unless a thread
  // has died, whose server is replaced before PostgreSQL has ended it.
  const limits = { [FORCED]: MINIMUM, [GUEST]: MINIMUM, [SPREAD]: POOL_SIZE };
  for (const [name, limit] of Object.entries(limits)) {
    await createRole(sharedPostgres(), { name, auth: 'trust' });
    await withClient(sharedPostgres(), (client) =>
      client.query(`ALTER ROLE ${name} CONNECTION LIMIT ${limit}`),
    );
  }
});

/** Sessions of a role that PostgreSQL has now. */
async function backends(witness: pg.Client, user: string): Promise<number> {
  const { rows } = await witness.query<{ n: number }>(
    'SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = $1',
    [user],
  );
  return rows[0]?.n ?? 0;
}

describe.each([2, 4])('with workers = %i', (count) => {
  test('a pool is filled up to min_pool_size, once for all threads', async () => {
    await using threads = await Threads.start(
      {
        settings: { default_pool_size: 20, server_login_retry: 0 },
        databases: {
          forced: `dbname=postgres user=${FORCED} min_pool_size=${MINIMUM}`,
          guest: `dbname=postgres min_pool_size=${MINIMUM}`,
        },
        userlist: { [FORCED]: '', [GUEST]: '' },
      },
      count,
    );
    await withClient(sharedPostgres(), async (witness) => {
      await waitFor(async () => (await backends(witness, FORCED)) === MINIMUM);
      expect(await backends(witness, GUEST)).toBe(0);
      // A client on each thread, which does nothing.
      const clients = await Promise.all(
        Array.from({ length: count }, () => threads.client({ user: GUEST, database: 'guest' })),
      );
      await waitFor(async () => (await backends(witness, GUEST)) === MINIMUM);
      await sweepsPass(5);
      expect([await backends(witness, FORCED), await backends(witness, GUEST)]).toEqual([MINIMUM, MINIMUM]);
      // What a dead thread has had is opened again, by whichever.
      for (let death = 0; death < 2; death++) {
        await threads.pooler.workforce.threads[death]?.terminate();
        await waitFor(() => threads.pooler.workforce.threads.length === count, { what: 'all threads' });
        await sweepsPass(3);
        await waitFor(async () => (await backends(witness, FORCED)) === MINIMUM);
      }
      expect(await backends(witness, FORCED)).toBe(MINIMUM);
      await Promise.all(clients.map((client) => client.end().catch(() => {})));
    });
    expect(threads.lines.filter((line) => line.startsWith('ERROR') && !line.includes('has died'))).toEqual(
      [],
    );
  });

  test('idle servers are closed down to it, and never below', async () => {
    await using threads = await Threads.start(
      {
        settings: { pool_mode: 'transaction', default_pool_size: POOL_SIZE, server_login_retry: 0 },
        databases: { spread: `dbname=postgres user=${SPREAD} min_pool_size=${MINIMUM}` },
        userlist: { [SPREAD]: '' },
      },
      count,
    );
    await withClient(sharedPostgres(), async (witness) => {
      const clients = await Promise.all(
        Array.from({ length: POOL_SIZE }, () => threads.client({ user: SPREAD, database: 'spread' })),
      );
      for (const client of clients) await client.query('BEGIN');
      expect(await backends(witness, SPREAD)).toBe(POOL_SIZE);
      for (const client of clients) await client.query('COMMIT');
      // All of them are idle for too long at the same time.
      expect(await threads.ask({ kind: 'set', key: 'server_idle_timeout', value: '1' })).toMatchObject({
        ok: true,
      });
      let fewest = POOL_SIZE;
      await waitFor(async () => {
        fewest = Math.min(fewest, await backends(witness, SPREAD));
        return fewest <= MINIMUM;
      });
      await sweepsPass(5);
      expect([fewest, await backends(witness, SPREAD)]).toEqual([MINIMUM, MINIMUM]);
      const closed = threads.lines.filter((line) => line.includes('closing because: server idle timeout'));
      expect(closed).toHaveLength(POOL_SIZE - MINIMUM);
      await Promise.all(clients.map((client) => client.end()));
    });
    expect(refusedLogins(SPREAD)).toEqual([]);
  });

  test('a smaller pool_size closes what is too much, once for all threads', async () => {
    await using threads = await Threads.start(
      {
        settings: { pool_mode: 'transaction', default_pool_size: POOL_SIZE, server_login_retry: 0 },
        userlist: { [SPREAD]: '' },
      },
      count,
    );
    await withClient(sharedPostgres(), async (witness) => {
      const clients = await Promise.all(
        Array.from({ length: POOL_SIZE }, () => threads.client({ user: SPREAD, database: 'postgres' })),
      );
      for (const client of clients) await client.query('BEGIN');
      for (const client of clients) await client.query('COMMIT');
      expect(await threads.ask({ kind: 'set', key: 'default_pool_size', value: '2' })).toMatchObject({
        ok: true,
      });
      await waitFor(async () => (await backends(witness, SPREAD)) === 2, { what: 'two servers' });
      await sweepsPass(3);
      expect(await backends(witness, SPREAD)).toBe(2);
      await Promise.all(clients.map((client) => client.end()));
    });
    expect(refusedLogins(SPREAD)).toEqual([]);
  });
});
