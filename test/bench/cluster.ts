import { chownSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Client } from 'pg';
import { Postgres } from '../../src/cli/start/postgres.ts';
import type { Certificate } from '../support/certificates.ts';
import { clientConfig, type Target } from './load.ts';

/** The superuser that makes the data, and the database that all loads use. */
export const benchRole = 'bench';

/** Of every other role. */
export const benchPassword = 'bench';

/** The roles that log in to PostgreSQL itself by SCRAM; everybody else does by trust. */
export const directScramRoles = ['direct_scram', 'direct_scram1'];

const settings = {
  shared_buffers: '256MB',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  // A vacuum of the fresh tables in the middle of a round would only add noise.
  autovacuum: 'off',
};

/** Starts the PostgreSQL behind all systems: trust on loopback, not durable, gone when it is disposed of. */
export function startCluster(maxConnections = 300): Promise<Postgres> {
  return Postgres.start({
    settings: { ...settings, max_connections: maxConnections },
    hba: [
      `host all ${directScramRoles.join(',')} 127.0.0.1/32 scram-sha-256`,
      'host all all 127.0.0.1/32 trust',
    ],
    superuser: benchRole,
    initialSql: [`CREATE DATABASE ${benchRole}`],
  });
}

/** Where the superuser finds it. */
export function clusterTarget({ address: { host, port } }: Postgres): Target {
  return { host, port, user: benchRole, password: '', database: benchRole, tls: false };
}

/** Runs `work` with a connection of the superuser. */
export async function withSuperuser<Result>(
  cluster: Postgres,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = new Client(clientConfig(clusterTarget(cluster)));
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Lets it take TLS from those who connect from soon on. */
export async function grantTls(cluster: Postgres, { certPem, keyPem }: Certificate): Promise<void> {
  const owner = statSync(cluster.dataDir);
  for (const [name, text] of [
    ['server.crt', certPem],
    ['server.key', keyPem],
  ] as const) {
    const file = path.join(cluster.dataDir, name);
    writeFileSync(file, text, { mode: 0o600 });
    chownSync(file, owner.uid, owner.gid);
  }
  await withSuperuser(cluster, async (client) => {
    await client.query('ALTER SYSTEM SET ssl = on');
    await client.query('SELECT pg_reload_conf()');
  });
}

/** How often PostgreSQL has refused `role` because of its CONNECTION LIMIT, by its log. */
export function refusals(log: string, role: string): number {
  return log.split(`FATAL:  too many connections for role "${role}"`).length - 1;
}

/** Rows of `bench_bulk`, and bytes of each: 20 MB. */
const bulkRows = 20_000;
const bulkRowBytes = 1000;

/** Bytes of data that one bulk load moves, without what the protocol adds. */
export const bulkBytes = bulkRows * bulkRowBytes;

/** Makes the tables of the bulk loads, and lets everybody use all tables of pgbench's, too. */
export async function prepareTables(cluster: Postgres): Promise<void> {
  await withSuperuser(cluster, async (client) => {
    await client.query('CREATE TABLE bench_bulk (payload text)');
    // Uncompressed and in one place: PostgreSQL's own share should be small.
    await client.query('ALTER TABLE bench_bulk ALTER COLUMN payload SET STORAGE plain');
    await client.query(
      `INSERT INTO bench_bulk SELECT repeat('x', ${bulkRowBytes}) FROM generate_series(1, ${bulkRows})`,
    );
    await client.query('VACUUM ANALYZE bench_bulk');
    await client.query('CREATE TABLE bench_sink (payload text)');
    await client.query('GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC');
  });
}

/**
 * Makes a role with this SCRAM secret that may have `connections` connections (-1: any number). Not a superuser, whom limits
 * don't bind.
 */
export async function makeRole(
  cluster: Postgres,
  role: string,
  secret: string,
  connections: number,
): Promise<void> {
  await withSuperuser(cluster, async (client) => {
    await client.query(`CREATE ROLE ${role} LOGIN PASSWORD '${secret}' CONNECTION LIMIT ${connections}`);
  });
}
