import { beforeAll, expect, test } from 'vitest';
import { backend, frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { answerToProbe } from '../support/probe.ts';
import { createRole } from '../support/roles.ts';
import { ScriptedServer, type ScriptedPeer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { WireClient, unnamed } from '../support/wire-client.ts';

const ROLE = 'copy_probe';
const { close, copyData, copyDone, parse, query, sync } = frontend;
const ready = backend.readyForQuery;
const failed = backend.errorResponse({ S: 'ERROR', C: '22P02', M: 'bad row' });
/** The answer to `unnamed` and Sync. */
const seven = [
  message('1'),
  message('2'),
  backend.dataRow('7'),
  backend.commandComplete('SELECT 1'),
  ready(),
];

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
});

/** A client in whose COPY a bad row was followed by a Sync; its server has answered as far as the first Z. */
class Stage implements AsyncDisposable {
  readonly server: ScriptedServer;
  readonly pooler: LocalPooler;
  readonly client: WireClient;
  readonly peer: ScriptedPeer;

  private constructor(server: ScriptedServer, pooler: LocalPooler, client: WireClient, peer: ScriptedPeer) {
    this.server = server;
    this.pooler = pooler;
    this.client = client;
    this.peer = peer;
  }

  static async begin(): Promise<Stage> {
    const server = await ScriptedServer.listen();
    const pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
    });
    const [client, peer] = await Promise.all([
      WireClient.connect(pooler.port, { user: ROLE, database: 'scripted' }),
      server.acceptLogin(),
    ]);
    return new Stage(server, pooler, client, peer);
  }

  static async set(): Promise<Stage> {
    const stage = await Stage.begin();
    const { client, peer } = stage;
    await client.send(unnamed('COPY t FROM STDIN'), sync());
    await peer.messagesTo('S');
    await peer.send(message('1'), message('2'), message('G', Buffer.of(0), int16(0)));
    await client.answerTo('G');
    await client.send(copyData('bad\n'), sync(), copyDone(), unnamed('SELECT 7'), sync());
    await peer.messagesTo('S');
    await peer.messagesTo('S');
    await peer.send(failed, ready());
    expect((await client.answer()).types).toBe('EZ');
    return stage;
  }

  /** The text of the probe that the server is sent. */
  async probe(): Promise<string> {
    return (await this.peer.message('Q')).body.toString();
  }

  /** The server is at rest, and serves the next client. */
  async goesOn(): Promise<void> {
    const next = await WireClient.connect(this.pooler.port, { user: ROLE, database: 'scripted' });
    for (const client of [next, this.client]) {
      await client.send(query('SELECT 8'));
      expect((await this.peer.message('Q')).body.toString()).toBe('SELECT 8\0');
      await this.peer.send(backend.dataRow('8'), backend.commandComplete('SELECT 1'), ready());
      expect((await client.answer()).rows).toEqual([['8']]);
    }
    await next.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.peer.close();
    await this.pooler[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

test.for([
  ['ahead of the probe’s answer', false],
  ['in one chunk with it', true],
] as const)('answers still owed come %s, and are the client’s', async ([_when, isOneChunk]) => {
  await using stage = await Stage.set();
  const answer = answerToProbe(await stage.probe());
  if (isOneChunk) {
    await stage.peer.send(Buffer.concat([...seven, answer]));
  } else {
    await stage.peer.send(...seven);
    expect((await stage.client.answer()).rows).toEqual([['7']]);
    await stage.peer.send(answer);
  }
  if (isOneChunk) expect((await stage.client.answer()).rows).toEqual([['7']]);
  await stage.goesOn();
  expect(stage.client.peer.unread).toBe(0);
});

test('with nothing owed the client hears nothing of the probe; what it sends meanwhile waits for its end', async () => {
  await using stage = await Stage.set();
  const answer = answerToProbe(await stage.probe());
  await stage.client.send(query('SELECT 9'));
  await stage.peer.send(answer);
  expect((await stage.peer.message('Q')).body.toString()).toBe('SELECT 9\0');
  await stage.peer.send(backend.dataRow('9'), backend.commandComplete('SELECT 1'), ready());
  expect((await stage.client.answer()).rows).toEqual([['9']]);
  await stage.goesOn();
});

test('a transaction that turns out to be open stays the client’s', async () => {
  await using stage = await Stage.set();
  const answer = answerToProbe(await stage.probe());
  const open = ready('T');
  await stage.peer.send(...seven.slice(0, -1), open, answer.subarray(0, -open.length), open);
  expect((await stage.client.answer()).status).toBe('T');
  await stage.client.send(query('COMMIT'));
  expect((await stage.peer.message('Q')).body.toString()).toBe('COMMIT\0');
  await stage.peer.send(backend.commandComplete('COMMIT'), ready());
  expect((await stage.client.answer()).tags).toEqual(['COMMIT']);
  await stage.goesOn();
});

test('a transaction that turns out to have failed ends with its connection: nothing tells our error from others', async () => {
  await using stage = await Stage.set();
  await stage.probe();
  await stage.peer.send(...seven.slice(0, 2), failed, ready('E'));
  const { errors } = await stage.client.answerTo('Z');
  expect(errors[0]?.['M']).toBe('bad row');
  expect((await stage.client.answerTo('E')).errors[0]).toMatchObject({
    S: 'FATAL',
    M: 'server conn crashed?',
  });
  await stage.client.peer.end();
});

test('a client that leaves during the probe takes its server with it', async () => {
  await using stage = await Stage.set();
  await stage.probe();
  await stage.client.peer.close();
  expect((await stage.peer.message('X')).body.length).toBe(0);
});

test('requests that name statements, behind the end of a COPY that is probed, wait for the end of the probe', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await client.send(query('COPY t FROM STDIN'), sync());
  await peer.messagesTo('S');
  await peer.send(message('G', Buffer.of(0), int16(0)));
  await client.answerTo('G');
  // Nobody can tell whether the Sync was read during the COPY.
  await client.send(copyData('bad\n'), copyDone(), parse('a', 'SELECT 1'), sync());
  await peer.messagesTo('H');
  await peer.send(failed, ready());
  const answer = answerToProbe(await stage.probe());
  expect(peer.unread).toBe(0);
  await peer.send(ready(), answer);
  expect((await peer.messagesTo('S')).map(({ type }) => type).join('')).toBe('PDS');
  await peer.send(message('1'), message('t', int16(0)), message('n'), ready());
  expect((await client.answer()).types).toBe('EZ');
  expect((await client.answer()).types).toBe('Z');
  expect((await client.answer()).types).toBe('1Z');
  await stage.goesOn();
});

test.for([
  {
    what: 'a request that names a statement',
    requests: [parse('a', 'SELECT 1')],
    sent: 'PDS',
    answers: [message('1'), message('t', int16(0)), message('n')],
    heard: '1Z',
  },
  {
    // No probe is possible between the two.
    what: 'one that names none, ahead of one that does,',
    requests: [close('P', 'b'), parse('a', 'SELECT 1')],
    sent: 'CPDS',
    answers: [message('3'), message('1'), message('t', int16(0)), message('n')],
    heard: '31Z',
  },
])('$what waits until it is known what a failed COPY has left unanswered', async (row) => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await client.send(unnamed('COPY t FROM STDIN'), sync());
  await peer.messagesTo('S');
  await peer.send(message('1'), message('2'), message('G', Buffer.of(0), int16(0)));
  await client.answerTo('G');
  await client.send(copyData('bad\n'), sync(), copyDone(), query('SELECT 7'));
  await peer.messagesTo('Q');
  await peer.send(failed, ready());
  expect((await client.answer()).types).toBe('EZ');
  await client.send(...row.requests, sync());
  await peer.message('H');
  await peer.send(backend.commandComplete('SELECT 0'), ready());
  expect((await client.answer()).types).toBe('CZ');
  await peer.send(answerToProbe(await stage.probe()));
  expect((await peer.messagesTo('S')).map(({ type }) => type).join('')).toBe(row.sent);
  await peer.send(...row.answers, ready());
  expect((await client.answer()).types).toBe(row.heard);
  await stage.goesOn();
});

