import { describe, expect, test } from 'vitest';
import type { ClientSession } from '../../src/client/session.ts';
import {
  backend,
  errorFields,
  frontend,
  int16,
  message,
  type ReadMessage,
} from '../support/peer-messages.ts';
import { connectAndLogin } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { ScriptedStage, typesTo } from '../support/wire-stage.ts';

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
/** The portal's description, the statement's where the pooler has to ask for that, and a row. */
const ROWS = [backend.rowDescription('a'), TYPES, backend.rowDescription('a'), backend.dataRow('x')];
const DONE = Buffer.concat([backend.commandComplete('SELECT 1'), backend.readyForQuery()]);

const stage = new ScriptedStage(ROLE);

const RUN = Buffer.concat([bindTexts('', 'a', ['x']), describing('P', ''), execute('')]);

/** The server knows the statement `a` of the stage.client. */
async function prepared(): Promise<void> {
  await stage.client.send(parse('a', 'SELECT $1'), sync());
  expect(await typesTo(stage.peer, 'S')).toBe('PDS');
  await stage.peer.send(PARSED, TYPES, backend.rowDescription('a'), backend.readyForQuery());
  expect(await typesTo(stage.client, 'Z')).toBe('1Z');
}

/** The client has run it, the server has refused, and is asked what it has become. */
async function renewing(): Promise<void> {
  await prepared();
  await stage.client.send(RUN, sync());
  expect(await typesTo(stage.peer, 'S')).toBe('BDES');
  await stage.peer.send(STALE, backend.readyForQuery());
  expect(await typesTo(stage.peer, 'S')).toBe('DS');
  expect(await typesTo(stage.peer, 'S')).toBe('CPDS');
}

const RENEWED = [
  [TYPES, STALE, backend.readyForQuery()],
  [message('3'), PARSED, TYPES, backend.rowDescription('a'), backend.readyForQuery()],
].flat();

test('a parameter that changes while a statement is prepared anew is told to the client', async () => {
  await renewing();
  const changed = backend.parameterStatus('TimeZone', 'Asia/Tokyo');
  await stage.peer.send(...RENEWED.slice(0, 2), changed, ...RENEWED.slice(2));
  expect(await typesTo(stage.peer, 'S')).toBe('BDDES');
  await stage.peer.send(BOUND, ...ROWS, DONE);
  const messages: ReadMessage[] = await stage.client.messagesTo('Z');
  expect(messages.map(({ type }) => type).join('')).toBe('S2TDCZ');
  expect(messages[0]?.body.toString()).toBe('TimeZone\0Asia/Tokyo\0');
});

test('a notification that comes while a statement is prepared anew is the client’s', async () => {
  await renewing();
  const told = message('A', 1, 'channel', 'text');
  await stage.peer.send(...RENEWED.slice(0, 2), told, ...RENEWED.slice(2));
  expect(await typesTo(stage.peer, 'S')).toBe('BDDES');
  await stage.peer.send(BOUND, ...ROWS, DONE);
  expect(await typesTo(stage.client, 'Z')).toBe('A2TDCZ');
});

test('why a server ends its connection while a statement is prepared anew is told to the client and to the log', async () => {
  await renewing();
  const ending = backend.errorResponse({ S: 'FATAL', V: 'FATAL', C: '57P01', M: 'terminating' });
  await stage.peer.send(...RENEWED.slice(0, 2), ending);
  await stage.peer.close();
  const [error] = await stage.client.messagesTo('E');
  expect(errorFields(error?.body as Buffer)).toMatchObject({ C: '57P01', M: 'terminating' });
  expect((await stage.client.end()).toString()).toContain('server conn crashed?');
  const lines = stage.pooler.lines.filter((line) => line.includes('terminating'));
  expect(lines).toEqual([expect.stringContaining('preparing anew failed: FATAL: terminating')]);
});

