import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, type WireClient } from '../support/wire-client.ts';
import { WireStage } from '../support/wire-stage.ts';

const ROLE = 'transaction_mode_app';
const { parse, bindTexts, execute, sync } = frontend;

/** Of these PostgreSQL reports the second one alone: a role of no other rights is not told of. */
const SETS = `SET work_mem = '1234kB'; SET TimeZone = 'Asia/Tokyo'; SET ROLE ${ROLE};`;
const config = (name: string, value: string) => `set_config('${name}', '${value}', false)`;

/** What does so without saying that it was a SET. */
const SETTERS: Readonly<Record<string, string>> = {
  'a function': 'SELECT sets()',
  set_config: `SELECT ${config('work_mem', '1234kB')}, ${config('TimeZone', 'Asia/Tokyo')}, ${config('role', ROLE)}`,
  'a DO block': `DO $$ BEGIN ${SETS} END $$`,
  'a procedure': 'CALL sets_by_call()',
};

// One server connection, two where a test says so: what it keeps is met by whoever has it next.
const stage = new WireStage(
  ROLE,
  { default_pool_size: 1 },
  {
    options: 'REPLICATION',
    databases: { two: `dbname=${ROLE} pool_size=2` },
    tables: [
      `CREATE OR REPLACE FUNCTION sets() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ${SETS} END $$`,
      `CREATE OR REPLACE PROCEDURE sets_by_call() LANGUAGE plpgsql AS $$ BEGIN ${SETS} END $$`,
    ],
  },
);
const connect = (database = ROLE, parameters: Readonly<Record<string, string>> = {}) =>
  stage.connect({ database, ...parameters });

/** A client that has left something on its server, and the same client linked to the other server. */
async function elsewhere(sql: string): Promise<{ client: WireClient; letGo: () => Promise<void> }> {
  const [client, holder] = [await connect('two'), await connect('two')];
  await client.rows(sql);
  // The connection that was used last is the first to be used again.
  await holder.query('BEGIN');
  return { client, letGo: async () => void (await holder.query('COMMIT')) };
}

/** What {@link SETS} sets and PostgreSQL doesn't report. */
const setOn = (client: WireClient) =>
  client.rows("SELECT current_setting('work_mem'), current_setting('role')");

/** A parameter of the library is known where that is loaded, and a mere name elsewhere. */
const isLoaded = async (client: WireClient) =>
  (await client.value("SELECT count(*) FROM pg_settings WHERE name = 'plpgsql.check_asserts'")) === '1';

const run = (name: string) => Buffer.concat([bindTexts('', name, []), execute('')]);

