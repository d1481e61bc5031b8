import { beforeAll, describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { backend, int32, message, packet } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import type { PoolerConfig } from '../support/pooler-config.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { refusalOf } from '../support/refusals.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'protocol_server';
const login = { user: ROLE, database: 'scripted' };
const V30 = 0x30000;
const V32 = 0x30002;
const ASKS_AGAIN = 'the server does not take protocol 3.2';
const welcome = [
  backend.authenticationOk(),
  backend.parameterStatus('server_version', '18.0'),
  backend.parameterStatus('client_encoding', 'UTF8'),
  backend.parameterStatus('standard_conforming_strings', 'on'),
];
const refusal = backend.errorResponse({ S: 'FATAL', C: '0A000', M: 'unsupported frontend protocol 3.2' });
const answer = [backend.commandComplete('SELECT 0'), backend.readyForQuery()];

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

function start(server: ScriptedServer, config: PoolerConfig = {}): Promise<LocalPooler> {
  return startPooler({
    databases: { scripted: `host=127.0.0.1 port=${server.port}`, postgres: '' },
    userlist: { [ROLE]: '' },
    ...config,
    settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0, ...config.settings },
  });
}

/** The next connection, once it has asked for `version`. */
async function asked(server: ScriptedServer, version: number): Promise<ScriptedPeer> {
  const peer = await server.accept();
  expect((await peer.packet()).body.readInt32BE(0)).toBe(version);
  return peer;
}

/** Lets the connection in. */
function letIn(
  peer: ScriptedPeer,
  key: Buffer | null = backend.backendKeyData(1, Buffer.from('KEY!')),
): Promise<void> {
  return peer.send(...welcome, key ?? Buffer.alloc(0), backend.readyForQuery());
}

/** Logs in while the server follows its script. */
async function during<T>(pooler: LocalPooler, script: Promise<T>): Promise<[WireClient, T]> {
  return Promise.all([WireClient.connect(pooler.port, login), script]);
}

function count(pooler: LocalPooler, text: string): number {
  return pooler.lines.filter((line) => line.includes(text)).length;
}

describe('a server is asked for protocol 3.2', () => {
  test.each([
    ['which it takes', []],
    ['which it takes, and says so', [message('v', V32, 0)]],
    ['for which it gives 3.0', [message('v', V30, 0)]],
    [
      'for which it gives 3.0 behind a notice',
      [message('N', Buffer.from('SNOTICE\0Mhm\0\0')), message('v', V30, 0)],
    ],
  ])('%s', async (_what, first) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server);
    const script = async (): Promise<ScriptedPeer> => {
      const peer = await asked(server, V32);
      await peer.sendChunks(
        [...first, ...welcome].flatMap((bytes) => [bytes.subarray(0, 7), bytes.subarray(7)]),
      );
      await peer.send(backend.readyForQuery());
      return peer;
    };
    const [client] = await during(pooler, script());
    expect(server.accepted).toBe(1);
    await client.peer.close();
  });

  test.each([
    ['refuses as PostgreSQL before 9.3.21', refusal],
    [
      'refuses in other words',
      backend.errorResponse({ S: 'FATAL', C: '08P01', M: 'unknown protocol version' }),
    ],
    ['refuses without SQLSTATE', backend.errorResponse({ S: 'FATAL', M: 'no' })],
    ['refuses as in protocol 2', Buffer.from('Eunsupported frontend protocol\n\0')],
    ['hangs up', Buffer.alloc(0)],
    ['hangs up in the middle of a message', refusal.subarray(0, 9)],
    ['gives a version that is newer', message('v', 0x30003, 0)],
    ['gives version 3.1', message('v', 0x30001, 0)],
    ['gives version 2', message('v', 0x20000, 0)],
    ['gives a minor version alone', message('v', 2, 0)],
    ['names options that nobody asked for', message('v', V30, 1, '_pq_.x')],
    ['counts options that are not there', message('v', V30, 2 ** 31 - 1)],
    ['counts less options than there are', message('v', V30, -1, '_pq_.x')],
    ['gives half a version', message('v', Buffer.of(0, 3))],
    ['gives two versions', Buffer.concat([message('v', V30, 0), message('v', V30, 0)])],
    ['gives a version of 2 GB', Buffer.concat([Buffer.from('v'), int32(2 ** 31 - 1), int32(V30)])],
  ])('and for 3.0 when it %s, in the same slot, and from then on at once', async (_what, bytes) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { settings: { default_pool_size: 2 } });
    const script = async (): Promise<void> => {
      const peer = await asked(server, V32);
      await peer.send(bytes);
      if (bytes.length < 10) await peer.close();
      else await peer.end();
      // While the server's end of the first is open, its slot is taken.
      expect(server.accepted).toBe(1);
      await peer.close();
      await letIn(await asked(server, V30));
    };
    const [first] = await during(pooler, script());
    const second = await WireClient.connect(pooler.port, login);
    await first.send(message('Q', 'BEGIN'));
    await second.send(message('Q', 'BEGIN'));
    await letIn(await asked(server, V30));
    expect(count(pooler, ASKS_AGAIN)).toBe(1);
    expect(count(pooler, 'login failed')).toBe(0);
    for (const client of [first, second]) await client.peer.close();
  });

  test('and for 3.0 only as long as that is allowed at most', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { own: { server_max_protocol_version: '3.0' } });
    const [client, first] = await during(
      pooler,
      asked(server, V30).then(async (peer) => {
        await letIn(peer);
        return peer;
      }),
    );
    await pooler.reload({ own: { server_max_protocol_version: '3.2' } });
    // What is there stays; the next one is asked for more.
    await client.send(message('Q', 'SELECT 1'));
    await first.message('Q');
    await first.send(...answer);
    await client.answer();
    await first.close();
    await poolShows(pooler, 'scripted', ROLE, { sv_idle: 0 });
    await client.send(message('Q', 'SELECT 2'));
    const second = await asked(server, V32);
    await letIn(second);
    await second.message('Q');
    await second.send(...answer);
    expect((await client.answer()).tags).toEqual(['SELECT 0']);
    await client.peer.close();
  });
});

