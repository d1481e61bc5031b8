import { beforeAll, describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { connectConsole } from '../support/console.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { backend, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'hostile';
const login = { user: ROLE, database: 'postgres' };

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
});

/** Bytes that the pooler keeps for clients that do not take them. */
function pendingBytes(pooler: LocalPooler): number {
  let bytes = 0;
  for (const connection of pooler.pooler.state.connections) bytes += connection.conn.pendingBytes;
  return bytes;
}

/** A console client that asks on and on, and never reads: as far as it gets. Gives the most bytes that waited for it. */
async function askOnAndOn(pooler: LocalPooler, text: string) {
  const peer = await connectConsole(pooler.port, ROLE);
  peer.stall();
  // Never sent whole: the pooler stops reading.
  peer.send(Buffer.concat(new Array(20_000).fill(frontend.query(text)))).catch(() => {});
  const { consoleStats } = pooler.pooler.state;
  let asked = -1;
  let peak = 0;
  await waitFor(() => {
    const isAtRest = consoleStats.queryCount === asked && asked > 0 && pendingBytes(pooler) > 0;
    asked = consoleStats.queryCount;
    peak = Math.max(peak, pendingBytes(pooler));
    return isAtRest || peak > 10_000_000;
  });
  return { peer, asked, peak };
}

test.for([
  ['on and on', 'SHOW CONFIG'],
  ['for as much as one query may', new Array(20).fill('SHOW CONFIG').join(';')],
] as const)('a console client that asks %s and never reads costs no more than a few answers', async ([
  ,
  text,
]) => {
  // Twenty answers are more than kernels hold for a connection.
  const settings = { stats_users: ROLE, ignore_startup_parameters: 'x'.repeat(500_000) };
  await using pooler = await startPooler({ settings, userlist: { [ROLE]: '' } });
  const { peer, asked, peak } = await askOnAndOn(pooler, text);
  expect(peak).toBeGreaterThan(0);
  expect(peak).toBeLessThan(1_200_000);
  peer.resume();
  await waitFor(() => pooler.pooler.state.consoleStats.queryCount > asked);
  await peer.close();
});

test('a console client that takes nothing for five minutes is closed, one that has read everything is not', async () => {
  const clock = new ManualClock();
  await using pooler = await startPooler({
    clock,
    settings: { stats_users: ROLE },
    userlist: { [ROLE]: '' },
  });
  const admin = await pooler.admin();
  await admin.query('SHOW CONFIG');
  const { peer } = await askOnAndOn(pooler, 'SHOW CONFIG');
  const lines = () => pooler.lines.filter((line) => line.includes('console answers are not read'));
  clock.advance(5 * 60_000);
  await sweepsPass();
  expect(lines()).toEqual([]);
  clock.advance(1000);
  await waitFor(() => lines().length > 0);
  // It is not waited for, and what it was to read is gone with it.
  clock.advance(4000);
  await waitFor(() => pooler.pooler.state.connections.size === 1);
  clock.advance(60 * 60_000);
  await sweepsPass();
  expect((await admin.query('SHOW CONFIG')).rows.length).toBeGreaterThan(0);
  await admin.end();
  await peer.close();
});

test('names of databases that strangers make up leave nothing behind', async () => {
  await using pooler = await startPooler({
    settings: { auth_type: 'scram-sha-256' },
    userlist: { [ROLE]: 'x' },
  });
  for (let i = 0; i < 5; i++) {
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.startup({ user: ROLE, database: `made_up_${i}` }));
    await peer.message('R');
    await peer.close();
  }
  expect(pooler.pooler.state.databases.all().map(({ entry }) => entry.name)).toEqual([]);
});

test("a client's encoding does not make another's name unreadable", async () => {
  await using pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { [ROLE]: '' },
  });
  const first = await WireClient.connect(pooler.port, { ...login, client_encoding: 'SJIS' });
  expect(await first.value('SHOW client_encoding')).toBe('SJIS');
  const second = await WireClient.connect(pooler.port, { ...login, application_name: 'naïve ☃' });
  expect(await second.value('SHOW client_encoding')).toBe('UTF8');
  await second.end();
  await first.end();
});

