import { beforeAll, describe, expect, test } from 'vitest';
import { backendsOf, poolShows, sleeps } from '../support/backends.ts';
import { CancellableClient, cancelAt } from '../support/cancellable-client.ts';
import { byEffort } from '../support/effort.ts';
import { backend, frontend, int32, packet } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'cancel_role';
const CANCELED = 'canceling statement due to user request';

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), 'cancel_db');
});

function start(settings: Record<string, string | number> = {}): Promise<LocalPooler> {
  return startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1, ...settings },
    databases: { cancel_db: '' },
    userlist: { [ROLE]: '' },
  });
}

function login(
  pooler: LocalPooler,
  database = 'cancel_db',
  user = ROLE,
  parameters: Readonly<Record<string, string>> = {},
): Promise<CancellableClient> {
  return CancellableClient.login(pooler.port, { user, database, ...parameters });
}

function cancel(pooler: LocalPooler, key: Buffer): Promise<Buffer> {
  return cancelAt(pooler.port, key);
}

/** `SELECT pg_sleep(60)`, and it runs. */
async function sleep(client: CancellableClient, tag: string): Promise<void> {
  await client.peer.send(frontend.query(`SELECT pg_sleep(60) /* ${tag} */`));
  await sleeps(tag);
}

/** A thread's lines come to the log a moment later. */
async function waitForLine(pooler: LocalPooler, text: string): Promise<void> {
  await waitFor(() => pooler.lines.some((line) => line.includes(text)), { what: text });
}

/** Waits for what SHOW STATE says of a global PAUSE. */
async function isPaused(pooler: LocalPooler, expected: 'yes' | 'no'): Promise<void> {
  await waitFor(
    async () => (await pooler.show('SHOW STATE')).find(({ key }) => key === 'paused')?.['value'] === expected,
  );
}

