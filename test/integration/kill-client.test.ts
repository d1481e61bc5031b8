import { afterEach, beforeEach, expect, test } from 'vitest';
import { connectConsole, type Row, runOn } from '../support/console.ts';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectAndLogin, connectPeer, type ScriptedPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

let pooler: LocalPooler;
let console: ScriptedPeer;

beforeEach(async () => {
  pooler = await startPooler({
    settings: { pool_mode: 'transaction' },
    databases: { up: 'dbname=postgres', down: 'host=127.0.0.1 port=1' },
  });
  console = await connectConsole(pooler.port, sharedPostgres().user);
});

afterEach(async () => {
  await console.close();
  await pooler[Symbol.asyncDispose]();
});

/** Clients of a database as SHOW CLIENTS lists them, without the console that asks for them. */
async function clientsOf(database: string): Promise<Row[]> {
  const rows = await pooler.show('SHOW CLIENTS');
  return rows.filter((row) => row['database'] === database);
}

/** The error that ends a connection. */
async function lastWords(peer: ScriptedPeer): Promise<string | undefined> {
  return errorFields((await peer.message('E')).body)['M'];
}

test('KILL_CLIENT ends a console as SHOW CLIENTS lists it', async () => {
  const [oldest] = await clientsOf('pgbouncer');
  const killer = await connectConsole(pooler.port, sharedPostgres().user);
  expect(await runOn(killer, `KILL_CLIENT ${oldest?.['id']}`)).toBe('KILL_CLIENT');
  expect(await lastWords(console)).toBe('admin forced disconnect');
  expect((await console.end()).length).toBe(0);
  expect(await runOn(killer, `KILL_CLIENT ${oldest?.['id']}`)).toBe('ERROR 08P01 client not found');
  await killer.close();
});

test('a client that waits for the first server of its pool is listed as waiting, and can be killed', async () => {
  const client = await connectPeer(pooler.port);
  await client.send(frontend.startup({ user: sharedPostgres().user, database: 'down' }));
  const row = await waitFor(async () => (await clientsOf('down'))[0]);
  expect(row['state']).toBe('waiting');
  expect(await runOn(console, `KILL_CLIENT ${row['id']}`)).toBe('KILL_CLIENT');
  expect(await lastWords(client)).toBe('admin forced disconnect');
  await client.close();
});

test('a client that has been told goodbye is no client any more, however long it reads that', async () => {
  const client = await connectAndLogin(pooler.port, { user: sharedPostgres().user, database: 'up' });
  const [row] = await clientsOf('up');
  client.stall();
  expect(await runOn(console, `KILL_CLIENT ${row?.['id']}`)).toBe('KILL_CLIENT');
  expect(await clientsOf('up')).toEqual([]);
  const lists = await pooler.show('SHOW LISTS');
  const items = Object.fromEntries(lists.map(({ list, items }) => [list, items]));
  // The console of this file, and the one that SHOW was sent on.
  expect([items['used_clients'], items['login_clients']]).toEqual([2, 0]);
  await client.close();
});
