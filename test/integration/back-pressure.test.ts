import { describe, expect, test } from 'vitest';
import type { Conn } from '../../src/net/conn.ts';
import { backend, frontend, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

const MIB = 1024 * 1024;
/** More than the kernel takes on the way; the pooler itself may hold no more than {@link HELD}. */
const SENT = 32 * MIB;
const HELD = MIB;

/** A client that is linked to a server which the test plays. */
async function startLinked(
  server: ScriptedServer,
  pool_mode = 'session',
): Promise<{
  pooler: LocalPooler;
  client: ScriptedPeer;
  backendPeer: ScriptedPeer;
}> {
  const pooler = await startPooler({
    settings: { pool_mode },
    databases: { played: `host=127.0.0.1 port=${server.port} pool_size=1` },
  });
  const client = await connectPeer(pooler.port);
  await client.send(frontend.startup({ user: pooler.postgres.user, database: 'played' }));
  const backendPeer = await server.acceptLogin();
  await client.messagesTo('Z');
  return { pooler, client, backendPeer };
}

/** The two connections of the only link, once its reader has been stopped. */
function stopped(pooler: LocalPooler, side: 'client' | 'server'): Promise<{ client: Conn; server: Conn }> {
  return waitFor(() => {
    const [session] = pooler.pooler.state.sessions.values();
    if (session === undefined || session.server === null) return null;
    const ends = { client: session.conn, server: session.server.conn };
    return ends[side].isPaused && ends;
  });
}

test('a client that does not read stops its server, and the pooler keeps no more than a chunk or two', async () => {
  await using server = await ScriptedServer.listen();
  const { pooler, client, backendPeer } = await startLinked(server);
  await using _pooler = pooler;
  client.stall();
  await client.send(frontend.query('SELECT much'));
  expect((await backendPeer.message()).type).toBe('Q');
  const row = backend.dataRow('x'.repeat(64 * 1024 - 100));
  const answer = [
    backend.rowDescription('much'),
    Buffer.concat(new Array<Buffer>(SENT / (64 * 1024)).fill(row)),
    backend.commandComplete('SELECT 1'),
    backend.readyForQuery(),
  ];
  const sending = backendPeer.send(...answer);
  const ends = await stopped(pooler, 'server');
  await sweepsPass();
  expect(ends.server.isPaused).toBe(true);
  expect(ends.client.pendingBytes).toBeLessThan(HELD);
  expect(backendPeer.socket.writableLength).toBeGreaterThan(0);
  client.resume();
  expect((await client.bytes(Buffer.concat(answer).length)).equals(Buffer.concat(answer))).toBe(true);
  await sending;
  await client.close();
});

test('a client with more requests under way than are kept count of is not read until they are answered', async () => {
  const [most, sent] = [65_536, 200_000];
  await using server = await ScriptedServer.listen();
  const { pooler, client, backendPeer } = await startLinked(server);
  await using _pooler = pooler;
  const sync = frontend.sync();
  const sending = client.send(Buffer.alloc(sent * sync.length, sync));
  await backendPeer.bytes(most * sync.length);
  const { client: conn } = await stopped(pooler, 'client');
  await sweepsPass();
  expect([conn.isPaused, backendPeer.unread]).toEqual([true, 0]);
  const ready = backend.readyForQuery();
  // It goes on when there is room for many.
  await backendPeer.send(ready);
  await sweepsPass();
  expect([conn.isPaused, backendPeer.unread]).toEqual([true, 0]);
  const room = most / 2;
  await backendPeer.send(Buffer.alloc((room - 1) * ready.length, ready));
  await backendPeer.bytes(room * sync.length);
  expect(backendPeer.unread).toBe(0);
  await backendPeer.send(Buffer.alloc(most * ready.length, ready));
  // With as many on their way, or fewer, it goes on; with more it need not, if answers come in two parts.
  for (let left = sent - most - room; left > 0; left -= room) {
    const next = Math.min(left, room);
    await backendPeer.bytes(next * sync.length);
    await backendPeer.send(Buffer.alloc(next * ready.length, ready));
  }
  await client.bytes(sent * ready.length);
  await sending;
  expect([client.unread, backendPeer.unread]).toEqual([0, 0]);
  await client.close();
});

test('a server that does not read stops its client, and the pooler keeps no more than a chunk or two', async () => {
  await using server = await ScriptedServer.listen();
  const { pooler, client, backendPeer } = await startLinked(server);
  await using _pooler = pooler;
  backendPeer.stall();
  const sent = Buffer.concat([
    frontend.query('COPY t FROM STDIN'),
    ...new Array<Buffer>(SENT / (64 * 1024)).fill(message('d', Buffer.alloc(64 * 1024 - 5, 'y'))),
  ]);
  const sending = client.send(sent);
  const ends = await stopped(pooler, 'client');
  await sweepsPass();
  expect(ends.client.isPaused).toBe(true);
  expect(ends.server.pendingBytes).toBeLessThan(HELD);
  expect(client.socket.writableLength).toBeGreaterThan(0);
  backendPeer.resume();
  expect((await backendPeer.bytes(sent.length)).equals(sent)).toBe(true);
  await sending;
  await client.close();
});

describe('requests that the pooler answers by itself', () => {
  const closes = Buffer.concat(new Array<Buffer>(MIB / 8).fill(frontend.close('S', 'a')));
  const answers = MIB / 8;

  /** Sends so many MiB of requests; gives how many these are. */
  function flood(client: ScriptedPeer, mib: number): { sending: Promise<void>; count: number } {
    const sending = client.send(...new Array<Buffer>(mib).fill(closes));
    sending.catch(() => {});
    return { sending, count: mib * answers };
  }

  /** Some at a time: as long as they come, they may. */
  async function expectAnswers(client: ScriptedPeer, count: number): Promise<void> {
    const some = Math.min(count, 16_384);
    const expected = Buffer.concat(new Array<Buffer>(some).fill(message('3')));
    expect(count % some).toBe(0);
    for (let left = count; left > 0; left -= some)
      expect((await client.bytes(expected.length)).equals(expected)).toBe(true);
  }

  // Over a million of them, each written by itself: a busy machine takes its time.
  const timeout = 600_000;
  const deadlineMs = 200_000;

  /** Answers each Close, until the connection ends. */
  async function serveCloses(backendPeer: ScriptedPeer): Promise<void> {
    for (;;) {
      const request = await backendPeer.message().catch(() => null);
      if (request === null) return;
      // The client is not to wait for what it has not asked to be flushed.
      expect(request.type).toMatch(/[CH]/);
      if (request.type === 'C') await backendPeer.send(message('3'));
    }
  }

  /** The only client, once it is read no further, and stays so. */
  async function pausedIn({ pooler }: LocalPooler) {
    const session = await waitFor(
      () => {
        const [each] = pooler.state.sessions.values();
        return each?.conn.isPaused === true && each;
      },
      { deadlineMs },
    );
    await sweepsPass();
    expect(session.conn.isPaused).toBe(true);
    return session;
  }

  test('do not pile up for a client that does not read, and are all answered', { timeout }, async () => {
    await using server = await ScriptedServer.listen();
    const { pooler, client } = await startLinked(server, 'transaction');
    await using _pooler = pooler;
    client.stall();
    const { sending, count } = flood(client, 10);
    const session = await pausedIn(pooler);
    expect(session.conn.pendingBytes).toBeLessThan(HELD);
    client.resume();
    await expectAnswers(client, count);
    await sending;
    await client.close();
  });

  test('do not pile up behind what takes long, and are all answered', { timeout }, async () => {
    await using server = await ScriptedServer.listen();
    const { pooler, client, backendPeer } = await startLinked(server, 'transaction');
    await using _pooler = pooler;
    await client.send(frontend.parse('', 'SELECT slow'), frontend.flush());
    await backendPeer.messagesTo('H');
    const { sending, count } = flood(client, 2);
    const session = await pausedIn(pooler);
    expect(session.server?.tracker.queue.length).toBeLessThan(5000);
    await backendPeer.send(message('1'));
    expect((await client.message()).type).toBe('1');
    await expectAnswers(client, count);
    await sending;
    await client.close();
  });

  test('do not pile up behind a query that may be a COPY, and are all answered by the server', {
    timeout,
  }, async () => {
    await using server = await ScriptedServer.listen();
    const { pooler, client, backendPeer } = await startLinked(server, 'transaction');
    await using _pooler = pooler;
    await client.send(frontend.query('SELECT slow'));
    expect((await backendPeer.message()).type).toBe('Q');
    const { sending, count } = flood(client, 2);
    const session = await pausedIn(pooler);
    expect(session.server?.tracker.queue.length).toBeLessThanOrEqual(65_536);
    await backendPeer.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
    expect((await client.messagesTo('Z')).length).toBe(2);
    // Until there is nobody to serve.
    void serveCloses(backendPeer);
    await expectAnswers(client, count);
    await sending;
    await client.close();
    await backendPeer.close();
  });
});

test('requests behind one that failed do not pile up, whatever comes ahead of the Sync', async () => {
  await using server = await ScriptedServer.listen();
  const { pooler, client, backendPeer } = await startLinked(server, 'transaction');
  await using _pooler = pooler;
  await client.send(frontend.parse('a', 'SELECT wrong'), frontend.flush());
  await backendPeer.messagesTo('H');
  await backendPeer.send(backend.errorResponse({ S: 'ERROR', C: '42703', M: 'wrong' }));
  await client.messagesTo('E');
  const skipped = [
    frontend.close('S', 'a'),
    frontend.bind('', 'a'),
    frontend.execute(''),
    frontend.bind('', ''),
  ];
  for (let i = 0; i < 10; i++)
    await client.send(Buffer.concat(new Array<Buffer[]>(5000).fill(skipped).flat()));
  await client.send(frontend.query('SELECT 1'), frontend.sync());
  await backendPeer.messagesTo('Q');
  const [session] = pooler.pooler.state.sessions.values();
  expect(session?.server?.tracker.queue.length).toBeLessThan(10);
  await backendPeer.messagesTo('S');
  await backendPeer.send(backend.readyForQuery());
  expect((await client.messagesTo('Z')).length).toBe(1);
  await waitFor(() => session?.server === null);
  await client.close();
});