describe('it is not the version', () => {
  test.each([
    ['28000', 'no pg_hba.conf entry'],
    ['53300', 'sorry, too many clients already'],
    ['3D000', 'database does not exist'],
  ])('when the server refuses with SQLSTATE %s: it is not asked again', async (code, text) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { settings: { server_login_retry: 30 } });
    const refused = refusalOf(pooler.client({ ...login, password: '' }));
    const peer = await asked(server, V32);
    await peer.send(backend.errorResponse({ S: 'FATAL', C: code, M: text }));
    expect(await refused).toMatchObject({ code, message: text });
    await peer.close();
    await sweepsPass();
    expect([server.accepted, count(pooler, ASKS_AGAIN)]).toEqual([1, 0]);
  });

  test.each([
    ['an error', [message('R', 3), refusal]],
    ['an end', [message('R', 3)]],
    ['nonsense', [backend.authenticationOk(), message('?')]],
    ['a version', [backend.authenticationOk(), message('v', V30, 0)]],
  ])('when %s comes behind a request for authentication', async (_what, parts) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, {
      databases: { scripted: `host=127.0.0.1 port=${server.port} password=x user=${ROLE}` },
      settings: { server_login_retry: 30 },
    });
    const client = await connectWaiting(pooler);
    const peer = await asked(server, V32);
    await peer.send(...parts);
    await peer.close();
    await waitFor(() => pooler.lines.some((line) => /S-0x.* closing because/.test(line)));
    await sweepsPass();
    expect([server.accepted, count(pooler, ASKS_AGAIN)]).toEqual([1, 0]);
    await client.close();
  });

  test('when 3.0 gets no further: its refusal is told, and the next attempt is for 3.2 again', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server);
    const refused = refusalOf(pooler.client({ ...login, password: '' }));
    for (const version of [V32, V30]) {
      const peer = await asked(server, version);
      await peer.send(backend.errorResponse({ S: 'FATAL', C: '08P01', M: `no ${version}` }));
      await peer.close();
    }
    expect(await refused).toMatchObject({ code: '08P01', message: `no ${V30}` });
    const [client] = await during(
      pooler,
      asked(server, V32).then((peer) => letIn(peer)),
    );
    await client.peer.close();
  });

  test('when nobody listens any more: that is a failed connect, tried as often as ever', async () => {
    const server = await ScriptedServer.listen();
    await using pooler = await start(server, { settings: { server_login_retry: 30 } });
    const client = await connectWaiting(pooler);
    const peer = await asked(server, V32);
    await peer.send(refusal);
    await peer.end();
    await server[Symbol.asyncDispose]();
    await waitFor(() => count(pooler, 'closing because: connect failed') > 0);
    await sweepsPass();
    expect([count(pooler, 'closing because: connect failed'), count(pooler, ASKS_AGAIN)]).toEqual([1, 1]);
    await client.close();
  });
});

