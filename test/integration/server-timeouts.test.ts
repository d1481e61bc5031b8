import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { backend, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { fatal, refusalOf } from '../support/refusals.ts';
import { connectAndLogin, connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

const login = { user: 'somebody', database: 'scripted' };

/** A pooler in transaction mode with one server connection, in front of a PostgreSQL that the test plays. */
function start(
  server: ScriptedServer,
  settings: Record<string, string | number> = {},
  entry = '',
  clock?: ManualClock,
): Promise<LocalPooler> {
  return startPooler({
    ...(clock === undefined ? {} : { clock }),
    settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0, ...settings },
    databases: { scripted: `host=127.0.0.1 port=${server.port} ${entry}` },
    userlist: { somebody: '' },
  });
}

/** The server's part of one simple query that must have this text. */
async function serve(server: ScriptedPeer, sql: string, ...answer: readonly Buffer[]): Promise<void> {
  expect((await server.message('Q')).body.toString()).toBe(`${sql}\0`);
  await server.send(...answer, backend.commandComplete('SELECT 0'), backend.readyForQuery());
}

/** The same where a sweep may have come before the first use, so that the server is checked ahead of it. */
async function serveOnceChecked(server: ScriptedPeer, sql: string): Promise<void> {
  for (let text = ''; text !== sql; ) {
    text = (await server.message('Q')).body.toString().slice(0, -1);
    expect(['', sql]).toContain(text);
    await server.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
  }
}

/** A login of a client and the server connection that it waits for. */
async function logIn(pooler: LocalPooler, server: ScriptedServer): Promise<[ScriptedPeer, ScriptedPeer]> {
  return Promise.all([connectAndLogin(pooler.port, login), server.acceptLogin()]);
}

describe.concurrent('server_connect_timeout', () => {
  test.for([
    'before its first byte',
    'in the middle of its login',
  ])('gives a server up that stalls %s, and tries again for the client that waits', async (where) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { server_connect_timeout: 0.5 });
    const startMs = performance.now();
    const client = connectAndLogin(pooler.port, login);
    const stalling = await server.accept();
    await stalling.packet();
    if (where !== 'before its first byte') await stalling.send(backend.authenticationOk().subarray(0, 6));
    await stalling.end();
    expect(performance.now() - startMs).toBeGreaterThan(495);
    expect(pooler.lines.some((line) => line.includes('closing because: connect timeout'))).toBe(true);
    await stalling.close();
    await server.acceptLogin();
    await (await client).close();
  });

  test('does not cut a login short that gets through in time', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { server_connect_timeout: 0.5 });
    const [client, backendSide] = await logIn(pooler, server);
    await sweepsPass(3);
    const answered = serve(backendSide, 'SELECT 1');
    await client.send(frontend.query('SELECT 1'));
    await client.messagesTo('Z');
    await answered;
    expect(server.accepted).toBe(1);
  });
});

describe.concurrent('server_login_retry', () => {
  test('lets that much time pass between attempts; a client that waits is served once one succeeds', async () => {
    await using pooler = await startPooler({
      settings: { server_login_retry: 0.5, unix_socket_dir: '' },
      databases: { scripted: 'host=/nowhere/at/all port=5432' },
      userlist: { somebody: '' },
    });
    await pooler.reload({ databases: { scripted: `host=${pooler.folder} port=1` } });
    const startMs = performance.now();
    const client = connectAndLogin(pooler.port, login);
    const failures = (): number =>
      pooler.lines.filter((line) => line.includes('because: connect failed')).length;
    await waitFor(() => failures() === 3);
    expect(performance.now() - startMs).toBeGreaterThan(990);
    await using server = await ScriptedServer.listen(join(pooler.folder, '.s.PGSQL.1'));
    await server.acceptLogin();
    await (await client).close();
  });
});

