import { beforeAll, expect, test } from 'vitest';
import { ManualClock } from '../support/manual-clock.ts';
import { backend, frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { answerToProbe, probeOf } from '../support/probe.ts';
import { createRole } from '../support/roles.ts';
import { ScriptedServer, type ScriptedPeer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
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

  static async begin(
    mode: 'transaction' | 'session' = 'transaction',
    clock?: ManualClock,
    settings: Readonly<Record<string, number>> = {},
  ): Promise<Stage> {
    const server = await ScriptedServer.listen();
    const pooler = await startPooler({
      // Buffers that are soon full.
      settings: { pool_mode: mode, default_pool_size: 1, tcp_socket_buffer: 16_384, ...settings },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
      ...(clock && { clock }),
    });
    const [client, peer] = await Promise.all([
      WireClient.connect(pooler.port, { user: ROLE, database: 'scripted' }),
      server.acceptLogin(),
    ]);
    return new Stage(server, pooler, client, peer);
  }

  static async set(...how: Parameters<typeof Stage.begin>): Promise<Stage> {
    const stage = await Stage.begin(...how);
    const { client, peer } = stage;
    await stage.copyBegins();
    await client.send(copyData('bad\n'), sync(), copyDone(), unnamed('SELECT 7'), sync());
    await peer.messagesTo('S');
    await peer.messagesTo('S');
    await peer.send(failed, ready());
    expect((await client.answer()).types).toBe('EZ');
    return stage;
  }

  /** The client's COPY into t has begun; a Sync was sent ahead of its data. */
  async copyBegins(): Promise<void> {
    const { client, peer } = this;
    await client.send(unnamed('COPY t FROM STDIN'), sync());
    await peer.messagesTo('S');
    await peer.send(message('1'), message('2'), message('G', Buffer.of(0), int16(0)));
    await client.answerTo('G');
  }

  /** See {@link probeOf}. */
  async probe(owed: readonly Buffer[] = [], status: 'I' | 'T' | 'E' = 'I'): Promise<string> {
    return probeOf(this.peer, owed, status);
  }

  /** The server is at rest, and serves the next client. */
  async goesOn(): Promise<void> {
    const next = await WireClient.connect(this.pooler.port, { user: ROLE, database: 'scripted' });
    for (const client of [next, this.client]) await this.serves(client);
    await next.end();
  }

  async serves(client: WireClient): Promise<void> {
    await client.send(query('SELECT 8'));
    expect((await this.peer.message('Q')).body.toString()).toBe('SELECT 8\0');
    await this.peer.send(backend.dataRow('8'), backend.commandComplete('SELECT 1'), ready());
    expect((await client.answer()).rows).toEqual([['8']]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.peer.close();
    await this.pooler[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

test.for([
  ['ahead of the answer to a Sync of ours', false],
  ['in one chunk with it', true],
] as const)('answers still owed come %s, and are the client’s', async ([_when, isOneChunk]) => {
  await using stage = await Stage.set();
  if (!isOneChunk) await stage.peer.send(...seven);
  const answer = answerToProbe(await stage.probe(isOneChunk ? seven : []));
  await stage.peer.send(answer);
  expect((await stage.client.answer()).rows).toEqual([['7']]);
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

test.for([
  ['answered', seven],
  ['not answered', []],
] as const)('in session mode, too, it is found out what is owed, and whose count was wrong goes on: %s', async ([
  ,
  owed,
]) => {
  await using stage = await Stage.set('session');
  await stage.peer.send(answerToProbe(await stage.probe(owed)));
  if (owed.length > 0) expect((await stage.client.answer()).rows).toEqual([['7']]);
  const [pool] = stage.pooler.pooler.state.pools.all('scripted');
  const [server] = [...(pool?.servers.active ?? [])];
  await waitFor(() => server?.needsResync() === false);
  await stage.serves(stage.client);
  // No Sync of ours behind that: the link goes on.
  await sweepsPass(4);
  expect([stage.peer.unread, stage.client.peer.unread, [...(pool?.servers.active ?? [])].length]).toEqual([
    0, 0, 1,
  ]);
});

test('a server that is not read, for its client takes nothing, does not count as silent', async () => {
  const clock = new ManualClock();
  await using stage = await Stage.set('session', clock);
  const { client, peer, pooler } = stage;
  const [pool] = pooler.pooler.state.pools.all('scripted');
  const session = [...pooler.pooler.state.sessions.values()][0];
  const conn = session?.server?.conn;
  client.peer.stall();
  const row = backend.dataRow('x'.repeat(7000));
  await peer.send(message('1'), message('2'));
  let rows = 0;
  // One by one: reading never ends amid one.
  for (; conn?.isPaused === false; rows++) {
    expect(rows).toBeLessThan(5000);
    const before = pool?.stats.sent ?? 0;
    await peer.send(row);
    await waitFor(() => (pool?.stats.sent ?? 0) >= before + row.length);
  }
  clock.advance(1000);
  await sweepsPass();
  client.peer.resume();
  await waitFor(() => conn?.isPaused === false);
  // Nor is it silent while nothing of what it has said can have been read.
  clock.advance(100);
  await sweepsPass();
  await client.send(query('SELECT 9'));
  // Ahead of the probe.
  expect((await peer.message()).type).toBe('Q');
  await peer.send(backend.commandComplete('SELECT 1'), ready());
  expect((await client.answer()).rows).toHaveLength(rows);
  await peer.send(backend.commandComplete('SELECT 0'), ready());
  expect((await client.answer()).types).toBe('CZ');
  clock.advance(1000);
  await peer.send(answerToProbe(await stage.probe()));
  await stage.serves(client);
});

test('a session with many requests under way is not closed for a doubt, which ends behind their answers', async () => {
  await using stage = await Stage.set('session');
  await stage.peer.send(...seven);
  expect((await stage.client.answer()).rows).toEqual([['7']]);
  const many = 4200;
  await stage.client.send(...new Array<Buffer>(many).fill(query('SELECT 8')));
  for (let i = 0; i < many; i++) await stage.peer.message('Q');
  await sweepsPass(4);
  expect(stage.client.peer.unread).toBe(0);
  const eight = Buffer.concat([backend.dataRow('8'), backend.commandComplete('SELECT 1'), ready()]);
  await stage.peer.send(...new Array<Buffer>(many).fill(eight));
  await stage.peer.send(answerToProbe(await stage.probe()));
  for (let i = 0; i < many; i++) expect((await stage.client.answer()).rows).toEqual([['8']]);
  await stage.serves(stage.client);
});

test('a transaction that turns out to be open stays the client’s', async () => {
  await using stage = await Stage.set();
  const open = ready('T');
  const answer = answerToProbe(await stage.probe([...seven.slice(0, -1), open], 'T'));
  await stage.peer.send(answer.subarray(0, -open.length), open);
  expect((await stage.client.answer()).status).toBe('T');
  await stage.client.send(query('COMMIT'));
  expect((await stage.peer.message('Q')).body.toString()).toBe('COMMIT\0');
  await stage.peer.send(backend.commandComplete('COMMIT'), ready());
  expect((await stage.client.answer()).tags).toEqual(['COMMIT']);
  await stage.goesOn();
});

test('a transaction that turns out to have failed stays the client’s', async () => {
  await using stage = await Stage.set();
  const open = ready('E');
  const answer = answerToProbe(await stage.probe([...seven.slice(0, 2), failed, open], 'E'));
  await stage.peer.send(answer.subarray(0, -open.length), open);
  expect(await stage.client.answer()).toMatchObject({ types: '12EZ', status: 'E' });
  await stage.client.send(query('ROLLBACK'));
  expect((await stage.peer.message('Q')).body.toString()).toBe('ROLLBACK\0');
  await stage.peer.send(backend.commandComplete('ROLLBACK'), ready());
  expect((await stage.client.answer()).tags).toEqual(['ROLLBACK']);
  await stage.goesOn();
});

/** Fails a COPY into t as in {@link Stage.set}, with the requests behind it sent and not answered. */
async function failing(stage: Stage, ...behind: readonly Buffer[]): Promise<void> {
  const { client, peer } = stage;
  await stage.copyBegins();
  await client.send(copyData('bad\n'), sync(), copyDone(), ...behind);
  await peer.send(failed, ready());
  expect((await client.answer()).types).toBe('EZ');
}

test('what was counted wrongly is over with the probe, for the time limits, too', async () => {
  await using stage = await Stage.begin();
  await failing(stage, query('SELECT 7'));
  await stage.peer.messagesTo('Q');
  const [pool] = stage.pooler.pooler.state.pools.all('scripted');
  const [client] = [...(pool?.clients.active ?? [])];
  expect(client?.queryStartMs).toBeGreaterThan(0);
  await stage.peer.send(answerToProbe(await stage.probe()));
  await waitFor(() => client?.queryStartMs === 0, { what: 'the end of the query', deadlineMs: 20_000 });
  expect(client?.xactStartMs).toBe(0);
});

const began = message('G', Buffer.of(0), int16(0));

test.for([
  ['is taken for skipped', [unnamed('COPY u FROM STDIN'), sync()]],
  ['counts as unanswered', [query('COPY u FROM STDIN')]],
] as const)('a COPY that waits for a lock and %s does not get the probe for data', async ([, requests]) => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await failing(stage, ...requests, copyData('1\n'));
  await peer.messagesTo('c');
  await peer.messagesTo('d');
  await peer.message('S');
  // It answers the Sync in the first COPY, for all that is known.
  await peer.send(ready());
  await peer.send(began);
  expect((await client.answerTo('G')).types).toBe('ZG');
  await client.send(copyDone());
  // What PostgreSQL ignores in a COPY, and nothing else.
  expect((await peer.messagesTo('c')).map(({ type }) => type).join('')).toMatch(/^S+c$/);
  await peer.send(backend.commandComplete('COPY 1'), ready());
  expect((await client.answer()).tags).toEqual(['COPY 1']);
  await peer.send(answerToProbe(await stage.probe()));
  await stage.goesOn();
  expect(client.peer.unread).toBe(0);
});

test.for([
  ['is taken for skipped', [unnamed('COPY u FROM STDIN'), sync()]],
  ['counts as unanswered', [query('COPY u FROM STDIN')]],
] as const)('a COPY that %s, begins amid the probe and fails ends the link: our Syncs may be answered', async ([
  ,
  requests,
]) => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await failing(stage, ...requests, copyData('bad\n'));
  await peer.messagesTo('c');
  await peer.messagesTo('d');
  await peer.message('S');
  await peer.send(ready(), began);
  expect((await client.answerTo('G')).types).toBe('ZG');
  await peer.send(failed, ready(), ready(), ready());
  expect((await client.answerTo('Z')).types).toBe('EZ');
  const { types, errors } = await client.answerTo('E');
  expect([types, errors[0]?.['S'], errors[0]?.['M']]).toEqual(['E', 'FATAL', 'server conn crashed?']);
  await client.peer.end();
});

test('a client whose Syncs amid a COPY are too many to be counted is not probed for, but closed', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await stage.copyBegins();
  const syncs = new Array<Buffer>(5000).fill(sync());
  await client.send(copyData('bad\n'), ...syncs, copyDone());
  await peer.messagesTo('c');
  await peer.send(failed, ready());
  expect((await client.answer()).types).toBe('EZ');
  expect((await client.answerTo('E')).errors[0]?.['M']).toBe('server conn crashed?');
  await client.peer.end();
});

test.for([
  ['for certain', [query('COPY u FROM STDIN'), copyData('1\n'), copyDone()]],
  ['perhaps', [unnamed('COPY u FROM STDIN'), copyData('1\n'), copyDone(), sync()]],
] as const)('a COPY whose end was sent before it began, %s, goes through, and the probe behind it', async (row) => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await failing(stage, ...row[1]);
  await peer.messagesTo('c');
  await peer.messagesTo('c');
  if (row[0] === 'perhaps') await peer.message('S');
  const answers = [began, backend.commandComplete('COPY 1'), ready()];
  await peer.send(answerToProbe(await stage.probe(answers)));
  expect((await client.answer()).types).toBe('GCZ');
  await stage.goesOn();
  expect(client.peer.unread).toBe(0);
});

test('a client of whose COPY nobody can tell whether its end was sent is closed with its silent server', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await failing(stage, unnamed('COPY u FROM STDIN'), copyData('1\n'), copyDone(), sync());
  await peer.messagesTo('E');
  await peer.messagesTo('S');
  await peer.send(began);
  expect((await client.answerTo('E')).errors[0]).toMatchObject({ M: 'server conn crashed?' });
  await client.peer.end();
});

test('COPY data behind the rest of a message, at which a probe begins, waits for its end and is not lost', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  const row = copyData('1\\n');
  await failing(stage, unnamed('COPY u FROM STDIN'), sync(), row.subarray(0, -1));
  await client.send(row.subarray(-1), copyData('2\\n'), copyDone(), sync());
  // Of the COPY that is taken for skipped, and waits for a lock.
  for (const type of 'cSd') await peer.messagesTo(type);
  await peer.message('S');
  await peer.send(ready(), began);
  expect((await client.answerTo('G')).types).toBe('ZG');
  const sent = await peer.messagesTo('c');
  expect(sent.map(({ type }) => type).join('')).toMatch(/^S+dc$/);
  expect(sent.at(-2)?.body.toString()).toBe('2\\n');
  await peer.message('S');
  await peer.send(backend.commandComplete('COPY 2'), ready());
  expect((await client.answer()).tags).toEqual(['COPY 2']);
  await peer.send(answerToProbe(await stage.probe()));
  await stage.goesOn();
  expect(client.peer.unread).toBe(0);
});

const cancelled = backend.errorResponse({ S: 'ERROR', C: '57014', M: 'canceling statement' });

test('what runs on a server that is probed can be cancelled', async () => {
  await using stage = await Stage.begin('session');
  const { client, peer, server } = stage;
  await failing(stage, query('SELECT pg_sleep(1000)'));
  await peer.messagesTo('Q');
  // The probe waits.
  await peer.message('S');
  const cancelling = client.cancel();
  const carrier = await server.accept();
  await carrier.packet();
  await carrier.close();
  await cancelling;
  await peer.send(cancelled, ready());
  expect((await client.answer()).types).toBe('EZ');
  await peer.send(ready());
  await peer.send(answerToProbe(await stage.probe()));
  await stage.serves(client);
  expect([peer.unread, client.peer.unread]).toEqual([0, 0]);
});

test('a ReadyForQuery that a client waits for does not wait for what comes behind it, though its server is probed', async () => {
  await using stage = await Stage.begin('session');
  const { client, peer } = stage;
  await failing(stage, query('SELECT 8'), query('SELECT pg_sleep(1000)'));
  await peer.messagesTo('Q');
  await peer.messagesTo('Q');
  await peer.message('S');
  await peer.send(backend.dataRow('8'), backend.commandComplete('SELECT 1'), ready());
  expect((await client.answer()).rows).toEqual([['8']]);
  await peer.send(cancelled, ready());
  expect((await client.answer()).types).toBe('EZ');
  await peer.send(ready());
  await peer.send(answerToProbe(await stage.probe()));
  await stage.serves(client);
});

test('a COPY that has swallowed the client’s Sync gets none of ours for it', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await failing(stage, unnamed('COPY u FROM STDIN'), sync(), copyData('1\n'), copyDone());
  for (const type of 'cSc') await peer.messagesTo(type);
  const answers = [message('1'), message('2'), began, backend.commandComplete('COPY 1')];
  await peer.send(answerToProbe(await stage.probe(answers)));
  expect((await client.answerTo('C')).types).toBe('12GC');
  await client.send(sync());
  await peer.messagesTo('S');
  expect(client.peer.unread).toBe(0);
  await peer.send(ready());
  expect((await client.answer()).types).toBe('Z');
  await stage.goesOn();
});

