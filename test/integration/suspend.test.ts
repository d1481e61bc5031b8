import { expect, test } from 'vitest';
import { sleeps } from '../support/backends.ts';
import { connectConsole, runOn, watch } from '../support/console.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, SpawnedPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { fatal, refusalOf } from '../support/refusals.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const transaction = { settings: { pool_mode: 'transaction' } };
const consoleOf = (pooler: { port: number }) => connectConsole(pooler.port, sharedPostgres().user);
const clientOf = (pooler: { port: number }) =>
  WireClient.connect(pooler.port, { user: sharedPostgres().user, database: 'postgres' });

/** Too long to be held until it is whole: its first half is sent on. */
const LONG = frontend.query(`SELECT 1 ${' '.repeat(200_000)}`);

async function stateOf(pooler: LocalPooler): Promise<Record<string, unknown>> {
  const rows = await pooler.show('SHOW STATE');
  return Object.fromEntries(rows.map(({ key, value }) => [key, value]));
}

/** Clients whose login is under way. */
async function inLogin(pooler: LocalPooler): Promise<unknown> {
  return (await pooler.show('SHOW LISTS')).find(({ list }) => list === 'login_clients')?.['items'];
}

/** What has gone through, and how many queries it was. */
async function traffic(pooler: LocalPooler): Promise<{ bytes: unknown[]; queries: number }> {
  const row = (await pooler.show('SHOW STATS_TOTALS')).find(({ database }) => database === 'postgres');
  return {
    bytes: [row?.['bytes_received'], row?.['bytes_sent']],
    queries: Number(row?.['query_count'] ?? 0),
  };
}

test('SUSPEND stops everything but the console, RESUME goes on with it, and nothing is lost', async () => {
  await using pooler = await startPooler(transaction);
  await using busy = await clientOf(pooler);
  await using idle = await clientOf(pooler);
  await busy.query('BEGIN');
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
  expect(await stateOf(pooler)).toEqual({ active: 'no', paused: 'no', suspended: 'yes' });
  const answers = [watch(busy.query('SELECT 1')), watch(idle.query('SELECT 2'))];
  const login = watch(clientOf(pooler));
  await sweepsPass();
  expect([...answers, login].map(({ settled }) => settled)).toEqual([false, false, false]);
  expect((await pooler.show('SHOW POOLS')).map(({ sv_login }) => sv_login)).not.toContain(1);
  expect(await runOn(console, 'RESUME')).toBe('RESUME');
  const [first, second] = await Promise.all(answers.map(({ promise }) => promise));
  expect([first?.rows, first?.status, second?.rows]).toEqual([[['1']], 'T', [['2']]]);
  await (await login.promise).end();
  expect(await stateOf(pooler)).toEqual({ active: 'yes', paused: 'no', suspended: 'no' });
  await console.close();
});

test('a result that is under way is let through to the end of a message, and goes on at RESUME', async () => {
  const oneLoop = 'what waits to be sent is looked at';
  await using pooler = await startPooler({ ...transaction, oneLoop });
  await using client = await clientOf(pooler);
  const rows = 20_000;
  const answer = watch(client.query(`SELECT repeat('x', 2000) FROM generate_series(1, ${rows})`));
  await waitFor(() => client.peer.socket.bytesRead > 100_000);
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
  // It had come to rest when the answer was given: no byte after that.
  const state = pooler.pooler.state;
  for (const connection of state.connections) {
    if (connection.database === 'postgres') expect(connection.conn.pendingBytes).toBe(0);
  }
  const { bytesRead } = client.peer.socket;
  await sweepsPass();
  expect([answer.settled, client.peer.socket.bytesRead - bytesRead < 4_000_000]).toEqual([false, true]);
  expect(await runOn(console, 'RESUME')).toBe('RESUME');
  expect((await answer.promise).rows).toHaveLength(rows);
  await console.close();
});

