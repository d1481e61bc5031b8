import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { backendPids, backendsOf, Holders, poolShows } from '../support/backends.ts';
import { backend, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectTo, startPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { refusalOf } from '../support/refusals.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor, within } from '../support/wait-for.ts';

const LIMIT = 3;
const ROLE = 'slots';
const login = { user: ROLE, database: 'postgres' };

let postgres: Postgres;
beforeAll(async () => {
  postgres = await startPostgres();
  await createRole(postgres.address, {
    name: ROLE,
    auth: 'trust',
    options: `CONNECTION LIMIT ${LIMIT}`,
  });
});
afterAll(() => postgres[Symbol.asyncDispose]());

function start(settings: Record<string, string | number>, own = {}): Promise<LocalPooler> {
  return startPooler({
    postgres: postgres.address,
    settings: { default_pool_size: LIMIT, max_client_conn: 500, server_login_retry: 0, ...settings },
    own,
    userlist: { [ROLE]: '' },
  });
}

/** Refusals of the role in PostgreSQL's log so far. */
function refusals(): string[] {
  return postgres
    .log()
    .split('\n')
    .filter((line) => line.includes('too many connections'));
}

/** What PostgreSQL counts for the role while `work` runs, at most. */
async function mostBackendsDuring(work: Promise<unknown>): Promise<number> {
  let isOver = false;
  const over = work.finally(() => {
    isOver = true;
  });
  let most = 0;
  const monitor = await connectTo(postgres.address);
  while (!isOver) {
    const { rows } = await monitor.query<{ n: number }>(
      'SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = $1',
      [ROLE],
    );
    most = Math.max(most, rows[0]?.n ?? 0);
  }
  await monitor.end();
  await over;
  return most;
}

/** A client that does one thing and leaves, politely or not. */
async function visit(pooler: LocalPooler, random: Random): Promise<void> {
  const peer = await connectAndLogin(pooler.port, login);
  const way = random.below(8);
  switch (way) {
    case 0:
    case 1:
    case 2:
      await peer.send(frontend.query('SELECT 1'));
      await peer.messagesTo('Z');
      await peer.send(frontend.terminate());
      break;
    case 3:
      // Gone while the query runs.
      await peer.send(frontend.query('SELECT pg_sleep(0.02)'));
      break;
    case 4:
      await peer.send(frontend.query('BEGIN'));
      await peer.messagesTo('Z');
      break;
    case 5:
      // Gone in the middle of a large answer.
      await peer.send(frontend.query("SELECT repeat('x', 1000) FROM generate_series(1, 2000)"));
      await peer.message('T');
      break;
    case 6:
      // Gone in the middle of a message.
      await peer.send(frontend.query('BEGIN'), frontend.query('SELECT 1').subarray(0, 7));
      await peer.messagesTo('Z');
      break;
    case 7:
      // Gone without waiting for anything.
      await peer.send(frontend.parse('', 'SELECT 1'), frontend.bind('', ''), frontend.execute(''));
      break;
  }
  if (way % 2 === 0) peer.reset();
  else await peer.close();
}

describe('a role with CONNECTION LIMIT = pool_size is never refused', () => {
  const churns = {
    'by clients that vanish at any moment': { pool_mode: 'transaction' },
    'with a reset query after each transaction': { pool_mode: 'transaction', server_reset_query_always: 1 },
    'with server_lifetime = 0': { pool_mode: 'transaction', server_lifetime: 0 },
    'with a check before each use': { pool_mode: 'transaction', server_check_delay: 0 },
    'in session mode': { pool_mode: 'session' },
  };
  for (const [name, settings] of Object.entries(churns)) {
    test(name, async () => {
      await withSeed(async (random) => {
        await using pooler = await start(settings);
        const before = refusals().length;
        const visitors = Array.from({ length: 12 }, async () => {
          for (let i = 0; i < 12; i++) await visit(pooler, random);
        });
        const most = await mostBackendsDuring(Promise.all(visitors));
        expect(most).toBeLessThanOrEqual(LIMIT);
        expect(refusals().slice(before)).toEqual([]);
        expect(pooler.lines.filter((line) => line.includes('server login failed'))).toEqual([]);
        await poolShows(pooler, 'postgres', ROLE, { cl_active: 0, cl_waiting: 0, sv_active: 0, sv_login: 0 });
        const client = await pooler.client({ ...login, password: '' });
        expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
        await client.end();
      });
    });
  }

  test('while RECONNECT replaces the connections again and again', async () => {
    await withSeed(async (random) => {
      await using pooler = await start({ pool_mode: 'transaction' });
      const before = refusals().length;
      const seen = new Set<number>();
      const admin = await pooler.admin();
      let isOver = false;
      const reconnects = (async () => {
        while (!isOver) {
          await admin.query('RECONNECT');
          for (const pid of await backendPids(pooler, ROLE)) seen.add(pid);
        }
      })();
      const visitors = Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let i = 0; i < 12; i++) await visit(pooler, random);
        }),
      ).finally(() => {
        isOver = true;
      });
      expect(await mostBackendsDuring(visitors)).toBeLessThanOrEqual(LIMIT);
      await reconnects;
      await admin.end();
      expect(seen.size).toBeGreaterThan(LIMIT);
      expect(refusals().slice(before)).toEqual([]);
    });
  });
});

