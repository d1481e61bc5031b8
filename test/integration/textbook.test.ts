import { expect, test } from 'vitest';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { startPooler } from '../support/pooler.ts';
import { connectTo, sharedPostgres, startPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';

/** When one query ran, by PostgreSQL's clock in seconds, and in which backend. */
interface Span {
  readonly began: number;
  readonly ended: number;
  readonly pid: number;
}

/** Runs until nobody holds the gate, an advisory lock. */
const PASS_GATE = `SELECT extract(epoch FROM clock_timestamp())::float8 AS began,
                          pg_advisory_xact_lock_shared($1),
                          extract(epoch FROM clock_timestamp())::float8 AS ended,
                          pg_backend_pid() AS pid`;

/** How many queries ran at once, at most. */
function largestOverlap(spans: readonly Span[]): number {
  return Math.max(
    ...spans.map(
      (one) => spans.filter((other) => other.began <= one.began && one.began < other.ended).length,
    ),
  );
}

test('of ten clients with a query each over a pool of five, five run, and five more once those have ended', async () => {
  const gate = 4_719_552;
  await using pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 5 },
  });
  const clients = await Promise.all(Array.from({ length: 10 }, () => pooler.client()));
  await withClient(sharedPostgres(), async (keeper) => {
    const held = async () => {
      const { rows } = await keeper.query<{ pid: number }>(
        `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted`,
        [gate],
      );
      return rows.map(({ pid }) => pid).toSorted((a, b) => a - b);
    };
    await keeper.query('SELECT pg_advisory_lock($1)', [gate]);
    const answers = clients.map(async (client) => {
      const { rows } = await client.query<Span>(PASS_GATE, [gate]);
      return rows[0] as Span;
    });
    const first = await waitFor(
      async () => {
        const pids = await held();
        return pids.length === 5 ? pids : null;
      },
      { what: 'five queries at the gate' },
    );
    const { rows } = await keeper.query<{ now: number }>(
      'SELECT extract(epoch FROM clock_timestamp())::float8 AS now, pg_advisory_unlock($1)',
      [gate],
    );
    const opened = rows[0]?.now ?? 0;
    const spans = (await Promise.all(answers)).toSorted((a, b) => a.began - b.began);

    const early = spans.filter(({ began }) => began < opened);
    expect(early.map(({ pid }) => pid).toSorted((a, b) => a - b)).toEqual(first);
    expect(largestOverlap(spans)).toBe(5);
    // The others have waited for those, and for no more servers than the pool has.
    expect(spans.slice(5).every(({ began, pid }) => began > opened && first.includes(pid))).toBe(true);
    expect(spans).toHaveLength(10);
  });
  await Promise.all(clients.map((client) => client.end()));
});

/** How many sessions a database has seen, once all of them are over and counted. */
async function finishedSessions(database: string): Promise<number> {
  return withClient(sharedPostgres(), async (observer) => {
    await waitFor(
      async () => {
        const open = await observer.query('SELECT 1 FROM pg_stat_activity WHERE datname = $1', [database]);
        return open.rowCount === 0;
      },
      { what: `the end of all sessions in ${database}` },
    );
    const { rows } = await observer.query<{ sessions: string }>(
      'SELECT sessions FROM pg_stat_database WHERE datname = $1',
      [database],
    );
    return Number(rows[0]?.sessions);
  });
}

async function oneQueryPerConnection(address: PostgresAddress, database: string, count: number) {
  const answers: string[] = [];
  const one = (i: number) =>
    withClient(
      address,
      async (client) => {
        const { rows } = await client.query<{ n: string }>('SELECT $1::text AS n', [String(i)]);
        answers.push(rows[0]?.n ?? '');
      },
      { database },
    );
  // Ten at a time, so that the pool is full.
  for (let i = 0; i < count; i += 10) await Promise.all(Array.from({ length: 10 }, (_, k) => one(i + k)));
  return answers;
}

test('queries with a connection each cost a session each directly, and at most five through a pool of five', async () => {
  const database = 'textbook_sessions';
  const count = 60;
  await createDatabase(sharedPostgres(), database);
  const before = await finishedSessions(database);
  expect(await oneQueryPerConnection(sharedPostgres(), database, count)).toHaveLength(count);
  const direct = await finishedSessions(database);
  {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 5 },
    });
    const answers = await oneQueryPerConnection(pooler.address, database, count);
    expect(answers.toSorted((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: count }, (_, i) => String(i)),
    );
  }
  const pooled = await finishedSessions(database);
  expect(direct - before).toBe(count);
  expect(pooled - direct).toBeGreaterThanOrEqual(1);
  expect(pooled - direct).toBeLessThanOrEqual(5);
});

/** What a connection attempt is told. */
async function refusal(attempt: Promise<{ end(): Promise<void> }>): Promise<{ code: unknown; text: string }> {
  try {
    const client = await attempt;
    await client.end();
  } catch (error) {
    return { code: Reflect.get(error as Error, 'code'), text: (error as Error).message };
  }
  return { code: null, text: 'was let in' };
}

test('with every slot of PostgreSQL taken, clients get its own refusal, and are served once slots are free', async () => {
  await using postgres = await startPostgres({
    settings: { max_connections: 4, superuser_reserved_connections: 0 },
  });
  const role = 'textbook_app';
  await createRole(postgres.address, { name: role, auth: 'trust' });
  await using pooler = await startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 20, server_login_retry: 0.3 },
    userlist: { [role]: '' },
  });
  const holders = await Promise.all(Array.from({ length: 4 }, () => connectTo(postgres.address)));
  const login = { user: role };
  const own = await refusal(connectTo(postgres.address, login));
  expect(own).toEqual({ code: '53300', text: 'sorry, too many clients already' });
  const told = await Promise.all(Array.from({ length: 8 }, () => refusal(pooler.client(login))));
  expect(told).toEqual(Array.from({ length: 8 }, () => own));

  await Promise.all(holders.map((holder) => holder.end()));
  const client = await waitFor(() => pooler.client(login).catch(() => null), { what: 'a login' });
  const { rows } = await client.query<{ role: string }>('SELECT current_user AS role');
  expect(rows).toEqual([{ role }]);
  await client.end();
});

test('a pool larger than what PostgreSQL has free serves everyone on the connections it could get', async () => {
  await using postgres = await startPostgres({
    settings: { max_connections: 4, superuser_reserved_connections: 0 },
  });
  await using pooler = await startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 20, server_login_retry: 0.3 },
  });
  const clients = await Promise.all(Array.from({ length: 12 }, () => pooler.client()));
  const answers = await Promise.all(
    clients.map(async (client, i) => {
      const { rows } = await client.query<{ i: number }>('SELECT $1::int AS i, pg_sleep(0.2)', [i]);
      return rows[0]?.i;
    }),
  );
  expect(answers).toEqual(clients.map((_, i) => i));
  expect(postgres.log()).toContain('sorry, too many clients already');
  await Promise.all(clients.map((client) => client.end()));
});
