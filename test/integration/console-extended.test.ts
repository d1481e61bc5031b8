import { afterAll, beforeAll, expect, test } from 'vitest';
import { authorization, mayRun } from '../../src/admin/access.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { type Answer, WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

/** `npm run test:full` takes its time. */
const ROUNDS = byEffort({ wide: 400, full: 20_000 });

let pooler: LocalPooler;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: 'ce_app', auth: 'trust' });
  pooler = await startPooler({ settings: { pool_mode: 'transaction' }, userlist: { ce_app: '' } });
});

afterAll(() => pooler[Symbol.asyncDispose]());

const console_ = () =>
  WireClient.connect(pooler.port, { user: sharedPostgres().user, database: 'pgbouncer' });
const postgres = () => WireClient.connect(sharedPostgres(), { user: 'ce_app', database: 'postgres' });

/** What drivers send of their own, whose answers PostgreSQL and the console ought to agree on. */
const TEXTS = [
  ...['', '-- ping', ';', 'SELECT 1', 'SHOW TRANSACTION ISOLATION LEVEL', 'SET extra_float_digits = 3'],
  ...['BEGIN', 'COMMIT', 'ROLLBACK', 'START TRANSACTION READ ONLY', 'nonsense here', 'SELECT 1; SELECT 2'],
  ...['SAVEPOINT s', 'ROLLBACK TO SAVEPOINT s', 'RELEASE s', 'DEALLOCATE ALL', 'DEALLOCATE a', 'DISCARD ALL'],
];
const NAMES = ['', 'a', 'b'];

/** A stretch of messages that ends with Sync or is a Query. */
function stretch(random: Random): Buffer[] {
  const name = () => random.pick(NAMES);
  // A Query that fails leaves its own portal in PostgreSQL, which nobody could mean.
  if (random.below(4) === 0) return [frontend.query(random.pick(TEXTS)), frontend.close('P', '')];
  const messages: Buffer[] = [];
  for (let left = 1 + random.below(7); left > 0; left--) {
    switch (random.below(8)) {
      case 0:
      case 1:
        messages.push(frontend.parse(name(), random.pick(TEXTS)));
        break;
      case 2:
      case 3:
        messages.push(frontend.bindFormats(name(), name(), random.pick([[], [0], [1], [0, 0]])));
        break;
      case 4:
        messages.push(frontend.describe(random.pick(['S', 'P']), name()));
        break;
      case 5:
        messages.push(frontend.close(random.pick(['S', 'P']), name()));
        break;
      default:
        messages.push(frontend.execute(name(), random.pick([0, 1, 2])));
    }
  }
  return [...messages, frontend.sync()];
}

/**
 * What both must agree on: messages, rows, tags and SQLSTATEs. PgBouncer's code for what is no command is one for all;
 * and why a portal cannot be run again that has rolled back to where it was not there yet is told in two ways.
 */
function essence({ types, rows, tags, errors, status }: Answer): unknown {
  const codes = errors.map(({ C }) => {
    if (C === '08P01' || C === '42601') return 'syntax or protocol';
    return C === '34000' || C === '25P02' ? 'no portal that can be run' : C;
  });
  return { types, rows, tags, codes, status };
}

test('any sequence of requests is answered as PostgreSQL answers it', async () => {
  await withSeed(async (random) => {
    await using ours = await console_();
    await using theirs = await postgres();
    for (let round = 0; round < ROUNDS; round++) {
      const messages = stretch(random);
      const actual = await ours.ask(...messages);
      const expected = await theirs.ask(...messages);
      const said = messages.map((bytes) => JSON.stringify(bytes.toString('latin1'))).join('\n');
      expect(essence(actual), `round ${round}:\n${said}`).toEqual(essence(expected));
    }
  });
});

test('the tag of a SELECT that is fetched in pieces counts the rows of the last one, as PostgreSQL does', async () => {
  for (const open of [console_, postgres]) {
    await using client = await open();
    const pieces = (first: number) => [
      ...[frontend.parse('', 'SELECT 1'), frontend.bind('', ''), frontend.execute('', first)],
      ...[frontend.execute('', 0), frontend.execute('', 0), frontend.sync()],
    ];
    expect(await client.ask(...pieces(1))).toMatchObject({
      types: '12DsCCZ',
      tags: ['SELECT 0', 'SELECT 0'],
    });
    expect(await client.ask(...pieces(0))).toMatchObject({
      types: '12DCCCZ',
      tags: ['SELECT 1', 'SELECT 0', 'SELECT 0'],
    });
  }
});

