import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { connectConsole, runOn, watch } from '../support/console.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { endOf, fatal, refusalOf } from '../support/refusals.ts';
import { waitFor } from '../support/wait-for.ts';

const transaction = { settings: { pool_mode: 'transaction' } };

/** One console, over the unix socket: the one door that stays open. */
function consoleOf(pooler: LocalPooler) {
  return connectConsole(pooler.socketPath, sharedPostgres().user);
}

test('SHUTDOWN ends at once, without a word to anybody', async () => {
  await using pooler = await startPooler(transaction);
  const { socketPath } = pooler;
  const client = await pooler.client();
  await client.query('BEGIN');
  const ended = new Promise<Error>((resolve) => client.once('error', resolve));
  const console = await consoleOf(pooler);
  await console.send(frontend.query('SHUTDOWN'));
  expect((await console.end()).length).toBe(0);
  expect((await ended).message).toBe('Connection terminated unexpectedly');
  expect([pooler.hasExited, existsSync(socketPath)]).toEqual([true, false]);
  expect(pooler.lines).toContain('LOG SHUTDOWN command issued');
  await console.close();
});

test('WAIT_FOR_CLIENTS lets those log in who had connected over TCP, and nobody over the unix socket', async () => {
  // The kernel hands over nobody else who has said nothing.
  const settings = { ...transaction.settings, tcp_defer_accept: 0 };
  await using pooler = await startPooler({ ...transaction, settings });
  const { user } = sharedPostgres();
  const [early, local] = [await connectPeer(pooler.port), await connectPeer(pooler.socketPath)];
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS')).toBe('SHUTDOWN');
  await console.close();
  for (const peer of [early, local]) await peer.send(frontend.startup({ user, database: 'postgres' }));
  expect((await local.message()).type).toBe('E');
  expect((await early.message()).type).toBe('R');
  expect(pooler.hasExited).toBe(false);
  await early.close();
  await waitFor(() => pooler.hasExited);
});

test('WAIT_FOR_CLIENTS serves those inside until the last one leaves, and lets nobody else in', async () => {
  await using pooler = await startPooler(transaction);
  const { port, socketPath, socketDir } = pooler;
  const clients = [await pooler.client(), await pooler.client()];
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS')).toBe('SHUTDOWN');
  await expect(pooler.client()).rejects.toThrow('ECONNREFUSED');
  const shuttingDown = fatal('pooler is shutting down');
  expect(await refusalOf(pooler.client({ host: socketDir, port }))).toEqual(shuttingDown);
  // Pools go on: with new server connections, too.
  for (const client of clients) {
    await client.query('BEGIN');
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  }
  for (const client of clients) await client.query('COMMIT');
  const second = await consoleOf(pooler);
  expect(await runOn(second, 'SHOW VERSION')).toBe('SHOW');
  expect(await runOn(second, 'RESUME')).toBe('ERROR 08P01 pooler is shutting down');
  expect(await runOn(second, 'SHUTDOWN WAIT_FOR_CLIENTS')).toBe('SHUTDOWN');
  for (const client of clients) await client.end();
  await second.close();
  expect([pooler.hasExited, existsSync(socketPath)]).toEqual([false, true]);
  // The console that asked is a client like any other.
  await console.close();
  await waitFor(() => pooler.hasExited);
  expect(pooler.lines).toContain('LOG client connections dropped, exiting');
  expect(existsSync(socketPath)).toBe(false);
});

test('WAIT_FOR_SERVERS refuses whoever needs a server from now on, and waits for the busy ones', async () => {
  await using pooler = await startPooler({ settings: { pool_mode: 'transaction', default_pool_size: 1 } });
  const { port, socketPath, socketDir } = pooler;
  const [busy, queued, idle] = [await pooler.client(), await pooler.client(), await pooler.client()];
  await busy.query('BEGIN');
  const waiting = refusalOf(queued.query('SELECT 1'));
  await waitFor(async () => (await pooler.show('SHOW CLIENTS')).some(({ state }) => state === 'waiting'));
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_SERVERS')).toBe('SHUTDOWN');
  const refused = fatal('server shutting down');
  expect(await waiting).toEqual(refused);
  expect(await refusalOf(idle.query('SELECT 1'))).toEqual(refused);
  await expect(pooler.client()).rejects.toThrow('ECONNREFUSED');
  expect(await refusalOf(pooler.client({ host: socketDir, port }))).toEqual(fatal('pooler is shutting down'));
  const second = await consoleOf(pooler);
  expect(await runOn(second, 'SHOW STATE')).toBe('SHOW');
  expect(await runOn(second, 'RESUME')).toBe('ERROR 08P01 pooler is shutting down');
  expect((await busy.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  expect([pooler.hasExited, existsSync(socketPath)]).toEqual([false, true]);
  await busy.query('COMMIT');
  await waitFor(() => pooler.hasExited);
  expect(pooler.lines).toContain('LOG server connections dropped, exiting');
  expect(existsSync(socketPath)).toBe(false);
  for (const peer of [console, second]) {
    await peer.end();
    await peer.close();
  }
});

test('WAIT_FOR_SERVERS refuses logins that wait for their pool’s first server, too', async () => {
  await using pooler = await startPooler(transaction);
  const console = await consoleOf(pooler);
  await runOn(console, 'PAUSE postgres');
  const login = refusalOf(pooler.client());
  await waitFor(async () =>
    (await pooler.show('SHOW POOLS')).some(
      (row) => row['database'] === 'postgres' && row['cl_waiting'] === 1,
    ),
  );
  await console.send(frontend.query('SHUTDOWN WAIT_FOR_SERVERS'));
  expect(await login).toEqual(fatal('server shutting down'));
  await waitFor(() => pooler.hasExited);
  await console.close();
});

test('WAIT_FOR_SERVERS hurries a shutdown that waits for clients, and there is no way back', async () => {
  await using pooler = await startPooler(transaction);
  const [busy, idle] = [await pooler.client(), await pooler.client()];
  await busy.query('BEGIN');
  const console = await consoleOf(pooler);
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS')).toBe('SHUTDOWN');
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_SERVERS')).toBe('SHUTDOWN');
  expect(await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS')).toBe('SHUTDOWN');
  expect(await refusalOf(idle.query('SELECT 1'))).toEqual(fatal('server shutting down'));
  await busy.query('COMMIT');
  await waitFor(() => pooler.hasExited);
  expect(pooler.lines).toContain('LOG server connections dropped, exiting');
  await console.close();
});

test('SHUTDOWN during a graceful one ends at once', async () => {
  await using pooler = await startPooler();
  const client = await pooler.client();
  const ended = watch(endOf(client));
  const console = await consoleOf(pooler);
  await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS');
  await console.send(frontend.query('SHUTDOWN'));
  await console.end();
  expect(pooler.hasExited).toBe(true);
  await waitFor(() => ended.settled);
  await console.close();
});

test('KILL ends sessions during WAIT_FOR_CLIENTS, so that the end can be hurried', async () => {
  await using pooler = await startPooler();
  const client = await pooler.client();
  await client.query('SELECT 1');
  const ended = endOf(client);
  const console = await consoleOf(pooler);
  await runOn(console, 'SHUTDOWN WAIT_FOR_CLIENTS');
  expect(await runOn(console, 'KILL postgres')).toBe('KILL');
  expect(await ended).toEqual(fatal('database removed'));
  await console.close();
  await waitFor(() => pooler.hasExited);
});