test('SUSPEND is refused with a paused database, when paused or suspended, and during a shutdown', async () => {
  await using pooler = await startPooler({ ...transaction, databases: { one: 'dbname=postgres' } });
  const console = await consoleOf(pooler);
  await runOn(console, 'PAUSE one');
  expect(await runOn(console, 'SUSPEND')).toBe('ERROR 08P01 cannot suspend with paused databases');
  await runOn(console, 'RESUME one');
  await runOn(console, 'PAUSE');
  expect(await runOn(console, 'SUSPEND')).toBe('ERROR 08P01 already suspended/paused');
  await runOn(console, 'RESUME');
  expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
  for (const command of ['SUSPEND', 'PAUSE', 'PAUSE one', 'KILL', 'KILL one']) {
    expect([command, await runOn(console, command)]).toEqual([
      command,
      'ERROR 08P01 already suspended/paused',
    ]);
  }
  expect(await runOn(console, 'RESUME one')).toBe('ERROR 08P01 database one is not paused');
  await runOn(console, 'RESUME');
  await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS');
  expect(await runOn(console, 'SUSPEND')).toBe('ERROR 08P01 pooler is shutting down');
  await console.close();
});

test('when the console that asked for it goes away, SUSPEND ends', async () => {
  await using pooler = await startPooler(transaction);
  await using client = await clientOf(pooler);
  const [asking, other] = [await consoleOf(pooler), await consoleOf(pooler)];
  await runOn(asking, 'SUSPEND');
  const answer = watch(client.query('SELECT 1'));
  await other.close();
  await sweepsPass();
  expect(answer.settled).toBe(false);
  await asking.close();
  expect((await answer.promise).rows).toEqual([['1']]);
  expect(pooler.lines).toContain('LOG admin disconnected when suspended, doing RESUME');
});

test('so it does when that console had sent too much ahead to be read', async () => {
  const clock = new ManualClock();
  await using pooler = await startPooler({
    clock,
    settings: { ...transaction.settings, suspend_timeout: 0 },
  });
  await using client = await clientOf(pooler);
  await client.query('BEGIN');
  await client.send(LONG.subarray(0, 100_000));
  await waitFor(() => [...pooler.pooler.state.sessions.values()].some((session) => !session.atBoundary));
  const console = await consoleOf(pooler);
  await console.send(frontend.query('SUSPEND'), frontend.query(`-- ${'x'.repeat(100_000)}`));
  const { consoleClients } = pooler.pooler.state;
  await waitFor(() => [...consoleClients].some(({ conn }) => conn.isPaused));
  expect(pooler.pooler.standing().isSuspended).toBe(true);
  await console.close();
  await waitFor(() => {
    clock.advance(1000);
    return !pooler.pooler.standing().isSuspended;
  });
  await client.send(LONG.subarray(100_000));
  expect((await client.answer()).rows).toEqual([['1']]);
});

test('a SUSPEND that RESUME or a cancel request ends before it is complete says so', async () => {
  const oneLoop = 'how much of a message has been read is looked at';
  await using pooler = await startPooler({
    settings: { ...transaction.settings, suspend_timeout: 0 },
    oneLoop,
  });
  // Half a message of a client holds it up.
  await using client = await clientOf(pooler);
  await client.query('BEGIN');
  await client.send(LONG.subarray(0, 100_000));
  await waitFor(() => [...pooler.pooler.state.sessions.values()].some((session) => !session.atBoundary));
  await using console = await WireClient.connect(pooler.port, {
    user: sharedPostgres().user,
    database: 'pgbouncer',
  });
  const other = await consoleOf(pooler);
  for (const end of [() => runOn(other, 'RESUME'), () => console.cancel()]) {
    const suspend = watch(console.query('SUSPEND'));
    await waitFor(() => pooler.pooler.standing().isSuspended);
    await sweepsPass();
    expect(suspend.settled).toBe(false);
    await end();
    expect((await suspend.promise).errors[0]).toMatchObject({
      C: '57014',
      M: 'canceling statement due to user request',
    });
    expect(pooler.pooler.standing().isSuspended).toBe(false);
  }
  await client.send(LONG.subarray(100_000));
  expect((await client.answer()).rows).toEqual([['1']]);
  // In force, it is ended by a cancel, too: the console is what stays open.
  expect((await console.query('SUSPEND')).tags).toEqual(['SUSPEND']);
  await console.cancel();
  expect((await client.query('SELECT 2')).rows).toEqual([['2']]);
  await other.close();
});

