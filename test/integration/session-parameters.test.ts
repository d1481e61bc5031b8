import { beforeAll, describe, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase } from '../support/roles.ts';
import { unnamed, type WireClient } from '../support/wire-client.ts';
import { isAsking, ParameterStage } from '../support/parameter-stage.ts';

const ROLE = 'session_parameters_app';
const TRACKED = { track_extra_parameters: 'IntervalStyle, work_mem, search_path, app.tenant' };
const { parse, bindTexts, execute, sync } = frontend;

const set = (settings: Record<string, string | number> = {}, entry = '') =>
  ParameterStage.set(ROLE, settings, entry);

beforeAll(() => ParameterStage.prepare(ROLE));

describe('a parameter that track_extra_parameters names and PostgreSQL does not report', () => {
  test('has the value that its client gave at the start', async () => {
    await using stage = await set(TRACKED);
    const [one, other] = [await stage.connect({ work_mem: '1234kB' }), await stage.connect()];
    const before = await other.value('SHOW work_mem');
    for (let i = 0; i < 2; i++) {
      expect(await one.value('SHOW work_mem')).toBe('1234kB');
      expect(await other.value('SHOW work_mem')).toBe(before);
    }
  });

  test.each<readonly [string, (client: WireClient) => Promise<unknown>]>([
    ['a simple query', (client) => client.query("SET work_mem = '2345kB'")],
    ['the extended protocol', (client) => client.ask(unnamed("SET work_mem = '2345kB'"), sync())],
    [
      'a prepared statement',
      async (client) => {
        await client.ask(parse('s', "SET work_mem = '2345kB'"), sync());
        await client.query('SELECT 1');
        return client.ask(bindTexts('', 's', []), execute(''), sync());
      },
    ],
    ['one statement of several', (client) => client.query("SELECT 1; SET work_mem = '2345kB'; SELECT 2")],
    ['a transaction', (client) => client.query("BEGIN; SET work_mem = '2345kB'; COMMIT")],
    [
      'a transaction that goes back to a savepoint behind it',
      (client) =>
        client.query(
          "BEGIN; SET work_mem = '2345kB'; SAVEPOINT s; SET work_mem = '99kB'; ROLLBACK TO s; END",
        ),
    ],
    ['a procedure, beside any SET', (client) => client.query(`${CONFIG}; SET TimeZone = 'UTC'`)],
  ])('follows a SET in %s', async (_what, change) => {
    await using stage = await set({ ...TRACKED, default_pool_size: 2 });
    const [one, two, three] = [await stage.connect(), await stage.connect(), await stage.connect()];
    const before = await two.value('SHOW work_mem');
    await change(one);
    for (let turn = 0; turn < 4; turn++) {
      const [holder, other] = turn % 2 === 0 ? [two, three] : [three, two];
      await holder.query('BEGIN');
      expect(await one.value('SHOW work_mem')).toBe('2345kB');
      expect(await other.value('SHOW work_mem')).toBe(before);
      expect(await holder.value('SHOW work_mem')).toBe(before);
      await holder.query('COMMIT');
    }
  });

  test.each([
    ['is rolled back', "BEGIN; SET work_mem = '2345kB'; ROLLBACK"],
    ['fails', "BEGIN; SET work_mem = '2345kB'; SELECT 1/0"],
    ['is one query that fails', "SET work_mem = '2345kB'; SELECT 1/0"],
    ['goes back to a savepoint', "BEGIN; SAVEPOINT s; SET work_mem = '2345kB'; ROLLBACK TO s; COMMIT"],
    ['sets it LOCAL', "BEGIN; SET LOCAL work_mem = '2345kB'; COMMIT"],
    ['resets it again', "BEGIN; SET work_mem = '2345kB'; RESET work_mem; COMMIT"],
    ['sets it to its default', "SET work_mem = '2345kB'; SET work_mem TO DEFAULT"],
    ['resets all', "SET work_mem = '2345kB'; RESET ALL"],
  ])('is what it was when a transaction %s', async (_what, sql) => {
    await using stage = await set(TRACKED);
    const [plain, giver, setter] = [
      await stage.connect(),
      await stage.connect({ options: '-c work_mem=345kB' }),
      await stage.connect(),
    ];
    await setter.rows("SET work_mem = '456kB'");
    const before = await plain.value('SHOW work_mem');
    const returns = /RESET|DEFAULT/.test(sql);
    for (const [client, kept] of [
      [plain, before],
      [giver, '345kB'],
      [setter, returns ? before : '456kB'],
    ] as const) {
      await client.query(sql);
      await client.query('ROLLBACK');
      expect(await plain.value('SHOW work_mem')).toBe(before);
      expect(await client.value('SHOW work_mem')).toBe(kept);
    }
    await setter.query('DISCARD ALL');
    await plain.query('SELECT 1');
    expect(await setter.value('SHOW work_mem')).toBe(before);
  });

  test('is asked for once behind a transaction with a SET, and never behind others', async () => {
    await using stage = await set(TRACKED);
    const client = await stage.connect();
    await client.query('SELECT 1');
    const said = await stage.statements(async () => {
      await client.query('BEGIN');
      await client.query("SET work_mem = '2345kB'");
      await client.query("SET app.tenant = 'a'");
      await client.query('COMMIT');
      await client.query("SELECT 'after'");
      await client.ask(unnamed("SELECT 'after'"), sync());
      await client.query('BEGIN');
      await client.query('COMMIT');
    });
    expect(said.filter(isAsking)).toHaveLength(1);
    expect(said.map((statement) => (isAsking(statement) ? 'asked' : statement))).toEqual([
      'BEGIN',
      "SET work_mem = '2345kB'",
      "SET app.tenant = 'a'",
      'COMMIT',
      'asked',
      "SELECT 'after'",
      "SELECT 'after'",
      'BEGIN',
      'COMMIT',
    ]);
  });

  test('costs no question when it is only set for the next client, or statements are dropped', async () => {
    await using stage = await set(TRACKED);
    const given = { application_name: 'mine' };
    const [one, other] = [await stage.connect({ ...given, work_mem: '1234kB' }), await stage.connect(given)];
    const said = await stage.statements(async () => {
      for (let i = 0; i < 3; i++) {
        await one.query('DEALLOCATE ALL');
        await one.query('SELECT 1');
        await other.query('SELECT 1');
      }
    });
    expect(said.filter(isAsking)).toEqual([]);
    expect(said.filter((statement) => statement.includes('work_mem'))).toHaveLength(6);
  });

  test('may be one of an application’s own, with any text, in any encoding', async () => {
    await using stage = await set(TRACKED);
    const [latin, other] = [
      await stage.connect({ client_encoding: 'LATIN1', 'app.tenant': 'first' }),
      await stage.connect(),
    ];
    const query = Buffer.from("SET app.tenant = '\xe4''\\ \"x'", 'latin1');
    await latin.ask(
      Buffer.concat([frontend.query('x'.repeat(query.length)).subarray(0, 5), query, Buffer.of(0)]),
    );
    expect(await other.value("SELECT current_setting('app.tenant')")).toBe('');
    const asHex = "SELECT encode(convert_to(current_setting('app.tenant'), 'UTF8'), 'hex')";
    expect(await latin.value(asHex)).toBe(Buffer.from('ä\'\\ "x').toString('hex'));
    await latin.query('RESET app.tenant');
    expect(await other.value("SELECT current_setting('app.tenant')")).toBe('');
    expect(await latin.value("SELECT current_setting('app.tenant')")).toBe('first');
    await latin.query("SET app.tenant = ''");
    await other.query('SELECT 1');
    expect(await latin.value("SELECT current_setting('app.tenant')")).toBe('');
  });

  test('is read by names of PostgreSQL’s own, whatever the search path', async () => {
    await using stage = await set(TRACKED);
    const [one, other] = [await stage.connect(), await stage.connect()];
    await one.rows(
      `CREATE SCHEMA trap;
       CREATE FUNCTION trap.current_setting(text, bool) RETURNS text LANGUAGE sql AS $$ SELECT 'trapped' $$;
       CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'trapped' $$;
       CREATE FUNCTION trap.same(text, text) RETURNS bool LANGUAGE sql AS $$ SELECT 1 = 0 $$;
       CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.same)`,
    );
    await one.rows("SET search_path = trap, pg_catalog; SET work_mem = '2345kB'");
    await other.query('SELECT 1');
    expect(await one.value('SELECT pg_catalog.current_setting($$work_mem$$)')).toBe('2345kB');
    expect(await one.value('SHOW search_path')).toBe('trap, pg_catalog');
  });

  test('ends its client when it cannot be read, with PostgreSQL’s own error, and harms no other', async () => {
    const database = `${ROLE}_refuses`;
    await createDatabase(sharedPostgres(), database, ROLE);
    await using stage = await set(TRACKED, `dbname=${database}`);
    const [one, other] = [await stage.connect(), await stage.connect()];
    const change = (sql: string) => withClient(sharedPostgres(), (client) => client.query(sql), { database });
    await change('REVOKE SELECT ON pg_settings FROM PUBLIC');
    await one.send(frontend.query("SET work_mem = '2345kB'"), frontend.query('SELECT 2'));
    expect((await one.answer()).tags).toEqual(['SET']);
    // Both may have been answered before the server was at rest.
    const rest = await one.answerTo('E');
    expect(rest.errors[0]).toMatchObject({ S: 'FATAL', C: '42501' });
    await one.peer.end();
    await change('GRANT SELECT ON pg_settings TO PUBLIC');
    expect(await other.value('SHOW work_mem')).toBe('4MB');
  });

  test('and does not know either, does no harm', async () => {
    await using stage = await set({ track_extra_parameters: 'work_men, app.tenant' });
    const [one, other] = [await stage.connect(), await stage.connect()];
    await one.query("SET app.tenant = 'a'");
    await one.peer.close();
    expect(await other.value("SELECT current_setting('app.tenant')")).toBe('');
    expect(stage.pooler.lines.filter((line) => line.includes('knows no parameter'))).toHaveLength(1);
    expect(stage.pooler.lines.find((line) => line.includes('knows no parameter'))).toContain(
      'the server knows no parameter "work_men" of track_extra_parameters',
    );
  });

  test('of a client that pipelines is what the order of its requests says', async () => {
    await using stage = await set(TRACKED);
    const [one, other] = [await stage.connect(), await stage.connect()];
    for (let i = 0; i < 20; i++) {
      await one.send(
        frontend.query(`SET work_mem = '${1000 + i}kB'`),
        frontend.query('SHOW work_mem'),
        frontend.query(`SET work_mem = '${2000 + i}kB'`),
      );
      await other.query('SELECT 1');
      await one.answer();
      expect((await one.answer()).rows).toEqual([[`${1000 + i}kB`]]);
      await one.answer();
      expect(await one.value('SHOW work_mem')).toBe(`${2000 + i}kB`);
    }
  });
});

