import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ClientSession } from '../../src/client/session.ts';
import {
  backend,
  errorFields,
  frontend,
  int16,
  message,
  type ReadMessage,
} from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'repaired_scripted';
const { parse, bindTexts, describe: describing, execute, sync } = frontend;

const STALE = backend.errorResponse({
  S: 'ERROR',
  V: 'ERROR',
  C: '0A000',
  M: 'cached plan must not change result type',
  R: 'RevalidateCachedQuery',
});
const PARSED = message('1');
const BOUND = message('2');
const TYPES = message('t', int16(1), 25);
const RESULT = Buffer.concat([backend.rowDescription('a'), backend.dataRow('x')]);
const DONE = Buffer.concat([backend.commandComplete('SELECT 1'), backend.readyForQuery()]);

let server: ScriptedServer;
let pooler: LocalPooler;
let client: ScriptedPeer;
let peer: ScriptedPeer;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
});
beforeEach(async () => {
  server = await ScriptedServer.listen();
  pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0 },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    own: { server_close_timeout: 0.1, server_cancel_timeout: 0.1 },
    userlist: { [ROLE]: '' },
  });
  [client, peer] = await Promise.all([
    connectAndLogin(pooler.port, { user: ROLE, database: 'scripted' }),
    server.acceptLogin(),
  ]);
});
afterEach(async () => {
  await client.close();
  await pooler[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const RUN = Buffer.concat([bindTexts('', 'a', ['x']), describing('P', ''), execute('')]);

async function types(from: ScriptedPeer, last: string): Promise<string> {
  return (await from.messagesTo(last)).map(({ type }) => type).join('');
}

/** The server knows the statement `a` of the client. */
async function prepared(): Promise<void> {
  await client.send(parse('a', 'SELECT $1'), sync());
  expect(await types(peer, 'S')).toBe('PS');
  await peer.send(PARSED, backend.readyForQuery());
  expect(await types(client, 'Z')).toBe('1Z');
}

/** The client has run it, the server has refused, and is asked what it has become. */
async function renewing(): Promise<void> {
  await prepared();
  await client.send(RUN, sync());
  expect(await types(peer, 'S')).toBe('BDES');
  await peer.send(STALE, backend.readyForQuery());
  expect(await types(peer, 'S')).toBe('DS');
  expect(await types(peer, 'S')).toBe('CPDS');
}

const RENEWED = [
  [TYPES, STALE, backend.readyForQuery()],
  [message('3'), PARSED, TYPES, backend.rowDescription('a'), backend.readyForQuery()],
].flat();

test('a parameter that changes while a statement is prepared anew is told to the client', async () => {
  await renewing();
  const changed = backend.parameterStatus('TimeZone', 'Asia/Tokyo');
  await peer.send(...RENEWED.slice(0, 2), changed, ...RENEWED.slice(2));
  expect(await types(peer, 'S')).toBe('BDES');
  await peer.send(BOUND, RESULT, DONE);
  const messages: ReadMessage[] = await client.messagesTo('Z');
  expect(messages.map(({ type }) => type).join('')).toBe('S2TDCZ');
  expect(messages[0]?.body.toString()).toBe('TimeZone\0Asia/Tokyo\0');
});

test('a server that breaks the protocol behind a stale plan is closed once, and its client with it', async () => {
  await prepared();
  await client.send(RUN, sync());
  expect(await types(peer, 'S')).toBe('BDES');
  await peer.send(STALE, backend.readyForQuery(), message('K', 1, 2));
  expect(await types(client, 'E')).toBe('E');
  await peer.send(backend.readyForQuery());
  await peer.close();
  await waitFor(() => pooler.pooler.state.budget.count('server') === 0);
  expect(pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
});

test('a client whose held bytes have no room any more when its requests go on is told so', async () => {
  await prepared();
  const run = Buffer.concat([bindTexts('', 'a', []), describing('P', ''), execute(''), sync()]);
  await client.send(run, parse('b', `SELECT '${'x'.repeat(100_000)}'`).subarray(0, 90_000));
  const [session] = pooler.pooler.state.sessions.values() as MapIterator<ClientSession>;
  await waitFor(() => session?.held.length === 90_000);
  // Others have taken it meanwhile.
  (session as ClientSession).prepared.cache.budget.limitBytes = 0;
  expect(await types(peer, 'S')).toBe('BDES');
  await peer.send(STALE, backend.readyForQuery());
  const [error] = await client.messagesTo('E');
  expect(errorFields(error?.body as Buffer)).toMatchObject({ S: 'FATAL', M: 'out of memory' });
  expect(pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
});
