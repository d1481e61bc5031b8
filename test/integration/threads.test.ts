import { afterAll, beforeAll, expect, test } from 'vitest';
import { type SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';

const role = 'threads_app';
let pooler: SpawnedPooler;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: role, auth: 'trust' });
  await withClient(sharedPostgres(), (client) => client.query(`ALTER ROLE ${role} CONNECTION LIMIT 3`));
  pooler = await spawnPooler({
    own: { workers: '2' },
    settings: { pool_mode: 'transaction', default_pool_size: 3, max_client_conn: 100 },
    userlist: { [role]: '' },
  });
});
afterAll(() => pooler?.[Symbol.asyncDispose]());

test('clients of all threads share one pool', async () => {
  const clients = await Promise.all(
    Array.from({ length: 10 }, () => pooler.client({ user: role, database: 'postgres' })),
  );
  const answers = await Promise.all(
    clients.map(
      async (client, i) => (await client.query('SELECT $1::int AS n, pg_sleep(0.02)', [i])).rows[0].n,
    ),
  );
  expect(answers).toEqual(clients.map((_, i) => i));
  expect(await pooler.show('SHOW CLIENTS')).toHaveLength(11);
  console.log(
    await pooler.show('SHOW POOLS'),
    await pooler.show('SHOW SERVERS'),
    await pooler.show('SHOW LISTS'),
  );
  await Promise.all(clients.map((client) => client.end()));
  console.log(pooler.stderr);
});
