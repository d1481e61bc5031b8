import type pg from 'pg';
import { loadConfig } from '../../src/config/load.ts';
import { beforeAll, describe, expect, test } from 'vitest';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { fatal, refusalOf } from '../support/refusals.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { backend, frontend } from '../support/peer-messages.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { waitFor } from '../support/wait-for.ts';
import { writePoolerConfig } from '../support/pooler-config.ts';

const ROLE = 'threads_logins';
/** Servers that tests play don't mind a goodbye. */
const SHORT_ENDS = { server_close_timeout: 0.1, server_cancel_timeout: 0.1 };
const user = { user: ROLE, database: 'db' };

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

/** Two threads; connections come to each in turn. */
function start(settings = {}, entry = 'dbname=postgres'): Promise<Threads> {
  return Threads.start(
    {
      settings: { pool_mode: 'transaction', ...settings },
      databases: { db: entry },
      userlist: { [ROLE]: '' },
      own: SHORT_ENDS,
    },
    2,
  );
}

/** Has the database lead elsewhere at the next RELOAD. */
function configure(threads: Threads, entry: string): string {
  return writePoolerConfig(threads.folder, sharedPostgres(), {
    settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0 },
    databases: { db: entry },
    userlist: { [ROLE]: '' },
    own: SHORT_ENDS,
  });
}

const pause = (threads: Threads) => threads.ask({ kind: 'pause', database: 'db' });
const resume = (threads: Threads) => threads.ask({ kind: 'resume', database: 'db' });

/** How the pool's clients stand, over all threads. */
async function waiting(threads: Threads): Promise<number> {
  const row = (await threads.show('SHOW POOLS')).find(({ database }) => database === 'db');
  return Number(row?.['cl_waiting'] ?? 0);
}

/** Logs in on each thread, by any number of attempts that come to them in turn. */
function both(threads: Threads): Promise<pg.Client[]> {
  return Promise.all([threads.client(user), threads.client(user)]);
}

async function end(clients: readonly pg.Client[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end()));
}

/** What a login is told of the server's version, once it is. */
async function versionOf(threads: Threads): Promise<string | undefined> {
  const peer = await connectPeer(threads.address.port);
  await peer.send(frontend.startup({ user: ROLE, database: 'db' }));
  const told = (await peer.messagesTo('Z')).find(
    ({ type, body }) => type === 'S' && body.toString().startsWith('server_version\0'),
  );
  await peer.close();
  return told?.body.toString().split('\0')[1];
}

describe('what servers report at login, one thread knows of another', () => {
  test('a login ends in a thread that has had no server, though all are in use elsewhere', async () => {
    await using threads = await start({ default_pool_size: 1 });
    const first = await threads.client(user);
    await first.query('BEGIN');
    const others = [...(await both(threads)), ...(await both(threads))];
    await first.query('COMMIT');
    await end([first, ...others]);
  });

  test('and though the pool is paused, also in a thread that has begun since', async () => {
    await using threads = await start();
    const first = await threads.client(user);
    expect(await pause(threads)).toMatchObject({ ok: true });
    const others = [...(await both(threads)), ...(await both(threads))];
    const { workforce } = threads.pooler;
    for (const thread of [0, 1]) {
      await workforce.threads[thread]?.terminate();
      await waitFor(() => workforce.threads.length === 2, { what: 'both threads' });
      others.push(...(await both(threads)), ...(await both(threads)));
    }
    expect(await resume(threads)).toMatchObject({ ok: true });
    for (const client of [first, ...others]) await client.end().catch(() => {});
  });

  test('no login is told what an earlier configuration has led to', async () => {
    await using old = await ScriptedServer.listen();
    await using next = await ScriptedServer.listen();
    const serve = (server: ScriptedServer, version: string): void => {
      const again = (): void => {
        server.acceptLogin({ version }).then(again, () => {});
      };
      again();
    };
    serve(old, 'old');
    serve(next, 'new');
    const entry = (server: ScriptedServer) => `host=127.0.0.1 port=${server.port}`;
    await using threads = await start({ server_login_retry: 0 }, entry(old));
    for (let i = 0; i < 4; i++) expect(await versionOf(threads)).toBe('old');
    expect(await pause(threads)).toMatchObject({ ok: true });
    for (let i = 0; i < 4; i++) expect(await versionOf(threads)).toBe('old');
    configure(threads, entry(next));
    await threads.pooler.reload();
    const versions = Promise.all(Array.from({ length: 4 }, () => versionOf(threads)));
    await waitFor(async () => (await waiting(threads)) === 4, { what: 'logins that wait' });
    await sweepsPass(2);
    expect(await waiting(threads)).toBe(4);
    expect(await resume(threads)).toMatchObject({ ok: true });
    expect(await versions).toEqual(['new', 'new', 'new', 'new']);
    // KILL forgets it as well.
    expect(await threads.ask({ kind: 'kill', database: 'db' })).toMatchObject({ ok: true });
    const after = Promise.all(Array.from({ length: 4 }, () => versionOf(threads)));
    await waitFor(async () => (await waiting(threads)) === 4, { what: 'logins that wait' });
    expect(await resume(threads)).toMatchObject({ ok: true });
    expect(await after).toEqual(['new', 'new', 'new', 'new']);
  });

  test.for([
    ['elsewhere', 'is told to nobody'],
    ['where it did', 'is told to all'],
  ] as const)('what a server has said when the configuration has just come to lead %s %s', async ([
    where,
  ]) => {
    await using old = await ScriptedServer.listen();
    await using next = await ScriptedServer.listen();
    const entry = (server: ScriptedServer) => `host=127.0.0.1 port=${server.port}`;
    await using threads = await start({ default_pool_size: 1 }, entry(old));
    const first = versionOf(threads);
    const server = await old.accept();
    await server.packet();
    void server.send(
      backend.authenticationOk(),
      backend.parameterStatus('server_version', 'old'),
      backend.backendKeyData(1, Buffer.from('KEY!')),
      backend.readyForQuery(),
    );
    // The main thread is busy here: its thread has heard all of it before it hears of the configuration.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    const path = configure(threads, entry(where === 'elsewhere' ? next : old));
    threads.pooler.workforce.apply(loadConfig(path, null), null);
    expect(await first).toBe('old');
    expect(await pause(threads)).toMatchObject({ ok: true });
    const told = Promise.all([versionOf(threads), versionOf(threads)]);
    if (where === 'elsewhere') {
      await waitFor(async () => (await waiting(threads)) === 2, { what: 'logins that wait' });
      expect(await resume(threads)).toMatchObject({ ok: true });
      void next.acceptLogin({ version: 'new' });
      expect(await told).toEqual(['new', 'new']);
    } else {
      expect(await told).toEqual(['old', 'old']);
    }
  });

  test('a login that SUSPEND has kept from it ends at RESUME', async () => {
    await using scripted = await ScriptedServer.listen();
    await using threads = await start({}, `host=127.0.0.1 port=${scripted.port}`);
    const versions = [versionOf(threads), versionOf(threads)];
    const server = await scripted.accept();
    // The other thread's never answers.
    await scripted.accept();
    await server.packet();
    void server.send(
      backend.authenticationOk(),
      backend.parameterStatus('server_version', 'one'),
      backend.backendKeyData(1, Buffer.from('KEY!')),
      backend.readyForQuery(),
    );
    // As above: what is said comes to the other thread behind the command.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    expect(await threads.ask({ kind: 'suspend' })).toMatchObject({ ok: true });
    expect(await threads.ask({ kind: 'resume', database: null })).toMatchObject({ ok: true });
    expect(await Promise.all(versions)).toEqual(['one', 'one']);
  });
});