test.for([
  'T',
  'E',
] as const)('a transaction of which a Sync of ours alone has told (%s) stays the client’s', async (status) => {
  await using stage = await Stage.begin();
  const { client, peer, pooler } = stage;
  const copy = [unnamed('COPY u FROM STDIN'), sync(), copyData('1\n'), copyDone()];
  await failing(stage, unnamed('BEGIN'), ...copy);
  for (const type of 'cSc') await peer.messagesTo(type);
  const end = status === 'T' ? backend.commandComplete('COPY 1') : failed;
  const begun = [message('1'), message('2'), backend.commandComplete('BEGIN'), message('1'), message('2')];
  await stage.probe([...begun, began, end], status);
  await peer.send(message('3'), ready(status));
  const next = await WireClient.connect(pooler.port, { user: ROLE, database: 'scripted' });
  await next.send(query('SELECT 8'));
  await sweepsPass();
  expect(peer.unread).toBe(0);
  await client.send(sync());
  expect((await peer.message()).type).toBe('S');
  await peer.send(ready(status));
  expect((await client.answer()).status).toBe(status);
  await next.peer.close();
});

test('a stretch whose Sync is still to come gets none of ours', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  await failing(stage, unnamed('INSERT a'), sync(), unnamed('INSERT b'));
  for (const type of 'cSE') await peer.messagesTo(type);
  await peer.send(message('1'), message('2'), backend.commandComplete('INSERT 0 1'), ready());
  expect((await client.answer()).types).toBe('12CZ');
  await sweepsPass();
  expect(peer.unread).toBe(0);
  await client.send(unnamed('INSERT c'), sync());
  expect((await peer.messagesTo('S')).map(({ type }) => type).join('')).toBe('PBES');
});

