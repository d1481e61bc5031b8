import pg from 'pg';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';

/** A connected client of node-postgres: the superuser on database `postgres` unless `config` says otherwise. */
export async function connectTo(address: PostgresAddress, config: pg.ClientConfig = {}): Promise<pg.Client> {
  const { host, port, user, password } = address;
  const client = new pg.Client({ host, port, user, password, database: 'postgres', ...config });
  // A server that goes away is told to the query at hand; without a listener an idle client would throw.
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** Runs `work` with a connected client and ends that. */
export async function withClient<T>(
  address: PostgresAddress,
  work: (client: pg.Client) => Promise<T>,
  config: pg.ClientConfig = {},
): Promise<T> {
  const client = await connectTo(address, config);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