describe('bytes behind the last ReadyForQuery of our own query', () => {
  test('are not the next client’s answer', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startPooler({
      settings: { pool_mode: 'session', default_pool_size: 1 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
    });
    const scripted = { user: ROLE, database: 'scripted' };
    const [first, peer] = await Promise.all([
      WireClient.connect(pooler.port, scripted),
      server.acceptLogin(),
    ]);
    await first.send(frontend.query('one'));
    await peer.message('Q');
    await peer.send(backend.commandComplete('ONE'), backend.readyForQuery());
    await first.answer();
    const second = await WireClient.connect(pooler.port, scripted);
    await second.send(frontend.query('two'));
    await poolShows(pooler, 'scripted', ROLE, { cl_waiting: 1 });
    await first.end();
    expect((await peer.message('Q')).body.toString()).toBe('DISCARD ALL\0');
    await peer.send(
      backend.commandComplete('DISCARD ALL'),
      backend.readyForQuery(),
      backend.errorResponse({ S: 'FATAL', C: '57P01', M: 'for nobody' }),
    );
    // It has been said goodbye to; only then there is room for another.
    expect((await peer.message()).type).toBe('X');
    await peer.close();
    const next = await server.acceptLogin();
    await next.message('Q');
    await next.send(backend.commandComplete('TWO'), backend.readyForQuery());
    expect((await second.answer()).tags).toEqual(['TWO']);
    await second.peer.close();
  });
});

test('names of databases that PostgreSQL does not have are forgotten when the next attempt would be due', async () => {
  await using pooler = await startPooler({ settings: { server_login_retry: 0.5 }, userlist: { [ROLE]: '' } });
  const good = await WireClient.connect(pooler.port, login);
  await good.end();
  for (const name of ['not_there_1', 'not_there_2']) {
    await expect(WireClient.connect(pooler.port, { user: ROLE, database: name })).rejects.toThrow(
      'does not exist',
    );
  }
  const { databases, pools } = pooler.pooler.state;
  const names = () => databases.all().map(({ entry }) => entry.name);
  expect(names()).toEqual(['not_there_1', 'not_there_2', 'postgres']);
  await waitFor(() => names().length === 1);
  expect([names(), pools.all().map(({ database }) => database)]).toEqual([['postgres'], ['postgres']]);
});

test('a server that never ends the connection of our cancel request costs no descriptor for ever', async () => {
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    own: { server_close_timeout: 0.1, server_cancel_timeout: 0.1 },
    userlist: { [ROLE]: '' },
  });
  const [client, peer] = await Promise.all([
    WireClient.connect(pooler.port, { user: ROLE, database: 'scripted' }),
    server.acceptLogin(),
  ]);
  await client.send(frontend.query('SELECT pg_sleep(1000)'));
  await peer.message('Q');
  await client.peer.close();
  const carrier = await server.accept();
  expect((await carrier.packet()).body.readInt32BE(0)).toBe(80877102);
  await carrier.end();
});

test('a database that comes back elsewhere has none of the first server’s welcome', async () => {
  await using first = await ScriptedServer.listen();
  await using second = await ScriptedServer.listen();
  const at = (server: ScriptedServer) => ({ moving: `host=127.0.0.1 port=${server.port}` });
  await using pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 2 },
    databases: at(first),
    own: { server_close_timeout: 60 },
    userlist: { [ROLE]: '' },
  });
  const moving = { user: ROLE, database: 'moving' };
  const [client, held] = await Promise.all([WireClient.connect(pooler.port, moving), first.acceptLogin()]);
  expect(client.parameters.get('server_version')).toBe('18.0');
  await pooler.reload({ databases: { other: '' } });
  // Its end stays open, so the pool is still there when the database is.
  expect((await held.message()).type).toBe('X');
  await pooler.reload({ databases: at(second) });
  const login = WireClient.connect(pooler.port, moving);
  const peer = await second.accept();
  await peer.packet();
  await peer.send(
    backend.authenticationOk(),
    backend.parameterStatus('server_version', '19.0'),
    backend.readyForQuery(),
  );
  const moved = await login;
  expect(moved.parameters.get('server_version')).toBe('19.0');
  await moved.peer.close();
  await client.peer.close();
});
