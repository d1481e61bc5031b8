import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectEncrypted, type EncryptedPeer, TlsFolder } from '../support/tls.ts';

const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());

const CLIENTS = 500;
const ENTRIES = 400;
const RELOADS = 40;

/** Entries of a section, all of them of use to nobody. */
function many(prefix: string, value: string): Record<string, string> {
  return Object.fromEntries(Array.from({ length: ENTRIES }, (_unused, i) => [`${prefix}${i}`, value]));
}

test('trap: RELOAD with many TLS contexts is slow: one per side is made, and none where nothing has changed', async () => {
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
      pooler.reload();
      expect(tls.builds).toBe(2 + i);
    }
    files.identity('own', { commonName: 'pooler' });
    pooler.reload();
    expect(tls.builds).toBe(8);
    // One that fails makes nothing, and takes nothing away.
    rmSync(files.caFile);
    expect(() => pooler.reload()).toThrow('client_tls_ca_file');
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
});