describe('the slot of a query whose client has gone, and left half a message behind it', () => {
  test('stays taken until PostgreSQL has ended that query, by a cancel after server_close_timeout', async () => {
    await using pooler = await start(
      { pool_mode: 'transaction', default_pool_size: 1 },
      { server_close_timeout: 0.5, server_cancel_timeout: 20 },
    );
    const gone = await connectAndLogin(pooler.port, login);
    await gone.send(frontend.query('SELECT pg_sleep(60)'), frontend.bind('', '').subarray(0, 9));
    await waitFor(async () => (await backendsOf(pooler, ROLE)) === 1);
    const [sleeping] = await backendPids(pooler, ROLE);
    const client = await pooler.client({ ...login, password: '' });
    await gone.close();
    const leftMs = performance.now();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    expect(performance.now() - leftMs).toBeGreaterThan(490);
    expect(rows[0]?.pid).not.toBe(sleeping);
    expect(await backendPids(pooler, ROLE)).toEqual([rows[0]?.pid]);
    expect(pooler.lines.filter((line) => line.includes('giving its slot up'))).toEqual([]);
    expect(postgres.log()).toContain('canceling statement due to user request');
    await client.end();
  });
});

describe('a server that does not end its connection', () => {
  const timeouts = { server_close_timeout: 0.4, server_cancel_timeout: 0.8 };

  async function abandonTransaction(pooler: LocalPooler, server: ScriptedServer) {
    const client = connectAndLogin(pooler.port, { user: ROLE, database: 'scripted' });
    const peer = await server.acceptLogin({ pid: 77, secret: Buffer.from('KEY!') });
    const first = await client;
    await first.send(frontend.query('BEGIN'));
    await peer.message('Q');
    await peer.send(backend.commandComplete('BEGIN'), backend.readyForQuery('T'));
    await first.messagesTo('Z');
    await first.close();
    await peer.message('X');
    return { peer, saidGoodbyeMs: performance.now() };
  }

  function startScripted(server: ScriptedServer): Promise<LocalPooler> {
    return startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      own: timeouts,
      userlist: { [ROLE]: '' },
    });
  }

  test('keeps its slot past Terminate and CancelRequest, and loses it with a warning after both deadlines', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startScripted(server);
    const { saidGoodbyeMs } = await abandonTransaction(pooler, server);
    const second = await connectAndLogin(pooler.port, { user: ROLE, database: 'scripted' });
    await second.send(frontend.query('SELECT next'));

    const canceller = await server.accept();
    expect(await canceller.packet()).toEqual({
      type: '',
      body: frontend.cancelRequest(77, Buffer.from('KEY!')).subarray(4),
    });
    const cancelledMs = performance.now();
    expect(cancelledMs - saidGoodbyeMs).toBeGreaterThan(390);
    await poolShows(pooler, 'scripted', ROLE, { cl_waiting: 1, sv_login: 0 });
    expect(server.accepted).toBe(2);

    await server.acceptLogin();
    expect(performance.now() - saidGoodbyeMs).toBeGreaterThan(1190);
    expect(pooler.lines.filter((line) => /^WARNING .*giving its slot up/.test(line))).toHaveLength(1);
    await second.close();
  });

  test('frees its slot at once when the CancelRequest makes it end', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startScripted(server);
    const { peer } = await abandonTransaction(pooler, server);
    const second = await connectAndLogin(pooler.port, { user: ROLE, database: 'scripted' });
    await second.send(frontend.query('SELECT next'));
    const canceller = await server.accept();
    await canceller.packet();
    canceller.halfClose();
    expect(server.accepted).toBe(2);
    const endedMs = performance.now();
    await peer.close();
    await server.acceptLogin();
    expect(performance.now() - endedMs).toBeLessThan(300);
    expect(pooler.lines.filter((line) => line.includes('giving its slot up'))).toEqual([]);
    await second.close();
  });

  test('is not cancelled when it ends by itself in time', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startScripted(server);
    const { peer } = await abandonTransaction(pooler, server);
    await peer.close();
    const second = connectAndLogin(pooler.port, { user: ROLE, database: 'scripted' });
    await (await second).send(frontend.query('SELECT next'));
    const next = await server.acceptLogin();
    expect((await next.message('Q')).body.toString()).toBe('SELECT next\0');
    expect(server.accepted).toBe(2);
  });
});

