/** auth_query in databases that belong to others, or to nobody. */
import pg from 'pg';
import { beforeAll, expect, test } from 'vitest';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';

const PASSWORD = 'aqt right one';
const LOOKER = 'aqt_looker';
const OWNER = 'aqt_owner';
const REFUSED = 'SASL authentication failed';

let known: string | null;

beforeAll(async () => {
  const postgres = sharedPostgres();
  await createRole(postgres, { name: LOOKER, auth: 'scram', password: 'aqt looker', options: 'SUPERUSER' });
  await createRole(postgres, { name: OWNER, auth: 'trust' });
  await createRole(postgres, { name: 'aqt_user', auth: 'scram', password: PASSWORD });
  known = await createRole(postgres, { name: 'aqt_known', auth: 'scram', password: 'planted' });
});

function start(options: TestPoolerOptions): Promise<LocalPooler> {
  return startPooler({
    ...options,
    settings: { auth_type: 'scram-sha-256', auth_user: LOOKER, ...options.settings },
    own: { auth_query_cache_time: 0 },
    userlist: { [LOOKER]: 'aqt looker', ...options.userlist },
  });
}

/** Logs in; gives who PostgreSQL says the client is, or the error's text. */
async function login(pooler: LocalPooler, config: pg.ClientConfig): Promise<string> {
  try {
    const client = await pooler.client({ user: 'aqt_user', password: PASSWORD, ...config });
    const { rows } = await client.query<{ user: string }>('SELECT current_user::text AS user');
    await client.end();
    return rows[0]?.user ?? 'nobody';
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return error.message;
  }
}

/** By the owner of `database`: whatever the default query names stands in a schema of his, ahead of PostgreSQL's. */
async function plant(database: string): Promise<void> {
  await withClient(
    sharedPostgres(),
    async (client) => {
      await client.query(`
        CREATE SCHEMA evil;
        GRANT USAGE ON SCHEMA evil TO PUBLIC;
        CREATE TABLE evil.ran (as_whom text);
        CREATE FUNCTION evil.run() RETURNS bool LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO evil.ran VALUES (current_user); RETURN true; END $$;
        CREATE FUNCTION evil.same(name, name) RETURNS bool LANGUAGE sql AS 'SELECT evil.run()';
        CREATE FUNCTION evil.same(name, text) RETURNS bool LANGUAGE sql AS 'SELECT evil.run()';
        CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = name, RIGHTARG = name);
        CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = name, RIGHTARG = text);
        CREATE FUNCTION evil.less(timestamptz, timestamptz) RETURNS bool LANGUAGE sql AS 'SELECT NOT evil.run()';
        CREATE OPERATOR evil.< (FUNCTION = evil.less, LEFTARG = timestamptz, RIGHTARG = timestamptz);
        CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS
          $$ SELECT CASE WHEN evil.run() THEN pg_catalog.now() END $$;
        ALTER DATABASE ${database} SET search_path = evil, pg_catalog`);
      const columns = 'rolname name, rolpassword text, rolvaliduntil timestamptz, rolcanlogin bool';
      await client.query(`CREATE TABLE evil.pg_authid (${columns})`);
      await client.query("INSERT INTO evil.pg_authid VALUES ('aqt_user', $1, 'infinity', true)", [known]);
    },
    { database, user: OWNER },
  );
}

test('who owns a database has no say in what the default query reads and runs there', async () => {
  const database = 'aqt_tenant';
  await createDatabase(sharedPostgres(), database, OWNER);
  await plant(database);
  await using pooler = await start({ databases: { [database]: '' } });
  expect(await login(pooler, { database, password: 'planted' })).toBe(REFUSED);
  expect(await login(pooler, { database })).toBe('aqt_user');
  const { rows } = await withClient(sharedPostgres(), (client) => client.query('TABLE evil.ran'), {
    database,
  });
  expect(rows).toEqual([]);
});