test('DISCARD ALL is refused behind what its stretch has run, as by PostgreSQL', async () => {
  for (const open of [console_, postgres]) {
    await using client = await open();
    const discards = async (...before: string[]) => {
      const messages = [...before, 'DISCARD ALL'].flatMap((text) => [
        ...[frontend.parse('', text), frontend.bind('', ''), frontend.execute('', 1)],
      ]);
      return (await client.ask(...messages, frontend.sync())).errors.map(({ C }) => C);
    };
    for (const [before, codes] of [
      [[], []],
      [[''], []],
      [['SELECT 1'], ['25001']],
      [['DEALLOCATE ALL'], ['25001']],
      [['SELECT 1', 'COMMIT'], []],
      [['DISCARD ALL'], []],
      [['SELECT 1', 'BEGIN', 'COMMIT'], []],
      [['BEGIN', 'SELECT 1', 'ROLLBACK'], []],
    ] as const)
      expect([before, await discards(...before)]).toEqual([before, codes]);
  }
});

test('a portal whose formats are refused is there in the failed transaction, as with PostgreSQL', async () => {
  for (const open of [console_, postgres]) {
    await using client = await open();
    await client.query('BEGIN');
    await client.ask(
      frontend.parse('a', 'SHOW TRANSACTION ISOLATION LEVEL'),
      frontend.parse('b', 'ROLLBACK'),
      frontend.sync(),
    );
    for (const [statement, code] of [
      ['a', '08P01'],
      ['b', '42P03'],
    ] as const) {
      const { errors } = await client.ask(frontend.bindFormats('p', statement, [0, 0]), frontend.sync());
      expect(errors.map(({ C }) => C)).toEqual([code]);
    }
    await client.query('ROLLBACK');
  }
});

/** Parse, Bind, Describe of the portal, Execute, Sync, as most drivers send a statement that they do not keep. */
function unkept(sql: string, formats: readonly number[] = []): Buffer[] {
  return [
    frontend.parse('', sql),
    frontend.bindFormats('', '', formats),
    frontend.describe('P', ''),
    frontend.execute(''),
    frontend.sync(),
  ];
}

test('PgJDBC: settings, a transaction with a cursor of few rows, then a statement kept under a name', async () => {
  await using client = await console_();
  const opening = await client.ask(
    ...[frontend.parse('', 'SET extra_float_digits = 3'), frontend.bind('', ''), frontend.execute('', 1)],
    ...[frontend.parse('', "SET application_name = 'PostgreSQL JDBC Driver'"), frontend.bind('', '')],
    ...[frontend.execute('', 1), frontend.sync()],
  );
  expect(opening).toMatchObject({ types: '12C12CZ', tags: ['SET', 'SET'], errors: [], status: 'I' });
  expect(opening.notices.map(({ M }) => M)).toEqual(['SET ignored', 'SET ignored']);

  // setAutoCommit(false), setFetchSize(2): BEGIN goes ahead in the same stretch, the portal has a name.
  const first = await client.ask(
    ...[frontend.parse('S_1', 'BEGIN'), frontend.bind('', 'S_1'), frontend.execute('')],
    ...[frontend.parse('', 'SHOW STATE'), frontend.bindFormats('C_2', '', []), frontend.describe('P', 'C_2')],
    ...[frontend.execute('C_2', 2), frontend.sync()],
  );
  expect(first).toMatchObject({ types: '12C12TDDsZ', status: 'T' });
  const second = await client.ask(frontend.execute('C_2', 2), frontend.sync());
  expect(second).toMatchObject({ types: 'DCZ', tags: ['SHOW'], status: 'T' });
  expect([...first.rows, ...second.rows].map(([key]) => key)).toEqual(['active', 'paused', 'suspended']);
  const done = await client.ask(
    ...[frontend.close('P', 'C_2'), frontend.parse('', 'COMMIT'), frontend.bind('', '')],
    ...[frontend.execute('', 1), frontend.sync()],
  );
  expect(done).toMatchObject({ types: '312CZ', tags: ['COMMIT'], status: 'I' });
  // isValid()
  expect(await client.ask(...unkept(''))).toMatchObject({ types: '12nIZ' });

  await client.ask(frontend.parse('S_2', 'SHOW LISTS'), frontend.describe('S', 'S_2'), frontend.sync());
  for (const formats of [[], [0, 1]]) {
    const answer = await client.ask(
      frontend.bindFormats('', 'S_2', formats),
      frontend.execute(''),
      frontend.sync(),
    );
    expect(answer.types).toMatch(/^2D{14}CZ$/);
  }
});

