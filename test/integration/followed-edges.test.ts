import { beforeAll, describe, expect, test } from 'vitest';
import { isAsking, ParameterStage } from '../support/parameter-stage.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, type WireClient } from '../support/wire-client.ts';
import { frontend } from '../support/peer-messages.ts';

const ROLE = 'followed_edges_app';
/** Reported, and never tracked here. */
const REPORTED = 'default_transaction_read_only';
const TRACKED = { track_extra_parameters: 'work_mem, app.tenant, statement_timeout' };
const { sync } = frontend;

const set = (settings: Record<string, string | number> = {}, entry = '') =>
  ParameterStage.set(ROLE, settings, entry);

beforeAll(() => ParameterStage.prepare(ROLE));

/** How often a server is asked while a client does this, in turns with another one. */
async function questions(stage: ParameterStage, statements: readonly string[]): Promise<number> {
  const [client, other] = [await stage.connect(), await stage.connect()];
  await client.query('SELECT 1');
  const said = await stage.statements(async () => {
    for (const sql of statements) {
      await client.rows(sql);
      await other.rows("SELECT 'other'");
      await client.rows("SELECT 'same'");
    }
  });
  expect(said.filter((statement) => statement === "SELECT 'other'")).toHaveLength(statements.length);
  return said.filter(isAsking).length;
}

describe('of a client that gave nothing, while nothing is tracked, a server', () => {
  test('is asked for nothing', async () => {
    await using stage = await set();
    const statements = [
      "SET work_mem = '1234kB'",
      "BEGIN; SET work_mem = '2345kB'; SET LOCAL work_mem = '99kB'; ROLLBACK",
      "SET TimeZone = 'Asia/Tokyo'; SET application_name = 'mine'; SET IntervalStyle = 'iso_8601'",
      "DO $$ BEGIN SET TimeZone = 'Asia/Seoul'; SET work_mem = '1MB'; END $$",
      'SET TimeZone TO DEFAULT',
      'RESET application_name',
      'RESET ALL',
      'DISCARD ALL',
    ];
    expect(await questions(stage, statements)).toBe(0);
    const client = await stage.connect();
    const said = await stage.statements(async () => {
      for (const sql of statements.slice(-3)) await client.ask(unnamed(sql), sync());
      await client.rows('SELECT 1');
    });
    expect(said).toContain('DISCARD ALL');
    expect(said.filter(isAsking)).toEqual([]);
  });

  test.each<readonly [string, string, readonly string[]]>([
    ['one is reported without a SET', '', [`SELECT set_config('${REPORTED}', 'on', false)`]],
    ['RESET follows a SET of a reported one', '', [`SET ${REPORTED} = on`, 'RESET work_mem']],
    [
      'RESET leads back to a connect_query',
      `connect_query='SET TimeZone = ''Asia/Tokyo'''`,
      ["SET TimeZone = 'Europe/Rome'", 'RESET ALL'],
    ],
  ])('is asked once where %s', async (_where, entry, statements) => {
    await using stage = await set({}, entry);
    expect(await questions(stage, statements)).toBe(1);
  });

  test('is asked once where a reported text is not ASCII', async () => {
    await using stage = await set();
    const { parameters } = await stage.connect();
    // What older ones report never is.
    const count = parameters.has('search_path') ? 1 : 0;
    expect(await questions(stage, ["SET search_path = 'ä'"])).toBe(count);
  });
});