const CONFIG = "DO $$ BEGIN PERFORM set_config('work_mem', '2345kB', false); END $$";

describe('what a client gave at its start', () => {
  test('it has again after RESET and DISCARD ALL, tracked or not, and is told so', async () => {
    await using stage = await set();
    const given = { application_name: 'mine', TimeZone: 'Asia/Tokyo', options: '-c statement_timeout=12345' };
    const [client, other] = [await stage.connect(given), await stage.connect()];
    for (const sql of ['DISCARD ALL', 'RESET ALL', 'RESET TimeZone; RESET application_name']) {
      const answers = [await client.query(sql), await client.query('SHOW application_name')];
      expect(answers[1]?.rows).toEqual([['mine']]);
      expect(await client.value('SHOW TimeZone')).toBe('Asia/Tokyo');
      expect(await client.value('SHOW statement_timeout')).toBe('12345ms');
      const told = new Map(answers.flatMap(({ parameters }) => parameters));
      expect([told.get('application_name'), told.get('TimeZone')]).toEqual(['mine', 'Asia/Tokyo']);
      expect(await other.value('SHOW statement_timeout')).toBe('0');
    }
  });

  test('it has again in session mode, too', async () => {
    await using stage = await set({ pool_mode: 'session' });
    const given = { application_name: 'mine', options: '-c statement_timeout=12345' };
    const client = await stage.connect(given);
    const pid = await client.value('SELECT pg_backend_pid()');
    for (const sql of ['DISCARD ALL', 'RESET ALL; SELECT 1', 'BEGIN; RESET application_name; COMMIT']) {
      await client.send(frontend.query(sql), frontend.query('SELECT 1'));
      await client.answer();
      await client.answer();
      expect(await client.value('SHOW application_name')).toBe('mine');
      expect(await client.value('SHOW statement_timeout')).toBe('12345ms');
    }
    expect(await client.value('SELECT pg_backend_pid()')).toBe(pid);
    const said = await stage.statements(async () => {
      await client.query('BEGIN; RESET application_name; ROLLBACK');
      await client.query("SET application_name = 'other'");
      for (let i = 0; i < 3; i++) await client.query(`SELECT ${i}`);
    });
    expect(said.filter(isAsking)).toHaveLength(1);
    expect(await client.value('SHOW application_name')).toBe('other');
    await client.query('DEALLOCATE ALL');
    expect(await client.value('SHOW application_name')).toBe('other');
  });

  test('goes back only as far as it was reset', async () => {
    await using stage = await set(TRACKED);
    const [client, other] = [
      await stage.connect({ TimeZone: 'Asia/Tokyo', options: '-c statement_timeout=12345' }),
      await stage.connect(),
    ];
    await client.query("SET TimeZone = 'Asia/Seoul'; SET search_path = mine; RESET statement_timeout");
    await other.query('SELECT 1');
    expect(await client.value('SHOW TimeZone')).toBe('Asia/Seoul');
    expect(await client.value('SHOW search_path')).toBe('mine');
    expect(await client.value('SHOW statement_timeout')).toBe('12345ms');
    await client.query('BEGIN; RESET TimeZone; ROLLBACK');
    await other.query('SELECT 1');
    expect(await client.value('SHOW TimeZone')).toBe('Asia/Seoul');
  });

  test('does not come back by the RESET of another one, where what was set is the server’s own value', async () => {
    await using stage = await set();
    const [client, other] = [await stage.connect({ TimeZone: 'Asia/Tokyo' }), await stage.connect()];
    const own = await other.value('SHOW TimeZone');
    await client.query(`SET TimeZone = '${own}'`);
    await other.query('RESET ALL');
    await client.query('RESET statement_timeout');
    await other.query('SELECT 1');
    expect(await client.value('SHOW TimeZone')).toBe(own);
    await client.query('RESET TimeZone');
    expect(await client.value('SHOW TimeZone')).toBe('Asia/Tokyo');
  });

  test('follows a SET of the same parameter, which reaches nobody who gave the same', async () => {
    await using stage = await set();
    const given = { options: '-c statement_timeout=12345' };
    const [client, same] = [await stage.connect(given), await stage.connect(given)];
    await client.query('SET statement_timeout = 777');
    expect(await same.value('SHOW statement_timeout')).toBe('12345ms');
    expect(await client.value('SHOW statement_timeout')).toBe('777ms');
  });
});