/** The sentences of docs/transaction-mode.md and what shows them. */
const SAFE: Readonly<Record<string, () => Promise<void>>> = {
  'Prepared statements follow the client': async () => {
    const [one, other] = [await connect(), await connect()];
    await one.ask(parse('a', "SELECT 'mine'"), sync());
    await one.query("PREPARE b AS SELECT 'mine, too'");
    expect((await other.ask(run('a'), sync())).errors[0]?.['C']).toBe('26000');
    expect((await other.query('EXECUTE b')).errors[0]?.['C']).toBe('26000');
    expect((await one.ask(run('a'), sync())).rows).toEqual([['mine']]);
    expect(await one.value('EXECUTE b')).toBe('mine, too');
  },
  'Parameters that PostgreSQL reports follow the client': async () => {
    const [one, other] = [await connect(), await connect()];
    const before = await other.value('SHOW TimeZone');
    await one.query("SET TimeZone = 'Asia/Tokyo'");
    await one.query("SET IntervalStyle = 'iso_8601'");
    expect(await other.value('SHOW TimeZone')).toBe(before);
    expect(await other.value('SHOW IntervalStyle')).toBe('postgres');
    expect(await one.value('SHOW TimeZone')).toBe('Asia/Tokyo');
    expect(await one.value('SHOW IntervalStyle')).toBe('iso_8601');
    // Reported from PostgreSQL 18 on.
    if (Number.parseInt(one.parameters.get('server_version') ?? '', 10) < 18) return;
    await one.query('SET search_path = one_only');
    expect(await other.value('SHOW search_path')).not.toBe('one_only');
    expect(await one.value('SHOW search_path')).toBe('one_only');
  },
  'Parameters given when connecting follow the client': async () => {
    const one = await connect(ROLE, { options: '-c work_mem=1234kB' });
    const other = await connect();
    for (let i = 0; i < 2; i++) {
      expect(await one.value('SHOW work_mem')).toBe('1234kB');
      expect(await other.value('SHOW work_mem')).not.toBe('1234kB');
    }
  },
  'Parameters that `track_extra_parameters` names follow the client': async () => {
    await stage.restart({ track_extra_parameters: 'work_mem' });
    const [one, other] = [await connect(), await connect()];
    const before = await other.value('SHOW work_mem');
    await one.query("SET work_mem = '1234kB'");
    expect(await other.value('SHOW work_mem')).toBe(before);
    expect(await one.value('SHOW work_mem')).toBe('1234kB');
    await one.query("BEGIN; SET work_mem = '2345kB'; ROLLBACK");
    expect(await other.value('SHOW work_mem')).toBe(before);
    expect(await one.value('SHOW work_mem')).toBe('1234kB');
  },
  'A server connection on which a client has become another user is not used again': async () => {
    const query = (...texts: string[]) => texts.map((text) => frontend.query(text));
    for (const max of [200, 0]) {
      await stage.restart({ max_prepared_statements: max });
      // A role of no other rights: nothing that PostgreSQL reports tells of it.
      for (const requests of [
        query(`SET ROLE ${ROLE}`),
        query(`BEGIN; SELECT 1; SET role = '${ROLE}'; COMMIT`),
        query('BEGIN', `SET SESSION AUTHORIZATION ${ROLE}`, 'COMMIT'),
        query(`SELECT '${'x'.repeat(300_000)}'; SET ROLE ${ROLE}`),
        [Buffer.concat([unnamed(`SET ROLE ${ROLE}`), sync()])],
        [Buffer.concat([parse('s', `SET ROLE ${ROLE}`), run('s'), sync()])],
        [Buffer.concat([unnamed(`/*;*/;;SET ROLE ${ROLE}`), sync()])],
        [Buffer.concat([unnamed(`/*${'x'.repeat(300_000)}*/ ; SET ROLE ${ROLE}`), sync()])],
        // By EXECUTE, what the protocol has prepared; without a name, too.
        ...(max === 0 ? [] : [query('EXECUTE s'), [Buffer.concat([unnamed('EXECUTE s'), sync()])]]).map(
          (execute) => [Buffer.concat([parse('s', `SET ROLE ${ROLE}`), sync()]), ...execute],
        ),
      ]) {
        const after = await roleAfter(await connect(), requests);
        expect(after).toEqual({ role: 'none', user: ROLE, isSame: false });
      }
      const kept = await roleAfter(await connect(), query('BEGIN', `SET LOCAL ROLE ${ROLE}`, 'COMMIT'));
      expect(kept).toEqual({ role: 'none', user: ROLE, isSame: true });
      // A SET that does no harm: what nobody has read may be another one.
      const [harmless, long] = ["SET work_mem = '1234kB'", `SELECT '${'x'.repeat(300_000)}'`];
      for (const [sql, isSame] of [
        [`SELECT '${'x'.repeat(60_000)}'; ${harmless}`, true],
        [`${harmless}; ${long}; ${harmless}`, true],
        [`${long}; ${harmless}`, false],
      ] as const) {
        expect(await roleAfter(await connect(), query(sql))).toEqual({ role: 'none', user: ROLE, isSame });
      }
    }
  },
  '`SET LOCAL` ends with the transaction': async () => {
    const [one, other] = [await connect(), await connect()];
    const before = await other.value('SHOW work_mem');
    await one.query("BEGIN; SET LOCAL work_mem = '1234kB'");
    expect(await one.value('SHOW work_mem')).toBe('1234kB');
    await one.query('COMMIT');
    expect(await other.value('SHOW work_mem')).toBe(before);
  },
  '`pg_advisory_xact_lock` ends with the transaction': async () => {
    const one = await connect();
    await one.query('BEGIN; SELECT pg_advisory_xact_lock(7001)');
    expect(await isLocked(7001)).toBe(true);
    await one.query('COMMIT');
    expect(await isLocked(7001)).toBe(false);
  },
  'A temporary table made `ON COMMIT DROP`': async () => {
    const [one, other] = [await connect(), await connect()];
    await one.query('BEGIN; CREATE TEMP TABLE mine ON COMMIT DROP AS SELECT 1 AS n');
    expect(await one.value('SELECT n FROM mine')).toBe('1');
    await one.query('COMMIT');
    expect(await other.value("SELECT to_regclass('mine')")).toBeNull();
  },
  'A cursor without `WITH HOLD` ends with the transaction': async () => {
    const [one, other] = [await connect(), await connect()];
    await one.query('BEGIN; DECLARE mine CURSOR FOR SELECT 1');
    expect(await one.value('FETCH mine')).toBe('1');
    await one.query('COMMIT');
    expect((await other.query('FETCH mine')).errors[0]?.['C']).toBe('34000');
  },
  '`NOTIFY` is delivered to everybody who listens': async () => {
    const heard: string[] = [];
    await withClient(
      sharedPostgres(),
      async (listener) => {
        listener.on('notification', ({ payload }) => heard.push(payload ?? ''));
        await listener.query('LISTEN transaction_mode_news');
        const one = await connect();
        await one.query("NOTIFY transaction_mode_news, 'said'");
        await waitFor(() => heard.length > 0);
      },
      { database: ROLE },
    );
    expect(heard).toEqual(['said']);
  },
  'A replication connection': async () => {
    const [replicates, other] = [await connect('two', { replication: 'database' }), await connect('two')];
    const before = await other.value('SHOW work_mem');
    await replicates.query("SET work_mem = '1234kB'");
    await replicates.query('CREATE TEMP TABLE own (n int)');
    expect(await other.value('SHOW work_mem')).toBe(before);
    expect(await other.value("SELECT to_regclass('own')")).toBeNull();
    expect(await replicates.value('SHOW work_mem')).toBe('1234kB');
    expect(await replicates.value("SELECT to_regclass('own')")).toBe('own');
  },
};

