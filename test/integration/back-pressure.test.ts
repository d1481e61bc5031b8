import { expect, test } from 'vitest';
import type { Conn } from '../../src/net/conn.ts';
import { backend, frontend, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

const MIB = 1024 * 1024;
/** More than the kernel takes on the way; the pooler itself may hold no more than {@link HELD}. */
const SENT = 32 * MIB;
const HELD = MIB;

/** A client that is linked to a server which the test plays. */
async function startLinked(server: ScriptedServer): Promise<{
  pooler: LocalPooler;
  client: ScriptedPeer;
  backendPeer: ScriptedPeer;
}> {
  const pooler = await startPooler({
    databases: { played: `host=127.0.0.1 port=${server.port} pool_size=1` },
  });
  const client = await connectPeer(pooler.port);
  await client.send(frontend.startup({ user: pooler.postgres.user, database: 'played' }));
  const backendPeer = await server.acceptLogin();
  await client.messagesTo('Z');
  return { pooler, client, backendPeer };
}

/** The two connections of the only link, once its reader has been stopped. */
function stopped(pooler: LocalPooler, side: 'client' | 'server'): Promise<{ client: Conn; server: Conn }> {
  return waitFor(() => {
    const [session] = pooler.pooler.state.sessions.values();
    if (session === undefined || session.server === null) return null;
    const ends = { client: session.conn, server: session.server.conn };
    return ends[side].isPaused && ends;
  });
}

test('a client that does not read stops its server, and the pooler keeps no more than a chunk or two', async () => {
  await using server = await ScriptedServer.listen();
  const { pooler, client, backendPeer } = await startLinked(server);
  await using _pooler = pooler;
  client.stall();
  await client.send(frontend.query('SELECT much'));
  expect((await backendPeer.message()).type).toBe('Q');
  const row = backend.dataRow('x'.repeat(64 * 1024 - 100));
  const answer = [
    backend.rowDescription('much'),
    Buffer.concat(new Array<Buffer>(SENT / (64 * 1024)).fill(row)),
    backend.commandComplete('SELECT 1'),
    backend.readyForQuery(),
  ];
  const sending = backendPeer.send(...answer);
  const ends = await stopped(pooler, 'server');
  await sweepsPass();
  expect(ends.server.isPaused).toBe(true);
  expect(ends.client.pendingBytes).toBeLessThan(HELD);
  expect(backendPeer.socket.writableLength).toBeGreaterThan(0);
  client.resume();
  expect((await client.bytes(Buffer.concat(answer).length)).equals(Buffer.concat(answer))).toBe(true);
  await sending;
  await client.close();
});

test('a server that does not read stops its client, and the pooler keeps no more than a chunk or two', async () => {
  await using server = await ScriptedServer.listen();
  const { pooler, client, backendPeer } = await startLinked(server);
  await using _pooler = pooler;
  backendPeer.stall();
  const sent = Buffer.concat([
    frontend.query('COPY t FROM STDIN'),
    ...new Array<Buffer>(SENT / (64 * 1024)).fill(message('d', Buffer.alloc(64 * 1024 - 5, 'y'))),
  ]);
  const sending = client.send(sent);
  const ends = await stopped(pooler, 'client');
  await sweepsPass();
  expect(ends.client.isPaused).toBe(true);
  expect(ends.server.pendingBytes).toBeLessThan(HELD);
  expect(client.socket.writableLength).toBeGreaterThan(0);
  backendPeer.resume();
  expect((await backendPeer.bytes(sent.length)).equals(sent)).toBe(true);
  await sending;
  await client.close();
});
