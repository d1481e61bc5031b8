import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { watch } from '../support/console.ts';
import { frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectEncrypted, type EncryptedPeer, startTlsPostgres, TlsFolder } from '../support/tls.ts';
import { installedPgbench, ledgerQuery, runOwnLoad, tpcbTables } from '../support/tpcb.ts';
import { waitFor } from '../support/wait-for.ts';

const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());

const CLIENTS = 500;
const ENTRIES = 400;
const RELOADS = 25;

/** Hundreds of handshakes, both sides of them in this process. */
const slow = { timeout: 90_000 };

/** Entries of a section, all of them of use to nobody. */
function many(prefix: string, value: string): Record<string, string> {
  return Object.fromEntries(Array.from({ length: ENTRIES }, (_unused, i) => [`${prefix}${i}`, value]));
}

test(
  'trap: RELOAD with many TLS contexts is slow: one per side is made, and none where nothing has changed',
  slow,
  async () => {
    const identity = files.identity('server', { commonName: 'localhost' });
    const own = files.identity('own', { commonName: 'pooler' });
    const { user } = sharedPostgres();
    await using pooler = await startPooler({
      settings: {
        pool_mode: 'transaction',
        max_client_conn: CLIENTS + 10,
        client_tls_sslmode: 'require',
        client_tls_cert_file: identity.certFile,
        client_tls_key_file: identity.keyFile,
        client_tls_ca_file: files.caFile,
        server_tls_sslmode: 'prefer',
        server_tls_cert_file: own.certFile,
        server_tls_key_file: own.keyFile,
      },
      databases: { postgres: '', ...many('db', 'dbname=postgres') },
      users: many('user', 'pool_size=3'),
      userlist: many('user', createHash('md5').update('x').digest('hex')),
    });
    const { tls, connections } = pooler.pooler.state;
    expect(tls.builds).toBe(2);
    const clients: EncryptedPeer[] = [];
    try {
      while (clients.length < CLIENTS) {
        const batch = Array.from({ length: 25 }, async () => {
          const client = await connectEncrypted(pooler.port);
          await client.peer.send(frontend.startup({ user, database: 'postgres' }));
          await client.peer.messagesTo('Z');
          return client;
        });
        clients.push(...(await Promise.all(batch)));
      }
      // Clients make none either.
      expect(tls.builds).toBe(2);
      const before = [...connections];
      expect(before).toHaveLength(CLIENTS);
      for (let i = 0; i < RELOADS; i++) pooler.reload();
      expect(tls.builds).toBe(2);
      for (let i = 1; i <= 5; i++) {
        files.identity('server', { commonName: 'localhost' });
        await pooler.reload();
        expect(tls.builds).toBe(2 + i);
      }
      files.identity('own', { commonName: 'pooler' });
      await pooler.reload();
      expect(tls.builds).toBe(8);
      // One that fails makes nothing, and takes nothing away.
      rmSync(files.caFile);
      await expect(pooler.reload()).rejects.toThrow('client_tls_ca_file');
      expect(tls.builds).toBe(8);
      expect([...connections]).toEqual(before);
      const answers = await Promise.all(
        clients.map(async ({ peer }) => {
          await peer.send(frontend.query('SELECT 1'));
          return (await peer.messagesTo('Z')).map(({ type }) => type).join('');
        }),
      );
      expect(new Set(answers)).toEqual(new Set(['TDCZ']));
    } finally {
      await Promise.all(clients.map(({ peer }) => peer.close()));
    }
  },
);

test(
  'certificates change under load, of clients and of servers, and no transaction fails',
  slow,
  async () => {
    const user = 'tr_load';
    const hba = [`hostssl all ${user} 127.0.0.1/32 trust`, `hostnossl all ${user} 127.0.0.1/32 reject`];
    const identity = files.identity('rotating', { commonName: 'localhost' });
    const own = files.identity('rotating-own', { commonName: 'pooler' });
    await using postgres = await startTlsPostgres(identity, files.authority.certPem, hba);
    await createRole(postgres.address, { name: user, auth: 'scram' });
    await withClient(postgres.address, async (client) => {
      await client.query(tpcbTables);
      await client.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${user}`);
    });
    await using pooler = await startPooler({
      postgres: postgres.address,
      settings: {
        pool_mode: 'transaction',
        default_pool_size: 4,
        max_client_conn: 100,
        client_tls_sslmode: 'require',
        client_tls_cert_file: identity.certFile,
        client_tls_key_file: identity.keyFile,
        server_tls_sslmode: 'require',
        server_tls_cert_file: own.certFile,
        server_tls_key_file: own.keyFile,
      },
      userlist: { [user]: '' },
    });
    const [clients, transactions] = [12, 50];
    const run = installedPgbench() ?? runOwnLoad;
    const { address } = pooler;
    const load = { address, user, database: 'postgres', script: 'tpcb', protocol: 'extended' } as const;
    const running = watch(run({ ...load, clients, transactions, ssl: true }));
    const { tls, connections } = pooler.pooler.state;
    await waitFor(() => connections.size >= clients);
    const done = () => pooler.pooler.state.pools.all().reduce((sum, { stats }) => sum + stats.xactCount, 0);
    let rotations = 0;
    while (!running.settled) {
      files.identity('rotating', { commonName: 'localhost' });
      files.identity('rotating-own', { commonName: 'pooler' });
      await pooler.reload();
      rotations++;
      // Some work by each certificate.
      const next = done() + 30;
      await waitFor(() => running.settled || done() > next);
    }
    expect(await running.promise).toEqual({ processed: clients * transactions, complaints: '' });
    expect(rotations).toBeGreaterThan(5);
    expect(tls.builds).toBe(2 + 2 * rotations);
    const [sums] = await withClient(
      postgres.address,
      async (client) => (await client.query(ledgerQuery)).rows,
    );
    expect(sums).toMatchObject({
      accounts: sums.history,
      tellers: sums.history,
      count: clients * transactions,
    });
  },
);
