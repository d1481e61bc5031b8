import { describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { bytewise } from '../support/cut.ts';
import { backend, errorFields, frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

const MIB = 1024 * 1024;
const ROLE = 'both';
const both = message('W', Buffer.of(0), int16(0));
const copyData = (text: string): Buffer => message('d', Buffer.from(text));
const copyDone = message('c');
const failed = backend.errorResponse({ S: 'ERROR', C: '58P01', M: 'WAL is gone' });
const ready = backend.readyForQuery;

/** A client whose COPY BOTH has begun, and the server that the test plays. */
class Stage implements AsyncDisposable {
  readonly server: ScriptedServer;
  readonly pooler: LocalPooler;
  client!: ScriptedPeer;
  peer!: ScriptedPeer;

  private constructor(server: ScriptedServer, pooler: LocalPooler) {
    this.server = server;
    this.pooler = pooler;
  }

  /** On a connection of its own, or on a pooled one. */
  static async begin(kind: 'replication' | 'pooled'): Promise<Stage> {
    const server = await ScriptedServer.listen();
    const pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      own: { server_close_timeout: 0.1, server_cancel_timeout: 0.1 },
      userlist: { [ROLE]: '' },
    });
    const stage = new Stage(server, pooler);
    await stage.next(kind);
    return stage;
  }

  /** Another client, whose server connection is a new one. */
  async next(kind: 'replication' | 'pooled'): Promise<void> {
    this.client = await connectPeer(this.pooler.port);
    const replication = kind === 'replication' ? { replication: 'true' } : {};
    await this.client.send(frontend.startup({ user: ROLE, database: 'scripted', ...replication }));
    // A pooled connection is opened for the first client's login, and for the query of another.
    await this.client.send(frontend.query('START_REPLICATION 0/0'));
    this.peer = await this.server.acceptLogin();
    await this.client.messagesTo('Z');
    await this.peer.message('Q');
    await this.peer.send(both);
    await this.client.message('W');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pooler[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

/** Types of the messages up to ReadyForQuery. */
async function typesOf(peer: ScriptedPeer): Promise<string> {
  return (await peer.messagesTo('Z')).map(({ type }) => type).join('');
}

/** What a client gets in its end: the text of an ErrorResponse, or how many bytes of something else. */
async function lastWord(client: ScriptedPeer): Promise<string> {
  const rest = await client.end();
  return rest[0] === 0x45 ? (errorFields(rest.subarray(5))['M'] ?? '') : `${rest.length} bytes`;
}

describe.each(['replication', 'pooled'] as const)('COPY BOTH on a %s connection', (kind) => {
  test('carries both directions at once, however the bytes are cut', async () => {
    await using stage = await Stage.begin(kind);
    const { client, peer } = stage;
    const down = Buffer.concat([
      copyData('w'),
      copyData(''),
      message('N', Buffer.of(0)),
      copyData('k'.repeat(40)),
    ]);
    const up = Buffer.concat([copyData('r'), copyData('h'), copyData('')]);
    await Promise.all([peer.sendChunks(bytewise(down)), client.sendChunks(bytewise(up))]);
    const [atClient, atServer] = await Promise.all([client.bytes(down.length), peer.bytes(up.length)]);
    expect([atClient.equals(down), atServer.equals(up)]).toEqual([true, true]);
    // The client has finished, the server goes on, and then ends with a row.
    await client.send(copyDone);
    await peer.message('c');
    const end = [copyData('late'), copyDone, backend.rowDescription('next'), backend.dataRow('2')];
    const tags = [backend.commandComplete('SELECT 1'), backend.commandComplete('COPY 0'), ready()];
    await peer.sendChunks(bytewise(Buffer.concat([...end, ...tags])));
    expect(await typesOf(client)).toBe('dcTDCCZ');
    await client.send(frontend.query('SELECT 1'));
    await peer.message('Q');
    await peer.send(backend.commandComplete('SELECT 0'), ready());
    expect(await typesOf(client)).toBe('CZ');
    await client.close();
  });

  test('may be finished by the server first, and data of the client is still under way then', async () => {
    await using stage = await Stage.begin(kind);
    const { client, peer } = stage;
    await peer.send(copyDone);
    await client.message('c');
    await client.send(copyData('late'), copyDone);
    expect((await peer.messagesTo('c')).length).toBe(2);
    await peer.send(backend.commandComplete('COPY 0'), ready());
    expect(await typesOf(client)).toBe('CZ');
    await client.close();
  });

  test('ends with an error, behind which late data does no harm', async () => {
    await using stage = await Stage.begin(kind);
    const { client, peer } = stage;
    await peer.send(copyData('w'), failed, ready());
    expect(await typesOf(client)).toBe('dEZ');
    await client.send(copyData('late'), copyData('later'), copyDone, frontend.query('SELECT 1'));
    expect((await peer.messagesTo('Q')).at(-1)?.body.toString()).toBe('SELECT 1\0');
    await peer.send(backend.commandComplete('SELECT 0'), ready());
    expect(await typesOf(client)).toBe('CZ');
    await client.close();
  });

  test('is over for the server when the client goes', async () => {
    await using stage = await Stage.begin(kind);
    stage.client.reset();
    const said = await stage.peer.end();
    // A pooled server is given the chance to come to rest, and this one doesn't take it.
    if (kind === 'pooled') expect(String.fromCharCode(said[0] ?? 0)).toBe('f');
    expect(said.subarray(kind === 'pooled' ? -5 : 0).equals(frontend.terminate())).toBe(true);
    await stage.peer.close();
    await waitFor(() => stage.pooler.pooler.state.budget.count('server') === 0);
  });

  test('is over for the client when the server goes, who is told so between two messages', async () => {
    await using stage = await Stage.begin(kind);
    await stage.peer.send(copyData('whole'));
    await stage.client.message('d');
    stage.peer.reset();
    expect(await lastWord(stage.client)).toBe('server conn crashed?');
    await stage.next(kind);
    const part = copyData('never whole').subarray(0, 9);
    await stage.peer.send(part);
    await stage.client.bytes(part.length);
    stage.peer.reset();
    expect(await lastWord(stage.client)).toBe('0 bytes');
    await waitFor(() => stage.pooler.pooler.state.budget.count('server') === 0);
  });

  test('is over when the server sends what no server may', async () => {
    await using stage = await Stage.begin(kind);
    await stage.peer.send(copyData('w'), message('R', 0));
    await stage.client.message('d');
    expect(await lastWord(stage.client)).toBe('unknown pkt');
  });

  test('keeps no more than a chunk or two for a client that does not read, which is heard all the same', async () => {
    await using stage = await Stage.begin(kind);
    const { client, peer, pooler } = stage;
    client.stall();
    const stream = Buffer.concat(new Array<Buffer>(512).fill(copyData('w'.repeat(64 * 1024 - 5))));
    const sending = peer.send(stream);
    const [session] = pooler.pooler.state.sessions.values();
    const server = await waitFor(() => session?.server?.conn.isPaused === true && session.server);
    await client.send(copyData('status update'));
    expect((await peer.message('d')).body.toString()).toBe('status update');
    await sweepsPass();
    expect([server.conn.isPaused, (session?.conn.pendingBytes ?? MIB) < MIB]).toEqual([true, true]);
    expect(peer.socket.writableLength).toBeGreaterThan(0);
    client.resume();
    expect((await client.bytes(stream.length)).equals(stream)).toBe(true);
    await sending;
    await client.close();
  });

  test('keeps no more than a chunk or two for a server that does not read, whose own data goes on', async () => {
    await using stage = await Stage.begin(kind);
    const { client, peer, pooler } = stage;
    peer.stall();
    const stream = Buffer.concat(new Array<Buffer>(512).fill(copyData('r'.repeat(64 * 1024 - 5))));
    const sending = client.send(stream);
    const [session] = pooler.pooler.state.sessions.values();
    await waitFor(() => session?.conn.isPaused === true);
    await peer.send(copyData('keepalive'));
    expect((await client.message('d')).body.toString()).toBe('keepalive');
    await sweepsPass();
    expect([session?.conn.isPaused, (session?.server?.conn.pendingBytes ?? MIB) < MIB]).toEqual([true, true]);
    expect(client.socket.writableLength).toBeGreaterThan(0);
    peer.resume();
    expect((await peer.bytes(stream.length)).equals(stream)).toBe(true);
    await sending;
    await client.close();
  });
});

describe('a server that begins a COPY BOTH in a pooled connection', () => {
  test('keeps it until ReadyForQuery, and gets late data of that client from nobody', async () => {
    await using stage = await Stage.begin('pooled');
    const { client, peer, pooler } = stage;
    // It is over although the client has not finished.
    await peer.send(copyDone, backend.commandComplete('COPY 0'), ready());
    expect(await typesOf(client)).toBe('cCZ');
    await poolShows(pooler, 'scripted', ROLE, { sv_active: 0, sv_idle: 1 });
    await client.send(copyData('late'), copyDone, frontend.query('SELECT 1'));
    expect((await peer.message()).type).toBe('Q');
    await peer.send(backend.commandComplete('SELECT 0'), ready());
    expect(await typesOf(client)).toBe('CZ');
    await client.close();
  });

  test('unasked is not given to another client', async () => {
    await using stage = await Stage.begin('pooled');
    const { client, peer, pooler } = stage;
    await peer.send(copyDone, backend.commandComplete('COPY 0'), ready());
    expect(await typesOf(client)).toBe('cCZ');
    await poolShows(pooler, 'scripted', ROLE, { sv_active: 0, sv_idle: 1 });
    await peer.send(both);
    await peer.end();
    expect(pooler.lines.some((line) => line.endsWith('closing because: unknown pkt (age=0s)'))).toBe(true);
    expect(client.unread).toBe(0);
    await client.close();
  });

  test('is subject to query_timeout', async () => {
    await using stage = await Stage.begin('pooled');
    await stage.pooler.reload({ settings: { query_timeout: 0.4 } });
    expect(await lastWord(stage.client)).toBe('query timeout');
  });
});

test.each([
  ['ends the stream', [copyDone, backend.commandComplete('COPY 0')], 'cC'],
  ['says why', [backend.errorResponse({ S: 'FATAL', C: '57P01', M: 'shutting down' })], 'E'],
])('a server that %s and goes has said it all: the replication client hears nothing of ours', async (_how, last, types) => {
  await using stage = await Stage.begin('replication');
  await stage.peer.send(...last);
  stage.peer.halfClose();
  const messages = await stage.client.messagesTo(types.at(-1) as string);
  expect(messages.map(({ type }) => type).join('')).toBe(types);
  expect(await lastWord(stage.client)).toBe('0 bytes');
});

test('a host that cannot be reached costs a replication client nothing where there is another', async () => {
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    // Nobody listens on the first one.
    databases: { two: `host=127.0.0.2,127.0.0.1 port=${server.port} load_balance_hosts=disable` },
    userlist: { [ROLE]: '' },
  });
  for (const _each of [1, 2, 3]) {
    const client = await connectPeer(pooler.port);
    await client.send(frontend.startup({ user: ROLE, database: 'two', replication: 'true' }));
    await server.acceptLogin();
    await client.messagesTo('Z');
    await client.close();
  }
  // And it is stayed with.
  expect(pooler.lines.filter((line) => line.includes('connect ECONNREFUSED 127.0.0.2'))).toHaveLength(1);
});

test('a replication client whom no host of a list answers is told so', async () => {
  await using pooler = await startPooler({
    databases: { two: 'host=127.0.0.2,127.0.0.3 port=1' },
    userlist: { [ROLE]: '' },
  });
  const client = await connectPeer(pooler.port);
  await client.send(frontend.startup({ user: ROLE, database: 'two', replication: 'true' }));
  const { body } = await client.message('E');
  expect(errorFields(body)).toMatchObject({ M: 'login failed', D: 'connect failed' });
  await client.close();
});

test('a server connection that replicates and speaks while its login ends is not used', async () => {
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    userlist: { [ROLE]: '' },
  });
  const client = await connectPeer(pooler.port);
  await client.send(frontend.startup({ user: ROLE, database: 'scripted', replication: 'database' }));
  const peer = await server.accept();
  const startup = (await peer.packet()).body.toString('latin1', 4).split('\0');
  expect(startup.slice(0, 6)).toEqual(['database', 'scripted', 'replication', 'database', 'user', ROLE]);
  await peer.send(backend.authenticationOk(), ready(), copyData('w'));
  const { body } = await client.message('E');
  expect(errorFields(body)).toMatchObject({ M: 'login failed', D: 'unknown pkt' });
  await client.close();
});