test('suspend_timeout closes those that are not flushed by then, and nobody else', async () => {
  const oneLoop = 'who has not been flushed is looked at';
  await using pooler = await startPooler({
    settings: { ...transaction.settings, suspend_timeout: 1 },
    oneLoop,
  });
  await using half = await clientOf(pooler);
  await using deaf = await clientOf(pooler);
  await using whole = await clientOf(pooler);
  await half.query('BEGIN');
  await half.send(LONG.subarray(0, 100_000));
  deaf.peer.socket.pause();
  await deaf.send(frontend.query("SELECT repeat('x', 1000000) FROM generate_series(1, 50)"));
  await waitFor(() => {
    const sessions = [...pooler.pooler.state.sessions.values()];
    return sessions.some(({ conn }) => conn.isCongested) && sessions.some(({ atBoundary }) => !atBoundary);
  });
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
  const left = [...pooler.pooler.state.sessions.values()].map(({ connection }) => connection.isClosing);
  expect(left).toEqual([false]);
  expect((await half.answerTo('E')).errors[0]).toMatchObject({ S: 'FATAL', M: 'suspend_timeout' });
  expect(await runOn(console, 'RESUME')).toBe('RESUME');
  expect((await whole.query('SELECT 1')).rows).toEqual([['1']]);
  expect(
    pooler.lines.filter((line) => line.includes('closing because: suspend_timeout')).length,
  ).toBeGreaterThan(1);
  await console.close();
});

test('while it is suspended no timeout strikes, RELOAD applies, and KILL_CLIENT ends a client', async () => {
  await using pooler = await startPooler({
    settings: { ...transaction.settings, client_idle_timeout: 1, client_login_timeout: 1 },
  });
  const [one, two] = [await clientOf(pooler), await clientOf(pooler)];
  await two.query('SELECT 1');
  const console = await consoleOf(pooler);
  await runOn(console, 'SUSPEND');
  const login = watch(clientOf(pooler));
  await sweepsPass(5);
  pooler.configure({ settings: { client_idle_timeout: 0, default_pool_size: 3 } });
  expect(await runOn(console, 'RELOAD')).toBe('RELOAD');
  expect(await pooler.show('SHOW CONFIG')).toContainEqual(
    expect.objectContaining({ key: 'default_pool_size', value: '3' }),
  );
  const clients = await pooler.show('SHOW CLIENTS');
  const ids = clients.filter(({ database }) => database === 'postgres').map(({ id }) => Number(id));
  expect(ids).toHaveLength(2);
  expect(await runOn(console, `KILL_CLIENT ${ids[0]}`)).toBe('KILL_CLIENT');
  expect((await one.answerTo('E')).errors[0]).toMatchObject({ M: 'admin forced disconnect' });
  await one[Symbol.asyncDispose]();
  expect(pooler.lines.filter((line) => line.includes('_timeout'))).toEqual([]);
  await runOn(console, 'RESUME');
  // The time of its login begins now.
  await (await login.promise).end();
  expect((await two.query('SELECT 1')).rows).toEqual([['1']]);
  await two.end();
  await console.close();
});

test('its time is no part of client_login_timeout, nor of server_connect_timeout', async () => {
  const clock = new ManualClock();
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    clock,
    settings: { ...transaction.settings, auth_type: 'plain', server_connect_timeout: 150 },
    databases: { silent: `host=127.0.0.1 port=${server.port}` },
    userlist: { slow: 'secret' },
  });
  const begin = async (parameters: Record<string, string> = {}): Promise<ScriptedPeer> => {
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.startup({ user: 'slow', database: 'silent', ...parameters }));
    return peer;
  };
  const type = async (peer: ScriptedPeer): Promise<void> => {
    await peer.message('R');
    await peer.send(frontend.password('secret'));
  };
  const timeouts = () =>
    pooler.lines.filter((line) => line.includes('closing because: client_login_timeout')).length;
  const { control, state } = pooler.pooler;
  const { signal } = new AbortController();
  // Two that wait for their server, and one that is asked for its password.
  const waiting = [await begin(), await begin({ replication: 'database' })];
  for (const peer of waiting) await type(peer);
  await waitFor(() => state.sessions.size === 2);
  const early = [...waiting, await begin()];
  await early[2]?.message('R');
  clock.advance(30_000);
  expect(await control.request({ kind: 'suspend' }, signal)).toMatchObject({ ok: true });
  const late = await begin();
  clock.advance(120_000);
  await control.request({ kind: 'resume', database: null }, signal);
  await type(late);
  clock.advance(29_000);
  await sweepsPass();
  expect(timeouts()).toBe(0);
  clock.advance(2000);
  await waitFor(() => timeouts() === 3);
  await sweepsPass();
  expect(timeouts()).toBe(3);
  clock.advance(30_000);
  await waitFor(() => timeouts() === 4);
  expect(pooler.lines.filter((line) => line.includes('connect timeout'))).toEqual([]);
  clock.advance(60_000);
  await waitFor(() => pooler.lines.some((line) => line.includes('connect timeout')));
  for (const peer of [...early, late]) await peer.close();
});

