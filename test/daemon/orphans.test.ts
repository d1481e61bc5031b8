import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { defaultTexts, typedSettings } from '../../src/config/settings.ts';
import { endOrphan, Orphans, unixAddress } from '../../src/daemon/orphans.ts';
import { openNative } from '../../src/net/native.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import type { Orphan } from '../../src/pool/budget-keeper.ts';
import { TlsContexts } from '../../src/tls/contexts.ts';
import type { ServerTls } from '../../src/tls/server-side.ts';
import { frontend } from '../support/peer-messages.ts';
import { connectAndLogin, playLogin, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { acceptEncrypted, expectSslRequest, TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const native = openNative();
const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());

const secret = Buffer.from('KEY!');
const cancel = frontend.cancelRequest(4242, secret);
const towardsServers = { server_tls_sslmode: 'verify-full', server_tls_ca_file: files.caFile };

function serverTls(): ServerTls | null {
  const texts = new Map([...defaultTexts(), ...Object.entries(towardsServers)]);
  const contexts = new TlsContexts();
  contexts.use(contexts.prepare(typedSettings(texts).settings));
  return contexts.server;
}

/** A server connection as a dead thread leaves it, and the other end of it. */
async function orphanOf(
  server: ScriptedServer,
  to: { port: number } | { path: string },
  tlsHost: string | null,
  id = 1,
): Promise<{ orphan: Orphan; peer: ScriptedPeer }> {
  const socket = connect(to);
  await once(socket, 'connect');
  const peer = await server.accept();
  const fd = native.listen.duplicate(socketFd(socket)) ?? -1;
  socket.destroy();
  return { orphan: { fd, backendKey: cancel.subarray(8), tlsHost, id, record: id }, peer };
}

/** One in the clear to each of these. */
async function leftBehind(
  servers: readonly ScriptedServer[],
): Promise<{ orphans: Orphan[]; peers: ScriptedPeer[] }> {
  const orphans: Orphan[] = [];
  const peers: ScriptedPeer[] = [];
  for (const [i, server] of servers.entries()) {
    const { orphan, peer } = await orphanOf(server, { port: server.port }, null, i + 1);
    orphans.push(orphan);
    peers.push(peer);
  }
  return { orphans, peers };
}

/** Ends such a connection. */
async function end(
  server: ScriptedServer,
  to: { port: number } | { path: string },
  tlsHost: string | null,
  tls: ServerTls | null = null,
): Promise<{ peer: ScriptedPeer; over: Promise<void> }> {
  const { orphan, peer } = await orphanOf(server, to, tlsHost);
  const log = { enabled: () => true, log: () => {} };
  const host = { log, native, tls, tune: () => {}, patienceMs: 60_000 };
  const over = endOrphan(orphan, host, (begin) => begin(() => {}));
  void over.finally(() => native.closeFd(orphan.fd));
  return { peer, over };
}

test.each([
  ['/run/postgresql/.s.PGSQL.5432', { host: '/run/postgresql', port: 5432 }],
  ['@abstract/.s.PGSQL.6000', { host: '@abstract', port: 6000 }],
  ['run/.s.PGSQL.5432', null],
  ['/run/postgresql/other', null],
  [null, null],
])('the unix socket %s leads nowhere but to a unix socket', (path, address) => {
  expect(unixAddress(path)).toEqual(address);
});

describe('what runs on a server connection of a dead thread', () => {
  test.each(['TCP', 'a unix socket'])('is cancelled in the clear where all was so, by %s', async (way) => {
    const path = join(files.folder, '.s.PGSQL.5432');
    await using server = await ScriptedServer.listen(way === 'TCP' ? undefined : path);
    const { peer, over } = await end(server, way === 'TCP' ? { port: server.port } : { path }, null);
    const carrier = await server.accept();
    expect(await carrier.bytes(16)).toEqual(cancel);
    // Only then is PostgreSQL told that nobody is there.
    expect(peer.isClosed).toBe(false);
    await carrier.close();
    await peer.end();
    await peer.close();
    await over;
  });

  test('is cancelled by TLS where it had that, for the same host', async () => {
    const identity = files.identity('server', { altNames: ['localhost'] });
    await using server = await ScriptedServer.listen();
    await using threads = await Threads.start(
      {
        settings: { pool_mode: 'transaction', ...towardsServers },
        databases: { scripted: `host=localhost port=${server.port}` },
        userlist: { orphaned: '' },
      },
      1,
    );
    const port = threads.pooler.addresses[0]?.port ?? 0;
    const connecting = connectAndLogin(port, { user: 'orphaned', database: 'scripted' });
    const { peer: backend } = await acceptEncrypted(server, identity);
    await playLogin(backend, { pid: 4242, secret });
    const client = await connecting;
    await client.send(frontend.query('SELECT 1'));
    await backend.message('Q');
    await threads.pooler.workforce.threads[0]?.terminate();
    const carrier = await acceptEncrypted(server, identity);
    expect(await carrier.peer.bytes(16)).toEqual(cancel);
    await carrier.peer.close();
    await backend.end();
    await backend.close();
  });

  test('is cancelled although sixteen others hang', async () => {
    await using hung = await ScriptedServer.listen();
    await using server = await ScriptedServer.listen();
    const { orphans, peers } = await leftBehind([...new Array<ScriptedServer>(16).fill(hung), server]);
    const keeper = { orphans: () => orphans, release: async ({ fd }: Orphan) => native.closeFd(fd) };
    const log = { enabled: () => true, log: () => {} };
    const ending = new Orphans(keeper, () => ({
      log,
      native,
      tls: null,
      tune: () => {},
      patienceMs: 60_000,
    }));
    ending.endAll();
    const carrier = await server.accept();
    expect(await carrier.bytes(16)).toEqual(cancel);
    for (const peer of peers) await peer.close();
    await waitFor(() => !ending.areEnding);
  });

  test('is cancelled for sixteen at a time, and in the end for all', async () => {
    await using server = await ScriptedServer.listen();
    const { orphans, peers } = await leftBehind(new Array<ScriptedServer>(20).fill(server));
    const released: number[] = [];
    const keeper = {
      orphans: () => orphans,
      release: async ({ fd, id }: Orphan) => {
        released.push(id);
        native.closeFd(fd);
      },
    };
    const log = { enabled: () => true, log: () => {} };
    const host = { log, native, tls: null, tune: () => {}, patienceMs: 60_000 };
    new Orphans(keeper, () => host, 60_000).endAll();
    const carriers: ScriptedPeer[] = [];
    for (let i = 0; i < 16; i++) {
      const carrier = await server.accept();
      expect(await carrier.bytes(16)).toEqual(cancel);
      carriers.push(carrier);
    }
    expect(server.accepted).toBe(20 + 16);
    for (let i = 16; i < 20; i++) {
      await carriers.shift()?.close();
      carriers.push(await server.accept());
      expect(server.accepted).toBe(20 + i + 1);
    }
    for (const carrier of carriers) await carrier.close();
    for (const peer of peers) {
      await peer.end();
      await peer.close();
    }
    await waitFor(() => released.length === 20);
    expect(released.toSorted((a, b) => a - b)).toEqual(orphans.map(({ id }) => id));
  });

  test('is not cancelled in the clear where it had TLS: the connection is ended alone', async () => {
    await using server = await ScriptedServer.listen();
    const at = { port: server.port };
    const withoutTls = await end(server, at, 'localhost');
    await withoutTls.peer.end();
    await withoutTls.peer.close();
    await withoutTls.over;
    expect(server.accepted).toBe(1);
    const refused = await end(server, at, 'localhost', serverTls());
    const carrier = await server.accept();
    await expectSslRequest(carrier);
    await carrier.send(Buffer.from('N'));
    expect(await carrier.end()).toHaveLength(0);
    await refused.peer.end();
    await refused.peer.close();
    await refused.over;
  });
});
