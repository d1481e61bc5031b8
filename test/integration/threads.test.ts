import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ThreadedPooler } from '../../src/daemon/threads.ts';
import { readdirSync, readFileSync } from 'node:fs';
import { refusedLogins } from '../support/backends.ts';
import { writePoolerConfig } from '../support/pooler-config.ts';
import { connectTo, sharedPostgres, withClient } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { waitFor } from '../support/wait-for.ts';
import { byEffort } from '../support/effort.ts';

const role = 'threads_app';
const POOL_SIZE = 3;
const CLIENTS = 12;
const STEPS = byEffort({ wide: 12, full: 60 });
const TIMEOUT_MS = byEffort({ wide: 60_000, full: 900_000 });

let stage: Threads;
let pooler: ThreadedPooler;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: role, auth: 'trust' });
  // PostgreSQL itself is the witness: one connection too many, and it refuses the login.
  await withClient(sharedPostgres(), (client) =>
    client.query(`ALTER ROLE ${role} CONNECTION LIMIT ${POOL_SIZE}`),
  );
  stage = await Threads.start(
    {
      settings: {
        pool_mode: 'transaction',
        default_pool_size: POOL_SIZE,
        max_client_conn: 100,
        server_login_retry: 0,
      },
      userlist: { [role]: '' },
    },
    2,
  );
  pooler = stage.pooler;
});
afterAll(() => stage?.[Symbol.asyncDispose]());

const address = () => stage.address;
const connect = (): Promise<pg.Client> => stage.client({ user: role, database: 'postgres' });
const show = (command: string) => stage.show(command);
const refusals = () => refusedLogins(role);
const fds = () => readdirSync('/proc/self/fd').length;
/** What the kernel keeps for batches: for each thread one. */
const rings = () => readFileSync('/proc/self/maps', 'utf8').split('[aio]').length - 1;

test('the clients of all threads share one pool, and SHOW tells of all of them', async () => {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, connect));
  const pids = new Set<number>();
  const answers = await Promise.all(
    clients.map(async (client, i) => {
      const { rows } = await client.query<{ n: number; pid: number }>(
        'SELECT $1::int AS n, pg_backend_pid() AS pid, pg_sleep(0.02)',
        [i],
      );
      pids.add(rows[0]?.pid ?? 0);
      return rows[0]?.n;
    }),
  );
  expect(answers).toEqual(clients.map((_, i) => i));
  expect(pids.size).toBeLessThanOrEqual(POOL_SIZE);
  expect(await show('SHOW CLIENTS')).toHaveLength(CLIENTS + 1);
  const pools = (await show('SHOW POOLS')).filter(({ user }) => user === role);
  expect(pools).toMatchObject([{ database: 'postgres', cl_active: CLIENTS, cl_waiting: 0 }]);
  const [lists] = (await show('SHOW LISTS')).filter(({ list }) => list === 'used_clients');
  expect(lists).toEqual({ list: 'used_clients', items: CLIENTS + 1 });
  // Both threads have had their share.
  expect(pooler.workforce.connections.every((count) => count >= CLIENTS / 2)).toBe(true);
  expect(pooler.keeper.count('server', { database: 'postgres', user: role })).toBeLessThanOrEqual(POOL_SIZE);
  await Promise.all(clients.map((client) => client.end()));
  expect(refusals()).toEqual([]);
});

test('a server goes to the thread where somebody waits for it, and is the same there', async () => {
  const set = (value: number) =>
    pooler.control.request(
      { kind: 'set', key: 'default_pool_size', value: String(value) },
      new AbortController().signal,
    );
  expect(await set(1)).toMatchObject({ ok: true });
  expect(
    await pooler.control.request({ kind: 'reconnect', database: null }, new AbortController().signal),
  ).toMatchObject({ ok: true });
  await waitFor(() => pooler.keeper.count('server') === 0, { what: 'the end of earlier servers' });
  const clients = [await connect(), await connect()];
  const pids = new Set<number>();
  for (let round = 0; round < 20; round++) {
    for (const client of clients) {
      const { rows } = await client.query<{ pid: number; n: number }>({
        name: `statement ${round % 3}`,
        text: `SELECT pg_backend_pid() AS pid, ${round % 3} AS n`,
      });
      pids.add(rows[0]?.pid ?? 0);
      expect(rows[0]?.n).toBe(round % 3);
    }
  }
  expect(pids.size).toBe(1);
  // Both have sent, and what was sent has arrived.
  const workers = await show('SHOW WORKERS');
  expect(workers.map(({ worker, state }) => [worker, state])).toEqual([
    [1, 'serving'],
    [2, 'serving'],
  ]);
  const total = (column: string) => workers.map((row) => Number(row[column]));
  expect(Math.min(...total('total_sent'))).toBeGreaterThan(0);
  expect(total('total_received')).toEqual(total('total_sent').toReversed());
  expect(total('total_reopened')).toEqual([0, 0]);
  expect(total('clients').reduce((sum, count) => sum + count)).toBe(clients.length);
  expect(total('servers').reduce((sum, count) => sum + count)).toBe(1);
  // As soon as it has been published.
  await waitFor(async () => (await show('SHOW WORKERS')).every((row) => Number(row['cpu_ms']) > 0));
  // Whichever thread had them prepared, a text has one name.
  const prepared = await clients[0]?.query<{ count: string }>('SELECT count(*) FROM pg_prepared_statements');
  expect(prepared?.rows[0]?.count).toBe('3');
  // While one keeps it busy, the other has its turn.
  let isOver = false;
  const busy = (async () => {
    let done = 0;
    for (; !isOver; done++) await clients[0]?.query('SELECT 1');
    return done;
  })();
  for (let turn = 0; turn < 10; turn++) await clients[1]?.query('SELECT 2');
  isOver = true;
  expect(await busy).toBeGreaterThan(0);
  expect(await set(POOL_SIZE)).toMatchObject({ ok: true });
  await Promise.all(clients.map((client) => client.end()));
  expect(refusals()).toEqual([]);
});