test('who waits for a server waits on, and RECONNECT replaces servers when it is over', async () => {
  await using pooler = await startPooler({ settings: { ...transaction.settings, default_pool_size: 1 } });
  await using holder = await clientOf(pooler);
  await using waiting = await clientOf(pooler);
  await holder.query('BEGIN');
  const pid = (await holder.rows('SELECT pg_backend_pid()'))[0]?.[0];
  const answer = watch(waiting.query('SELECT pg_backend_pid()'));
  await waitFor(async () => (await pooler.show('SHOW CLIENTS')).some(({ state }) => state === 'waiting'));
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
  expect(await runOn(console, 'RECONNECT')).toBe('RECONNECT');
  const commit = holder.query('COMMIT');
  await sweepsPass();
  expect(answer.settled).toBe(false);
  await runOn(console, 'RESUME');
  expect((await commit).tags).toEqual(['COMMIT']);
  const { rows } = await answer.promise;
  expect(rows[0]?.[0]).not.toBe(pid);
  await console.close();
});

test('RESUME at once has a server made for who waits, where one was lost meanwhile', async () => {
  await using pooler = await startPooler({
    settings: { ...transaction.settings, default_pool_size: 1 },
    oneLoop: 'nothing may happen in between',
  });
  const holder = await clientOf(pooler);
  await using waiting = await clientOf(pooler);
  await holder.query('BEGIN');
  const answer = watch(waiting.query('SELECT 1'));
  const { control, state } = pooler.pooler;
  await waitFor(() => [...state.sessions.values()].some((session) => session.isWaiting));
  const console = await consoleOf(pooler);
  await runOn(console, 'SUSPEND');
  const linked = (await pooler.show('SHOW CLIENTS')).find(({ link }) => link !== '');
  expect(await runOn(console, `KILL_CLIENT ${linked?.['id']}`)).toBe('KILL_CLIENT');
  const [{ servers } = { servers: null }] = state.pools.all();
  await waitFor(() => servers?.slotsTaken === 0);
  // Without a turn of the event loop in between, in which the sweep might do it.
  void control.request({ kind: 'resume', database: null }, new AbortController().signal);
  expect(servers?.new.length).toBe(1);
  expect((await answer.promise).rows).toEqual([['1']]);
  await holder[Symbol.asyncDispose]();
  await console.close();
});

test('cancel requests go through', async () => {
  await using pooler = await startPooler(transaction);
  await using client = await clientOf(pooler);
  const answer = watch(client.query('SELECT pg_sleep(60) /* suspended */'));
  await sleeps('suspended');
  const console = await consoleOf(pooler);
  await runOn(console, 'SUSPEND');
  await client.cancel();
  await runOn(console, 'RESUME');
  expect((await answer.promise).errors[0]).toMatchObject({ C: '57014' });
  await console.close();
});

test('SHUTDOWN ends at once; a graceful one ends SUSPEND first, or it would wait for ever', async () => {
  await using pooler = await startPooler(transaction);
  const client = await clientOf(pooler);
  await client.query('BEGIN');
  const console = await consoleOf(pooler);
  await runOn(console, 'SUSPEND');
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_SERVERS')).toBe('SHUTDOWN');
  expect(await client.query('COMMIT')).toMatchObject({ tags: ['COMMIT'] });
  await waitFor(() => pooler.hasExited);
  await client[Symbol.asyncDispose]();
  await console.close();

  await using second = await startPooler(transaction);
  const peer = await consoleOf(second);
  await runOn(peer, 'SUSPEND');
  const held = second.client().then(String, String);
  await waitFor(async () => (await inLogin(second)) === 1);
  await peer.send(frontend.query('SHUTDOWN'));
  await peer.end();
  expect(second.hasExited).toBe(true);
  expect(await held).toBe('Error: Connection terminated unexpectedly');
  await peer.close();
});

