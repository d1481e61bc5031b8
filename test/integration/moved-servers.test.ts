import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { MovedServer } from '../../src/pool/moved-server.ts';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import type { MovedConnection } from '../../src/server/moved-connection.ts';
import { backend, frontend, message } from '../support/peer-messages.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { hasUnread } from '../support/unread.ts';
import { TwoLoops } from '../support/two-loops.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'moved_app';
const DATABASE = 'postgres';
const { parse, sync } = frontend;
type Side = 0 | 1;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
});

/** Two loops with one server connection for both. */
function startLoops(
  settings: Readonly<Record<string, string | number>> = {},
  postgres: PostgresAddress = sharedPostgres(),
  isStreaming = false,
): Promise<TwoLoops> {
  return TwoLoops.start({
    userlist: { [ROLE]: '' },
    settings: { pool_mode: 'transaction', default_pool_size: 1, max_prepared_statements: 50, ...settings },
    postgres,
    isStreaming,
  });
}

class Stage {
  readonly two: TwoLoops;
  /** Where the server connection is. */
  at: Side = 0;

  constructor(two: TwoLoops) {
    this.two = two;
  }

  client(side: Side, parameters: Record<string, string> = {}): Promise<WireClient> {
    const { port } = this.two.loops[side];
    return WireClient.connect(port, { user: ROLE, database: DATABASE, ...parameters });
  }

  server(side = this.at) {
    return this.two.server(side, DATABASE, ROLE);
  }

  async take(): Promise<MovedServer> {
    const from = this.at;
    return waitFor(() => this.two.take(from, DATABASE, ROLE), { what: 'a server that may move' });
  }

  bring(moved: MovedServer): void {
    this.at = this.at === 0 ? 1 : 0;
    this.two.bring(moved, this.at);
  }

  async move(): Promise<void> {
    this.bring(await this.take());
  }

  count(): number {
    return this.two.budget.count('server', { database: DATABASE, user: ROLE });
  }

  /** Lines of either loop that are no daily business. */
  complaints(): string[] {
    return this.two.loops.flatMap(({ lines }) => lines.filter((line) => /^(ERROR|WARNING|FATAL)/.test(line)));
  }
}

/** A stage of which loop 0 has a client and the server connection, and loop 1 has logged one in by a move. */
async function staged(two: TwoLoops): Promise<{ stage: Stage; clients: [WireClient, WireClient] }> {
  const stage = new Stage(two);
  const first = await stage.client(0);
  await first.query('SELECT 1');
  // It waits for what servers report at login; there is no room for one of its loop's own.
  const second = stage.client(1);
  await waitFor(() => two.loops[1].loop.state.pools.find(DATABASE, ROLE)?.clients.waiting_login.length === 1);
  await stage.move();
  return { stage, clients: [first, await second] };
}

async function pidOf(client: WireClient): Promise<string | null> {
  return client.value('SELECT pg_backend_pid()');
}

async function backends(): Promise<number[]> {
  return withClient(sharedPostgres(), async (client) => {
    const { rows } = await client.query<{ pid: number }>(
      'SELECT pid FROM pg_stat_activity WHERE usename = $1',
      [ROLE],
    );
    return rows.map(({ pid }) => pid);
  });
}

async function asSuperuser(sql: string): Promise<void> {
  await withClient(sharedPostgres(), (client) => client.query(sql));
}

/** Sockets of this process. */
function sockets(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith('socket:') ? [target] : [];
    } catch {
      return [];
    }
  });
}