test('a thread that has begun later gives servers to others as the one before it did', async () => {
  await using threads = await start({ default_pool_size: 1, server_login_retry: 0 });
  const set = { kind: 'set', key: 'server_idle_timeout', value: '500' } as const;
  for (let i = 0; i < 3; i++) expect(await threads.ask(set)).toMatchObject({ ok: true });
  const { workforce } = threads.pooler;
  await workforce.threads[0]?.terminate();
  await waitFor(() => workforce.threads.length === 2, { what: 'both threads' });
  const clients = await both(threads);
  const pids = new Set<unknown>();
  for (let i = 0; i < 10; i++) {
    for (const client of clients)
      pids.add((await client.query('SELECT pg_backend_pid() AS pid')).rows[0]?.pid);
  }
  expect(pids.size).toBe(1);
  expect(threads.lines.filter((line) => line.includes('obsolete connection'))).toEqual([]);
  await end(clients);
});

describe('a login that has failed in one thread', () => {
  const nologin = (is: boolean) =>
    withClient(sharedPostgres(), (admin) => admin.query(`ALTER ROLE ${ROLE} ${is ? 'NO' : ''}LOGIN`));

  test('fails who waits in the others, too, and is remembered by all until one succeeds', async () => {
    await using threads = await start({ server_login_retry: 1 });
    const clients = [...(await both(threads)), ...(await both(threads))];
    const text = `role "${ROLE}" is not permitted to log in`;
    await nologin(true);
    try {
      expect(await threads.ask({ kind: 'reconnect', database: null })).toMatchObject({ ok: true });
      expect(await refusalOf((clients[0] as pg.Client).query('SELECT 1'))).toEqual(fatal(text, '28000'));
      // Both have answered, and so have heard of it.
      await threads.show('SHOW POOLS');
      const cached = `server login has been failing, cached error: ${text} (server_login_retry)`;
      expect(await refusalOf((clients[1] as pg.Client).query('SELECT 1'))).toEqual(fatal(cached));
    } finally {
      await nologin(false);
    }
    // In whichever thread the first one has been served again, the others need not wait for their own time.
    await waitFor(async () => {
      const probe = await threads.client(user);
      const isServed = await probe.query('SELECT 1').then(
        () => true,
        () => false,
      );
      await probe.end().catch(() => {});
      return isServed;
    });
    for (const client of clients.slice(2)) await client.query('SELECT 1');
    await end(clients.slice(2));
  });

  test('sends nobody away whom another thread’s server can serve', async () => {
    await using threads = await start({ server_login_retry: 30 });
    // One after the other: the second thread opens no server for its login.
    const clients = [await threads.client(user), await threads.client(user)] as const;
    await nologin(true);
    try {
      // The second one needs a server while the first one has it, and none can be opened.
      await clients[0].query('BEGIN');
      const served = clients[1].query<{ n: number }>('SELECT 1 AS n');
      await waitFor(() => threads.lines.some((line) => line.includes('is not permitted to log in')));
      await clients[0].query('COMMIT');
      expect((await served).rows).toEqual([{ n: 1 }]);
      for (const client of [...clients, ...clients]) await client.query('SELECT 2');
    } finally {
      await nologin(false);
    }
    await end(clients);
  });
});