test('a SET of what was given otherwise costs no round trip at the next link', async () => {
  await using stage = await set(TRACKED);
  const client = await stage.connect({ application_name: 'given', work_mem: '1234kB' });
  await client.query('SELECT 1');
  const said = await stage.statements(async () => {
    for (let i = 0; i < 3; i++) {
      await client.query(`SET application_name = 'job ${i}'`);
      await client.query('SELECT 1');
    }
    await client.query("BEGIN; SET application_name = 'never'; ROLLBACK");
    await client.query('SELECT 1');
  });
  expect(said.filter((statement) => statement.startsWith('SET application_name='))).toEqual([]);
  await client.query('RESET work_mem');
  expect(await client.value('SHOW application_name')).toBe('job 2');
});

test('values that differ in case only are different ones', async () => {
  await using stage = await set(TRACKED);
  const [one, other] = [
    await stage.connect({ application_name: 'APP', search_path: '"Tenant"' }),
    await stage.connect({ application_name: 'app', search_path: '"tenant"' }),
  ];
  for (let i = 0; i < 2; i++) {
    expect(
      await one.rows('SELECT current_setting($$application_name$$), current_setting($$search_path$$)'),
    ).toEqual([['APP', '"Tenant"']]);
    expect(
      await other.rows('SELECT current_setting($$application_name$$), current_setting($$search_path$$)'),
    ).toEqual([['app', '"tenant"']]);
  }
});

