import { beforeAll, describe, expect, test } from 'vitest';
import { serversOf } from '../../src/daemon/snapshot-sockets.ts';
import { openNative } from '../../src/net/native.ts';
import { connectNow } from '../support/connect-now.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { kernelOptionsOf, systemKeepAlive } from '../support/socket-options.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';
import { withoutNative } from '../support/without-native.ts';

const user = 'tcp_options_role';
const database = 'tcp_options_db';
const ALL = {
  tcp_keepidle: 33,
  tcp_keepintvl: 7,
  tcp_keepcnt: 5,
  tcp_user_timeout: 4321,
  tcp_socket_buffer: 50_000,
};
const tuned = {
  keepAlive: true,
  keepIdleSec: 33,
  keepIntervalSec: 7,
  keepCount: 5,
  userTimeoutMs: 4321,
  buffers: [100_000, 100_000],
};

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: user, auth: 'trust' });
  await createDatabase(sharedPostgres(), database, user);
});

function start(settings: Record<string, number>, options: TestPoolerOptions = {}): Promise<LocalPooler> {
  return startPooler({
    settings: { pool_mode: 'transaction', ...settings },
    userlist: { [user]: '' },
    ...options,
  });
}

async function clientWithServer(pooler: LocalPooler): Promise<WireClient> {
  const client = await WireClient.connect(pooler.port, { user, database });
  await client.rows('BEGIN');
  return client;
}

/** Our ends of all connections, by age: of each client, then of its server. */
function ends(pooler: LocalPooler) {
  const { state } = pooler.pooler;
  return [...state.sessions.values(), ...serversOf(state)]
    .sort((a, b) => a.id - b.id)
    .map(({ conn }) => kernelOptionsOf(conn.socket));
}

const warnings = (pooler: LocalPooler) =>
  pooler.lines.filter((line) => line.startsWith('WARNING') && line.includes('native calls'));

describe.runIf(process.platform === 'linux')('new connections of clients and servers', () => {
  test.each([
    [
      'are probed at the system\u2019s times by default',
      {},
      { keepAlive: true, ...systemKeepAlive(), userTimeoutMs: 0 },
    ],
    ['are as the tcp settings say', ALL, tuned],
    [
      'are not probed with tcp_keepalive = 0',
      { ...ALL, tcp_keepalive: 0 },
      { keepAlive: false, userTimeoutMs: 4321, buffers: tuned.buffers },
    ],
  ] as const)('%s', async (_name, settings, expected) => {
    await using pooler = await start(settings);
    const client = await clientWithServer(pooler);
    expect(ends(pooler)).toEqual([expect.objectContaining(expected), expect.objectContaining(expected)]);
    expect(warnings(pooler)).toEqual([]);
    await client.end();
  });

  test('follow RELOAD; older ones stay as they are', async () => {
    await using pooler = await start({});
    const before = await clientWithServer(pooler);
    const old = ends(pooler);
    await pooler.reload({ settings: ALL });
    const after = await clientWithServer(pooler);
    const fresh = expect.objectContaining(tuned);
    expect(ends(pooler)).toEqual([...old, fresh, fresh]);
    await before.end();
    await after.end();
  });

  test('come with their first bytes, and at once after a RELOAD without tcp_defer_accept', async () => {
    await using pooler = await start({});
    const { connections } = pooler.pooler.state;
    const silent = [connectNow({ port: pooler.port })];
    // Whoever has something to say does not wait for those who haven't.
    const client = await WireClient.connect(pooler.port, { user, database });
    expect(connections.size).toBe(1);
    await pooler.reload({ settings: { tcp_defer_accept: 0 } });
    silent.push(connectNow({ port: pooler.port }));
    await waitFor(() => connections.size > 1);
    await client.end();
    for (const { close } of silent) close();
  });

  test('are probed as told without native calls; a warning names the settings that have no effect then', async () => {
    await using pooler = await start(ALL, { native: withoutNative });
    const client = await clientWithServer(pooler);
    const { userTimeoutMs: _, buffers: __, ...probed } = tuned;
    const expected = expect.objectContaining({ ...probed, userTimeoutMs: 0 });
    expect(ends(pooler)).toEqual([expected, expected]);
    const warning =
      'WARNING set but without effect, for want of native calls: tcp_user_timeout, tcp_socket_buffer';
    expect(warnings(pooler)).toEqual([warning]);
    await pooler.reload({ settings: { tcp_socket_buffer: 0 } });
    expect(warnings(pooler)).toEqual([warning, warning.replace(', tcp_socket_buffer', '')]);
    await pooler.reload({ settings: { tcp_user_timeout: 0 } });
    expect(warnings(pooler)).toHaveLength(2);
    await client.end();
  });

  test('by unix socket are asked nothing of', async () => {
    const native = openNative();
    let asked = 0;
    const setOption: typeof native.setOption = (...args) => {
      asked++;
      return native.setOption(...args);
    };
    const { socketDir } = sharedPostgres();
    await using pooler = await start(ALL, {
      native: { ...native, setOption },
      databases: { [database]: `host=${socketDir} port=${sharedPostgres().port}` },
    });
    const client = await WireClient.connect(pooler.socketPath, { user, database });
    expect(await client.value('SELECT 1')).toBe('1');
    expect(asked).toBe(0);
    const other = await WireClient.connect(pooler.port, { user, database });
    expect(asked).toBeGreaterThan(0);
    await other.end();
    await client.end();
  });
});

test.each([
  ['tcp_keepidle', 32_768],
  ['tcp_keepintvl', 32_768],
  ['tcp_keepcnt', 128],
])('%s above what Linux takes is refused with the configuration', async (key, value) => {
  await expect(start({ [key]: value })).rejects.toThrow(key);
});
