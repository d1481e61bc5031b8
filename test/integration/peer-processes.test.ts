import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../src/cli/start/postgres.ts';
import { postgresRunUser } from '../../src/cli/start/run-user.ts';
import { findProgram } from '../bench/programs.ts';
import { CancellableClient, cancelAt } from '../support/cancellable-client.ts';
import { frontend } from '../support/peer-messages.ts';
import { SpawnedPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'peer_processes_role';
const DATABASE = 'peer_processes_db';
const CANCELED = 'canceling statement due to user request';

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), DATABASE);
});

/** Clients that sleep until they are cancelled; settles when PostgreSQL runs what they ask. */
async function startSleepers(ports: readonly number[]): Promise<CancellableClient[]> {
  const clients: CancellableClient[] = [];
  for (const port of ports) {
    const client = await CancellableClient.login(port, { user: ROLE, database: DATABASE });
    await client.peer.send(frontend.query('SELECT pg_sleep(60)'));
    clients.push(client);
  }
  await waitFor(
    () =>
      withClient(sharedPostgres(), async (client) => {
        const { rowCount } = await client.query(
          "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'",
          [DATABASE],
        );
        return rowCount === ports.length;
      }),
    { what: `${ports.length} queries to sleep` },
  );
  return clients;
}

test('of two processes on one port either one gets a cancel request, and all 200 reach their clients', {
  timeout: 120_000,
}, async () => {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-peers-'));
  try {
    const peers = { 1: `host=${folder}/1 port=${port}`, 2: `host=${folder}/2 port=${port}` };
    const startPeer = (id: 1 | 2): Promise<SpawnedPooler> => {
      mkdirSync(join(folder, String(id)));
      return SpawnedPooler.start({
        settings: {
          listen_port: port,
          so_reuseport: 1,
          unix_socket_dir: `${folder}/${id}`,
          peer_id: id,
          pool_mode: 'transaction',
          default_pool_size: 20,
        },
        databases: { [DATABASE]: '' },
        userlist: { [ROLE]: '' },
        peers,
      });
    };
    await using one = await startPeer(1);
    await using two = await startPeer(2);
    let cancels = 0;
    // Rounds of 20 queries; the kernel chooses the process for each login and for each cancel.
    for (let round = 0; round < 10; round++) {
      const clients = await startSleepers(Array(20).fill(port));
      await Promise.all(clients.map(({ key }) => cancelAt(port, key)));
      for (const client of clients) {
        if ((await client.answer()) === CANCELED) cancels++;
        await client.peer.close();
      }
    }
    expect(cancels).toBe(200);
    const sent = [one, two].map(({ stderr }) => stderr.split('successfully sent cancel request').length - 1);
    // One line for each that was carried to PostgreSQL, one more for each that was handed on before.
    const handedOn = (sent[0] ?? 0) + (sent[1] ?? 0) - 200;
    expect(handedOn).toBeGreaterThan(20);
    expect(handedOn).toBeLessThan(180);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

describe('a PgBouncer among the peers', () => {
  const program = findPgbouncer();

  /** Runs one that is peer 2 and knows the pooler as peer 1; ends it afterwards. */
  async function withPgbouncer(
    peerPort: number,
    port: number,
    work: (log: () => string) => Promise<void>,
  ): Promise<void> {
    if (program === null) throw new Error('skipped without one');
    const folder = mkdtempSync(join(tmpdir(), 'pgweir-pb-'));
    const { host, port: serverPort } = sharedPostgres();
    writeFileSync(join(folder, 'users'), `"${ROLE}" ""\n`);
    writeFileSync(
      join(folder, 'ini'),
      `[databases]\n${DATABASE} = host=${host} port=${serverPort}\n[peers]\n1 = host=127.0.0.1 port=${peerPort}\n` +
        `2 = host=127.0.0.1 port=${port}\n[pgbouncer]\npeer_id = 2\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\n` +
        `unix_socket_dir =\nauth_type = trust\nauth_file = ${folder}/users\npool_mode = transaction\n`,
    );
    const user = postgresRunUser();
    if (user !== null) chownSync(folder, user.uid, user.gid);
    chmodSync(folder, 0o755);
    const child = spawn(program, [join(folder, 'ini')], {
      ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    try {
      await waitFor(() => log.includes('process up'), { what: 'PgBouncer to be up' });
      await work(() => log);
    } finally {
      child.kill('SIGQUIT');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    }
  }

  test.skipIf(program === null)('hands cancel requests on to us, and takes ours', async () => {
    const port = await freePort();
    await using pooler = await startPooler({
      settings: { peer_id: 1, pool_mode: 'transaction' },
      databases: { [DATABASE]: '' },
      userlist: { [ROLE]: '' },
      peers: { 1: 'host=/not/used', 2: `host=127.0.0.1 port=${port}` },
    });
    await withPgbouncer(pooler.port, port, async (log) => {
      const clients = await startSleepers([pooler.port, port, pooler.port, port]);
      // Each to the one that is not its client's.
      for (const [i, { key }] of clients.entries()) {
        expect(await cancelAt(i % 2 === 0 ? port : pooler.port, key)).toHaveLength(0);
      }
      for (const client of clients) {
        expect(await client.answer()).toBe(CANCELED);
        await client.peer.close();
      }
      // What it says of its own clients, and of those that it has handed on.
      expect(log().split('successfully sent cancel request').length - 1).toBeGreaterThanOrEqual(4);
    });
  });

  test.skipIf(program === null)('drops long keys of protocol 3.2, and is none the worse for it', async () => {
    const port = await freePort();
    await using pooler = await startPooler({
      settings: { peer_id: 1, pool_mode: 'transaction' },
      databases: { [DATABASE]: '' },
      userlist: { [ROLE]: '' },
      peers: { 2: `host=127.0.0.1 port=${port}` },
    });
    await withPgbouncer(pooler.port, port, async (log) => {
      const login = { user: ROLE, database: DATABASE };
      const client = await CancellableClient.login(pooler.port, login, 0x30002);
      expect(client.key).toHaveLength(36);
      expect(await cancelAt(port, client.key)).toHaveLength(0);
      expect(log()).toContain('bad cancel request');
      await client.peer.close();
    });
  });
});

/** One that knows of peers (from 1.19 on); null, with the reason printed, when there is none. */
function findPgbouncer(): string | null {
  const file = process.env['PGWEIR_TEST_PGBOUNCER'] ?? findProgram('pgbouncer');
  let reason = 'not in PATH, and PGWEIR_TEST_PGBOUNCER is not set';
  if (file !== null) {
    const version = execFileSync(file, ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? '';
    const [, major = '0', minor = '0'] = /(\d+)\.(\d+)/.exec(version) ?? [];
    if (Number(major) > 1 || Number(minor) >= 19) return file;
    reason = `${version} knows no peers`;
  }
  process.stderr.write(`peers with PgBouncer are not tested: ${reason}\n`);
  return null;
}
