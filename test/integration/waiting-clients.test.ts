import { beforeAll, describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';
import { withoutNative } from '../support/without-native.ts';

const user = 'waiting_role';
const database = 'waiting_db';
const CANCELED = 'canceling statement due to user request';
const login = { user, database };

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: user, auth: 'trust' });
  await createDatabase(sharedPostgres(), database, user);
});

function start(options: TestPoolerOptions = {}): Promise<LocalPooler> {
  return startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { [user]: '' },
    ...options,
  });
}

const connect = (to: number | string) => WireClient.connect(to, login);

/** A client in a transaction on the only server, and the server's pid. */
async function holdServer(pooler: LocalPooler): Promise<{ holder: WireClient; pid: string | null }> {
  const holder = await connect(pooler.port);
  await holder.rows('BEGIN');
  return { holder, pid: await holder.value('SELECT pg_backend_pid()') };
}

const waits = (pooler: LocalPooler, cl_waiting: number) => poolShows(pooler, database, user, { cl_waiting });

/** The session that has sent most ahead. */
function waitingSession(pooler: LocalPooler) {
  return [...pooler.pooler.state.sessions.values()].find(({ state }) => state === 'waiting');
}

const WAYS: readonly (readonly [string, 'TCP' | 'unix', (peer: ScriptedPeer) => unknown])[] = [
  ['a FIN over TCP', 'TCP', (peer) => peer.close()],
  ['a RST over TCP', 'TCP', (peer) => peer.reset()],
  ['the end of its sending half over TCP', 'TCP', (peer) => peer.halfClose()],
  ['the close of a unix socket', 'unix', (peer) => peer.close()],
  ['the end of its sending half of a unix socket', 'unix', (peer) => peer.halfClose()],
];

const query = frontend.query('SELECT 1');
const long = frontend.query(`SELECT '${'x'.repeat(40_000)}'`);

const BUFFERED: readonly (readonly [string, readonly Uint8Array[]])[] = [
  ['one request', [query]],
  ['one request and a half', [query, query.subarray(0, 7)]],
  ['a request that has come in part', [unnamed('SELECT 1').subarray(0, 40)]],
  ['half of a long request', [long.subarray(0, 30_000)]],
  ['a request and Terminate', [query, frontend.terminate()]],
];

describe('a client that waits for a server and leaves gives its place away at once (#1222)', () => {
  for (const [way, socket, leave] of WAYS) {
    test.each(BUFFERED)(`by ${way}, with %s sent ahead`, async (_what, requests) => {
      await using pooler = await start();
      const { holder, pid } = await holdServer(pooler);
      const waiting = await connect(socket === 'TCP' ? pooler.port : pooler.socketPath);
      // A first message that has come in full makes it wait.
      const isWhole = requests[0] === query;
      await waiting.send(...(isWhole ? [] : [query]), ...requests);
      await waits(pooler, 1);
      await leave(waiting.peer);
      await waits(pooler, 0);
      await waitFor(() => pooler.pooler.state.budget.count('client') === 1);
      expect(await holder.query('COMMIT')).toMatchObject({ status: 'I', errors: [] });
      expect(await holder.value('SELECT pg_backend_pid()')).toBe(pid);
      await holder.end();
    });
  }

  test.each(
    WAYS,
  )('also when it waits for the first server to let the pool in, by %s', async (_way, socket, leave) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startPooler({
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [user]: '' },
    });
    const peer = await connectPeer(socket === 'TCP' ? pooler.port : pooler.socketPath);
    await peer.send(frontend.startup({ user, database: 'scripted' }));
    await poolShows(pooler, 'scripted', user, { cl_waiting: 1 });
    await leave(peer);
    await poolShows(pooler, 'scripted', user, { cl_waiting: 0 });
    await waitFor(() => pooler.pooler.state.budget.count('client') === 0);
  });
});

/** More than the sockets between client and pooler take. */
const LARGE = 20_000_000;

/** A client that waits and isn't read any more: behind `ahead` it has sent more than is kept. */
async function overfill(
  pooler: LocalPooler,
  to: number | string,
  ...ahead: readonly Uint8Array[]
): Promise<WireClient> {
  const client = await connect(to);
  const bytes = frontend.query(`SELECT '${'x'.repeat(LARGE)}'`);
  // It will not be sent whole while it waits.
  client.send(...ahead, bytes).catch(() => {});
  await waitFor(() => waitingSession(pooler)?.conn.isPaused);
  expect(waitingSession(pooler)?.heldBytes).toBeLessThan(256 * 1024);
  return client;
}

describe('a client that has sent more ahead than is kept', () => {
  test.each(WAYS)('and leaves by %s is found by the next sweep', async (way, socket, leave) => {
    await using pooler = await start();
    const { holder } = await holdServer(pooler);
    const waiting = await overfill(pooler, socket === 'TCP' ? pooler.port : pooler.socketPath);
    // What is sent is not taken, so it can only be cut.
    if (way.includes('sending half')) waiting.peer.socket.destroy();
    else await leave(waiting.peer);
    await waits(pooler, 0);
    await waitFor(() => pooler.pooler.state.budget.count('client') === 1);
    await holder.end();
  });

  test('and leaves right before its turn takes no server along', async () => {
    await using pooler = await start();
    const { holder, pid } = await holdServer(pooler);
    const waiting = await overfill(pooler, pooler.port);
    waiting.peer.reset();
    await holder.rows('COMMIT');
    expect(await holder.value('SELECT pg_backend_pid()')).toBe(pid);
    await waits(pooler, 0);
    await holder.end();
  });

  test('and leaves is found when it is read on, without native calls', async () => {
    await using pooler = await start({ native: withoutNative });
    const { holder } = await holdServer(pooler);
    const waiting = await overfill(pooler, pooler.port);
    waiting.peer.reset();
    await sweepsPass();
    await waits(pooler, 1);
    await holder.rows('COMMIT');
    await waits(pooler, 0);
    await waitFor(() => pooler.pooler.state.budget.count('client') === 1);
    expect(await holder.value('SELECT 1')).toBe('1');
    await holder.end();
  });
});

