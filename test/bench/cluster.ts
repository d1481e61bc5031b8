import { Postgres } from '../../src/cli/start/postgres.ts';
import type { Target } from './load.ts';

/** The role and database that all loads use. */
export const benchRole = 'bench';

const settings = {
  max_connections: 300,
  shared_buffers: '256MB',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  // Read-only loads; a vacuum of the fresh tables in the middle of a round would only add noise.
  autovacuum: 'off',
};

/** Starts the PostgreSQL behind all systems: trust on loopback, not durable, gone when it is disposed of. */
export function startCluster(): Promise<Postgres> {
  return Postgres.start({
    settings,
    hba: ['host all all 127.0.0.1/32 trust'],
    superuser: benchRole,
    initialSql: [`CREATE DATABASE ${benchRole}`],
  });
}

/** Where a load finds it. */
export function clusterTarget({ address: { host, port } }: Postgres): Target {
  return { host, port, user: benchRole, database: benchRole };
}
