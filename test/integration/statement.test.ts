import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase } from '../support/roles.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

const database = 'statement_mode';
const TEXT = 'transaction blocks not allowed in statement pooling mode';
const { bind, copyDone, execute, parse, query, sync } = frontend;

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

test.each([
  ['one query', [query('BEGIN; INSERT INTO kept VALUES (3); COMMIT')]],
  [
    'one stretch of the extended protocol',
    [unnamed('BEGIN'), unnamed('INSERT INTO kept VALUES (3)'), unnamed('COMMIT'), sync()],
  ],
  ['a DO block', [query('DO $$ BEGIN INSERT INTO kept VALUES (3); COMMIT; END $$')]],
])('a transaction that begins and ends in %s is none that stays open', async (_, messages) => {
  const client = await connect();
  const { errors, status } = await client.ask(...messages);
  expect([errors, status]).toEqual([[], 'I']);
  expect(await count(client)).toBe(1);
  await client.rows('DELETE FROM kept');
  await client.end();
});

test('requests behind the one that begins a transaction block have no answer', async () => {
  const [one, two] = await Promise.all([connect(), connect()]);
  await one.send(unnamed('BEGIN'), sync(), unnamed('INSERT INTO kept VALUES (4)'), sync());
  expect((await one.answer()).status).toBe('T');
  let rest = await one.answerTo('Z').catch(() => null);
  // What of them PostgreSQL had answered by then is passed on; the error is the last message in any case.
  for (; rest !== null; rest = await one.answerTo('Z').catch(() => null)) expect(rest.status).toBe('T');
  expect(await count(two)).toBe(0);
  await two.end();
});

test('named statements follow a client over servers', async () => {
  await pooler.reload({ settings: { default_pool_size: 2 } });
  const [client, other] = [await connect(), await connect()];
  await client.ask(parse('a', 'SELECT pg_backend_pid()'), sync());
  const pids = new Set<string | null | undefined>();
  const run = [bind('', 'a'), execute(''), sync()];
  pids.add((await client.ask(...run)).rows[0]?.[0]);
  // Both servers at work.
  await other.send(query('COPY kept FROM STDIN'));
  await other.answerTo('G');
  pids.add((await client.ask(...run)).rows[0]?.[0]);
  await other.ask(copyDone());
  expect(pids.size).toBe(2);
  await Promise.all([client.end(), other.end()]);
});

test('no reset query runs between clients, unless server_reset_query_always says so', async () => {
  const [one, two] = await Promise.all([connect(), connect()]);
  await one.rows("SET statement_test.mark = 'left behind'");
  expect(await two.value('SHOW statement_test.mark')).toBe('left behind');
  const settings = { server_reset_query_always: 1, server_reset_query: "SET statement_test.mark = 'reset'" };
  await pooler.reload({ settings });
  await one.rows("SET statement_test.mark = 'left behind'");
  expect(await two.value('SHOW statement_test.mark')).toBe('reset');
  await Promise.all([one.end(), two.end()]);
});