test.for([
  false,
  true,
])('a server that falls silent amid a probe (behind all it owes: %s) has query_timeout', async (isOver) => {
  const clock = new ManualClock();
  await using stage = await Stage.set('transaction', clock, { query_timeout: 5 });
  if (isOver) await stage.probe();
  else await stage.peer.message('S');
  clock.advance(6000);
  expect((await stage.client.answerTo('E')).errors[0]?.['M']).toBe('query timeout');
});

test('a client that reads nothing does not keep a server that has been probed', async () => {
  await using stage = await Stage.begin();
  const { client, peer } = stage;
  const session = await waitFor(() => [...stage.pooler.pooler.state.sessions.values()][0]);
  await stage.serves(client);
  client.peer.stall();
  for (let round = 0; !session.conn.isCongested; round++) {
    expect(round).toBeLessThan(5000);
    await client.send(unnamed('COPY t FROM STDIN'), sync());
    await peer.messagesTo('S');
    await peer.send(message('1'), message('2'), began);
    await client.send(copyData('bad\n'), sync(), copyDone(), unnamed('SELECT 7'), sync());
    for (const type of 'SS') await peer.messagesTo(type);
    await peer.send(failed, ready());
    for (let left = 3; left > 0; left--) await peer.message('S');
    const row = backend.dataRow('x'.repeat(7000));
    const owed = [message('1'), message('2'), row, backend.commandComplete('SELECT 1'), ready()];
    await peer.send(Buffer.concat([...owed, ready(), ready(), ready()]));
    await peer.message('C');
    await peer.message('S');
    await peer.send(message('3'), ready());
    await waitFor(() => session.server === null);
  }
});