describe.concurrent('server_check_query', () => {
  test.for([
    ['the empty query by default', {}, ''],
    ['the configured one', { server_check_query: 'SELECT still_there()' }, 'SELECT still_there()'],
  ] as const)('%s runs ahead of the client’s after server_check_delay, not before', async ([
    ,
    settings,
    sql,
  ]) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { server_check_delay: 0.4, ...settings });
    const [client, backendSide] = await logIn(pooler, server);
    await client.send(frontend.query('SELECT 1'));
    await serve(backendSide, 'SELECT 1');
    await client.messagesTo('Z');
    await client.send(frontend.query('SELECT 2'));
    await serve(backendSide, 'SELECT 2');
    await client.messagesTo('Z');
    await poolShows(pooler, 'scripted', 'somebody', { sv_idle: 0, sv_used: 1 });
    await client.send(frontend.query('SELECT 3'));
    // What it answers is nobody's business.
    await serve(backendSide, sql, backend.errorResponse({ S: 'ERROR', C: '42883', M: 'no such function' }));
    await serve(backendSide, 'SELECT 3');
    const types = (await client.messagesTo('Z')).map(({ type }) => type);
    expect(types).toEqual(['C', 'Z']);
  });

  test('with server_check_delay = 0 every use is checked', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { server_check_delay: 0 });
    const [client, backendSide] = await logIn(pooler, server);
    await client.send(frontend.query('SELECT 1'));
    await serveOnceChecked(backendSide, 'SELECT 1');
    await client.messagesTo('Z');
    await client.send(frontend.query('SELECT 2'));
    await serve(backendSide, '');
    await serve(backendSide, 'SELECT 2');
    await client.messagesTo('Z');
  });

  test.for([
    'is gone',
    'does not answer',
  ])('a server that %s is replaced, and the client notices nothing', async (what) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { server_check_delay: 0, server_connect_timeout: 0.5 });
    const [client, first] = await logIn(pooler, server);
    await client.send(frontend.query('SELECT 1'));
    await serveOnceChecked(first, 'SELECT 1');
    await client.messagesTo('Z');
    await client.send(frontend.query('SELECT 2'));
    await first.message('Q');
    // As through a proxy that has lost its other side.
    if (what === 'is gone') first.reset();
    else {
      await first.end();
      expect(pooler.lines.some((line) => line.includes('closing because: test query failed'))).toBe(true);
      await first.close();
    }
    await serve(await server.acceptLogin(), 'SELECT 2');
    expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
  });
});

describe.concurrent('server_reset_query', () => {
  test('that is not answered costs the connection, not the next client', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { pool_mode: 'session', server_connect_timeout: 0.5 });
    const [client, first] = await logIn(pooler, server);
    await client.send(frontend.query('SELECT 1'));
    await serve(first, 'SELECT 1');
    await client.messagesTo('Z');
    await client.send(frontend.terminate());
    expect((await first.message('Q')).body.toString()).toBe('DISCARD ALL\0');
    const next = await connectAndLogin(pooler.port, login);
    await next.send(frontend.query('SELECT 2'));
    await first.end();
    await first.close();
    await serve(await server.acceptLogin(), 'SELECT 2');
    await next.messagesTo('Z');
  });
});

describe.concurrent('cancel_wait_timeout', () => {
  test('ends cancel requests without a word: one that the server sits on, and those queued behind it', async () => {
    await using server = await ScriptedServer.listen();
    const clock = new ManualClock();
    await using pooler = await start(server, { cancel_wait_timeout: 0.6 }, '', clock);
    const client = await connectPeer(pooler.port);
    await client.send(frontend.startup(login));
    const first = await server.acceptLogin();
    const key = (await client.messagesTo('Z')).find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0);
    await client.send(frontend.query('SELECT 1'));
    await first.message('Q');
    const cancellers = [];
    for (let i = 0; i < 3; i++) {
      const peer = await connectPeer(pooler.port);
      await peer.send(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4)));
      cancellers.push(peer);
    }
    const carrier = await server.accept();
    await carrier.packet();
    const waiting = { cl_active_cancel_req: 1, cl_waiting_cancel_req: 2 };
    await poolShows(pooler, 'scripted', 'somebody', waiting);
    clock.advance(600);
    await sweepsPass();
    await poolShows(pooler, 'scripted', 'somebody', waiting);
    clock.advance(1);
    for (const peer of cancellers) expect(await peer.end()).toHaveLength(0);
    expect(server.accepted).toBe(2);
    // Whether the cancel still strikes is unknown: this server is nobody else's any more.
    await first.send(backend.commandComplete('SELECT 0'), backend.readyForQuery());
    await client.messagesTo('Z');
    await first.message('X');
    await first.close();
    await client.send(frontend.query('SELECT 2'));
    await serve(await server.acceptLogin(), 'SELECT 2');
    await client.messagesTo('Z');
  });
});

test('an error of the server in its login is not a timeout: who waits hears it at once', async () => {
  await using server = await ScriptedServer.listen();
  await using pooler = await start(server, { server_connect_timeout: 30, client_login_timeout: 30 });
  const refused = refusalOf(pooler.client({ ...login, password: '' }));
  const peer = await server.accept();
  await peer.packet();
  await peer.send(backend.errorResponse({ S: 'FATAL', C: '57P01', M: 'going away' }));
  expect(await refused).toEqual(fatal('going away', '57P01'));
});