/** The server connections that a client has had for `requests`, which are sent one by one; then what others see. */
async function roleAfter(one: WireClient, requests: readonly Uint8Array[]) {
  const other = await connect();
  const pid = await other.value('SELECT pg_backend_pid()');
  for (const request of requests) await one.ask(request);
  const [role] = await other.rows("SELECT current_setting('role'), session_user, pg_backend_pid()");
  return { role: role?.[0], user: role?.[1], isSame: role?.[2] === pid };
}

const UNSAFE: Readonly<Record<string, () => Promise<void>>> = {
  '`SET` of any other parameter stays with the server connection': async () => {
    const { client, letGo } = await elsewhere("SET work_mem = '1234kB'");
    expect(await client.value('SHOW work_mem')).not.toBe('1234kB');
    await letGo();
    const [one, other] = [await connect(), await connect()];
    await one.query("SET work_mem = '1234kB'");
    expect(await other.value('SHOW work_mem')).toBe('1234kB');
  },
  'A parameter or role that a function sets, `set_config` included, stays': async () => {
    for (const [who, sql] of Object.entries(SETTERS)) {
      await stage.restart({});
      const [one, other] = [await connect(), await connect()];
      const [zone, [before]] = [await other.value('SHOW TimeZone'), await setOn(other)];
      expect(before).not.toContain('1234kB');
      await one.rows(sql);
      expect(await setOn(other), who).toEqual([['1234kB', ROLE]]);
      // But for what PostgreSQL reports.
      expect(await other.value('SHOW TimeZone'), who).toBe(zone);
      expect(await one.value('SHOW TimeZone'), who).toBe('Asia/Tokyo');
    }
  },
  '`LISTEN` stays with the server connection': async () => {
    const [one, other] = [await connect(), await connect()];
    await one.query('LISTEN transaction_mode_leak');
    await other.query('BEGIN');
    await withClient(sharedPostgres(), (client) => client.query("NOTIFY transaction_mode_leak, 'for one'"), {
      database: ROLE,
    });
    const { notifications } = await other.query('COMMIT');
    expect(notifications).toEqual([['transaction_mode_leak', 'for one']]);
    await withClient(sharedPostgres(), (client) => client.query("NOTIFY transaction_mode_leak, 'lost'"), {
      database: ROLE,
    });
    await waitFor(() =>
      stage.pooler.lines.some((line) => line.includes('notification for a client that is gone')),
    );
    expect((await one.query('SELECT 1')).notifications).toEqual([]);
  },
  'A session’s advisory lock stays with the server connection': async () => {
    const { client, letGo } = await elsewhere('SELECT pg_advisory_lock(7002)');
    expect(await client.value('SELECT pg_advisory_unlock(7002)')).toBe('f');
    await letGo();
    const [one, other] = [await connect(), await connect()];
    await one.query('SELECT pg_advisory_lock(7003)');
    expect(await isLocked(7003)).toBe(true);
    expect(await other.value('SELECT pg_advisory_unlock(7003)')).toBe('t');
  },
  'A temporary table stays with the server connection': async () => {
    const { client, letGo } = await elsewhere('CREATE TEMP TABLE mine AS SELECT 1 AS n');
    expect(await client.value("SELECT to_regclass('mine')")).toBeNull();
    await letGo();
    const [one, other] = [await connect(), await connect()];
    await one.query("CREATE TEMP TABLE mine AS SELECT 'secret' AS n");
    expect(await other.value('SELECT n FROM mine')).toBe('secret');
  },
  'A `WITH HOLD` cursor stays with the server connection': async () => {
    const [one, other] = [await connect(), await connect()];
    await one.query("DECLARE mine CURSOR WITH HOLD FOR SELECT 'secret'");
    expect(await other.value('FETCH mine')).toBe('secret');
  },
  '`LOAD` loads a library into one server connection': async () => {
    const superuser = { user: stage.pooler.postgres.user };
    const [one, other, holder] = [
      await connect('two', superuser),
      await connect('two', superuser),
      await connect('two', superuser),
    ];
    expect(await isLoaded(one)).toBe(false);
    expect((await one.query("LOAD 'plpgsql'")).tags).toEqual(['LOAD']);
    // The connection that was used last is the first to be used again.
    await holder.query('BEGIN');
    expect([await isLoaded(holder), await isLoaded(one)]).toEqual([true, false]);
    await holder.query('COMMIT');
    expect(await isLoaded(other)).toBe(true);
  },
};