test('psycopg 3: BEGIN as a simple query, a pipeline, prepared statements in binary, and DEALLOCATE', async () => {
  await using client = await console_();
  expect(await client.query('BEGIN')).toMatchObject({ types: 'CZ', tags: ['BEGIN'], status: 'T' });
  const prepared = await client.ask(frontend.parse('_pg3_0', 'SHOW LISTS'), frontend.sync());
  expect(prepared).toMatchObject({ types: '1Z', status: 'T' });
  const bound = await client.ask(
    ...[frontend.bindFormats('', '_pg3_0', [1]), frontend.describe('P', ''), frontend.execute('')],
    frontend.sync(),
  );
  expect(bound.types).toMatch(/^2TD{14}CZ$/);
  expect(await client.query('DEALLOCATE _pg3_0')).toMatchObject({ tags: ['DEALLOCATE'] });
  const failed = await client.ask(...unkept('SHOW nothing'));
  expect(failed).toMatchObject({ types: 'EZ', status: 'E' });
  expect((await client.query('SHOW STATE')).errors[0]).toMatchObject({ C: '25P02' });
  expect(await client.query('ROLLBACK')).toMatchObject({ tags: ['ROLLBACK'], status: 'I' });
  // Nested blocks are savepoints.
  for (const sql of ['BEGIN', 'SAVEPOINT "_pg3_1"']) await client.query(sql);
  await client.query('SHOW nothing');
  const back = await client.query('ROLLBACK TO "_pg3_1"; RELEASE "_pg3_1"');
  expect(back).toMatchObject({ types: 'CCZ', tags: ['ROLLBACK', 'RELEASE'], status: 'T' });
  await client.query('COMMIT');
  // Pipeline mode: an error skips what follows up to the Sync, and what is behind that is answered.
  await client.send(
    ...[frontend.parse('', 'SHOW STATE'), frontend.bind('', ''), frontend.execute('')],
    ...[frontend.parse('', 'SHOW nothing'), frontend.bind('', ''), frontend.execute('')],
    ...[frontend.parse('', 'SHOW LISTS'), frontend.bind('', ''), frontend.execute(''), frontend.sync()],
    ...[frontend.parse('', 'SHOW VERSION'), frontend.bind('', ''), frontend.execute(''), frontend.sync()],
  );
  expect(await client.answer()).toMatchObject({ types: '12DDDCEZ' });
  expect(await client.answer()).toMatchObject({ types: '12DCZ' });
  // TypeInfo.fetch, for a type that is none here.
  const lookup =
    'SELECT typname AS name, oid, typarray AS array_oid FROM pg_type t WHERE t.oid = to_regtype($1)';
  const typeInfo = await client.ask(
    ...[frontend.parse('', lookup), frontend.describe('S', ''), frontend.bindTexts('', '', ['hstore'])],
    ...[frontend.execute(''), frontend.sync()],
  );
  expect(typeInfo).toMatchObject({ types: '1tT2CZ', tags: ['SELECT 0'], errors: [] });
});

test('Npgsql: types in one Query of several statements, results in binary, DISCARD ALL', async () => {
  await using client = await console_();
  // As long as the real one, which takes the types of arrays, ranges and domains apart in nested subqueries.
  const types = await client.query(
    `SELECT version();

SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid
FROM (
    -- ${'Arrays are told by their receive function. '.repeat(100)}
    SELECT typ.oid, typ.typnamespace, typ.typname, typ.typtype, typ.typnotnull,
        CASE WHEN proc.proname='array_recv' THEN typ.typelem END AS elemtypoid
    FROM pg_type AS typ LEFT JOIN pg_class AS cls ON (cls.oid = typ.typrelid)
    LEFT JOIN pg_proc AS proc ON proc.oid = typ.typreceive LEFT JOIN pg_range ON (pg_range.rngtypid = typ.oid)
) AS t JOIN pg_namespace AS ns ON (ns.oid = typnamespace)
WHERE typtype IN ('b', 'r', 'm', 'e', 'd') OR (typtype = 'p' AND typname IN ('record', 'void'))
ORDER BY CASE WHEN typtype = 'b' THEN 0 ELSE 1 END;

-- Load field definitions for (free-standing) composite types
SELECT typ.oid, att.attname, att.atttypid FROM pg_type AS typ JOIN pg_attribute AS att ON (att.attrelid = typ.typrelid)
WHERE typ.typtype = 'c';

-- Load enum fields
SELECT pg_type.oid, enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid=enumtypid ORDER BY oid, enumsortorder;`,
  );
  expect(types).toMatchObject({ types: 'TDCTDDDDDDCTCTCZ', errors: [] });
  expect(types.rows[0]?.[0]).toMatch(/^PostgreSQL 1\.25\.2/);
  expect(types.rows).toContainEqual(['pg_catalog', '23', 'int4', 'b', 'f', null]);
  const answer = await client.ask(...unkept('SHOW STATS', [1]));
  expect(answer.types).toMatch(/^12TD+CZ$/);
  expect(await client.query('DISCARD ALL')).toMatchObject({ tags: ['DISCARD ALL'], status: 'I' });
});

