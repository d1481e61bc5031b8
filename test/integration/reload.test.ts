import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ConfigError } from '../../src/config/config-error.ts';
import { runAlone, watch } from '../support/console.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { endOf, fatal, refusalOf } from '../support/refusals.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';

const transaction = { pool_mode: 'transaction' };

test('a larger default_pool_size serves those who wait already, a smaller one closes what is too much', async () => {
  await using pooler = await startPooler({ settings: { ...transaction, default_pool_size: 1 } });
  const clients = [await pooler.client(), await pooler.client(), await pooler.client()];
  const servers = async () => (await pooler.show('SHOW SERVERS')).length;
  await clients[0]?.query('BEGIN');
  const begun = watch(Promise.all(clients.slice(1).map((client) => client.query('BEGIN'))));
  await waitFor(async () =>
    (await pooler.show('SHOW POOLS')).some(
      (row) => row['database'] === 'postgres' && row['cl_waiting'] === 2,
    ),
  );
  expect([begun.settled, await servers()]).toEqual([false, 1]);
  await pooler.reload({ settings: { default_pool_size: 3 } });
  await begun.promise;
  expect(await servers()).toBe(3);
  await pooler.reload({ settings: { default_pool_size: 1 } });
  for (const client of clients) await client.query('COMMIT');
  await waitFor(async () => (await servers()) === 1);
  for (const client of clients) await client.end();
});

test('another pool_mode counts from the next end of a transaction on', async () => {
  await using pooler = await startPooler();
  const client = await pooler.client();
  const link = async () =>
    (await pooler.show('SHOW CLIENTS')).find(({ database }) => database === 'postgres')?.['link'];
  await client.query('SELECT 1');
  expect(await link()).not.toBe('');
  await pooler.reload({ settings: transaction });
  await client.query('SELECT 1');
  expect(await link()).toBe('');
  await client.end();
});

