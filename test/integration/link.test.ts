import { afterEach, beforeEach, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { frontend, lyingMessage } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { WireClient } from '../support/wire-client.ts';

/** Databases of one PostgreSQL with a single server connection each. */
const databases = {
  transaction: 'dbname=postgres pool_size=1',
  session: 'dbname=postgres pool_size=1 pool_mode=session',
  statement: 'dbname=postgres pool_size=1 pool_mode=statement',
};

let pooler: LocalPooler;
const clients: WireClient[] = [];

beforeEach(async () => {
  pooler = await startPooler({ settings: { pool_mode: 'transaction' }, databases });
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.peer.close();
  await pooler[Symbol.asyncDispose]();
});

async function connect(
  database: keyof typeof databases,
  parameters: Readonly<Record<string, string>> = {},
): Promise<WireClient> {
  const client = await WireClient.connect(pooler.port, {
    user: pooler.postgres.user,
    database,
    ...parameters,
  });
  clients.push(client);
  return client;
}

test('a server takes over the parameters of each client that it is linked to', async () => {
  const tokyo = await connect('transaction', { TimeZone: 'Asia/Tokyo', application_name: "o'ne\\two" });
  const plain = await connect('transaction', { TimeZone: 'UTC', application_name: 'plain' });
  for (let i = 0; i < 3; i++) {
    expect(await tokyo.value('SHOW TimeZone')).toBe('Asia/Tokyo');
    expect(await tokyo.value('SHOW application_name')).toBe("o'ne\\two");
    expect(await plain.value('SHOW TimeZone')).toBe('UTC');
    expect(await plain.value('SHOW application_name')).toBe('plain');
  }
});

test('a parameter that a client has set follows it, and nobody else has it', async () => {
  const german = await connect('transaction');
  const other = await connect('transaction');
  const before = await other.value('SHOW DateStyle');
  await german.query("SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'");
  expect(await other.value('SHOW DateStyle')).toBe(before);
  expect(await german.value('SHOW DateStyle')).toMatch(/^German/);
  expect(await german.value('SHOW TimeZone')).toBe('Asia/Tokyo');
});

test('a client that leaves in a transaction leaves nothing of it to the next one', async () => {
  const leaver = await connect('transaction');
  const next = await connect('transaction');
  expect((await leaver.query('BEGIN; CREATE TEMP TABLE mine ()')).status).toBe('T');
  await leaver.peer.close();
  const answer = await next.query("SELECT to_regclass('mine')");
  expect([answer.rows, answer.status]).toEqual([[[null]], 'I']);
});

test('a client that leaves with half a message sent leaves nothing of it to the next one', async () => {
  const leaver = await connect('session');
  await leaver.query('SELECT 1');
  // No answer is owed for this one: only the missing bytes tell that the server cannot be used any more.
  await leaver.send(lyingMessage('d', 1000, Buffer.from('half')));
  await leaver.peer.close();
  const next = await connect('session');
  expect(await next.value('SELECT 2')).toBe('2');
});

test('statement mode ends a client that begins a transaction block, and what it had begun', async () => {
  const beginner = await connect('statement');
  const next = await connect('statement');
  await beginner.send(frontend.query('BEGIN'));
  const { errors } = await beginner.answerTo('E');
  expect(errors).toMatchObject([
    { S: 'FATAL', M: 'transaction blocks not allowed in statement pooling mode' },
  ]);
  expect((await next.query('SELECT 1')).status).toBe('I');
});

test('what waiting clients have sent ahead is theirs, whoever sends meanwhile', async () => {
  const holder = await connect('transaction');
  await holder.query('BEGIN');
  const waiting = await Promise.all(Array.from({ length: 4 }, () => connect('transaction')));
  for (const [i, client] of waiting.entries()) {
    await client.send(frontend.query(`SELECT 'client ${i}'`));
    await poolShows(pooler, 'transaction', pooler.postgres.user, { cl_waiting: i + 1 });
  }
  await holder.query('COMMIT');
  for (const [i, client] of waiting.entries()) {
    expect((await client.answer()).rows).toEqual([[`client ${i}`]]);
  }
});