describe('a server that has refused the version', () => {
  test('and doesn’t end its connection keeps the slot until server_connect_timeout, no longer', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, {
      settings: { server_connect_timeout: 0.4 },
      own: { server_close_timeout: 0.1, server_cancel_timeout: 0.1 },
    });
    const client = await connectWaiting(pooler);
    const peer = await asked(server, V32);
    await peer.send(refusal);
    await peer.end();
    await waitFor(() => count(pooler, 'closing because: connect timeout') === 1);
    expect(server.accepted).toBe(1);
    await letIn(await asked(server, V32));
    await client.messagesTo('Z');
    await client.close();
  });

  test('goes with PAUSE, and comes back with RESUME', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server);
    const client = await connectWaiting(pooler);
    const peer = await asked(server, V32);
    await peer.send(refusal);
    await peer.end();
    const paused = pooler.show('PAUSE');
    await waitFor(() => count(pooler, 'closing because: pause mode') === 1);
    await peer.close();
    await paused;
    expect(server.accepted).toBe(1);
    await pooler.show('RESUME');
    await letIn(await asked(server, V32));
    await client.messagesTo('Z');
    await client.close();
  });
});

describe('nothing is asked again by a pooler that has stopped', () => {
  test.each([
    ['that has asked', Buffer.alloc(0)],
    ['that has been refused, and waits for the end', refusal],
  ])('%s', async (_what, bytes) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server);
    const client = await connectWaiting(pooler);
    const peer = await asked(server, V32);
    await peer.send(bytes);
    if (bytes.length > 0) await peer.end();
    await pooler.stop();
    // Were it connected again, the slot would stay taken.
    await waitFor(() => pooler.pooler.state.pools.all().every(({ servers }) => servers.slotsTaken === 0));
    expect(server.accepted).toBe(1);
    await client.close();
  });
});

describe('a server’s cancel key', () => {
  test.each([4, 5, 32, 256])('with a secret of %i bytes comes back to it as it was', async (bytes) => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server);
    const secret = Buffer.from(Array.from({ length: bytes }, (_, i) => 255 - i));
    const [client, peer] = await during(pooler, server.acceptLogin({ pid: -7, secret }));
    await client.send(message('Q', 'SELECT 1'));
    await peer.message('Q');
    const cancelling = client.cancel();
    const carrier = await server.accept();
    expect((await carrier.packet()).body.equals(Buffer.concat([int32(80877102), int32(-7), secret]))).toBe(
      true,
    );
    await carrier.close();
    await cancelling;
    // A client that vanishes: the same key in the cancel of our own.
    await client.peer.close();
    const own = await server.accept();
    expect((await own.packet()).body.subarray(8).equals(secret)).toBe(true);
  });
});

describe('trap: server sends no BackendKeyData (RDS Proxy)', () => {
  const own = { server_close_timeout: 0.1, server_cancel_timeout: 0.1 };

  async function keyless(server: ScriptedServer, pooler: LocalPooler): Promise<[WireClient, ScriptedPeer]> {
    return during(
      pooler,
      asked(server, V32).then(async (peer) => {
        await letIn(peer, null);
        return peer;
      }),
    );
  }

  test('clients are served, and their cancel requests are dropped with a warning', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { own });
    const [client, peer] = await keyless(server, pooler);
    await client.send(message('Q', 'SELECT 1'));
    await peer.message('Q');
    await client.cancel();
    await client.cancel();
    expect(count(pooler, 'cannot forward a cancel request: the server sent no BackendKeyData')).toBe(2);
    expect(count(pooler, 'because: failed to send cancel request')).toBe(2);
    expect([server.accepted, peer.unread]).toEqual([1, 0]);
    await peer.send(...answer);
    expect((await client.answer()).tags).toEqual(['SELECT 0']);
    // It goes on to the next client like any other.
    const next = await WireClient.connect(pooler.port, login);
    await next.send(message('Q', 'SELECT 2'));
    await peer.message('Q');
    await peer.send(...answer);
    expect((await next.answer()).tags).toEqual(['SELECT 0']);
    const [row] = (await pooler.show('SHOW SERVERS')).filter(({ database }) => database === 'scripted');
    expect(row).toMatchObject({ state: 'idle', remote_pid: 0 });
    for (const each of [client, next]) await each.peer.close();
  });

  test('the slot of a query that cannot be cancelled is given up, and another server takes it', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(server, { own });
    const [client, peer] = await keyless(server, pooler);
    await client.send(message('Q', 'SELECT pg_sleep(1000)'));
    await peer.message('Q');
    await client.peer.close();
    await waitFor(() => count(pooler, 'giving its slot up') === 1);
    expect(server.accepted).toBe(1);
    // Its login needs no server: what the first one reported is known.
    const next = await WireClient.connect(pooler.port, login);
    await next.send(message('Q', 'SELECT 2'));
    const other = await asked(server, V32);
    await letIn(other, null);
    await other.message('Q');
    await other.send(...answer);
    expect((await next.answer()).tags).toEqual(['SELECT 0']);
    await next.peer.close();
  });
});

/** A client whose login waits for a server. */
async function connectWaiting(pooler: LocalPooler): Promise<ScriptedPeer> {
  const peer = await connectPeer(pooler.port);
  await peer.send(packet(V30, ...Object.entries(login).flat(), Buffer.of(0)));
  return peer;
}