describe('a cancel request for a client that waits for a server ends the wait with PostgreSQL’s own answer (#1314)', () => {
  const types = { types: 'EZ', errors: [{ S: 'ERROR', C: '57014', M: CANCELED }], status: 'I' };

  test.each([
    ['a simple query', [frontend.query("SELECT 'never'")]],
    ['requests up to a Sync', [unnamed('SELECT 1'), unnamed('SELECT 2'), frontend.sync()]],
    ['a named statement', [frontend.parse('s', 'SELECT 1'), frontend.describe('S', 's'), frontend.sync()]],
    ['a query with a Flush ahead', [frontend.flush(), frontend.query('SELECT 1')]],
  ] as const)('%s', async (_what, requests) => {
    await using pooler = await start();
    const { holder } = await holdServer(pooler);
    const waiting = await connect(pooler.port);
    await waiting.send(...requests);
    await waits(pooler, 1);
    await waiting.cancel();
    expect(await waiting.answer()).toMatchObject(types);
    await waits(pooler, 0);
    // What it asks for next waits anew, and is answered; nobody else has noticed.
    await waiting.send(
      frontend.parse('s', 'SELECT 3'),
      frontend.bind('', 's'),
      frontend.execute(''),
      frontend.sync(),
    );
    await waits(pooler, 1);
    expect(await holder.query('COMMIT')).toMatchObject({ status: 'I', errors: [] });
    expect(await waiting.answer()).toMatchObject({ types: '12DCZ', rows: [['3']] });
    expect(pooler.lines.some((line) => line.includes('because: cancel request for waiting client'))).toBe(
      true,
    );
    await waiting.end();
    await holder.end();
  });

  test('what is pipelined behind it goes on', async () => {
    await using pooler = await start();
    const { holder } = await holdServer(pooler);
    const waiting = await connect(pooler.port);
    await waiting.send(frontend.query("SELECT 'never'"), frontend.query("SELECT 'second'"));
    await waits(pooler, 1);
    await waiting.cancel();
    expect(await waiting.answer()).toMatchObject(types);
    await waits(pooler, 1);
    await holder.rows('COMMIT');
    expect(await waiting.answer()).toMatchObject({ rows: [['second']], errors: [] });
    await waiting.end();
    await holder.end();
  });

  test('of a request that is more than is kept, the rest is read and skipped, and the connection goes on', async () => {
    await using pooler = await start();
    const { holder } = await holdServer(pooler);
    const waiting = await overfill(pooler, pooler.port);
    await waiting.cancel();
    expect(await waiting.answer()).toMatchObject(types);
    await waits(pooler, 0);
    await waiting.send(frontend.query('SELECT 6'));
    await waits(pooler, 1);
    await holder.rows('COMMIT');
    expect(await waiting.answer()).toMatchObject({ rows: [['6']], errors: [] });
    await waiting.end();
    await holder.end();
  });

  test('what is pipelined behind it goes on, be it more than is kept', async () => {
    await using pooler = await start();
    const { holder } = await holdServer(pooler);
    const waiting = await overfill(pooler, pooler.port, unnamed("SELECT 'never'"), frontend.sync());
    await waiting.cancel();
    expect(await waiting.answer()).toMatchObject(types);
    await waitFor(() => waitingSession(pooler)?.conn.isPaused);
    await holder.rows('COMMIT');
    const { rows, errors } = await waiting.answer();
    expect([rows[0]?.[0]?.length, errors]).toEqual([LARGE, []]);
    expect(await waiting.value('SELECT 7')).toBe('7');
    await waiting.end();
    await holder.end();
  });

  test('of a request that has come in part, the rest is skipped when it comes', async () => {
    await using pooler = await start();
    const { holder } = await holdServer(pooler);
    const waiting = await connect(pooler.port);
    const bytes = frontend.bindTexts('', '', ['x'.repeat(3000)]);
    await waiting.send(frontend.parse('', 'SELECT $1'), bytes.subarray(0, 1000));
    await waits(pooler, 1);
    await waiting.cancel();
    expect((await waiting.answerTo('E')).errors[0]).toMatchObject({ C: '57014' });
    await sweepsPass(1);
    expect(waiting.peer.unread).toBe(0);
    await waiting.send(bytes.subarray(1000), frontend.execute(''), frontend.query('SELECT 1'));
    await sweepsPass(1);
    expect(waiting.peer.unread).toBe(0);
    await waiting.send(frontend.sync());
    expect(await waiting.answer()).toMatchObject({ types: 'Z', status: 'I' });
    await holder.rows('COMMIT');
    expect(await waiting.value('SELECT 4')).toBe('4');
    await waiting.end();
    await holder.end();
  });

  test('in a pool that is paused', async () => {
    await using pooler = await start();
    const waiting = await connect(pooler.port);
    await waiting.rows('SELECT 1');
    await pooler.show('PAUSE');
    await waiting.send(frontend.query("SELECT 'never'"));
    await waits(pooler, 1);
    await waiting.cancel();
    expect(await waiting.answer()).toMatchObject(types);
    await pooler.show('RESUME');
    expect(await waiting.value('SELECT 5')).toBe('5');
    await waiting.end();
  });
});
