import type pg from 'pg';
import { beforeAll, expect, test } from 'vitest';
import { refusedLogins } from '../support/backends.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { waitFor, within } from '../support/wait-for.ts';
import { byEffort, isFull } from '../support/effort.ts';

const ROLE = 'threads_pause';
const POOL_SIZE = 2;
const CLIENTS = 6;
const ROUNDS = byEffort({ wide: 8, full: 300 });

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await withClient(sharedPostgres(), (client) =>
    client.query(`ALTER ROLE ${ROLE} CONNECTION LIMIT ${POOL_SIZE}`),
  );
});

/** A client that has work all the time, and connects anew when its thread has died. */
class Busy {
  done = 0;
  #isStopped = false;
  readonly #run: Promise<void>;

  constructor(threads: Threads) {
    this.#run = this.#work(threads);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#run;
  }

  async #work(threads: Threads): Promise<void> {
    while (!this.#isStopped) {
      let client: pg.Client | null = null;
      try {
        client = await threads.client({ user: ROLE, database: 'paused' });
        client.on('error', () => {});
        for (; !this.#isStopped; this.done++) await client.query('SELECT pg_sleep(0.002)');
      } catch {
        // Its thread has died.
      } finally {
        await client?.end().catch(() => {});
      }
    }
  }
}

test(
  'when PAUSE is answered, PostgreSQL has no session of the database, wherever its servers were and whoever has died',
  async () => {
    await withSeed(async (random: Random) => {
      await using threads = await Threads.start(
        {
          settings: { pool_mode: 'transaction', default_pool_size: POOL_SIZE, server_login_retry: 0 },
          databases: { paused: 'dbname=postgres' },
          userlist: { [ROLE]: '' },
        },
        3,
      );
      const clients = Array.from({ length: CLIENTS }, () => new Busy(threads));
      const done = () => clients.reduce((sum, client) => sum + client.done, 0);
      await withClient(sharedPostgres(), async (witness) => {
        for (let round = 0; round < ROUNDS; round++) {
          const goal = done() + 10 + random.below(60);
          await waitFor(() => done() >= goal, { what: `work in round ${round}`, deadlineMs: 20_000 });
          // Just before, what it had is nobody's but the main thread's.
          if (random.below(3) === 0) void random.pick(threads.pooler.workforce.threads)?.terminate();
          const database = random.below(2) === 0 ? null : 'paused';
          const reply = await within(threads.ask({ kind: 'pause', database }), 'PAUSE', 30_000);
          const { rows } = await witness.query('SELECT pid, state FROM pg_stat_activity WHERE usename = $1', [
            ROLE,
          ]);
          expect([reply, rows]).toEqual([{ ok: true }, []]);
          expect(await threads.ask({ kind: 'resume', database })).toEqual({ ok: true });
        }
      });
      await Promise.all(clients.map((client) => client.stop()));
      expect(refusedLogins(ROLE)).toEqual([]);
      await waitFor(() => threads.pooler.workforce.threads.length === 3, { what: 'all threads' });
    });
  },
  isFull ? 900_000 : 90_000,
);

test('PAUSE holds when the threads die that have been asked for it', async () => {
  await using threads = await Threads.start(
    {
      settings: { pool_mode: 'transaction', default_pool_size: POOL_SIZE, server_login_retry: 0 },
      databases: { paused: 'dbname=postgres' },
      userlist: { [ROLE]: '' },
    },
    2,
  );
  const client = await threads.client({ user: ROLE, database: 'paused' });
  client.on('error', () => {});
  await client.query('SELECT 1');
  for (const thread of threads.pooler.workforce.threads) void thread.terminate();
  expect(await within(threads.ask({ kind: 'pause', database: 'paused' }), 'PAUSE')).toEqual({ ok: true });
  expect(threads.pooler.keeper.count('server')).toBe(0);
  await waitFor(() => threads.pooler.workforce.threads.length === 2, { what: 'both threads' });
  const databases = await threads.show('SHOW DATABASES');
  expect(databases.find(({ name }) => name === 'paused')).toMatchObject({ paused: 1 });
  expect(await threads.ask({ kind: 'resume', database: 'paused' })).toEqual({ ok: true });
  const next = await threads.client({ user: ROLE, database: 'paused' });
  expect((await next.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await next.end();
});