describe('a cancel request', () => {
  test('ends the query that runs for its client, also when the pool is full', async () => {
    await using pooler = await start();
    const client = await login(pooler);
    await sleep(client, 'plain');
    expect(await cancel(pooler, client.key)).toHaveLength(0);
    expect(await client.answer()).toBe(CANCELED);
    expect(await client.ask('SELECT 1')).toBe('1');
    await waitForLine(pooler, 'because: successfully sent cancel request');
  });

  test('one per running client, and several for each, get through a pool of two', async () => {
    await using pooler = await start({ default_pool_size: 2 });
    const clients = [await login(pooler), await login(pooler)];
    for (const [i, client] of clients.entries()) await sleep(client, `beyond ${i}`);
    const cancels = [0, 1, 0, 1, 0, 1, 0, 1].map((i) => cancel(pooler, clients[i]?.key ?? Buffer.alloc(8)));
    for (const client of clients) expect(await client.answer()).toBe(CANCELED);
    for (const said of await Promise.all(cancels)) expect(said).toHaveLength(0);
    for (const client of clients) expect(await client.ask('SELECT 1')).toBe('1');
  });

  test('for a client that waits ends its wait, and does nothing to the one that has the server', async () => {
    await using pooler = await start();
    const [running, waiting] = [await login(pooler), await login(pooler)];
    await running.peer.send(frontend.query("SELECT 'done' FROM pg_sleep(0.5)"));
    await poolShows(pooler, 'cancel_db', ROLE, { sv_active: 1 });
    await waiting.peer.send(frontend.query("SELECT 'served'"));
    await poolShows(pooler, 'cancel_db', ROLE, { cl_waiting: 1 });
    expect(await cancel(pooler, waiting.key)).toHaveLength(0);
    expect(await running.answer()).toBe('done');
    expect(await waiting.answer()).toBe(CANCELED);
    expect(await waiting.ask("SELECT 'served'")).toBe('served');
  });

  test('for an idle client does nothing to whoever has its last server now', async () => {
    await using pooler = await start();
    const [idle, running] = [await login(pooler), await login(pooler)];
    await idle.ask('SELECT 1');
    await running.peer.send(frontend.query("SELECT 'done' FROM pg_sleep(0.3)"));
    await poolShows(pooler, 'cancel_db', ROLE, { sv_active: 1 });
    for (let i = 0; i < 3; i++) expect(await cancel(pooler, idle.key)).toHaveLength(0);
    expect(await running.answer()).toBe('done');
  });

  test('with a key that nobody has, or of a client that has gone, is closed without a word', async () => {
    await using pooler = await start();
    const [gone, running] = [await login(pooler), await login(pooler)];
    await gone.peer.close();
    await poolShows(pooler, 'cancel_db', ROLE, { cl_active: 1 });
    await running.peer.send(frontend.query("SELECT 'done' FROM pg_sleep(0.3)"));
    await poolShows(pooler, 'cancel_db', ROLE, { sv_active: 1 });
    const samePid = Buffer.concat([running.key.subarray(0, 4), Buffer.alloc(4)]);
    for (const key of [Buffer.alloc(8), gone.key, samePid]) {
      expect(await cancel(pooler, key)).toHaveLength(0);
    }
    expect(await running.answer()).toBe('done');
    expect(pooler.lines.filter((line) => line.includes('because: failed cancel request'))).toHaveLength(3);
  });

  test.for([
    ['nothing', 0, 'bad cancel request'],
    ['half a process ID', 2, 'bad cancel request'],
    ['a process ID alone', 4, 'bad cancel request'],
    ['a secret of 3 bytes', 7, 'bad cancel request'],
    ['a secret of 5 bytes', 9, 'failed cancel request'],
    ['a secret of 256 bytes', 260, 'failed cancel request'],
    ['a secret of 257 bytes', 261, 'bad cancel request'],
    ['a secret of 65,523 bytes', 65_527, 'bad cancel request'],
  ] as const)('with %s is closed without a word, to whomever its bytes belong', async ([, bytes, reason]) => {
    await using pooler = await start();
    const client = await login(pooler);
    await client.peer.send(frontend.query("SELECT 'done' FROM pg_sleep(0.6)"));
    await poolShows(pooler, 'cancel_db', ROLE, { sv_active: 1 });
    const peer = await connectPeer(pooler.port);
    const key = Buffer.concat([client.key, Buffer.alloc(bytes)]).subarray(0, bytes);
    await peer.send(packet(80877102, key));
    expect(await peer.end()).toHaveLength(0);
    await waitForLine(pooler, `because: ${reason}`);
    expect(await client.answer()).toBe('done');
  });

  test('with more bytes behind it, as some drivers send, is carried out', async () => {
    await using pooler = await start();
    const client = await login(pooler);
    await sleep(client, 'behind');
    const peer = await connectPeer(pooler.port);
    await peer.send(
      frontend.cancelRequest(client.key.readInt32BE(0), client.key.subarray(4)),
      frontend.terminate(),
      int32(0),
    );
    expect(await client.answer()).toBe(CANCELED);
    await peer.close();
  });

  test('is never refused by max_client_conn', async () => {
    await using pooler = await start({ max_client_conn: 1 });
    const client = await login(pooler);
    await sleep(client, 'conn');
    await cancel(pooler, client.key);
    expect(await client.answer()).toBe(CANCELED);
  });

  test('in session mode ends the query, and its server goes on to the next client clean', async () => {
    await using pooler = await start({ pool_mode: 'session' });
    const client = await login(pooler);
    await sleep(client, 'session');
    await cancel(pooler, client.key);
    expect(await client.answer()).toBe(CANCELED);
    await client.peer.send(frontend.terminate());
    const next = await login(pooler);
    expect(await next.ask('SELECT 2')).toBe('2');
    expect(await backendsOf(pooler, ROLE)).toBe(1);
  });

  test('of the console ends a PAUSE that is not complete yet, and the command with it', async () => {
    await using pooler = await start();
    const [client, waiting] = [await login(pooler), await login(pooler)];
    const admin = await login(pooler, 'pgbouncer', sharedPostgres().user);
    await client.ask('BEGIN');
    // PAUSE waits for the transaction to end.
    await admin.peer.send(frontend.query('PAUSE'));
    await isPaused(pooler, 'yes');
    await waiting.peer.send(frontend.query('SELECT 3'));
    expect(await cancel(pooler, admin.key)).toHaveLength(0);
    expect(await admin.answer()).toBe(CANCELED);
    await isPaused(pooler, 'no');
    await client.ask('COMMIT');
    expect(await waiting.answer()).toBe('3');
  });

  test('of the console ends a PAUSE that is complete', async () => {
    await using pooler = await start();
    const client = await login(pooler);
    const admin = await login(pooler, 'pgbouncer', sharedPostgres().user);
    expect(await admin.ask('PAUSE')).toBe('');
    await client.peer.send(frontend.query('SELECT 3'));
    await poolShows(pooler, 'cancel_db', ROLE, { cl_waiting: 1 });
    expect(await cancel(pooler, admin.key)).toHaveLength(0);
    expect(await client.answer()).toBe('3');
  });
});