test('a cancel request finds its client on whichever thread', async () => {
  const clients = await Promise.all([connect(), connect()]);
  for (const client of clients) {
    const sleeping = client.query('SELECT pg_sleep(30)');
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
    // Each request may come to either thread: several of them, until one has met the query.
    let isOver = false;
    const ended = sleeping.then(
      () => 'done',
      (error: Error & { code?: string }) => error.code,
    );
    void ended.then(() => {
      isOver = true;
    });
    await waitFor(async () => {
      const canceller = new (client.constructor as new (config: object) => pg.Client & { connection: never })(
        {
          host: '127.0.0.1',
          port: address().port,
        },
      );
      const { connection } = canceller as unknown as {
        connection: {
          connect(port: number, host: string): void;
          cancel(pid: number, key: number): void;
          once(event: string, run: () => void): void;
          stream: { destroy(): void };
        };
      };
      const gone = Promise.withResolvers<void>();
      connection.once('connect', () => connection.cancel(processID, secretKey));
      connection.once('end', () => gone.resolve());
      connection.connect(address().port, '127.0.0.1');
      await gone.promise;
      return isOver;
    });
    expect(await ended).toBe('57014');
  }
  await Promise.all(clients.map((client) => client.end()));
});

test('connections before login are bounded over all threads, and those of a dead one count no more', async () => {
  const set = (value: number) =>
    pooler.control.request(
      { kind: 'set', key: 'max_login_conn', value: String(value) },
      new AbortController().signal,
    );
  const dial = async (): Promise<Socket> => {
    const socket = createConnection(address().port, '127.0.0.1').on('error', () => {});
    await once(socket, 'connect');
    return socket;
  };
  const refusal = async (): Promise<string> => {
    const [told] = (await once(await dial(), 'data')) as [Buffer];
    return told.toString('latin1');
  };
  const inLogin = () => pooler.keeper.count('login');
  const areEmpty = () => pooler.workforce.connections.every((count) => count === 0);
  await waitFor(areEmpty, { what: 'the end of earlier connections' });
  expect(await set(4)).toMatchObject({ ok: true });
  const silent = await Promise.all(Array.from({ length: 4 }, dial));
  await waitFor(() => inLogin() === 4);
  // Two are with each thread, and neither takes one more.
  for (let i = 0; i < 4; i++) expect(await refusal()).toContain('max_login_conn_per_address');
  const lives = async () => pooler.control.snapshot('workers');
  const [first, second] = await lives();
  await pooler.workforce.threads[0]?.terminate();
  await waitFor(() => inLogin() === 2, { what: 'the places of the dead thread' });
  await waitFor(() => pooler.workforce.threads.length === 2, { what: 'both threads' });
  const after = await lives();
  expect(after.map(({ state }) => state)).toEqual(['serving', 'serving']);
  expect(after[0]?.startWallMs).toBeGreaterThan(first?.startWallMs ?? 0);
  expect(after[1]?.startWallMs).toBe(second?.startWallMs);
  silent.push(await dial(), await dial());
  await waitFor(() => inLogin() === 4);
  expect(await refusal()).toContain('max_login_conn_per_address');
  for (const socket of silent) socket.destroy();
  await waitFor(() => inLogin() === 0);
  expect(await set(-1)).toMatchObject({ ok: true });
});

/** Transactions of a connection, so that a thread that has begun later has clients, too. */
const TRANSACTIONS = 30;

/** Runs transactions on one connection after the other, also when it is cut, until told to stop; counts those that were committed. */
class Worker {
  done = 0;
  wrong = 0;
  #isStopped = false;
  readonly #run: Promise<void>;

  constructor(number: number) {
    this.#run = this.#work(number);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#run;
  }

  async #work(number: number): Promise<void> {
    while (!this.#isStopped) {
      let client: pg.Client | null = null;
      try {
        client = await connect();
        client.on('error', () => {});
        for (let i = 0; i < TRANSACTIONS && !this.#isStopped; i++) {
          const { rows } = await client.query<{ answer: string }>('SELECT $1::text AS answer', [
            `${number}.${i}`,
          ]);
          if (rows[0]?.answer !== `${number}.${i}`) this.wrong++;
          this.done++;
        }
        await client.end();
      } catch {
        await client?.end().catch(() => {});
      }
    }
  }
}

