import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { startPooler } from '../support/pooler.ts';
import { startPostgres, withClient } from '../support/postgres.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

let postgres: Postgres;

beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres[Symbol.asyncDispose]());

const READ_ONLY = 'default_transaction_read_only';

/** Changes the configuration, and has it read. */
const configure = (value: string) =>
  withClient(postgres.address, async (client) => {
    await client.query(`SET ${READ_ONLY} = off`);
    await client.query(`ALTER SYSTEM SET ${READ_ONLY} = ${value}`);
    await client.query('SELECT pg_reload_conf()');
  });

test('what PostgreSQL’s configuration has changed on a linked server stays with no client', async () => {
  await using pooler = await startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
  });
  const login = { user: postgres.address.user, database: 'postgres' };
  await using plain = await WireClient.connect(pooler.port, login);
  await using giver = await WireClient.connect(pooler.port, { ...login, options: `-c ${READ_ONLY}=off` });
  const shown = (client: WireClient) => client.value(`SHOW ${READ_ONLY}`);
  await configure('on');
  await waitFor(async () => (await shown(plain)) === 'on');
  expect(await shown(giver)).toBe('off');
  expect(await shown(plain)).toBe('on');
  await configure('off');
  await using setter = await WireClient.connect(pooler.port, login);
  await waitFor(async () => (await shown(setter)) === 'off');
  for (const client of [giver, plain]) expect(await shown(client)).toBe('off');
  // What a function sets is reported like that, too, and is the client's own.
  await setter.value(`SELECT set_config('${READ_ONLY}', 'on', false)`);
  for (const client of [giver, plain]) expect(await shown(client)).toBe('off');
  expect(await shown(setter)).toBe('on');
});

test('what it has changed of a tracked parameter follows the client that is linked then', async () => {
  await using pooler = await startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 1, track_extra_parameters: READ_ONLY },
  });
  const login = { user: postgres.address.user, database: 'postgres' };
  await using hearer = await WireClient.connect(pooler.port, login);
  await using other = await WireClient.connect(pooler.port, login);
  const shown = (client: WireClient) => client.value(`SHOW ${READ_ONLY}`);
  expect([await shown(hearer), await shown(other)]).toEqual(['off', 'off']);
  await configure('on');
  await waitFor(async () => (await shown(hearer)) === 'on');
  for (let i = 0; i < 2; i++) {
    expect(await shown(other)).toBe('off');
    expect(await shown(hearer)).toBe('on');
  }
});