describe('the server of a cancel request that is under way', () => {
  test.for([
    'another client',
    'the same client',
  ])('runs no query of %s before PostgreSQL has closed the connection that carried it', async (who) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1, cancel_wait_timeout: 20 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
    });
    const loggingIn = login(pooler, 'scripted');
    const backendSide = await server.acceptLogin({ pid: 99, secret: Buffer.from('SECR') });
    const first = await loggingIn;
    const next = who === 'the same client' ? first : await login(pooler, 'scripted');
    expect(first.key).not.toEqual(Buffer.concat([int32(99), Buffer.from('SECR')]));
    await first.peer.send(frontend.query('SELECT 1'));
    await backendSide.message('Q');
    const cancelling = cancel(pooler, first.key);
    const carrier = await server.accept();
    // What the client was told is ours; PostgreSQL gets its own key.
    expect((await carrier.packet()).body).toEqual(
      frontend.cancelRequest(99, Buffer.from('SECR')).subarray(4),
    );

    if (next !== first) await next.peer.send(frontend.query('SELECT 2'));
    await backendSide.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
    await first.peer.messagesTo('Z');
    if (next === first) await next.peer.send(frontend.query('SELECT 2'));
    await poolShows(pooler, 'scripted', ROLE, { cl_waiting: 1, sv_being_canceled: 1, sv_active: 0 });
    await sweepsPass();
    expect(backendSide.unread).toBe(0);

    carrier.halfClose();
    expect((await backendSide.message('Q')).body.toString()).toBe('SELECT 2\0');
    await cancelling;
  });
});

test('a cancel while the server takes over the client’s parameters is not forwarded: it would hit our SET', async () => {
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    userlist: { [ROLE]: '' },
  });
  const loggingIn = login(pooler, 'scripted', ROLE, { standard_conforming_strings: 'off' });
  const backendSide = await server.acceptLogin();
  const client = await loggingIn;
  await client.peer.send(frontend.query('SELECT 1'));
  expect((await backendSide.message('Q')).body.toString()).toBe("SET standard_conforming_strings='off';\0");
  await cancel(pooler, client.key);
  await waitForLine(pooler, 'server that is setting vars');
  expect(server.accepted).toBe(1);
  await backendSide.send(backend.commandComplete('SET'), backend.readyForQuery());
  expect((await backendSide.message('Q')).body.toString()).toBe('SELECT 1\0');
  await client.peer.close();
});

describe('a flood of cancel requests', () => {
  /** What this client asked, in random chunks of time, until the flood is over. */
  async function work(
    client: CancellableClient,
    name: string,
    random: Random,
    isOver: () => boolean,
  ): Promise<string[]> {
    const wrong: string[] = [];
    for (let i = 0; !isOver(); i++) {
      const tag = `${name} ${i}`;
      const pause = random.pick(['', '', ' FROM pg_sleep(0.002)', ' FROM pg_sleep(0.008)']);
      const answer = await client.ask(`SELECT '${tag}'${pause}`);
      if (answer !== tag) wrong.push(answer);
    }
    return wrong;
  }

  test('for two clients never hits a third on the servers they share', { timeout: 120_000 }, async () => {
    await withSeed(async (random) => {
      await using pooler = await start({ default_pool_size: 2, log_connections: 0, log_disconnections: 1 });
      const clients = await Promise.all(Array.from({ length: 5 }, () => login(pooler)));
      const targets = clients.slice(0, 2);
      let left = byEffort({ quick: 1500, wide: 6000, full: 6000 });
      const flood = Array.from({ length: 8 }, async () => {
        while (left-- > 0) await cancel(pooler, random.pick(targets).key);
      });
      const isOver = (): boolean => left <= 0;
      const results = await Promise.all(
        clients.map((client, i) => work(client, `client ${i}`, random, isOver)),
      );
      await Promise.all(flood);
      // The targets are hit now and then, or this would show nothing; the others never are.
      const hits = results.slice(0, 2).flat();
      expect(new Set(hits)).toEqual(new Set([CANCELED]));
      expect(hits.length).toBeGreaterThan(20);
      expect(results.slice(2).flat()).toEqual([]);
      await poolShows(pooler, 'cancel_db', ROLE, { sv_active: 0, sv_being_canceled: 0, cl_waiting: 0 });
      for (const client of clients) expect(await client.ask('SELECT 4')).toBe('4');
    });
  });
});