test(
  'limits hold while threads die and start again, and what they had comes back',
  async () => {
    await withSeed(async (random: Random) => {
      const before = fds();
      const ringsBefore = rings();
      const workers = Array.from({ length: CLIENTS }, (_, number) => new Worker(number));
      const all = () => workers.reduce((sum, { done }) => sum + done, 0);
      // Of each thread that there has been: its counter begins with it.
      const sent = new Map<string, number>();
      const moves = async (): Promise<number> => {
        for (const { worker, startWallMs, moves } of await pooler.control.snapshot('workers'))
          sent.set(`${worker} of ${startWallMs}`, moves.sent);
        return [...sent.values()].reduce((sum, count) => sum + count, 0);
      };
      const admin = await connectTo(address(), { database: 'pgbouncer' });
      admin.on('error', () => {});
      for (let step = 0; step < STEPS; step++) {
        const goal = all() + 50;
        await waitFor(() => all() >= goal, { what: `progress in step ${step}`, deadlineMs: 20_000 });
        const movesBefore = await moves();
        switch (step === 0 ? 0 : random.below(3)) {
          case 0:
            await random.pick(pooler.workforce.threads)?.terminate();
            // The other one has all servers by now, and clients who wait for them come to the next as well.
            if (step === 0)
              await waitFor(async () => (await moves()) > movesBefore, { what: 'moves of servers' });
            break;
          case 1: {
            const reply = await pooler.control.request({ kind: 'reload' }, new AbortController().signal);
            expect(reply.ok).toBe(true);
            break;
          }
          default: {
            const ask = (kind: 'reconnect' | 'pause' | 'resume') =>
              pooler.control.request({ kind, database: null }, new AbortController().signal);
            if (random.below(2) === 0) expect((await ask('reconnect')).ok).toBe(true);
            else {
              expect((await ask('pause')).ok).toBe(true);
              expect((await ask('resume')).ok).toBe(true);
            }
          }
        }
        expect(pooler.keeper.count('server', { database: 'postgres', user: role })).toBeLessThanOrEqual(
          POOL_SIZE,
        );
      }
      await waitFor(() => pooler.workforce.threads.length === 2, { what: 'both threads' });
      await Promise.all(workers.map((worker) => worker.stop()));
      await admin.end().catch(() => {});
      expect(workers.map(({ wrong }) => wrong)).toEqual(workers.map(() => 0));
      await waitFor(() => pooler.keeper.count('client') === 0, { what: 'the end of all clients' });
      await pooler.control.request({ kind: 'kill', database: null }, new AbortController().signal);
      await waitFor(() => pooler.keeper.count('server') === 0, { what: 'the end of all servers' });
      await pooler.control.request({ kind: 'resume', database: null }, new AbortController().signal);
      // Those that a dead thread had begun, too.
      expect(refusals()).toEqual([]);
      expect(rings()).toBe(ringsBefore);
      await waitFor(() => fds() <= before + 4, { what: `descriptors: ${before} before, ${fds()} now` });
    });
  },
  TIMEOUT_MS,
);

test('a thread that cannot be started is tried again, and the log says why', async () => {
  await using threads = await Threads.start({ userlist: { [role]: '' } }, 2);
  // What cannot be handed over keeps it from being started, as a system does that has no thread to give.
  const config: { unknown?: () => void } = threads.config as object;
  config.unknown = () => {};
  await threads.pooler.workforce.threads[0]?.terminate();
  const why = /^ERROR worker 1 cannot be started: .*could not be cloned/;
  await waitFor(() => threads.lines.some((line) => why.test(line)), { what: 'the reason in the log' });
  delete config.unknown;
  await waitFor(() => threads.pooler.workforce.threads.length === 2, { what: 'both threads' });
});

test('what is standing is what was asked for last, and no database is paused that a RELOAD has made anew', async () => {
  const settings = { pool_mode: 'transaction' };
  await using threads = await Threads.start({ settings, databases: { kept: '', x: '' } }, 2);
  const standing = () => threads.pooler.standing();
  for (const kind of ['pause', 'resume'] as const) {
    const asked = threads.ask({ kind, database: null });
    // A signal may come at once.
    expect(standing().isPaused).toBe(kind === 'pause');
    await asked;
    expect(standing().isPaused).toBe(kind === 'pause');
  }
  await threads.ask({ kind: 'pause', database: 'x' });
  expect(threads.pooler.workforce.standing.pausedDatabases).toEqual(['x']);
  for (const databases of [{ kept: '' }, { kept: '', x: '' }]) {
    writePoolerConfig(threads.folder, sharedPostgres(), { settings, databases });
    await threads.pooler.reload();
  }
  expect(threads.pooler.workforce.standing.pausedDatabases).toEqual([]);
});