test('a client that goes while it waits gives its place in the queue away, and no server is lost', async () => {
  await using pooler = await start({ pool_mode: 'transaction', default_pool_size: 1 });
  const holder = await pooler.client({ ...login, password: '' });
  await holder.query('BEGIN');
  const impatient = await Promise.all(Array.from({ length: 5 }, () => connectAndLogin(pooler.port, login)));
  for (const peer of impatient) await peer.send(frontend.query('SELECT 1'));
  await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 5 });
  const patient = await pooler.client({ ...login, password: '' });
  const answer = patient.query('SELECT 2 AS two');
  await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 6 });
  for (const peer of impatient) await peer.close();
  await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 1 });
  await holder.query('COMMIT');
  expect((await within(answer, 'the answer')).rows).toEqual([{ two: 2 }]);
  for (const client of [holder, patient]) await client.end();
});

test("a pool larger than max_connections: clients get PostgreSQL's own text, and the pooler recovers", async () => {
  await using small = await startPostgres({
    settings: { max_connections: 8, superuser_reserved_connections: 2, reserved_connections: 0 },
  });
  await createRole(small.address, { name: ROLE, auth: 'trust' });
  await using pooler = await startPooler({
    postgres: small.address,
    settings: { pool_mode: 'transaction', default_pool_size: 20, server_login_retry: 0 },
    userlist: { [ROLE]: '' },
  });
  // All is taken from outside: the first login fails, and its client hears why.
  const direct = await Promise.all(
    Array.from({ length: 6 }, () => connectTo(small.address, { ...login, password: '' })),
  );
  const refusal = await refusalOf(pooler.client({ ...login, password: '' }));
  expect(refusal).toMatchObject({ severity: 'FATAL', code: '53300' });
  expect(refusal.message).toContain('remaining connection slots are reserved for roles with');
  for (const client of direct) await client.end();
  await waitFor(() =>
    pooler.client({ ...login, password: '' }).then(
      (client) => client.end().then(() => true),
      () => false,
    ),
  );

  // With some connections there, the clients that find no more of them wait for those.
  await using holders = await new Holders().add(pooler, 10, { ...login, password: '' });
  await waitFor(() => holders.holding === 6);
  await sweepsPass();
  expect(holders.holding).toBe(6);
  for (const client of holders.clients.slice(0, 6)) await client.query('COMMIT');
  await waitFor(() => holders.holding === 10);
});