describe.each([
  ['read directly', false],
  ['read by streams', true],
])('a server connection, %s, that goes from one event loop to another', (_name, isStreaming) => {
  const start = (settings = {}) => startLoops(settings, sharedPostgres(), isStreaming);

  it('serves a client there that waited for it, at once, and its session stays what it was', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    const [first, second] = clients;
    const pid = await pidOf(second);
    const id = stage.server().id;
    // Nothing to be had on loop 0, for the one place is taken.
    const waiting = first.query('SELECT pg_backend_pid()');
    await waitFor(() => two.loops[0].pool(DATABASE, ROLE).clients.waiting.length === 1);
    expect(stage.count()).toBe(1);
    await stage.move();
    expect((await waiting).rows).toEqual([[pid]]);
    expect(await backends()).toEqual([Number(pid)]);
    expect([stage.server().id, stage.count()]).toEqual([id, 1]);
    expect(two.loops.map((loop) => loop.pool(DATABASE, ROLE).servers.slotsTaken)).toEqual([1, 0]);
    expect(stage.complaints()).toEqual([]);
    for (const client of clients) await client.end();
  });

  it('is shown there with its age, its key and its statements, and can be cancelled there', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    const [first, second] = clients;
    await second.ask(parse('mine', 'SELECT 1'), sync());
    await waitFor(() => stage.server().state === 'idle');
    const { connectWallMs, connectMs, statements } = stage.server();
    expect(statements.size).toBe(1);
    const key = Buffer.from(stage.server().backendKey as Buffer);
    await stage.move();
    const server = stage.server();
    expect(Math.abs(server.connectMs - connectMs)).toBeLessThan(1000);
    expect([server.connectWallMs, server.backendKey, server.statements.size]).toEqual([
      connectWallMs,
      key,
      1,
    ]);
    expect(server.state).toBe('idle');
    const sleeping = first.query('SELECT pg_sleep(60)');
    await waitFor(() => stage.server().state === 'active');
    await waitFor(async () => {
      await first.cancel();
      return stage.server().state !== 'active';
    });
    expect((await sleeping).errors[0]?.['C']).toBe('57014');
    await waitFor(() => stage.server().state === 'idle');
    for (const client of clients) await client.end();
  });

  it('goes on with the pool’s order: the one that has rested longest goes', async () => {
    await using two = await start({ default_pool_size: 3 });
    const stage = new Stage(two);
    const clients = await Promise.all([0, 1, 2].map(() => stage.client(0)));
    for (const client of clients) await client.query('BEGIN');
    const pids: (string | null)[] = [];
    for (const client of clients) {
      pids.push(await pidOf(client));
      await client.query('COMMIT');
      const pool = two.loops[0].pool(DATABASE, ROLE);
      await waitFor(() => pool.servers.idle.length === pids.length);
    }
    const moved = await stage.take();
    const { backendKey } = moved.parts as MovedConnection;
    expect(Buffer.from(backendKey ?? []).readInt32BE(0)).toBe(Number(pids[0]));
    closeSync(moved.parts.fd);
    for (const client of clients) await client.end();
  });

  it('does not go while a client has it, when it is to be replaced, or amid PAUSE', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    const [, second] = clients;
    const pool = two.loops[1].pool(DATABASE, ROLE);
    await second.query('BEGIN');
    expect(pool.moves.surrender()).toBe(null);
    await second.query('COMMIT');
    await waitFor(() => stage.server().state === 'idle');
    stage.server().closeNeeded = true;
    expect(pool.moves.surrender()).toBe(null);
    stage.server().closeNeeded = false;
    pool.paused = true;
    expect(pool.moves.surrender()).toBe(null);
    pool.paused = false;
    await stage.move();
    for (const client of clients) await client.end();
  });

  it('is closed where the pool is paused, and its place comes back when PostgreSQL has gone', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    const moved = await stage.take();
    two.loops[0].pool(DATABASE, ROLE).setPaused(true);
    stage.bring(moved);
    expect([stage.server().state, stage.count()]).toEqual(['closing', 1]);
    await waitFor(() => stage.count() === 0);
    await waitFor(async () => (await backends()).length === 0);
    two.loops[0].pool(DATABASE, ROLE).setPaused(false);
    expect(await clients[0].value('SELECT 1')).toBe('1');
    for (const client of clients) await client.end();
  });

  it('comes to a pool with the settings of now, not of when it left', async () => {
    await using two = await start();
    const stage = new Stage(two);
    const client = await stage.client(0);
    await client.query('SELECT 1');
    const moved = await stage.take();
    const stale = { ...moved.limits, poolMode: 'session', poolSize: 99 } as const;
    expect(two.loops[1].loop.state.poolOf(moved.identity, stale).limits).toEqual(moved.limits);
    stage.bring(moved);
    await client.end();
  });

  it('is closed where PAUSE holds and nobody has had a pool', async () => {
    await using two = await start();
    const stage = new Stage(two);
    const client = await stage.client(0);
    await client.query('SELECT 1');
    const moved = await stage.take();
    const { state } = two.loops[1].loop;
    state.isPaused = true;
    const pool = state.poolOf(moved.identity, moved.limits);
    pool.moves.adopt(moved, { ...moved.grant, owner: state.owner });
    expect([pool.paused, pool.servers.closing.length]).toEqual([true, 1]);
    await waitFor(() => stage.count() === 0);
    await client.end();
  });

  it('is closed where it missed that all are to be replaced', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    const moved = await stage.take();
    two.loops[0].era++;
    two.loops[0].pool(DATABASE, ROLE).markAllCloseNeeded(false);
    stage.bring(moved);
    expect(stage.server().state).toBe('closing');
    await waitFor(() => stage.count() === 0);
    // The other way round the command reaches it there.
    two.loops[0].era--;
    const pid = await pidOf(clients[0]);
    two.loops[0].era++;
    await stage.move();
    expect(await pidOf(clients[1])).toBe(pid);
    for (const client of clients) await client.end();
  });

  it('that PostgreSQL ends before, during or behind the move is no client’s', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    const kill = async (): Promise<void> => {
      const [pid] = await backends();
      await asSuperuser(`SELECT pg_terminate_backend(${pid}, 10000)`);
    };
    const fresh = async (side: Side): Promise<void> => {
      await waitFor(() => stage.count() === 0);
      stage.at = side;
      expect(await clients[side].value('SELECT 1')).toBe('1');
      await waitFor(() => stage.server().state === 'idle');
    };
    // Before: it is noticed here, or nobody gets it.
    await kill();
    expect(two.loops[stage.at].pool(DATABASE, ROLE).moves.surrender()).toBe(null);
    await fresh(0);
    // During.
    const moved = await stage.take();
    await kill();
    const waiting = clients[1].query('SELECT 1');
    await waitFor(() => two.loops[1].pool(DATABASE, ROLE).clients.waiting.length === 1);
    stage.bring(moved);
    expect((await waiting).rows).toEqual([['1']]);
    stage.at = 1;
    await waitFor(() => stage.server().state === 'idle');
    // Behind.
    await stage.move();
    await kill();
    await fresh(1);
    expect(
      stage.complaints().filter((line) => !/terminating connection due to administrator/.test(line)),
    ).toEqual([]);
    for (const client of clients) await client.end();
  });

  it('brings no client a notification that comes on the way', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    await clients[1].query('LISTEN moved_news');
    const pid = await pidOf(clients[1]);
    const moved = await stage.take();
    await asSuperuser("NOTIFY moved_news, 'on the way'");
    await waitFor(() => hasUnread(moved.parts.fd));
    const waiting = clients[0].query('SELECT pg_backend_pid()');
    await waitFor(() => two.loops[0].pool(DATABASE, ROLE).clients.waiting.length === 1);
    stage.bring(moved);
    const answer = await waiting;
    expect([answer.rows, answer.notifications]).toEqual([[[pid]], []]);
    expect(two.loops[0].lines.some((line) => line.includes('notification for a client that is gone'))).toBe(
      true,
    );
    for (const client of clients) await client.end();
  });

  it('leaves no descriptor behind, and PostgreSQL knows one session, through two hundred moves', async () => {
    await using two = await start();
    const { stage, clients } = await staged(two);
    const pid = await pidOf(clients[1]);
    const before = sockets().length;
    for (let i = 0; i < 200; i++) {
      await stage.move();
      if (i % 20 === 0) expect(await pidOf(clients[stage.at])).toBe(pid);
    }
    await waitFor(() => sockets().length === before);
    expect(await backends()).toEqual([Number(pid)]);
    expect(stage.complaints()).toEqual([]);
    for (const client of clients) await client.end();
  });
});