test('a client that sets something behind one whose parameters were taken back keeps it', async () => {
  await using stage = await set(TRACKED);
  const [one, giver] = [
    await stage.connect(),
    await stage.connect({ options: '-c statement_timeout=12345' }),
  ];
  await giver.query('SELECT 1');
  await one.query('SET search_path = mine');
  await giver.query('SELECT 1');
  expect(await one.value('SHOW search_path')).toBe('mine');
});

test('a reported value beyond ASCII follows its client, in whatever encoding it was reported', async () => {
  await using stage = await set(TRACKED);
  const [latin, other] = [await stage.connect({ client_encoding: 'LATIN1' }), await stage.connect()];
  const query = Buffer.from('SET search_path = "\xe4"', 'latin1');
  await latin.ask(
    Buffer.concat([frontend.query('x'.repeat(query.length)).subarray(0, 5), query, Buffer.of(0)]),
  );
  const asHex = "SELECT encode(convert_to(current_setting('search_path'), 'UTF8'), 'hex')";
  for (let i = 0; i < 2; i++) {
    expect(await other.value('SHOW search_path')).toBe('"$user", public');
    expect(await latin.value(asHex)).toBe(Buffer.from('"ä"').toString('hex'));
  }
  await latin.query('SET client_encoding = UTF8');
  expect(await other.value('SHOW search_path')).toBe('"$user", public');
  expect(await latin.value('SHOW search_path')).toBe('"ä"');
});

