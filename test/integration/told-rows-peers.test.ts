import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { backend, errorFields, frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'told_scripted';
const { parse, bindTexts, describe: describing, execute, sync } = frontend;

const PARSED = message('1');
const TYPES = message('t', int16(1), 25);
const ROWS = backend.rowDescription('a');
const DONE = [
  message('2'),
  backend.dataRow('x'),
  backend.commandComplete('SELECT 1'),
  backend.readyForQuery(),
];

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
  await client.send(parse('a', 'SELECT $1'), describing('S', 'a'), sync());
  expect(await types(peer, 'S')).toBe('PDDS');
  await peer.send(PARSED, TYPES, ROWS, TYPES, ROWS, backend.readyForQuery());
  expect(await types(client, 'Z')).toBe('1tTZ');
});
afterEach(async () => {
  await client.close();
  await pooler[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function types(from: ScriptedPeer, last: string): Promise<string> {
  return (await from.messagesTo(last)).map(({ type }) => type).join('');
}

const RUN = Buffer.concat([bindTexts('', 'a', ['x']), execute(''), sync()]);

/** The client runs it on a server that has not known it, which is asked about it. */
async function asked(): Promise<void> {
  await pooler.show('RECONNECT');
  await peer.close();
  await client.send(RUN);
  peer = await server.acceptLogin();
  expect(await types(peer, 'H')).toBe('PDH');
}

test('a server that knows the statement is asked nothing', async () => {
  for (let i = 0; i < 3; i++) {
    await client.send(RUN);
    expect(await types(peer, 'S')).toBe('BES');
    await peer.send(...DONE);
    expect(await types(client, 'Z')).toBe('2DCZ');
  }
});

test('the answers of a server that is asked may come in any pieces', async () => {
  const answers = Buffer.concat([PARSED, TYPES, ROWS]);
  for (let at = 1; at < answers.length; at++) {
    await asked();
    for (const piece of [answers.subarray(0, at), answers.subarray(at)]) {
      await peer.send(piece);
      // Each piece is read by itself.
      await new Promise<void>((done) => void setImmediate(done));
    }
    // What has come so far may not have been all: then it is asked to go on.
    expect(await types(peer, 'S'), `${at}`).toMatch(/^H?BES$/);
    await peer.send(...DONE);
    expect(await types(client, 'Z'), `${at}`).toBe('2DCZ');
  }
});

test('one whose rows are others gets a Bind that fails, and the client PostgreSQL’s error for it', async () => {
  await asked();
  await peer.send(PARSED, TYPES, backend.rowDescription('b'));
  const [bind] = await peer.messagesTo('S');
  expect(bind?.body.toString('latin1')).toMatch(/^\0pgweir_[0-9a-f]+_none\0/);
  await peer.send(
    backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '26000', M: 'no such statement' }),
    backend.readyForQuery(),
  );
  const [error, ready] = await client.messagesTo('Z');
  expect(errorFields(error?.body as Buffer)).toMatchObject({
    S: 'ERROR',
    C: '0A000',
    R: 'RevalidateCachedQuery',
  });
  expect(ready?.type).toBe('Z');
});

test('one that fails for a reason of its own there is quoted', async () => {
  await asked();
  await peer.send(PARSED, TYPES, backend.rowDescription('b'));
  await peer.messagesTo('S');
  const canceled = { S: 'ERROR', V: 'ERROR', C: '57014', M: 'canceling statement due to statement timeout' };
  await peer.send(backend.errorResponse(canceled), backend.readyForQuery());
  const [error] = await client.messagesTo('Z');
  expect(errorFields(error?.body as Buffer)).toEqual(canceled);
});

test('one that refuses to prepare it is quoted', async () => {
  await asked();
  await peer.send(backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '42P01', M: 'gone' }));
  // All of it is skipped.
  expect(await types(peer, 'S')).toBe('PDBES');
  await peer.send(backend.readyForQuery());
  const [error, ready] = await client.messagesTo('Z');
  expect([errorFields(error?.body as Buffer)['M'], ready?.type]).toEqual(['gone', 'Z']);
});

test('one whose description no PostgreSQL could give is closed', async () => {
  await asked();
  await peer.send(PARSED, TYPES, message('T', Buffer.alloc(1024 * 1024 + 1)).subarray(0, 100));
  expect((await client.end()).toString()).toContain('bad pkt header');
});

test('one that goes takes its client with it', async () => {
  await asked();
  await peer.send(PARSED, TYPES);
  await peer.close();
  expect((await client.end()).toString()).toContain('server conn crashed?');
});

test('one that says nothing is given up in time', async () => {
  await asked();
  await pooler.show("SET query_timeout = '0.2'");
  expect((await client.end()).toString()).toContain('query timeout');
});

test('a client that goes meanwhile leaves nothing behind', async () => {
  await asked();
  await client.close();
  await waitFor(() => pooler.pooler.state.sessions.size === 0);
  const cancelling = await server.accept();
  await cancelling.packet();
  await cancelling.close();
  // Its requests are ended by ours, and the server serves others.
  await peer.send(PARSED, TYPES, ROWS);
  await peer.messagesTo('S');
  await peer.send(
    backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '26000', M: 'none' }),
    backend.readyForQuery(),
  );
  const other = await connectAndLogin(pooler.port, { user: ROLE, database: 'scripted' });
  await other.send(frontend.query('SELECT 1'));
  expect(await types(peer, 'Q')).toBe('Q');
  await peer.send(ROWS, backend.dataRow('1'), backend.commandComplete('SELECT 1'), backend.readyForQuery());
  expect(await types(other, 'Z')).toBe('TDCZ');
  await other.close();
  expect(pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
});