test('a server that breaks the protocol behind a stale plan is closed once, and its client with it', async () => {
  await prepared();
  await stage.client.send(RUN, sync());
  expect(await typesTo(stage.peer, 'S')).toBe('BDES');
  await stage.peer.send(STALE, backend.readyForQuery(), message('K', 1, 2));
  expect(await typesTo(stage.client, 'E')).toBe('E');
  await stage.peer.send(backend.readyForQuery());
  await stage.peer.close();
  await waitFor(() => stage.pooler.pooler.state.budget.count('server') === 0);
  expect(stage.pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
});

test('a client whose held bytes have no room any more when its requests go on is told so', async () => {
  await prepared();
  const run = Buffer.concat([bindTexts('', 'a', []), describing('P', ''), execute(''), sync()]);
  await stage.client.send(run, parse('b', `SELECT '${'x'.repeat(100_000)}'`).subarray(0, 90_000));
  const [session] = stage.pooler.pooler.state.sessions.values() as MapIterator<ClientSession>;
  await waitFor(() => session?.held.length === 90_000);
  // Others have taken it meanwhile.
  (session as ClientSession).prepared.cache.budget.limitBytes = 0;
  expect(await typesTo(stage.peer, 'S')).toBe('BDES');
  await stage.peer.send(STALE, backend.readyForQuery());
  const [error] = await stage.client.messagesTo('E');
  expect(errorFields(error?.body as Buffer)).toMatchObject({ S: 'FATAL', M: 'out of memory' });
  expect(stage.pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
});

const REPAIRED = [STALE, backend.readyForQuery(), ...RENEWED, BOUND, ...ROWS, DONE];

/** What the server has been sent ahead of each of its answers, and its answers. */
const STEPS = [
  ['S', REPAIRED.slice(0, 2)],
  ['SS', REPAIRED.slice(2, 10)],
  ['S', REPAIRED.slice(10)],
] as const;

async function play(cut: (bytes: Buffer) => readonly Buffer[]): Promise<void> {
  for (const [syncs, messages] of STEPS) {
    for (const last of syncs) await stage.peer.messagesTo(last);
    for (const piece of cut(Buffer.concat(messages))) {
      await stage.peer.send(piece);
      // Each piece is read by itself.
      await new Promise<void>((done) => void setImmediate(done));
    }
  }
}

test('the answers of a repair may come in any pieces', async () => {
  await prepared();
  const size = Math.max(...STEPS.map(([, messages]) => Buffer.concat(messages).length));
  for (let at = 0; at < size; at++) {
    await stage.client.send(RUN, sync());
    await play((bytes) => [bytes.subarray(0, at), bytes.subarray(at)].filter(({ length }) => length > 0));
    expect(await typesTo(stage.client, 'Z'), `${at}`).toBe('2TDCZ');
  }
  await stage.client.send(RUN, sync());
  await play((bytes) => Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)));
  expect(await typesTo(stage.client, 'Z')).toBe('2TDCZ');
});

describe.each([0, 1, 2, 3, 4])('amid a repair, after %i answers of the server', (answers) => {
  /** The server has answered so far, and read what came of it. */
  async function begun(): Promise<void> {
    await prepared();
    await stage.client.send(RUN);
    if (answers > 1) await stage.client.send(sync());
    expect(await typesTo(stage.peer, 'E')).toBe('BDE');
    if (answers === 0) return;
    await stage.peer.send(STALE);
    const [session] = stage.pooler.pooler.state.sessions.values();
    await waitFor(() => session?.kept.isHeld === true);
    if (answers === 1) return;
    await stage.peer.send(backend.readyForQuery());
    await stage.peer.messagesTo('S');
    expect(await typesTo(stage.peer, 'S')).toBe('DS');
    expect(await typesTo(stage.peer, 'S')).toBe('CPDS');
    if (answers === 2) return;
    await stage.peer.send(...RENEWED.slice(0, 5));
    if (answers === 3) return;
    await stage.peer.send(...RENEWED.slice(5));
    expect(await typesTo(stage.peer, 'S')).toBe('BDDES');
  }

  /** Nothing is left of the two, and the next client is served on a new connection. */
  async function served(): Promise<void> {
    await waitFor(() => stage.pooler.pooler.state.sessions.size === 0);
    await stage.peer.close();
    const other = await connectAndLogin(stage.pooler.port, { user: ROLE, database: 'scripted' });
    await other.send(frontend.query('SELECT 1'));
    const fresh = await stage.server.acceptLogin();
    expect(await typesTo(fresh, 'Q')).toBe('Q');
    await fresh.send(RESULT, DONE);
    expect(await typesTo(other, 'Z')).toBe('TDCZ');
    await other.close();
    expect(stage.pooler.pooler.state.budget.count('server')).toBe(1);
    expect(stage.pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
  }

  /** What the client has running is cancelled where its answers are counted: outside of the repair itself. */
  async function isGivenUp(): Promise<void> {
    if (answers === 0 || answers === 4) {
      const cancelling = await stage.server.accept();
      await cancelling.packet();
      await cancelling.close();
    }
    await stage.peer.end();
  }

  test('a client that goes takes its server with it', async () => {
    await begun();
    await stage.client.close();
    await isGivenUp();
    await served();
  });

  test('a server that goes takes its client with it', async () => {
    await begun();
    await stage.peer.close();
    expect((await stage.client.end()).toString()).toContain('server conn crashed?');
    await served();
  });

  test('a server that says nothing is given up in time', async () => {
    await begun();
    await stage.pooler.show("SET query_timeout = '0.2'");
    expect((await stage.client.end()).toString()).toContain('query timeout');
    await stage.pooler.show("SET query_timeout = '0'");
    await isGivenUp();
    await served();
  });
});
