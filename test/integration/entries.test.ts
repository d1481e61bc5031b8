import { beforeAll, expect, test } from 'vitest';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'entries_role';

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

function start(entry: string): Promise<LocalPooler> {
  return startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    databases: { one: `dbname=postgres ${entry}` },
    userlist: { [ROLE]: '' },
  });
}

function connect(pooler: LocalPooler, parameters: Record<string, string> = {}): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: ROLE, database: 'one', ...parameters });
}

test('connect_query runs once on each new connection, ahead of its first client', async () => {
  await using pooler = await start("connect_query='SET work_mem = ''777kB'''");
  const client = await connect(pooler);
  expect(await client.value('SHOW work_mem')).toBe('777kB');
  await client.query("SET work_mem = '888kB'");
  expect(await client.value('SHOW work_mem')).toBe('888kB');
  await pooler.show('RECONNECT');
  expect(await client.value('SHOW work_mem')).toBe('777kB');
  await client.end();
});

test('a parameter that connect_query sets is known: clients who want another one get theirs', async () => {
  await using pooler = await start("connect_query='SET TimeZone = ''Asia/Tokyo'''");
  const [any, berlin] = [await connect(pooler), await connect(pooler, { TimeZone: 'Europe/Berlin' })];
  expect(await berlin.value('SHOW TimeZone')).toBe('Europe/Berlin');
  // What the server reported at its login is what a client without a wish has been told.
  expect(await any.value('SHOW TimeZone')).toBe(any.parameters.get('TimeZone'));
  for (const client of [any, berlin]) await client.end();
});

test('a connect_query that fails is logged, and the connection serves', async () => {
  await using pooler = await start("connect_query='SELEC'");
  const client = await connect(pooler);
  expect(await client.value('SELECT 1')).toBe('1');
  expect(pooler.lines.find((line) => line.includes('exec_on_query'))).toMatch(
    /^ERROR S-\S+ \S+ error while executing exec_on_query: ERROR: syntax error at or near "SELEC"$/,
  );
  await client.end();
});

test('client_encoding, datestyle, timezone and application_name of an entry are the session’s from its start', async () => {
  await using pooler = await start(
    "client_encoding=LATIN1 datestyle='SQL, DMY' timezone=Asia/Tokyo application_name=shop",
  );
  const client = await connect(pooler);
  const names = ['client_encoding', 'DateStyle', 'TimeZone', 'application_name'];
  const values = ['LATIN1', 'SQL, DMY', 'Asia/Tokyo', 'shop'];
  expect(names.map((name) => client.parameters.get(name))).toEqual(values);
  const sql = `SELECT ${names.map((name) => `current_setting('${name}')`).join()}`;
  expect(await client.rows(sql)).toEqual([values]);
  // Not set by a statement: they are what RESET goes back to.
  await client.query('RESET ALL');
  expect(await client.rows(sql)).toEqual([values]);
  await client.end();
});