test('a role that is tracked follows its client, and costs no server connection', async () => {
  const { user, password } = sharedPostgres();
  const entry = `user=${user} password=${password}`;
  await using stage = await set({ track_extra_parameters: 'role' }, entry);
  const [one, other] = [await stage.connect(), await stage.connect()];
  await one.query(`SET ROLE ${ROLE}`);
  const pids = new Set<string | null | undefined>();
  for (let i = 0; i < 3; i++) {
    expect(await one.value('SELECT current_user')).toBe(ROLE);
    pids.add(await one.value('SELECT pg_backend_pid()'));
    expect(await other.value('SELECT current_user')).toBe(user);
    pids.add(await other.value('SELECT pg_backend_pid()'));
  }
  expect(pids.size).toBe(1);
});

test('what is reported and not tracked goes back by SET TO DEFAULT, too, and is told by PostgreSQL’s name', async () => {
  await using stage = await set({ track_extra_parameters: '' });
  const client = await stage.connect({ IntervalStyle: 'iso_8601' });
  for (const sql of ['SET IntervalStyle TO DEFAULT', 'RESET IntervalStyle']) {
    const answers = [await client.query(sql), await client.query('SHOW IntervalStyle')];
    expect(answers[1]?.rows).toEqual([['iso_8601']]);
    expect(answers.flatMap(({ parameters }) => parameters)).toContainEqual(['IntervalStyle', 'iso_8601']);
  }
});

test('the reset query leaves nothing to be taken back, at no further cost', async () => {
  await using stage = await set({ ...TRACKED, server_reset_query_always: 1 });
  const [one, other] = [await stage.connect(), await stage.connect({ work_mem: '1234kB' })];
  await one.query("SET work_mem = '2345kB'");
  await other.query('SELECT 1');
  const said = await stage.statements(async () => {
    for (let i = 0; i < 3; i++) await one.query("SELECT 'plain'");
    await other.query("SELECT 'given'");
  });
  expect(said.filter((statement) => statement.includes('work_mem'))).toHaveLength(4);
  expect(said.filter((statement) => statement.includes('RESET'))).toEqual([]);
});
