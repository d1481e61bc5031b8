import type pg from 'pg';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { refusedLogins } from '../support/backends.ts';
import { INSPECTED, Inspector } from '../support/inspector.ts';
import { type SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'dying_threads';
const POOL_SIZE = 4;
/** Of each of the two threads. */
const CLIENTS = 4;
/** Of V8's heap, of each thread. */
const HEAP_MIB = 128;

beforeAll(() =>
  // PostgreSQL itself is the witness: one connection too many, and it refuses the login.
  createRole(sharedPostgres(), { name: ROLE, auth: 'trust', options: `CONNECTION LIMIT ${POOL_SIZE}` }),
);

/** A client whose transactions are of several queries, one behind the other, until it is told to stop or cut off. */
class Busy {
  done = 0;
  wrong = 0;
  isCut = false;
  #isStopped = false;
  readonly #run: Promise<void>;
  readonly #client: pg.Client;

  constructor(client: pg.Client) {
    this.#client = client;
    client.once('end', () => {
      this.isCut = !this.#isStopped;
    });
    this.#run = this.#work();
  }

  /** Rejects with what has gone wrong without an end of the connection. */
  async stop(): Promise<pg.Client> {
    this.#isStopped = true;
    await this.#run;
    return this.#client;
  }

  async #work(): Promise<void> {
    const client = this.#client;
    while (!this.#isStopped && !this.isCut) {
      const text = `${this.done}`;
      try {
        await client.query('BEGIN');
        const { rows } = await client.query('SELECT $1::text AS text, pg_sleep(0.002)', [text]);
        if (rows[0]?.text !== text) this.wrong++;
        await client.query('COMMIT');
        this.done++;
      } catch (error) {
        await waitFor(() => this.isCut, { what: `an end of the connection behind: ${String(error)}` });
      }
    }
  }
}

interface Stage {
  readonly pooler: SpawnedPooler;
  readonly inspector: Inspector;
}

/** Two threads, whose heaps are soon full. */
async function start(): Promise<Stage> {
  const pooler = await spawnPooler({
    own: { workers: 2 },
    settings: {
      pool_mode: 'transaction',
      default_pool_size: POOL_SIZE,
      server_login_retry: 0,
      log_connections: 0,
      log_disconnections: 0,
    },
    userlist: { [ROLE]: '' },
    // Holds for all threads, over their own limits.
    nodeArgs: [INSPECTED, `--max-old-space-size=${HEAP_MIB}`],
  });
  onTestFinished(() => pooler[Symbol.asyncDispose]());
  const inspector = await Inspector.of(() => pooler.stderr);
  onTestFinished(() => inspector[Symbol.dispose]());
  return { pooler, inspector };
}

/** As many more as there are places for, where connections go to the thread with the fewest. */
async function fill(pooler: SpawnedPooler, living: readonly Busy[]): Promise<Busy[]> {
  const clients = [...living];
  while (clients.length < 2 * CLIENTS)
    clients.push(new Busy(await pooler.client({ user: ROLE, database: 'postgres', password: '' })));
  const workers = await pooler.show('SHOW WORKERS');
  expect(workers.map(({ state, clients: count }) => [state, count])).toEqual([
    ['serving', CLIENTS],
    ['serving', CLIENTS],
  ]);
  await goOn(clients);
  return clients;
}

async function goOn(clients: readonly Busy[], more = 20): Promise<void> {
  const goals = clients.map(({ done }) => done + more);
  await waitFor(() => clients.every(({ done }, i) => done >= (goals[i] as number)), {
    what: `${more} transactions of each client`,
  });
}

/** All servers that there may be are to be had at the same time. */
async function useAll(clients: readonly pg.Client[]): Promise<void> {
  const some = clients.slice(0, POOL_SIZE);
  await Promise.all(some.map((client) => client.query('BEGIN')));
  await Promise.all(some.map((client) => client.query('COMMIT')));
}

const HEAP =
  'Error [ERR_WORKER_OUT_OF_MEMORY]: Worker terminated due to reaching memory limit: JS heap out of memory';
/** What the first thread runs, and what the log says of its end. */
const deaths: readonly (readonly [how: string, script: string, why: string])[] = [
  ['of an error that nobody catches', "throw new RangeError('a bug of ours')", 'RangeError: a bug of ours'],
  [
    'of a heap that is full',
    'const kept = []; const more = () => { kept.push(new Array(50_000).fill({})); setImmediate(more); }; more();',
    HEAP,
  ],
];

test.each(deaths)(
  'a thread that dies %s takes its own clients with it alone, leaves no server taken, and the log says why',
  { timeout: 120_000 },
  async (_how, script, why) => {
    const { pooler, inspector } = await start();
    let clients = await fill(pooler, []);
    for (let life = 1; life <= 2; life++) {
      await inspector.run('pgweir-1', script);
      await waitFor(() => clients.filter(({ isCut }) => isCut).length === CLIENTS, {
        what: `the end of ${CLIENTS} clients`,
        deadlineMs: 50_000,
      });
      const living = clients.filter(({ isCut }) => !isCut);
      await goOn(living);
      await waitFor(() => pooler.stderr.split('worker 1 serves again').length === life + 1, {
        what: 'another thread in its place',
      });
      expect(pooler.stderr.split(`worker 1 has died, and its clients with it: ${why}`)).toHaveLength(
        life + 1,
      );
      for (const client of clients)
        expect([client.isCut, client.wrong]).toEqual([!living.includes(client), 0]);
      clients = await fill(pooler, living);
    }
    expect(pooler.stderr).not.toContain('worker 2 has died');
    const idle = await Promise.all(clients.map((client) => client.stop()));
    expect(clients.map(({ isCut, wrong }) => [isCut, wrong])).toEqual(clients.map(() => [false, 0]));
    // Of either thread.
    await useAll(idle);
    await useAll(idle.toReversed());
    await Promise.all(idle.map((client) => client.end()));
    expect(refusedLogins(ROLE)).toEqual([]);
    await waitFor(async () => {
      const pools = await pooler.show('SHOW POOLS');
      return pools.some(
        ({ user, cl_active, sv_active, sv_idle }) =>
          user === ROLE && cl_active === 0 && sv_active === 0 && Number(sv_idle) <= POOL_SIZE,
      );
    });
  },
);
