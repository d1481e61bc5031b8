import { beforeEach, expect, test } from 'vitest';
import { backend, errorFields, frontend, int16, message } from '../support/peer-messages.ts';
import { connectAndLogin } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { ScriptedStage, typesTo } from '../support/wire-stage.ts';

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

const stage = new ScriptedStage(ROLE);
beforeEach(async () => {
  await stage.client.send(parse('a', 'SELECT $1'), describing('S', 'a'), sync());
  expect(await typesTo(stage.peer, 'S')).toBe('PDDS');
  await stage.peer.send(PARSED, TYPES, ROWS, TYPES, ROWS, backend.readyForQuery());
  expect(await typesTo(stage.client, 'Z')).toBe('1tTZ');
});

const RUN = Buffer.concat([bindTexts('', 'a', ['x']), execute(''), sync()]);

/** The client runs it on a server that has not known it, which is asked about it. */
async function asked(): Promise<void> {
  await stage.pooler.show('RECONNECT');
  await stage.peer.close();
  await stage.client.send(RUN);
  await stage.acceptNext();
  expect(await typesTo(stage.peer, 'H')).toBe('PDH');
}

test('a server that knows the statement is asked nothing', async () => {
  for (let i = 0; i < 3; i++) {
    await stage.client.send(RUN);
    expect(await typesTo(stage.peer, 'S')).toBe('BES');
    await stage.peer.send(...DONE);
    expect(await typesTo(stage.client, 'Z')).toBe('2DCZ');
  }
});

test('the answers of a server that is asked may come in any pieces', async () => {
  const answers = Buffer.concat([PARSED, TYPES, ROWS]);
  for (let at = 1; at < answers.length; at++) {
    await asked();
    for (const piece of [answers.subarray(0, at), answers.subarray(at)]) {
      await stage.peer.send(piece);
      // Each piece is read by itself.
      await new Promise<void>((done) => void setImmediate(done));
    }
    // What has come so far may not have been all: then it is asked to go on.
    expect(await typesTo(stage.peer, 'S'), `${at}`).toMatch(/^H?BES$/);
    await stage.peer.send(...DONE);
    expect(await typesTo(stage.client, 'Z'), `${at}`).toBe('2DCZ');
  }
});

test('one whose rows are others gets a Bind that fails, and the client PostgreSQL’s error for it', async () => {
  await asked();
  await stage.peer.send(PARSED, TYPES, backend.rowDescription('b'));
  const [bind] = await stage.peer.messagesTo('S');
  expect(bind?.body.toString('latin1')).toMatch(/^\0pgweir_[0-9a-f]+_none\0/);
  await stage.peer.send(
    backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '26000', M: 'no such statement' }),
    backend.readyForQuery(),
  );
  const [error, ready] = await stage.client.messagesTo('Z');
  expect(errorFields(error?.body as Buffer)).toMatchObject({
    S: 'ERROR',
    C: '0A000',
    R: 'RevalidateCachedQuery',
  });
  expect(ready?.type).toBe('Z');
});

test('one that fails for a reason of its own there is quoted', async () => {
  await asked();
  await stage.peer.send(PARSED, TYPES, backend.rowDescription('b'));
  await stage.peer.messagesTo('S');
  const canceled = { S: 'ERROR', V: 'ERROR', C: '57014', M: 'canceling statement due to statement timeout' };
  await stage.peer.send(backend.errorResponse(canceled), backend.readyForQuery());
  const [error] = await stage.client.messagesTo('Z');
  expect(errorFields(error?.body as Buffer)).toEqual(canceled);
});

test('one that refuses to prepare it is quoted', async () => {
  await asked();
  await stage.peer.send(backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '42P01', M: 'gone' }));
  // It is skipped: nothing more is sent for it.
  expect(await typesTo(stage.peer, 'S')).toBe('BES');
  await stage.peer.send(backend.readyForQuery());
  const [error, ready] = await stage.client.messagesTo('Z');
  expect([errorFields(error?.body as Buffer)['M'], ready?.type]).toEqual(['gone', 'Z']);
});

test('one whose description no PostgreSQL could give is closed', async () => {
  await asked();
  await stage.peer.send(PARSED, TYPES, message('T', Buffer.alloc(1024 * 1024 + 1)).subarray(0, 100));
  expect((await stage.client.end()).toString()).toContain('bad pkt header');
});

test('one that goes takes its client with it', async () => {
  await asked();
  await stage.peer.send(PARSED, TYPES);
  await stage.peer.close();
  expect((await stage.client.end()).toString()).toContain('server conn crashed?');
});

test('one that says nothing is given up in time', async () => {
  await asked();
  await stage.pooler.show("SET query_timeout = '0.2'");
  expect((await stage.client.end()).toString()).toContain('query timeout');
});

test('a client that goes meanwhile leaves nothing behind', async () => {
  await asked();
  await stage.client.close();
  await waitFor(() => stage.pooler.pooler.state.sessions.size === 0);
  const cancelling = await stage.server.accept();
  await cancelling.packet();
  await cancelling.close();
  // Its requests are ended by ours, and the server serves others.
  await stage.peer.send(PARSED, TYPES, ROWS);
  await stage.peer.messagesTo('S');
  await stage.peer.send(
    backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '26000', M: 'none' }),
    backend.readyForQuery(),
  );
  const other = await connectAndLogin(stage.pooler.port, { user: ROLE, database: 'scripted' });
  await other.send(frontend.query('SELECT 1'));
  expect(await typesTo(stage.peer, 'Q')).toBe('Q');
  await stage.peer.send(
    ROWS,
    backend.dataRow('1'),
    backend.commandComplete('SELECT 1'),
    backend.readyForQuery(),
  );
  expect(await typesTo(other, 'Z')).toBe('TDCZ');
  await other.close();
  expect(stage.pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
});