test('lib/pq and pgx, which Grafana uses: pings, a look for an extension, and formats column by column', async () => {
  await using client = await console_();
  expect(await client.query(';')).toMatchObject({ types: 'IZ' });
  expect(await client.query('-- ping')).toMatchObject({ types: 'IZ' });
  expect(await client.query('SELECT 1')).toMatchObject({ rows: [['1']], tags: ['SELECT 1'] });
  const version = "SELECT current_setting('server_version_num')::int/100 as version";
  expect(await client.query(version)).toMatchObject({ rows: [['125']] });
  const extension = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
  expect(await client.query(extension)).toMatchObject({ types: 'TCZ', tags: ['SELECT 0'] });
  const name = 'stmtcache_1';
  expect(
    await client.ask(frontend.parse(name, 'SHOW POOLS'), frontend.describe('S', name), frontend.sync()),
  ).toMatchObject({ types: '1tTZ' });
  const text = Array<number>(2).fill(0);
  const binary = Array<number>(13).fill(1);
  const answer = await client.ask(
    frontend.bindFormats('', name, [...text, ...binary, ...text]),
    ...[frontend.describe('P', ''), frontend.execute(''), frontend.sync()],
  );
  expect(answer.types).toMatch(/^2TD+CZ$/);
  expect(answer.rows[0]?.slice(0, 3)).toEqual(['pgbouncer', 'pgbouncer', '\0\0\0\x01']);
});

test('postgres.js, SQLAlchemy and pgAdmin find what they look for when they connect', async () => {
  await using client = await console_();
  const arrays =
    'select b.oid, b.typarray from pg_catalog.pg_type a left join pg_catalog.pg_type b on b.oid = a.typelem ' +
    "where a.typcategory = 'A' group by b.oid, b.typarray order by b.oid";
  expect(await client.ask(...unkept(arrays))).toMatchObject({ types: '12TCZ', errors: [] });
  for (const sql of [
    'select pg_catalog.version()',
    'select current_schema()',
    'show standard_conforming_strings',
  ]) {
    expect(await client.query(sql)).toMatchObject({ types: 'TDCZ', errors: [] });
  }
  const admin = await client.query(
    "SET DateStyle=ISO; SET client_min_messages=notice; SELECT set_config('bytea_output','hex',false) FROM " +
      "pg_show_all_settings() WHERE name = 'bytea_output'; SET client_encoding='utf-8';",
  );
  expect(admin).toMatchObject({ types: 'CCTCCZ', errors: [] });
  const reset = 'SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;';
  expect(await client.query(reset)).toMatchObject({ types: 'TDCCCCZ', errors: [] });
});

test('a delayed command is answered when it is done, and what follows it in the stretch then', async () => {
  await using client = await console_();
  await using holder = await WireClient.connect(pooler.port, { user: 'ce_app', database: 'postgres' });
  await holder.query('BEGIN');
  await client.send(
    ...[frontend.parse('', 'PAUSE'), frontend.bind('', ''), frontend.execute(''), frontend.sync()],
    frontend.query('SHOW STATE'),
  );
  expect((await client.answerTo('2')).types).toBe('12');
  await waitFor(() => pooler.pooler.standing().isPaused);
  await holder.query('COMMIT');
  expect(await client.answer()).toMatchObject({ types: 'CZ', tags: ['PAUSE'] });
  expect((await client.answer()).rows).toContainEqual(['paused', 'yes']);
  expect(await client.ask(...unkept('RESUME'))).toMatchObject({ types: '12nCZ', tags: ['RESUME'] });
});

test('a user of stats_users may not, over the extended protocol, what it may not over the simple one', async () => {
  await using stats = await startPooler({
    settings: { admin_users: '', stats_users: 'ce_app' },
    userlist: { ce_app: '' },
  });
  await using client = await WireClient.connect(stats.port, { user: 'ce_app', database: 'pgbouncer' });
  for (const command of authorization.keys()) {
    if (command === 'driver' || mayRun('stats', command)) continue;
    const sql = command === 'set' ? 'SET verbose = 2' : command;
    for (const messages of [
      unkept(sql),
      [frontend.parse('s', sql), frontend.describe('S', 's'), frontend.sync()],
    ]) {
      const { types, errors } = await client.ask(...messages);
      expect([sql, types, errors[0]?.['M'], errors[0]?.['C']]).toEqual([
        sql,
        'EZ',
        'admin access needed',
        '08P01',
      ]);
    }
  }
  expect(await client.ask(...unkept('SHOW POOLS'))).toMatchObject({ errors: [] });
  expect(stats.hasExited).toBe(false);
});
