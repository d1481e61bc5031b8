/** auth_query in databases that belong to others, or to nobody. */
import pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { backend, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

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

describe('a database that the client alone has named, with `*`,', () => {
  const INVENTED = 'aqt_invented';

  test.each([
    ['scram-sha-256', REFUSED],
    ['plain', 'password authentication failed'],
    ['trust', 'no such user'],
  ])('is told by %s from others only to who has proved who he is', async (auth_type, text) => {
    const userlist = { aqt_known: 'planted' };
    await using pooler = await start({ settings: { auth_type }, databases: { '*': '' }, userlist });
    for (const database of [INVENTED, 'postgres']) {
      expect(await login(pooler, { user: 'aqt_nobody', database }), database).toBe(text);
    }
    // Neither do those who are looked up exist there.
    expect(await login(pooler, { database: INVENTED })).toBe(text);
    expect(await login(pooler, { database: 'postgres' })).not.toBe(text);
    expect(await login(pooler, { user: 'aqt_known', password: 'planted', database: INVENTED })).toBe(
      `database "${INVENTED}" does not exist`,
    );
  });

  test.each([
    ['fails there', 'SELECT no_such_column, $1::text'],
    ['gives too little', 'SELECT $1::text'],
  ])('is not told by a query that %s, which the log says', async (_what, auth_query) => {
    await using pooler = await start({ databases: { '*': '' }, settings: { auth_query } });
    for (const database of [INVENTED, 'postgres']) expect(await login(pooler, { database })).toBe(REFUSED);
    expect(pooler.lines.filter((line) => /^(ERROR|WARNING) .*auth_query/.test(line))).toHaveLength(1);
  });

  test('is forgotten at once if it isn’t there, and kept if it is', async () => {
    await using pooler = await start({ databases: { '*': '' }, settings: { server_login_retry: 3600 } });
    const { databases, pools } = pooler.pooler.state;
    expect(await login(pooler, { database: INVENTED })).toBe(REFUSED);
    expect(await login(pooler, { user: 'aqt_nobody', database: 'postgres' })).toBe(REFUSED);
    await waitFor(() => databases.get(INVENTED) === null, { what: 'the end of the name' });
    expect(pools.all(INVENTED)).toEqual([]);
    expect(databases.get('postgres')).not.toBeNull();
    expect(pooler.lines.filter((line) => line.includes('auto-database'))).toEqual([
      'LOG registered new auto-database: postgres',
    ]);
  });

  test('is not made real by KILL of all', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start({ databases: { '*': `host=127.0.0.1 port=${server.port}` } });
    const { databases } = pooler.pooler.state;
    const client = await connectPeer(pooler.port);
    await client.send(frontend.startup({ user: 'aqt_nobody', database: INVENTED }));
    const asked = await server.accept();
    expect(databases.get(INVENTED)).toMatchObject({ isProbed: true, paused: false });
    await pooler.show('KILL');
    expect(databases.all().filter(({ paused }) => paused)).toEqual([]);
    await client.close();
    await asked.close();
    await waitFor(() => databases.get(INVENTED) === null, { what: 'the end of the name' });
  });

  test('costs no more than some lines, however many are made up', async () => {
    await using pooler = await start({ databases: { '*': '' } });
    const { lines } = pooler;
    const logins = Array.from({ length: 60 }, (_, i) => login(pooler, { database: `${INVENTED}_${i}` }));
    expect(new Set(await Promise.all(logins))).toEqual(new Set([REFUSED]));
    const about = lines.filter((line) => /S-0x|server login failed|auto-database/.test(line));
    // New connection, refused, closed: of 20, and of those that are under way.
    expect(about.length).toBeLessThan(3 * 28);
    expect(about.length).toBeGreaterThan(20);
  });

  test('has no connections for min_pool_size, nor does a RELOAD take it for one that is there', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start({
      databases: { '*': `host=127.0.0.1 port=${server.port} user=${LOOKER}` },
      settings: { min_pool_size: 2, server_login_retry: 3600 },
    });
    const { databases } = pooler.pooler.state;
    const client = await connectPeer(pooler.port);
    await client.send(frontend.startup({ user: 'aqt_nobody', database: INVENTED }));
    const peer = await server.accept();
    await pooler.reload();
    expect(databases.isUnproven(INVENTED)).toBe(true);
    await peer.packet();
    await peer.send(backend.errorResponse({ S: 'FATAL', C: '3D000', M: 'no such thing' }));
    await peer.end();
    await peer.close();
    await client.close();
    await waitFor(() => databases.get(INVENTED) === null, { what: 'the end of the attempt' });
    expect(pooler.lines.filter((line) => line.includes('new connection to server'))).toHaveLength(1);
  });

  test('is tried by eight connections at a time', async () => {
    await using server = await ScriptedServer.listen();
    const entry = `host=127.0.0.1 port=${server.port}`;
    await using pooler = await start({ databases: { '*': entry } });
    const { budget, connections } = pooler.pooler.state;
    const clients = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const client = await connectPeer(pooler.port);
        await client.send(frontend.startup({ user: 'aqt_nobody', database: `made_up_${i}` }));
        return client;
      }),
    );
    await waitFor(() => [...connections].filter(({ user }) => user === 'aqt_nobody').length === 12, {
      what: 'twelve logins',
    });
    await waitFor(() => budget.count('server') >= 8, { what: 'eight connections' });
    expect(budget.count('server')).toBe(8);
    const refuse = async (): Promise<string> => {
      const peer = await server.accept();
      const { body } = await peer.packet();
      await peer.send(backend.errorResponse({ S: 'FATAL', C: '3D000', M: 'no such thing' }));
      await peer.end();
      await peer.close();
      return body.toString('latin1');
    };
    const asked = new Set<string>();
    for (let i = 0; i < 12; i++) asked.add(await refuse());
    expect(asked.size).toBe(12);
    for (const client of clients) {
      expect((await client.message('R')).body.readInt32BE(0)).toBe(10);
      await client.close();
    }
  });
});

test('an auth_dbname that PostgreSQL does not have is told: the operator has named it', async () => {
  await using pooler = await start({ databases: { '*': '' }, settings: { auth_dbname: 'aqt_gone' } });
  expect(await login(pooler, { database: 'postgres' })).toBe('database "aqt_gone" does not exist');
});