test('of logins that SUSPEND holds when the pooler shuts down, those over the unix socket are refused', async () => {
  await using pooler = await startPooler(transaction);
  const console = await consoleOf(pooler);
  await runOn(console, 'SUSPEND');
  const held = refusalOf(pooler.client({ host: pooler.socketDir, port: pooler.port }));
  // Over TCP nobody else can come any more.
  const early = pooler.client();
  await waitFor(async () => (await inLogin(pooler)) === 2);
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS')).toBe('SHUTDOWN');
  expect(await held).toEqual(fatal('pooler is shutting down'));
  await (await early).end();
  await console.close();
});

test('SSLRequest is answered and bytes behind a StartupMessage are kept while it is suspended', async () => {
  await using pooler = await startPooler(transaction);
  const console = await consoleOf(pooler);
  await runOn(console, 'SUSPEND');
  const peer = await connectPeer(pooler.port);
  await peer.send(frontend.sslRequest());
  expect((await peer.bytes(1)).toString()).toBe('N');
  const login = { user: sharedPostgres().user, database: 'postgres' };
  await peer.send(frontend.startup(login), frontend.query('SELECT 1'));
  await sweepsPass();
  await runOn(console, 'RESUME');
  await peer.messagesTo('Z');
  expect((await peer.messagesTo('Z')).map(({ type }) => type).join('')).toBe('TDCZ');
  await Promise.all([peer.close(), console.close()]);
});

test('signals: SIGUSR2 resumes, SIGTERM during SUSPEND is a failure', async () => {
  await using pooler = await SpawnedPooler.start(transaction);
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
  pooler.signal('SIGUSR1');
  await waitFor(() => pooler.stderr.includes('got SIGUSR1, but already paused/suspended'));
  pooler.signal('SIGUSR2');
  await waitFor(() => pooler.stderr.includes('got SIGUSR2, continuing from PAUSE'));
  await using client = await clientOf(pooler);
  expect((await client.query('SELECT 1')).rows).toEqual([['1']]);
  expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
  pooler.signal('SIGTERM');
  expect(await pooler.ended).toEqual({ code: 1, signal: null });
  await console.close();
});

test('under load nothing is lost, doubled or refused', async () => {
  await using pooler = await startPooler({ settings: { ...transaction.settings, default_pool_size: 3 } });
  const console = await consoleOf(pooler);
  let isOver = false;
  const work = async (n: number): Promise<number> => {
    await using client = await clientOf(pooler);
    let rounds = 0;
    for (; !isOver; rounds++) {
      const rows = 1 + ((rounds * 37 + n) % 3000);
      await client.query('BEGIN');
      const answer = await client.query(`SELECT i, repeat('x', 200) FROM generate_series(1, ${rows}) i`);
      expect([answer.errors, answer.rows.length, answer.rows.at(-1)?.[0]]).toEqual([[], rows, String(rows)]);
      expect(await client.query('COMMIT')).toMatchObject({ tags: ['COMMIT'], status: 'I' });
    }
    return rounds;
  };
  const workers = Array.from({ length: 8 }, (_, n) => work(n));
  for (let round = 0; round < 10; round++) {
    expect(await runOn(console, 'SUSPEND')).toBe('SUSPEND');
    const { bytes, queries } = await traffic(pooler);
    expect((await traffic(pooler)).bytes).toEqual(bytes);
    expect(await runOn(console, 'RESUME')).toBe('RESUME');
    // Each round finds work under way.
    await waitFor(async () => (await traffic(pooler)).queries > queries + 20);
  }
  isOver = true;
  for (const rounds of await Promise.all(workers)) expect(rounds).toBeGreaterThan(0);
  expect(pooler.lines.filter((line) => line.includes('suspend_timeout'))).toEqual([]);
  await console.close();
});