/** Whether anybody holds the advisory lock. */
async function isLocked(key: number): Promise<boolean> {
  return withClient(
    sharedPostgres(),
    async (client) => {
      const sql = `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = ${key}`;
      return ((await client.query(sql)).rowCount ?? 0) > 0;
    },
    { database: ROLE },
  );
}

describe('safe in transaction mode', () => {
  test.each(Object.entries(SAFE))('%s', async (_sentence, show) => show());
});

describe('not safe in transaction mode', () => {
  test.each(Object.entries(UNSAFE))('%s', async (_sentence, show) => show());
});

test('the page has a sentence for each of these tests, and a test for each sentence', () => {
  const page = readFileSync(new URL('../../docs/transaction-mode.md', import.meta.url), 'utf8');
  const sentences = (from: string, to: string) =>
    page
      .slice(page.indexOf(from), page.indexOf(to))
      .split('\n- ')
      .slice(1)
      .map((item) => item.replace(/\s+/g, ' ').replaceAll("'", '’'));
  const check = (items: readonly string[], tests: Readonly<Record<string, unknown>>) => {
    const names = Object.keys(tests);
    expect(items.map((item) => names.find((name) => item.startsWith(name)))).toEqual(names);
  };
  check(sentences('## Safe', '## Not safe'), SAFE);
  check(sentences('## Not safe', '## What to do'), UNSAFE);
});

test('with server_reset_query_always nothing of it stays but a loaded library', async () => {
  await stage.restart({ server_reset_query_always: 1 });
  const [one, other] = [await connect(), await connect()];
  const [before, zone] = [await setOn(other), await other.value('SHOW TimeZone')];
  await one.ask(parse('a', 'SELECT 1'), sync());
  for (const [who, sql] of Object.entries(SETTERS)) {
    await one.rows(sql);
    expect(await setOn(other), who).toEqual(before);
    expect(await other.value('SHOW TimeZone'), who).toBe(zone);
  }
  for (const sql of [
    "SET work_mem = '1234kB'",
    'LISTEN transaction_mode_reset',
    'SELECT pg_advisory_lock(7004)',
    'CREATE TEMP TABLE mine (n int)',
    'DECLARE mine CURSOR WITH HOLD FOR SELECT 1',
  ]) {
    await one.rows(sql);
  }
  expect(await setOn(other)).toEqual(before);
  expect(await other.value('SELECT count(*) FROM pg_listening_channels()')).toBe('0');
  expect(await isLocked(7004)).toBe(false);
  expect(await other.value("SELECT to_regclass('mine')")).toBeNull();
  expect((await other.query('FETCH mine')).errors[0]?.['C']).toBe('34000');
  // Prepared statements are taught anew.
  expect((await one.ask(run('a'), sync())).rows).toEqual([['1']]);
  expect((await one.ask(unnamed('SELECT 2'), sync())).rows).toEqual([['2']]);
  const superuser = await connect(ROLE, { user: stage.pooler.postgres.user });
  expect(await isLoaded(superuser)).toBe(false);
  await superuser.rows("LOAD 'plpgsql'");
  expect(await isLoaded(superuser)).toBe(true);
});
