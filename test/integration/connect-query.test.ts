import { beforeAll, describe, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { ParameterStage } from '../support/parameter-stage.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { waitFor } from '../support/wait-for.ts';
import { createDatabase, createRole } from '../support/roles.ts';

const ROLE = 'connect_query_app';
const LIMITED = 'connect_query_limited';
const ADMIN = 'connect_query_admin';
/** A database in which hardly anybody may ask for parameters. */
const REFUSES = `${ROLE}_refuses`;
const TRACKED = { track_extra_parameters: 'IntervalStyle, work_mem, search_path, app.tenant' };

/** A stage whose database entry has this connect_query. */
const set = (settings: Record<string, string | number>, sql: string, user = '') =>
  ParameterStage.set(ROLE, settings, `dbname=${ROLE} ${user} connect_query='${sql.replaceAll("'", "''")}'`);

beforeAll(async () => {
  await ParameterStage.prepare(ROLE);
  await createRole(sharedPostgres(), { name: LIMITED, auth: 'trust' });
  await createRole(sharedPostgres(), { name: ADMIN, auth: 'trust', options: 'SUPERUSER' });
  await createDatabase(sharedPostgres(), REFUSES, ROLE);
  const revoke = 'REVOKE SELECT ON pg_settings FROM PUBLIC';
  await withClient(sharedPostgres(), (client) => client.query(revoke), { database: REFUSES });
  await withClient(sharedPostgres(), (client) => client.query(`GRANT ${LIMITED}, ${ADMIN} TO ${ROLE}`));
});

describe('what connect_query sets', () => {
  test('of tracked parameters that are not reported, is there behind clients that had others', async () => {
    await using stage = await set(TRACKED, "SET work_mem = '777kB'");
    const [one, other] = [await stage.connect(), await stage.connect({ work_mem: '1234kB' })];
    for (let i = 0; i < 2; i++) {
      expect(await one.value('SHOW work_mem')).toBe('777kB');
      expect(await other.value('SHOW work_mem')).toBe('1234kB');
    }
    await one.query('SET work_mem = 999; RESET work_mem');
    expect(await one.value('SHOW work_mem')).toBe('777kB');
    await one.query('DISCARD ALL');
    expect(await one.value('SHOW work_mem')).toBe('777kB');
  });

  test('is what clients begin with, and have again behind others', async () => {
    await using stage = await set({}, "SET TimeZone = 'Asia/Tokyo'; SET search_path = app");
    const [one, other] = [
      await stage.connect(),
      await stage.connect({ TimeZone: 'UTC', search_path: 'own' }),
    ];
    expect(one.parameters.get('TimeZone')).toBe('Asia/Tokyo');
    for (let i = 0; i < 2; i++) {
      expect(await one.value('SHOW TimeZone')).toBe('Asia/Tokyo');
      expect(await one.value('SHOW search_path')).toBe('app');
      expect(await other.value('SHOW TimeZone')).toBe('UTC');
      expect(await other.value('SHOW search_path')).toBe('own');
    }
    await one.query('RESET ALL');
    expect(await one.value('SHOW search_path')).toBe('app');
  });

  test('of parameters that are neither tracked nor reported, is there behind a client that gave others', async () => {
    await using stage = await set({}, "SET statement_timeout = '30s'; SET lock_timeout = '5s'");
    const [plain, giver] = [
      await stage.connect(),
      await stage.connect({ options: '-c statement_timeout=0' }),
    ];
    for (let i = 0; i < 2; i++) {
      expect(await plain.rows('SHOW statement_timeout')).toEqual([['30s']]);
      expect(await giver.value('SHOW statement_timeout')).toBe('0');
      expect(await giver.value('SHOW lock_timeout')).toBe('5s');
    }
    await giver.query('RESET ALL');
    expect(await giver.value('SHOW statement_timeout')).toBe('0');
    expect(await plain.value('SHOW lock_timeout')).toBe('5s');
  });

  test('of a tracked parameter that nothing declares, is there behind clients that had others', async () => {
    await using stage = await set(TRACKED, "SET app.tenant = 'own'");
    const [plain, giver] = [await stage.connect(), await stage.connect({ 'app.tenant': 'given' })];
    const tenant = "SELECT current_setting('app.tenant')";
    for (let i = 0; i < 2; i++) {
      expect(await giver.value(tenant)).toBe('given');
      expect(await plain.value(tenant)).toBe('own');
    }
    await plain.query('RESET app.tenant');
    expect(await plain.value(tenant)).toBe('own');
  });

  test('is all that is set again: not what the configuration says of a parameter that nothing declares', async () => {
    const configured = `${ROLE}_configured`;
    await createDatabase(sharedPostgres(), configured, ROLE);
    const alter = `ALTER DATABASE ${configured} SET app.tenant = 'configured'`;
    await withClient(sharedPostgres(), (client) => client.query(alter));
    await using stage = await ParameterStage.set(ROLE, TRACKED, `dbname=${configured}`);
    const [plain, giver] = [await stage.connect(), await stage.connect({ 'app.tenant': 'given' })];
    const tenant = "SELECT current_setting('app.tenant')";
    expect(await giver.value(tenant)).toBe('given');
    const statements = await stage.statements(async () => {
      expect(await plain.value(tenant)).toBe('configured');
    });
    expect(statements.join()).toContain('RESET "app"."tenant"');
    for (const sql of ['RESET app.tenant', 'RESET ALL', 'DISCARD ALL']) {
      await giver.query(sql);
      expect(await giver.value(tenant)).toBe('given');
      expect(await plain.value(tenant)).toBe('configured');
    }
    await giver.query("SET app.tenant = 'own'; RESET work_mem");
    expect(await plain.value(tenant)).toBe('configured');
    expect(await giver.value(tenant)).toBe('own');
  });

  test('of the order of a DateStyle, completes what a client gives half of', async () => {
    await using stage = await set({}, "SET DateStyle = 'ISO, DMY'");
    const iso = await stage.connect({ DateStyle: 'ISO' });
    const mdy = await stage.connect({ DateStyle: 'ISO, MDY' });
    for (let turn = 0; turn < 2; turn++) {
      expect(await mdy.value("SELECT '01/02/2026'::date")).toBe('2026-01-02');
      expect(await iso.value("SELECT '01/02/2026'::date")).toBe('2026-02-01');
    }
  });

  test('leaves a client what it gave of a parameter that the configuration has, too', async () => {
    const configured = `${ROLE}_beside`;
    await createDatabase(sharedPostgres(), configured, ROLE);
    const alter = `ALTER DATABASE ${configured} SET app.tenant = 'configured'`;
    await withClient(sharedPostgres(), (client) => client.query(alter));
    const entry = `dbname=${configured} connect_query='SET work_mem = ''777kB'''`;
    await using stage = await ParameterStage.set(ROLE, TRACKED, entry);
    const client = await stage.connect({ 'app.tenant': 'own' });
    await client.query('RESET app.tenant');
    expect(await client.value("SELECT current_setting('app.tenant')")).toBe('own');
  });

  test('need not be readable: then what is reported is known', async () => {
    const database = REFUSES;
    const sql = "connect_query='SET TimeZone = ''Asia/Tokyo'''";
    await using stage = await ParameterStage.set(ROLE, {}, `dbname=${database} ${sql}`);
    const client = await stage.connect();
    expect(await client.value('SHOW TimeZone')).toBe('Asia/Tokyo');
    expect(stage.pooler.lines.filter((line) => line.includes('asking for parameters failed'))).toHaveLength(
      1,
    );
  });

  test('is not done without where asking for it has failed this time only', async () => {
    const database = `${ROLE}_fails`;
    await createDatabase(sharedPostgres(), database, ROLE);
    const run = (...texts: string[]) =>
      withClient(
        sharedPostgres(),
        async (client) => {
          for (const sql of ['SET allow_system_table_mods = on', ...texts]) await client.query(sql);
        },
        { database },
      );
    await run(
      'ALTER VIEW pg_settings RENAME TO kept_settings',
      'CREATE VIEW pg_catalog.pg_settings AS SELECT name, reset_val, (1 / (length(name) - length(name)))::text AS source FROM pg_show_all_settings()',
      'GRANT SELECT ON pg_settings TO PUBLIC',
    );
    const sql = "connect_query='SET statement_timeout = ''30s'''";
    const settings = { server_login_retry: 1 };
    await using stage = await ParameterStage.set(ROLE, settings, `dbname=${database} ${sql}`);
    const connecting = stage.connect();
    await waitFor(() => stage.pooler.lines.some((line) => line.includes('asking for parameters failed')));
    await run('DROP VIEW pg_settings', 'ALTER VIEW kept_settings RENAME TO pg_settings');
    const client = await connecting;
    await client.query('RESET ALL');
    expect(await client.value('SHOW statement_timeout')).toBe('30s');
  });

  test('is there behind the reset query, reported or not', async () => {
    const sql = "SET default_transaction_read_only = on; SET statement_timeout = '30s'";
    await using stage = await set({ pool_mode: 'session' }, sql);
    const pids = new Set<string | null | undefined>();
    for (let i = 0; i < 3; i++) {
      const client = await stage.connect();
      expect(await client.value('SHOW default_transaction_read_only')).toBe('on');
      expect(await client.value('SHOW statement_timeout')).toBe('30s');
      pids.add(await client.value('SELECT pg_backend_pid()'));
      await client.end();
    }
    expect(pids.size).toBe(1);
  });

  test.each([
    'transaction',
    'session',
  ])('a client has again behind its own RESET ALL, and is told so, in %s mode', async (mode) => {
    await using stage = await set({ pool_mode: mode }, 'SET default_transaction_read_only = on');
    const client = await stage.connect();
    for (const sql of ['RESET ALL', 'DISCARD ALL']) {
      const answers = [await client.query(sql), await client.query('SHOW default_transaction_read_only')];
      expect(answers[1]?.rows).toEqual([['on']]);
      // PostgreSQL reports it from version 14 on.
      const told = new Map(answers.flatMap(({ parameters }) => parameters));
      expect(told.get('default_transaction_read_only') ?? 'on').toBe('on');
    }
  });
});

describe.each([
  'transaction',
  'session',
])('in %s mode, what connect_query sets of a tracked and reported', (mode) => {
  const sql = "SET TimeZone = 'Asia/Tokyo'";
  const settings = { pool_mode: mode };

  test('parameter a client has again behind whatever resets it, and is told so', async () => {
    await using stage = await set(settings, sql);
    const client = await stage.connect();
    for (const text of ['RESET TimeZone', 'RESET ALL', 'DISCARD ALL', 'SET TimeZone TO DEFAULT']) {
      const answers = [await client.query(text), await client.query('SHOW TimeZone')];
      expect(answers[1]?.rows, text).toEqual([['Asia/Tokyo']]);
      expect(new Map(answers.flatMap(({ parameters }) => parameters)).get('TimeZone')).toBe('Asia/Tokyo');
    }
  });

  test('parameter that is not tracked a client has again behind SET TO DEFAULT, too', async () => {
    await using stage = await set(
      { ...settings, track_extra_parameters: '' },
      "SET IntervalStyle = 'iso_8601'",
    );
    const client = await stage.connect();
    for (const text of ['RESET IntervalStyle', 'SET IntervalStyle TO DEFAULT']) {
      const answers = [await client.query(text), await client.query('SHOW IntervalStyle')];
      expect(answers[1]?.rows, text).toEqual([['iso_8601']]);
      expect(new Map(answers.flatMap(({ parameters }) => parameters)).get('IntervalStyle')).toBe('iso_8601');
    }
  });

  test('parameter does not come in place of what a client has set or given', async () => {
    await using stage = await set(settings, sql);
    const setter = await stage.connect();
    await setter.query("SET TimeZone = 'UTC'");
    await setter.query('RESET work_mem');
    expect(await setter.value('SHOW TimeZone')).toBe('UTC');
    await setter.end();
    const giver = await stage.connect({ TimeZone: 'Asia/Seoul' });
    await giver.query('RESET ALL');
    expect(await giver.value('SHOW TimeZone')).toBe('Asia/Seoul');
  });
});

describe('what connect_query sets beyond the rights of the session’s user', () => {
  test.each(['transaction', 'session'])('is there behind a RESET, in %s mode', async (mode) => {
    const { user, password } = sharedPostgres();
    const sql = `SET log_min_duration_statement = 12345; SET ROLE ${LIMITED}`;
    await using stage = await set({ pool_mode: mode }, sql, `user=${user} password=${password}`);
    const client = await stage.connect({ work_mem: '1234kB' });
    const pid = await client.value('SELECT pg_backend_pid()');
    for (const text of ['RESET search_path', 'RESET ALL']) {
      await client.query(text);
      expect(await client.value('SHOW log_min_duration_statement')).toBe('12345ms');
      expect(await client.value('SELECT current_user')).toBe(LIMITED);
      expect(await client.value('SHOW work_mem')).toBe('1234kB');
      expect(await client.value('SELECT pg_backend_pid()')).toBe(pid);
    }
  });

  test('gives a client no rights beyond those of the user', async () => {
    const { user, password } = sharedPostgres();
    await using stage = await set({}, `SET ROLE ${LIMITED}`, `user=${user} password=${password}`);
    const client = await stage.connect({ log_min_duration_statement: '0' });
    await client.send(frontend.query('SELECT 1'));
    expect((await client.answerTo('E')).errors[0]).toMatchObject({ S: 'FATAL', C: '42501' });
  });

  test('ends no client in session mode that has reset it, where the login may not set it again', async () => {
    const sql = `SET ROLE ${ADMIN}; SET log_min_duration_statement = 12345; RESET ROLE`;
    await using stage = await set({ pool_mode: 'session' }, sql);
    const client = await stage.connect({ work_mem: '1234kB' });
    const pid = await client.value('SELECT pg_backend_pid()');
    await client.query('RESET ALL');
    expect(await client.rows('SELECT pg_backend_pid()')).toEqual([[pid]]);
    expect(await client.value('SHOW work_mem')).toBe('1234kB');
    await client.end();
    const next = await stage.connect();
    expect(await next.value('SHOW log_min_duration_statement')).toBe('12345ms');
    expect(await next.value('SELECT pg_backend_pid()')).not.toBe(pid);
  });
});

describe('what a client has set itself in session mode is its own behind', () => {
  test.each([
    'RESET search_path',
    'BEGIN; RESET statement_timeout; ROLLBACK',
    'RESET ALL; SET statement_timeout = 0',
  ])('%s, of parameters', async (sql) => {
    await using stage = await set({ pool_mode: 'session' }, "SET statement_timeout = '30s'");
    const client = await stage.connect();
    await client.query('SET statement_timeout = 0');
    await client.query(sql);
    expect(await client.value('SHOW statement_timeout')).toBe('0');
    await client.query('RESET statement_timeout');
    expect(await client.value('SHOW statement_timeout')).toBe('30s');
  });

  test('RESET, of its role', async () => {
    await using stage = await set({ pool_mode: 'session' }, `SET ROLE ${LIMITED}`);
    const client = await stage.connect();
    await client.query(`SET ROLE ${ROLE}`);
    await client.query('RESET work_mem');
    expect(await client.value('SELECT current_user')).toBe(ROLE);
    await client.query('RESET ROLE');
    expect(await client.value('SELECT current_user')).toBe(LIMITED);
  });

  test('RESET, of the session’s user', async () => {
    const { user, password } = sharedPostgres();
    const entry = `user=${user} password=${password}`;
    await using stage = await set({ pool_mode: 'session' }, `SET ROLE ${LIMITED}`, entry);
    const client = await stage.connect();
    await client.query(`SET SESSION AUTHORIZATION ${ROLE}`);
    await client.query('RESET work_mem');
    expect(await client.rows('SELECT session_user, current_user')).toEqual([[ROLE, ROLE]]);
    await client.query('RESET SESSION AUTHORIZATION');
    expect(await client.rows('SELECT session_user, current_user')).toEqual([[user, LIMITED]]);
  });
});

describe('the user whose session connect_query has made it', () => {
  test.each([
    'RESET ROLE',
    'DISCARD ALL',
    'BEGIN; RESET ROLE; COMMIT',
    'SET ROLE NONE',
  ])('is the next client’s behind %s', async (sql) => {
    await using stage = await set({}, `SET ROLE ${LIMITED}`);
    const [one, other] = [await stage.connect(), await stage.connect()];
    expect(await one.value('SELECT current_user')).toBe(LIMITED);
    await one.query(sql);
    expect(await other.value('SELECT current_user')).toBe(LIMITED);
    expect(await one.value('SELECT current_user')).toBe(LIMITED);
  });

  test.each([
    ['a role', `SET ROLE ${LIMITED}`],
    ['a session’s user', `SET SESSION AUTHORIZATION ${LIMITED}`],
    ['both', `SET SESSION AUTHORIZATION ${ROLE}; SET ROLE ${LIMITED}`],
  ])('is the next client’s behind the reset query: %s', async (_what, sql) => {
    const { user, password } = sharedPostgres();
    await using stage = await set({ pool_mode: 'session' }, sql, `user=${user} password=${password}`);
    for (let i = 0; i < 3; i++) {
      const client = await stage.connect();
      expect(await client.value('SELECT current_user')).toBe(LIMITED);
      await client.end();
    }
  });

  test.each([
    ['SET ROLE NONE', `SET ROLE ${LIMITED}`],
    ['SET SESSION AUTHORIZATION DEFAULT', `SET SESSION AUTHORIZATION ${LIMITED}`],
  ])('is the next client’s behind the reset query %s', async (server_reset_query, sql) => {
    const { user, password } = sharedPostgres();
    const settings = { pool_mode: 'session', server_reset_query };
    await using stage = await set(settings, sql, `user=${user} password=${password}`);
    for (let i = 0; i < 3; i++) {
      const client = await stage.connect();
      expect(await client.value('SELECT current_user')).toBe(LIMITED);
      await client.end();
    }
  });

  test.each([
    `SET ROLE ${LIMITED}`,
    `SET SESSION AUTHORIZATION ${LIMITED}`,
  ])('is no superuser behind the reset query where nobody may ask who it was: %s', async (sql) => {
    const { user, password } = sharedPostgres();
    const entry = `dbname=${REFUSES} user=${user} password=${password} connect_query='${sql}'`;
    await using stage = await ParameterStage.set(ROLE, { pool_mode: 'session' }, entry);
    for (let i = 0; i < 2; i++) {
      const client = await stage.connect();
      expect(await client.value('SELECT current_user')).toBe(LIMITED);
      await client.query('RESET work_mem');
      expect(await client.value('SELECT current_user')).toBe(LIMITED);
      await client.end();
    }
  });

  test.each(['RESET SESSION AUTHORIZATION', 'DISCARD ALL'])('is no superuser behind %s', async (sql) => {
    const { user, password } = sharedPostgres();
    const entry = `user=${user} password=${password}`;
    await using stage = await set({}, `SET SESSION AUTHORIZATION ${LIMITED}`, entry);
    const [one, other] = [await stage.connect(), await stage.connect()];
    await one.query(sql);
    expect(await other.value('SELECT session_user')).toBe(LIMITED);
    expect(await one.value('SELECT session_user')).toBe(LIMITED);
  });
});

test('why PostgreSQL ends the connection of a connect_query stands in the log', async () => {
  await using stage = await set({}, 'SELECT pg_terminate_backend(pg_backend_pid())');
  const connecting = stage.connect().catch(() => {});
  const text = 'exec_on_query: FATAL: terminating connection due to administrator command';
  await waitFor(() => stage.pooler.lines.some((line) => line.includes(text)));
  await stage.pooler[Symbol.asyncDispose]();
  await connecting;
});
