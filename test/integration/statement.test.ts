import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase } from '../support/roles.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

const database = 'statement_mode';
const TEXT = 'transaction blocks not allowed in statement pooling mode';
const { query, sync } = frontend;

let pooler: LocalPooler;

beforeAll(async () => {
  await createDatabase(sharedPostgres(), database);
  await withClient(sharedPostgres(), (client) => client.query('CREATE TABLE kept (n int)'), { database });
});

beforeEach(async () => {
  pooler = await startPooler({ settings: { pool_mode: 'statement', default_pool_size: 1 } });
});

afterEach(() => pooler[Symbol.asyncDispose]());

function connect(): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: 'postgres', database });
}

async function count(client: WireClient): Promise<number> {
  return Number(await client.value('SELECT count(*) FROM kept'));
}

test('statements by both protocols, several in one query, and errors are served in turns on one server', async () => {
  const [one, two] = await Promise.all([connect(), connect()]);
  const pids = new Set<string | null | undefined>();
  for (const client of [one, two, one, two]) {
    pids.add(await client.value('SELECT pg_backend_pid()'));
    pids.add((await client.ask(unnamed('SELECT pg_backend_pid()'), sync())).rows[0]?.[0]);
    expect((await client.query('SELECT 1; SELECT 2')).types).toBe('TDCTDCZ');
    expect((await client.query('SELECT 1/0')).types).toBe('EZ');
  }
  expect(pids.size).toBe(1);
  await Promise.all([one.end(), two.end()]);
});

test('an implicit transaction of several statements is undone as a whole by an error', async () => {
  const client = await connect();
  expect((await client.query('INSERT INTO kept VALUES (1); SELECT 1/0')).status).toBe('I');
  expect(await count(client)).toBe(0);
  await client.end();
});

test.each([
  ['a simple query', [query('BEGIN')]],
  ['the extended protocol', [unnamed('BEGIN'), sync()]],
  ['a query that also does work', [query('BEGIN; INSERT INTO kept VALUES (2)')]],
  ['a query that fails after it', [query('BEGIN; SELECT 1/0')]],
])('a transaction block begun by %s ends the client with an error and is undone', async (_, messages) => {
  const [one, two] = await Promise.all([connect(), connect()]);
  const pid = await two.value('SELECT pg_backend_pid()');
  await one.send(...messages);
  const rest = await one.peer.messagesTo('Z');
  expect(rest.at(-1)?.body.toString()).not.toBe('I');
  const told = await one.answerTo('E');
  expect(told.errors[0]).toMatchObject({ S: 'FATAL', C: '08P01', M: TEXT });
  await one.peer.end();
  expect(await two.value('SELECT pg_backend_pid()')).not.toBe(pid);
  expect(await count(two)).toBe(0);
  expect(pooler.lines.some((line) => line.includes(`closing because: ${TEXT}`))).toBe(true);
  await two.end();
});

test('a transaction that begins and ends in one query is none that stays open', async () => {
  const client = await connect();
  expect((await client.query('BEGIN; INSERT INTO kept VALUES (3); COMMIT')).status).toBe('I');
  expect(await count(client)).toBe(1);
  await client.rows('DELETE FROM kept');
  await client.end();
});