test('answers of ours wait for what a server that is probed still owes', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await client.send(query('COPY t FROM STDIN'), sync());
  await peer.messagesTo('S');
  await peer.send(message('G', Buffer.of(0), int16(0)));
  await client.answerTo('G');
  await client.send(copyData('bad\n').subarray(0, -1));
  await peer.send(failed, ready());
  expect((await client.answer()).types).toBe('EZ');
  await client.send(Buffer.from('\n'), close('S', 'a'), sync());
  await peer.message('d');
  const answer = answerToProbe(await stage.probe());
  await peer.send(ready(), answer);
  expect((await client.answer()).types).toBe('Z');
  await peer.messagesTo('S');
  await peer.send(ready());
  expect((await client.answer()).types).toBe('3Z');
  await stage.goesOn();
});

test('a COPY that has failed early waits for the Sync of a client that takes its time: it is not probed', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await client.send(unnamed('COPY t FROM STDIN'), sync());
  await peer.messagesTo('S');
  await peer.send(message('1'), message('2'), message('G', Buffer.of(0), int16(0)));
  await client.answerTo('G');
  await client.send(copyData('bad\n'));
  await peer.message('d');
  await peer.send(failed);
  await client.answerTo('E');
  // Longer than a server may be silent that owes an answer.
  await sweepsPass(4);
  await client.send(copyData('more\n'), copyDone(), sync());
  expect((await peer.messagesTo('S')).map(({ type }) => type).join('')).toBe('dcS');
  await peer.send(ready());
  expect((await client.answer()).types).toBe('Z');
  // The first Sync may be unanswered still, for all that is known.
  await peer.send(answerToProbe(await stage.probe()));
  await stage.goesOn();
});
