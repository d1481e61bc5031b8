import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backend, errorFields, frontend, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const OK = [message('R', 0), backend.readyForQuery()];
const BEGUN = [message('1'), message('2'), backend.rowDescription('name', 'secret')];
const END = [backend.commandComplete('SELECT 1'), backend.readyForQuery()];

/** A pooler whose auth_query is answered by the test. */
class Stage implements AsyncDisposable {
  readonly server: ScriptedServer;
  readonly pooler: LocalPooler;

  private constructor(server: ScriptedServer, pooler: LocalPooler) {
    this.server = server;
    this.pooler = pooler;
  }

  static async set(settings: Record<string, string | number> = {}): Promise<Stage> {
    const server = await ScriptedServer.listen();
    const pooler = await startPooler({
      settings: { auth_type: 'plain', auth_user: 'looker', server_login_retry: 0, ...settings },
      own: { server_close_timeout: 0.1, server_cancel_timeout: 0.1 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    });
    return new Stage(server, pooler);
  }

  /** A client that has said who it is. */
  async client(user = 'somebody', parameters: Record<string, string> = {}): Promise<ScriptedPeer> {
    const client = await connectPeer(this.pooler.port);
    await client.send(frontend.startup({ user, database: 'scripted', ...parameters }));
    return client;
  }

  /** The pooler's connection for lookups, logged in; what it said at its start. */
  async accept(): Promise<{ peer: ScriptedPeer; startup: string }> {
    const peer = await this.server.accept();
    const { body } = await peer.packet();
    await peer.send(...OK);
    return { peer, startup: body.subarray(4).toString('latin1') };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pooler[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

/** The messages of one lookup. */
async function lookup(peer: ScriptedPeer): Promise<string[]> {
  return (await peer.messagesTo('S')).map(({ type, body }) => `${type} ${body.toString('latin1')}`);
}

async function errorOf(client: ScriptedPeer): Promise<string> {
  const { body } = await client.message('E');
  return errorFields(body)['M'] ?? '';
}

test('nothing of any client reaches the connection: one start-up, then the query and the name', async () => {
  await using stage = await Stage.set({ track_extra_parameters: 'search_path', auth_query: 'ASK $1' });
  const given = { search_path: 'evil', options: '-c work_mem=1', application_name: 'x', TimeZone: 'UTC' };
  const first = await stage.client('one', given);
  const { peer, startup } = await stage.accept();
  expect(startup).toBe('database\0scripted\0client_encoding\0UTF8\0user\0looker\0\0');
  const expected = (name: string) => [
    'P \0ASK $1\0\0\0',
    `B \0\0\0\0\0\x01\0\0\0${String.fromCharCode(name.length)}${name}\0\0`,
    'D P\0',
    'E \0\0\0\0\0',
    'S ',
  ];
  expect(await lookup(peer)).toEqual(expected('one'));
  await peer.send(...BEGUN, backend.dataRow('one', 'secret'), ...END);
  expect((await first.message('R')).body.readInt32BE(0)).toBe(3);
  // Another one's, which asks for other things, on the same connection.
  const second = await stage.client('two', { search_path: 'worse' });
  expect(await lookup(peer)).toEqual(expected('two'));
  await peer.send(...BEGUN, ...END);
  expect((await second.message('R')).body.readInt32BE(0)).toBe(3);
  await second.send(frontend.password('x'));
  expect(await errorOf(second)).toBe('password authentication failed');
  expect(peer.unread).toBe(0);
  await first.close();
});

describe('an answer that makes no sense costs the connection, and after the second time the login', () => {
  test.each<readonly [string, Buffer[]]>([
    ['a transaction left open', [...BEGUN, backend.readyForQuery('T')]],
    ['COPY', [message('1'), message('2'), message('G', Buffer.of(0, 0, 0))]],
    ['an unknown message', [message('?')]],
    ['the end in the middle of it', []],
  ])('%s', async (_what, answer) => {
    await using stage = await Stage.set();
    const client = await stage.client();
    for (let attempt = 0; attempt < 2; attempt++) {
      const { peer } = await stage.accept();
      await lookup(peer);
      await peer.send(...answer);
      if (answer.length > 0) await peer.end();
      await peer.close();
    }
    expect(await errorOf(client)).toBe('bouncer config error');
  });
});

test('a server that never answers is given up after server_connect_timeout', async () => {
  await using stage = await Stage.set({ server_connect_timeout: 1, client_login_timeout: 60 });
  const client = await stage.client();
  for (let attempt = 0; attempt < 2; attempt++) await lookup((await stage.accept()).peer);
  expect(await errorOf(client)).toBe('bouncer config error');
});

test('lookups of several names go out ahead of the first answer, and clients that leave take theirs back', async () => {
  await using stage = await Stage.set();
  const first = await stage.client('one');
  const { peer } = await stage.accept();
  await lookup(peer);
  const others = await Promise.all(['two', 'three'].map((name) => stage.client(name)));
  expect((await lookup(peer))[1]).toContain('t');
  expect((await lookup(peer))[1]).toContain('t');
  await Promise.all(others.map((client) => client.close()));
  await first.close();
  await waitFor(() => stage.pooler.pooler.state.connections.size === 0, { what: 'the end of the clients' });
  await peer.send(...BEGUN, ...END, ...BEGUN, ...END, ...BEGUN, ...END);
  // It goes on with whoever comes next.
  const last = await stage.client('four');
  expect((await lookup(peer))[1]).toContain('four');
  await last.close();
});

test('nor is anybody’s membership asked for who has left while PostgreSQL was away', async () => {
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    settings: { auth_user: 'looker', server_login_retry: 0, client_login_timeout: 3 },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
  });
  const path = join(pooler.folder, 'hba');
  writeFileSync(path, 'host all +some all trust\n');
  await pooler.reload({ settings: { auth_type: 'hba', auth_hba_file: path } });
  const early = await connectPeer(pooler.port);
  await early.send(frontend.startup({ user: 'early', database: 'scripted' }));
  const unwilling = await server.accept();
  expect(await errorOf(early)).toContain('client_login_timeout');
  const late = await connectPeer(pooler.port);
  await late.send(frontend.startup({ user: 'late', database: 'scripted' }));
  await unwilling.packet();
  await unwilling.send(...OK);
  expect((await lookup(unwilling))[1]).toContain('late');
  await late.close();
});
