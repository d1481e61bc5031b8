import { afterAll, expect, test } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectAndLogin, type ScriptedPeer } from '../support/scripted-peer.ts';
import { connectEncrypted, TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());
const server = files.identity('server', { commonName: 'localhost', altNames: ['localhost', '127.0.0.1'] });
const login = { user: sharedPostgres().user, database: 'postgres' };

async function encrypted(port: number): Promise<ScriptedPeer> {
  const { peer } = await connectEncrypted(port);
  await peer.send(frontend.startup(login));
  await peer.messagesTo('Z');
  return peer;
}
const plain = (port: number) => connectAndLogin(port, login);
const withoutLibrary = openNative(() => {
  throw new Error('no library');
});

test.each([
  ['with native calls', openNative(), plain],
  ['without', withoutLibrary, plain],
  ['over TLS', openNative(), encrypted],
])('who says goodbye while answers wait to be taken gets them all, then the end: %s', async (_way, native, connect) => {
  await using pooler = await startPooler({
    native,
    settings: {
      pool_mode: 'transaction',
      tcp_socket_buffer: 16_384,
      client_tls_sslmode: 'allow',
      client_tls_cert_file: server.certFile,
      client_tls_key_file: server.keyFile,
    },
  });
  const peer = await connect(pooler.port);
  const session = [...pooler.pooler.state.sessions.values()][0];
  if (session === undefined) throw new Error('no session');
  peer.stall();
  let asked = 0;
  while (session.conn.pendingBytes === 0) {
    asked++;
    await peer.send(frontend.query(`SELECT repeat('x', 30000)`));
    await waitFor(() => session.pool.stats.queryCount === asked && session.server === null);
    expect(asked).toBeLessThan(1000);
  }
  await peer.send(frontend.terminate());
  peer.socket.end();
  await waitFor(() => pooler.lines.some((line) => line.includes('closing because: client close request')));
  peer.resume();
  let answers = 0;
  for (; answers < asked; answers++) {
    const [, row] = await peer.messagesTo('Z');
    expect(row?.body.length).toBe(30_006);
  }
  expect(await peer.end()).toHaveLength(0);
  await peer.close();
});