test('clients of a database that is gone are told so, and new ones don’t find it', async () => {
  await using pooler = await startPooler({
    databases: { kept: 'dbname=postgres', gone: 'dbname=postgres' },
  });
  const [idle, busy, kept] = [
    await pooler.client({ database: 'gone' }),
    await pooler.client({ database: 'gone' }),
    await pooler.client({ database: 'kept' }),
  ];
  await kept.query('SELECT 1');
  const ended = [endOf(idle), refusalOf(busy.query('SELECT pg_sleep(60)'))];
  await waitFor(async () =>
    (await pooler.show('SHOW CLIENTS')).some((row) => row['link'] !== '' && row['database'] === 'gone'),
  );
  await pooler.reload({ databases: { kept: 'dbname=postgres' } });
  expect(await Promise.all(ended)).toEqual(Array(2).fill(fatal('database removed')));
  expect(pooler.lines).toContain(
    "WARNING dropping database 'gone' as it does not exist anymore or inactive auto-database",
  );
  expect(await refusalOf(pooler.client({ database: 'gone' }))).toEqual(fatal('no such database: gone'));
  expect((await kept.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await waitFor(async () => (await pooler.show('SHOW POOLS')).every(({ database }) => database !== 'gone'));
  await kept.end();
});

test('a changed dbname leads to the new database with the next transaction', async () => {
  await createDatabase(sharedPostgres(), 're_other');
  await using pooler = await startPooler({ settings: transaction, databases: { db: 'dbname=postgres' } });
  const client = await pooler.client({ database: 'db' });
  const where = async () => (await client.query('SELECT current_database() AS name')).rows[0]?.['name'];
  expect(await where()).toBe('postgres');
  await client.query('BEGIN');
  await pooler.reload({ databases: { db: 'dbname=re_other' } });
  expect(await where()).toBe('postgres');
  await client.query('COMMIT');
  expect(await where()).toBe('re_other');
  await client.end();
});

test('a session keeps its server after such a change, unless server_fast_close is on', async () => {
  await using pooler = await startPooler({ databases: { db: 'dbname=postgres' } });
  const client = await pooler.client({ database: 'db' });
  await client.query('SELECT 1');
  await pooler.reload({ databases: { db: "dbname=postgres connect_query='SELECT 1'" } });
  await client.query('SELECT 1');
  const ended = endOf(client);
  await pooler.reload({ settings: { server_fast_close: 1 } });
  expect(await ended).toEqual(fatal('database configuration changed'));
});

test('an entry that changes its password or sizes only keeps its connections', async () => {
  await using pooler = await startPooler({ settings: transaction, databases: { db: 'dbname=postgres' } });
  const client = await pooler.client({ database: 'db' });
  const pid = async () => (await client.query('SELECT pg_backend_pid() AS pid')).rows[0]?.['pid'];
  const before = await pid();
  await pooler.reload({
    databases: { db: "dbname=postgres password='other' pool_size=5 application_name=new" },
  });
  expect(await pid()).toBe(before);
  await client.end();
});

test('changing or removing a forced user recycles, and ends the clients let in as the old one', async () => {
  for (const name of ['re_a', 're_b']) await createRole(sharedPostgres(), { name, auth: 'trust' });
  await using pooler = await startPooler({
    settings: transaction,
    databases: { db: 'dbname=postgres user=re_a' },
    userlist: { re_a: '', re_b: '' },
  });
  const whoAmI = async (): Promise<string> => {
    const client = await pooler.client({ database: 'db', user: 're_b' });
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user ?? '';
  };
  const client = await pooler.client({ database: 'db', user: 're_b' });
  expect(await whoAmI()).toBe('re_a');
  const changed = endOf(client);
  await pooler.reload({ databases: { db: 'dbname=postgres user=re_b' } });
  expect(await changed).toEqual(fatal('database configuration changed'));
  expect(await whoAmI()).toBe('re_b');
  // Without user= everyone is who they logged in as, and this one isn't re_b.
  const again = await pooler.client({ database: 'db', user: 're_a' });
  expect((await again.query('SELECT current_user AS user')).rows).toEqual([{ user: 're_b' }]);
  const removed = endOf(again);
  await pooler.reload({ databases: { db: 'dbname=postgres' } });
  expect(await removed).toEqual(fatal('database configuration changed'));
  expect(await whoAmI()).toBe('re_b');
  const other = await pooler.client({ database: 'db', user: 're_a' });
  expect((await other.query('SELECT current_user AS user')).rows).toEqual([{ user: 're_a' }]);
  const added = endOf(other);
  await pooler.reload({ databases: { db: 'dbname=postgres user=re_b' } });
  expect(await added).toEqual(fatal('database configuration changed'));
});

test('users come and go with auth_file, and so do their passwords; those inside stay', async () => {
  await using pooler = await startPooler({
    settings: { auth_type: 'scram-sha-256' },
    databases: { db: `dbname=postgres user=${sharedPostgres().user}` },
    userlist: { re_stays: 'old', re_goes: 'old' },
  });
  const login = (user: string, password: string) => pooler.client({ database: 'db', user, password });
  const [stays, goes] = [await login('re_stays', 'old'), await login('re_goes', 'old')];
  await pooler.reload({ userlist: { re_stays: 'new', re_comes: 'new' } });
  const refused = fatal('SASL authentication failed');
  expect(await refusalOf(login('re_stays', 'old'))).toEqual(refused);
  expect(await refusalOf(login('re_goes', 'old'))).toEqual(refused);
  await Promise.all([(await login('re_stays', 'new')).end(), (await login('re_comes', 'new')).end()]);
  for (const client of [stays, goes]) {
    await client.query('SELECT 1');
    await client.end();
  }
});

test('another auth_type, admin_users and user settings count from the next login on', async () => {
  await using pooler = await startPooler({
    databases: { db: `dbname=postgres user=${sharedPostgres().user}` },
    userlist: { re_user: 'secret' },
    users: { re_user: 'max_user_client_connections=1' },
  });
  const login = (password: string, database = 'db') => pooler.client({ database, user: 're_user', password });
  expect(await refusalOf(login('whatever', 'pgbouncer'))).toEqual(fatal('not allowed'));
  const first = await login('whatever');
  const tooMany = fatal('client connections exceeded (max_user_client_connections)');
  expect(await refusalOf(login('whatever'))).toEqual(tooMany);
  await pooler.reload({
    settings: { auth_type: 'plain', admin_users: `${sharedPostgres().user}, re_user` },
    users: {},
  });
  expect(await refusalOf(login('whatever'))).toEqual(fatal('password authentication failed'));
  // The whole entry is gone, and its limit with it.
  const second = await login('secret');
  const console = await login('secret', 'pgbouncer');
  expect((await console.query('RELOAD')).command).toBe('RELOAD');
  for (const client of [first, second, console]) await client.end();
});

test('a setting that is left out has its default again', async () => {
  await using pooler = await startPooler({ settings: { default_pool_size: 2, query_wait_timeout: 7 } });
  const value = async (name: string) =>
    (await pooler.show('SHOW CONFIG')).find(({ key }) => key === name)?.['value'];
  expect([await value('default_pool_size'), await value('query_wait_timeout')]).toEqual(['2', '7']);
  writeFileSync(
    pooler.iniPath,
    `[databases]\n* =\n[pgbouncer]\nauth_type = trust\nadmin_users = ${sharedPostgres().user}\nquery_wait_timeout = 8\n`,
  );
  await pooler.pooler.reload();
  expect([await value('default_pool_size'), await value('query_wait_timeout')]).toEqual(['20', '8']);
  // Without a default, what was there stays: else the line's loss would lock everyone out.
  expect(await value('auth_file')).toBe(join(pooler.folder, 'userlist.txt'));
});

test('settings read at start keep their value, with a warning', async () => {
  await using pooler = await startPooler();
  const { port } = pooler;
  pooler.configure({ settings: { listen_port: port === 1111 ? 1112 : 1111, pidfile: '/nowhere' } });
  expect(await runAlone(port, sharedPostgres().user, 'RELOAD')).toBe('RELOAD');
  for (const name of ['listen_port', 'pidfile']) {
    const warning = `WARNING ${name} cannot be changed by RELOAD, its new value takes effect at the next start`;
    expect(pooler.lines).toContain(warning);
  }
  await (await pooler.client()).end();
});

test('of a wrong configuration nothing is applied: not the lines before the error, nor the users', async () => {
  await using pooler = await startPooler({
    settings: { default_pool_size: 4 },
    databases: { db: 'dbname=postgres' },
    userlist: { re_old: '' },
  });
  const client = await pooler.client({ database: 'db' });
  await client.query('SELECT 1');
  const shown = async () => [
    await pooler.show('SHOW CONFIG'),
    (await pooler.show('SHOW DATABASES')).map(({ name, pool_size }) => [name, pool_size]),
    (await pooler.show('SHOW USERS')).map(({ name }) => name),
  ];
  const before = await shown();
  const broken = [
    { settings: { default_pool_size: 9, auth_type: 'nonsense' } },
    { databases: { db: 'dbname=elsewhere', other: 'host=' } },
    { users: { re_old: 'pool_mode=never' } },
    { databases: { db: 'dbname=elsewhere', pgbouncer: 'dbname=x' } },
    { text: '[pgbouncer]\ndefault_pool_size = 9\n%include nowhere.ini\n' },
    { text: '[pgbouncer]\ndefault_pool_size = 9\n[unknown]\n' },
    { text: '[databases]\ndb = dbname=elsewhere\n' },
  ];
  for (const config of broken) {
    pooler.configure({
      settings: { default_pool_size: 4 },
      databases: { db: 'dbname=postgres' },
      userlist: { re_new: '' },
    });
    await expect(pooler.reload({ userlist: { re_new: '' }, ...config })).rejects.toThrow(ConfigError);
    expect(await shown()).toEqual(before);
  }
  expect((await client.query('SELECT current_database() AS name')).rows).toEqual([{ name: 'postgres' }]);
  await client.end();
});

test('an auth_file that cannot be read any more fails the RELOAD, so that nobody is locked out', async () => {
  await using pooler = await startPooler();
  rmSync(join(pooler.folder, 'userlist.txt'));
  await expect(async () => pooler.pooler.reload()).rejects.toThrow(ConfigError);
  await (await pooler.client()).end();
});

test('changing * reads databases made from it anew', async () => {
  await createDatabase(sharedPostgres(), 're_auto');
  await using pooler = await startPooler({ settings: transaction });
  const client = await pooler.client({ database: 're_auto' });
  const where = async () => (await client.query('SELECT current_database() AS name')).rows[0]?.['name'];
  expect(await where()).toBe('re_auto');
  await pooler.reload({ databases: { '*': 'dbname=postgres' } });
  expect(await where()).toBe('postgres');
  const ended = endOf(client);
  await pooler.reload({ databases: {} });
  expect(await ended).toEqual(fatal('database removed'));
});
