import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectAndLogin, connectPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const user = sharedPostgres().user;

function connect(to: number | string, parameters: Record<string, string> = {}): Promise<WireClient> {
  return WireClient.connect(to, { user, database: 'postgres', ...parameters });
}

/** application_name as the client is told at login, and as its server has it. */
async function applicationName(client: WireClient): Promise<(string | null | undefined)[]> {
  const actual = await client.value("SELECT current_setting('application_name')");
  await client.end();
  return [client.parameters.get('application_name'), actual];
}

test('application_name_add_host appends where the client comes from; a later SET is left alone', async () => {
  await using pooler = await startPooler({ settings: { application_name_add_host: 1 } });
  const named = await connect(pooler.port, { application_name: 'reports' });
  const port = named.peer.socket.localPort;
  expect(await applicationName(named)).toEqual(Array(2).fill(`reports - 127.0.0.1:${port}`));
  const nameless = await connect(pooler.port);
  const itsPort = nameless.peer.socket.localPort;
  await nameless.query("SET application_name = 'own'");
  expect(await applicationName(nameless)).toEqual([`app - 127.0.0.1:${itsPort}`, 'own']);
  const local = await connect(pooler.socketPath);
  const where = `unix(${process.pid}@${hostname()}):${pooler.port}`;
  expect((await applicationName(local))[0]).toBe(`app - ${where}`);
});

test('login_notify_message is a notice right ahead of the first ReadyForQuery, until RELOAD takes it away', async () => {
  await using pooler = await startPooler({ settings: { login_notify_message: 'down at 22:00; see you' } });
  const login = async (): Promise<string> => {
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.startup({ user, database: 'postgres' }));
    const messages = await peer.messagesTo('Z');
    await peer.close();
    return messages
      .slice(-3)
      .map(({ type, body }) => (type === 'N' ? body.toString() : type))
      .join(' ');
  };
  expect(await login()).toBe('K SNOTICE\0VNOTICE\0C00000\0Mdown at 22:00; see you\0\0 Z');
  await pooler.reload({ settings: { login_notify_message: '' } });
  expect(await login()).toMatch(/^S K Z$/);
});

/** The kernel's timer of the pooler's end of a client's connection: 2 is keepalive, 0 none. */
function timerOf(pooler: LocalPooler, clientPort: number): string | undefined {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
  const line = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((each) => each.trim().split(/\s+/))
    .find(
      ([, local, remote]) =>
        local?.endsWith(`:${hex(pooler.port)}`) && remote?.endsWith(`:${hex(clientPort)}`),
    );
  return line?.[5]?.slice(0, 2);
}

test.runIf(process.platform === 'linux')(
  'tcp_keepalive is on for clients unless it is turned off',
  async () => {
    for (const [tcp_keepalive, timer] of [
      [1, '02'],
      [0, '00'],
    ] as const) {
      await using pooler = await startPooler({ settings: { tcp_keepalive, tcp_keepidle: 100 } });
      const client = await connectAndLogin(pooler.port, { user, database: 'postgres' });
      // A timer of a retransmission may be in its place for a moment.
      await waitFor(() => timerOf(pooler, client.socket.localPort ?? 0) === timer);
      await client.close();
    }
  },
);

test('a client that is told goodbye and does not go is cut', async () => {
  await using pooler = await startPooler();
  const client = await connectAndLogin(pooler.port, { user, database: 'postgres' });
  const { state } = pooler.pooler;
  const [id = 0] = state.sessions.keys();
  const isThere = () => [...state.connections].some((connection) => connection.id === id);
  await pooler.show(`KILL_CLIENT ${id}`);
  await client.message('E');
  // Our direction stays open: nothing but the pooler ends this connection.
  expect((await client.end()).length).toBe(0);
  expect(isThere()).toBe(true);
  await waitFor(() => !isThere());
  await client.close();
});