test.each([
  ['that PostgreSQL does not report', 'work_mem', '1234kB', "'99kB'"],
  ['that it reports', 'TimeZone', 'Asia/Tokyo', "'UTC'"],
])('SET LOCAL behind a RESET makes that a SET to PostgreSQL’s own value, of a parameter %s', async (_which, name, given, local) => {
  await using stage = await set();
  const sql = `BEGIN; RESET ${name}; SET LOCAL ${name} = ${local}; COMMIT`;
  await withClient(sharedPostgres(), async (direct) => {
    await direct.query(sql);
    const { rows } = await direct.query(`SELECT source FROM pg_settings WHERE name = '${name}'`);
    expect(rows).toEqual([{ source: 'session' }]);
  });
  const [client, other] = [await stage.connect({ [name]: given }), await stage.connect()];
  const own = await other.value(`SHOW ${name}`);
  expect(await client.value(`SHOW ${name}`)).toBe(given);
  await client.rows(sql);
  for (let i = 0; i < 2; i++) {
    expect(await client.value(`SHOW ${name}`)).toBe(own);
    expect(await other.value(`SHOW ${name}`)).toBe(own);
  }
  await client.rows(`RESET ${name}`);
  await other.rows('SELECT 1');
  expect(await client.value(`SHOW ${name}`)).toBe(given);
});

test.each([
  ["BEGIN; RESET app.tenant; SET app.tenant = ''; COMMIT", 'given'],
  ["BEGIN; SET app.tenant = ''; RESET app.tenant; COMMIT", 'given'],
  ["BEGIN; RESET work_mem; SET app.tenant = ''; COMMIT", 'given'],
  ["BEGIN; RESET app.tenant; SET app.tenant = 'x'; COMMIT", 'x'],
  ["BEGIN; SET app.tenant = ''; COMMIT", ''],
])('an application’s own parameter that is empty has been reset if anything has been in its transaction: %s', async (sql, kept) => {
  await using stage = await set(TRACKED);
  const [client, other] = [await stage.connect({ 'app.tenant': 'given' }), await stage.connect()];
  const tenant = (of: WireClient) => of.value("SELECT current_setting('app.tenant', true)");
  await client.rows(sql);
  for (let i = 0; i < 2; i++) {
    expect(await tenant(client)).toBe(kept);
    expect((await tenant(other)) ?? '').toBe('');
  }
});

/** A client's limit. */
const TIMEOUT_MS = 250;

/** Whether a question that has been asked before waits for a lock, and has done so for longer than a client's limit. */
const asksAgain = () =>
  withClient(sharedPostgres(), async (client) => {
    const { rowCount } = await client.query(
      `SELECT 1 FROM pg_stat_activity WHERE usename = '${ROLE}' AND wait_event_type = 'Lock'
         AND query LIKE 'ROLLBACK;BEGIN %' AND query_start < now() - interval '${TIMEOUT_MS + 100} ms'`,
    );
    return rowCount === 1;
  });

test('a question that the client’s statement_timeout strikes is asked again, and not struck by it', async () => {
  await using stage = await set(TRACKED);
  const [client, other] = [await stage.connect(), await stage.connect()];
  const before = await other.value('SHOW work_mem');
  // What asks has to wait for whoever has this.
  await withClient(
    sharedPostgres(),
    async (locker) => {
      await locker.query('BEGIN');
      await locker.query('LOCK TABLE pg_catalog.pg_settings');
      await client.rows(`SET work_mem = '2345kB'; SET statement_timeout = ${TIMEOUT_MS}`);
      await waitFor(asksAgain, { what: 'a question that is asked again' });
      await locker.query('COMMIT');
    },
    { database: ROLE },
  );
  expect(await other.value('SHOW work_mem')).toBe(before);
  // Its own limit may strike on a busy machine.
  await waitFor(async () => (await client.query('SET statement_timeout = 0')).errors.length === 0);
  expect(await client.value('SHOW work_mem')).toBe('2345kB');
});

test('the reset query costs a round trip for each transaction with server_reset_query_always', async () => {
  await using stage = await set({ server_reset_query_always: 1 });
  const client = await stage.connect();
  const said = await stage.statements(async () => {
    for (const sql of ['SELECT 1', 'BEGIN', 'SELECT 2', 'COMMIT', 'SELECT 3']) await client.rows(sql);
    // The last one’s is over then.
    await client.rows('SELECT 4');
  });
  expect(said.slice(0, 8)).toEqual([
    ...['SELECT 1', 'DISCARD ALL'],
    ...['BEGIN', 'SELECT 2', 'COMMIT', 'DISCARD ALL'],
    ...['SELECT 3', 'DISCARD ALL'],
  ]);
});