/** What a server may say to nobody, and what that makes of it. */
const UNASKED: readonly (readonly [string, Buffer, 'stays' | 'goes'])[] = [
  ['a notice', message('N', 'SNOTICE', 'C00000', 'Mhear this', Buffer.of(0)), 'goes'],
  ['a parameter', backend.parameterStatus('TimeZone', 'Asia/Tokyo'), 'goes'],
  ['that it ends', backend.errorResponse({ S: 'FATAL', C: '57P01', M: 'ending' }), 'goes'],
  ['an answer to nothing', backend.readyForQuery(), 'goes'],
  ['a notification', message('A', 1, 'news', 'of old'), 'stays'],
];

describe.each(UNASKED)('a server that says %s to nobody', (_name, bytes, then) => {
  async function stageOf(server: ScriptedServer, two: TwoLoops) {
    const login = new Stage(two).client(0);
    const peer = await server.acceptLogin();
    const client = await login;
    const asked = client.query('SELECT 1');
    await answerOne(peer);
    await asked;
    await waitFor(() => two.server(0, DATABASE, ROLE).state === 'idle');
    return { stage: new Stage(two), peer, client };
  }

  async function answerOne(peer: ScriptedPeer, text = '1'): Promise<void> {
    await peer.message('Q');
    const row = [backend.rowDescription('x'), backend.dataRow(text), backend.commandComplete('SELECT 1')];
    await peer.send(...row, backend.readyForQuery());
  }

  async function fakeStart(server: ScriptedServer): Promise<TwoLoops> {
    return startLoops({}, { ...sharedPostgres(), host: '127.0.0.1', port: server.port });
  }

  it('before the move doesn’t move, unless nothing has come of it', async () => {
    await using server = await ScriptedServer.listen();
    await using two = await fakeStart(server);
    const { stage, peer } = await stageOf(server, two);
    await peer.send(bytes);
    // In this very turn: nobody else has read it.
    const moved = two.take(0, DATABASE, ROLE);
    expect(moved === null ? 'goes' : 'stays').toBe(then);
    if (moved === null) expect(stage.server().state).toBe('closing');
    else closeSync(moved.parts.fd);
  });

  it('during the move serves nobody, unless nothing has come of it', async () => {
    await using server = await ScriptedServer.listen();
    await using two = await fakeStart(server);
    const { stage, peer } = await stageOf(server, two);
    const second = stage.client(1);
    await waitFor(
      () => two.loops[1].loop.state.pools.find(DATABASE, ROLE)?.clients.waiting_login.length === 1,
    );
    const moved = await stage.take();
    await peer.send(bytes);
    stage.bring(moved);
    if (then === 'goes') {
      expect(stage.server().state).toBe('closing');
      await peer.message('X');
      expect(stage.count()).toBe(1);
      await peer.close();
      // It logs in where there is room for that now.
      const next = await server.acceptLogin();
      const client = await second;
      const asked = client.query('SELECT 2');
      await answerOne(next, '2');
      expect((await asked).rows).toEqual([['2']]);
    } else {
      const client = await second;
      const asked = client.query('SELECT 2');
      await answerOne(peer, '2');
      const { rows, notifications, notices } = await asked;
      expect([rows, notifications, notices]).toEqual([[['2']], [], []]);
    }
  });

  it('in part before the move doesn’t move', async () => {
    await using server = await ScriptedServer.listen();
    await using two = await fakeStart(server);
    const { peer } = await stageOf(server, two);
    await peer.send(bytes.subarray(0, bytes.length - 1));
    expect(two.take(0, DATABASE, ROLE)).toBe(null);
  });

  it('in part during the move serves nobody until the rest has come', async () => {
    await using server = await ScriptedServer.listen();
    await using two = await fakeStart(server);
    const { stage, peer, client } = await stageOf(server, two);
    const second = stage.client(1);
    await waitFor(
      () => two.loops[1].loop.state.pools.find(DATABASE, ROLE)?.clients.waiting_login.length === 1,
    );
    const moved = await stage.take();
    await peer.send(bytes.subarray(0, bytes.length - 1));
    stage.bring(moved);
    const heard = second.then(async (it) => (await it.query('SELECT 2')).rows);
    // Its rest would be read as an answer: another one takes its place.
    await peer.message('X');
    await peer.close();
    const next = await server.acceptLogin();
    await answerOne(next, '2');
    expect(await heard).toEqual([['2']]);
    expect(client.peer.unread).toBe(0);
  });
});