test('a server that ends its connection amid a probe says why itself, and nothing of ours is passed on', async () => {
  await using stage = await Stage.set();
  await stage.probe();
  await stage.peer.send(backend.errorResponse({ S: 'FATAL', V: 'FATAL', C: '57P01', M: 'terminating' }));
  await stage.peer.close();
  const { types, errors } = await stage.client.answerTo('E');
  expect([types, errors[0]?.['C']]).toEqual(['E', '57P01']);
  expect((await stage.client.answerTo('E')).errors[0]).toMatchObject({
    S: 'FATAL',
    M: 'server conn crashed?',
  });
});

test('what a server has said unasked before it ends amid a probe is the client’s', async () => {
  await using stage = await Stage.set();
  await stage.probe();
  await stage.peer.send(message('N', 'SNOTICE', 'Mhear', Buffer.of(0)));
  await stage.peer.close();
  const { types, notices } = await stage.client.answerTo('E');
  expect([types, notices]).toEqual(['E', [{ S: 'NOTICE', M: 'hear' }]]);
});

test('a probe that fails ends the link, and the client sees nothing of it', async () => {
  await using stage = await Stage.set();
  await stage.probe();
  await stage.peer.send(cancelled, ready());
  const { types, errors } = await stage.client.answerTo('E');
  expect([types, errors[0]?.['S'], errors[0]?.['M']]).toEqual(['E', 'FATAL', 'server conn crashed?']);
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
  await stage.copyBegins();
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
  await stage.copyBegins();
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
