import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { type Answer, unnamed, WireClient } from '../support/wire-client.ts';

const ROLE = 'reading_app';
const { bindTexts, describe: describing, execute, query, sync } = frontend;

let pooler: LocalPooler;
const clients: WireClient[] = [];

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), ROLE, ROLE);
});
beforeEach(async () => {
  pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 2 },
    userlist: { [ROLE]: '' },
    databases: { [ROLE]: '', set: `dbname=${ROLE} connect_query='SET IntervalStyle = sql_standard'` },
  });
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.peer.close();
  await pooler[Symbol.asyncDispose]();
});

async function connect(
  to: 'pooler' | 'server' = 'pooler',
  database = ROLE,
  given: Readonly<Record<string, string>> = {},
): Promise<WireClient> {
  const address = to === 'pooler' ? pooler.port : sharedPostgres();
  const client = await WireClient.connect(address, { user: ROLE, database, ...given });
  clients.push(client);
  return client;
}

/** What a client prepares as `a` while its parameter is `before`, and uses when it is `after`. */
interface Case {
  readonly parameter: string;
  readonly before: string;
  readonly after: string;
  /** Its bytes. */
  readonly sql: Buffer;
}

const shown = (sql: string) => `SELECT encode(convert_to('${sql}', 'UTF8'), 'hex')`;
const latin1 = (sql: string) => Buffer.from(sql, 'latin1');
const utf8 = (sql: string) => Buffer.from(sql, 'utf8');
/** With € as WIN1252 has it. */
const win1252 = (sql: string) => Buffer.from(sql.replaceAll('€', '\x80'), 'latin1');

const ENCODINGS: Case[] = [
  { parameter: 'client_encoding', before: 'LATIN1', after: 'UTF8', sql: latin1(shown('ä')) },
  { parameter: 'client_encoding', before: 'UTF8', after: 'LATIN1', sql: utf8(shown('ä')) },
  { parameter: 'client_encoding', before: 'UTF8', after: 'LATIN1', sql: utf8(shown('ä€')) },
  { parameter: 'client_encoding', before: 'WIN1252', after: 'UTF8', sql: win1252(shown('ä€')) },
  { parameter: 'client_encoding', before: 'UTF8', after: 'WIN1252', sql: utf8(shown('ä€')) },
  { parameter: 'client_encoding', before: 'WIN1252', after: 'LATIN1', sql: win1252(shown('ä€')) },
];
const OTHERS: Case[] = [
  {
    parameter: 'standard_conforming_strings',
    before: 'off',
    after: 'on',
    sql: latin1(String.raw`SELECT 'a\'b\\c'`),
  },
  {
    parameter: 'standard_conforming_strings',
    before: 'on',
    after: 'off',
    sql: latin1(String.raw`SELECT 'a\\b'`),
  },
  { parameter: 'standard_conforming_strings', before: 'on', after: 'off', sql: latin1("SELECT U&'abc'") },
  { parameter: 'DateStyle', before: 'ISO, DMY', after: 'ISO, MDY', sql: latin1("SELECT '01/02/2003'::date") },
  {
    parameter: 'DateStyle',
    before: 'ISO, DMY',
    after: 'ISO, MDY',
    sql: latin1('SELECT date $q$01/02/2003$q$'),
  },
  {
    parameter: 'TimeZone',
    before: 'Asia/Tokyo',
    after: '<-03>+03',
    sql: latin1(
      "SELECT '2003-02-01 00:00'::timestamptz = '2003-02-01 00:00Z', '2003-02-01 00:00'::timestamptz",
    ),
  },
  {
    parameter: 'IntervalStyle',
    before: 'sql_standard',
    after: 'postgres',
    sql: latin1("SELECT extract(epoch FROM '-1 2:03:04'::interval)"),
  },
  {
    parameter: 'IntervalStyle',
    before: 'postgres',
    after: 'sql_standard',
    sql: latin1("SELECT extract(epoch FROM '-1 2:03:04'::interval)"),
  },
];
const ALL = [...ENCODINGS, ...OTHERS];
const nameOf = ({ parameter, before, after, sql }: Case) =>
  `${parameter} ${before}, then ${after}: ${sql.toString('latin1')}`;
/** One for each parameter. */
const SOME = ALL.filter(({ parameter }, i) => i === ALL.findIndex((other) => other.parameter === parameter));

const PREPARE: Record<string, (sql: Buffer) => Buffer[]> = {
  'by Parse': (sql) => [message('P', 'a', sql, Buffer.of(0), int16(0)), sync()],
  'by PREPARE': (sql) => [message('Q', latin1('PREPARE a AS '), sql, Buffer.of(0))],
};

const bound = [bindTexts('', 'a', []), describing('P', ''), execute('')];

/** How often ReadyForQuery answers, and what is sent. */
type Step = readonly [number, readonly Buffer[]];

interface Use {
  readonly cases?: readonly Case[];
  readonly steps: (parameter: string) => readonly Step[];
}

/** Ways to use `a`. */
const USE: Record<string, Use> = {
  'by Bind': { cases: ALL, steps: () => [[1, [...bound, sync()]]] },
  'by EXECUTE': { cases: ALL, steps: () => [[1, [query('EXECUTE a')]]] },
  'by EXECUTE in the extended protocol': { steps: () => [[1, [unnamed('EXECUTE a'), sync()]]] },
  'described first': { steps: () => [[1, [describing('S', 'a'), ...bound, sync()]]] },
  'in a transaction that is committed': {
    steps: (parameter) => [
      [1, [query('BEGIN')]],
      [1, [...bound, sync()]],
      [1, [query(`SHOW ${parameter}`)]],
      [1, [query('COMMIT')]],
    ],
  },
  'in a transaction that is rolled back': {
    steps: (parameter) => [
      [1, [query('BEGIN; SAVEPOINT s')]],
      [1, [query('EXECUTE a')]],
      [1, [query(`SHOW ${parameter}`)]],
      [1, [query('ROLLBACK TO s')]],
      [1, [query(`SHOW ${parameter}`)]],
      [1, [query('ROLLBACK')]],
    ],
  },
  'in a transaction begun in the same pipeline': {
    steps: (parameter) => [
      [1, [unnamed('BEGIN'), ...bound, unnamed(`SHOW ${parameter}`), unnamed('COMMIT'), sync()]],
    ],
  },
  'in a pipeline that fails behind it': {
    steps: () => [[2, [...bound, unnamed('SELECT 1/0'), ...bound, sync(), ...bound, sync()]]],
  },
  'in a pipeline that has failed': {
    steps: () => [[2, [unnamed('SELECT 1/0'), ...bound, sync(), ...bound, sync()]]],
  },
  'in a transaction that has failed': {
    steps: () => [
      [1, [query('BEGIN')]],
      [1, [query('SELECT 1/0')]],
      [1, [...bound, sync()]],
      [1, [query('EXECUTE a')]],
      [1, [query('ROLLBACK')]],
      [1, [query('EXECUTE a')]],
    ],
  },
  'where the parameter is changed in the transaction': {
    steps: (parameter) => [
      [1, [query('BEGIN')]],
      [1, [query(`SET LOCAL ${parameter} TO DEFAULT`)]],
      [1, [...bound, sync()]],
      [1, [query(`SHOW ${parameter}`)]],
      [1, [query('COMMIT')]],
    ],
  },
  'where the parameter is changed ahead of it in the pipeline': {
    steps: (parameter) => [
      [
        1,
        [
          unnamed('BEGIN'),
          unnamed(`SET ${parameter} TO DEFAULT`),
          ...bound,
          unnamed(`SHOW ${parameter}`),
          unnamed('ROLLBACK'),
          sync(),
        ],
      ],
    ],
  },
};

/** What the client sees of it all. With `elsewhere`, the statement is used on another server. */
async function story(
  client: WireClient,
  { parameter, before, after, sql }: Case,
  prepare: (sql: Buffer) => Buffer[],
  steps: readonly Step[],
  elsewhere: () => Promise<void> = async () => {},
): Promise<Answer[]> {
  const set = (value: string) => client.query(`SET ${parameter} = '${value}'`);
  const answers = [await set(before), await client.ask(...prepare(sql))];
  await elsewhere();
  answers.push(await set(after));
  for (const [count, bytes] of steps) {
    await client.send(...bytes);
    for (let i = 0; i < count; i++) answers.push(await client.answer());
  }
  answers.push(await client.query(`SHOW ${parameter}`), await client.query('EXECUTE a'));
  return answers;
}

const told = ({ types, rows, tags, errors, parameters, status }: Answer) => ({
  types,
  rows,
  tags,
  errors: errors.map(({ C, M }) => [C, M]),
  parameters,
  status,
});

describe.each(Object.entries(PREPARE))('a statement prepared %s', (_by, prepare) => {
  describe.each(Object.entries(USE))('and used %s', (_use, { cases = SOME, steps }) => {
    test.each(
      cases.map((each) => [nameOf(each), each] as const),
    )('is what it was when it was prepared: %s', async (_name, each) => {
      const [direct, client, other] = [await connect('server'), await connect(), await connect()];
      const requests = steps(each.parameter);
      const expected = await story(direct, each, prepare, requests);
      expect(expected[1]?.errors).toEqual([]);
      const seen = await story(client, each, prepare, requests, async () => {
        await other.query('BEGIN');
      });
      expect(seen.map(told)).toEqual(expected.map(told));
    });
  });
});

const prepareLatin1 = (sql: string) => [message('P', 'a', latin1(sql), Buffer.of(0), int16(0)), sync()];

test('an error in another encoding than the client’s is told in what is ASCII of it', async () => {
  const [client, other] = [await connect(), await connect()];
  await client.rows('CREATE TEMP TABLE "gonä" (n int)');
  await client.rows("SET client_encoding = 'LATIN1'");
  expect((await client.ask(...prepareLatin1('SELECT * FROM "gonä"'))).types).toBe('1Z');
  await client.rows("SET client_encoding = 'UTF8'");
  await other.query('BEGIN');
  for (const bytes of [[...bound, sync()], [query('EXECUTE a')]]) {
    const { errors } = await client.ask(...bytes);
    expect([errors[0]?.['C'], errors[0]?.['M']]).toEqual(['42P01', 'relation "gon?" does not exist']);
  }
  expect(await client.value('SHOW client_encoding')).toBe('UTF8');
});

test('a plan that is out of date is not prepared anew as the session reads now', async () => {
  const client = await connect();
  await client.rows('CREATE TABLE plan (n int)');
  await client.rows('INSERT INTO plan VALUES (1)');
  await client.rows("SET client_encoding = 'LATIN1'");
  expect((await client.ask(...prepareLatin1("SELECT length('ä'), * FROM plan"))).types).toBe('1Z');
  await client.rows("SET client_encoding = 'UTF8'");
  expect((await client.ask(...bound, sync())).rows).toEqual([['1', '1']]);
  await client.rows("ALTER TABLE plan ADD COLUMN more text DEFAULT 'm'");
  expect((await client.ask(...bound, sync())).errors[0]?.['C']).toBe('0A000');
  expect((await client.ask(...bound, sync())).rows).toEqual([['1', '1', 'm']]);
  await client.rows('DROP TABLE plan');
});

test('a value that connect_query has set is the one that the statement was prepared by', async () => {
  const [client, other] = [await connect('pooler', 'set'), await connect('pooler', 'set')];
  const sql = "SELECT extract(hour FROM '-1 2:03:04'::interval)";
  expect((await client.ask(...prepareLatin1(sql))).types).toBe('1Z');
  expect((await client.ask(...bound, sync())).rows).toEqual([['-2']]);
  await other.query('BEGIN');
  await client.rows("SET IntervalStyle = 'postgres'");
  expect((await client.ask(...bound, sync())).rows).toEqual([['-2']]);
  expect((await client.ask(unnamed(sql), sync())).rows).toEqual([['2']]);
});

test('what nothing in a text depends on costs nothing', async () => {
  const [client, other] = [await connect(), await connect()];
  const texts = { a: 'SELECT $1::int + 1', b: "SELECT 'x' || $1" };
  await client.ask(frontend.parse('a', texts.a), frontend.parse('b', texts.b), sync());
  await client.rows("SET client_encoding = 'LATIN1'");
  await other.query('BEGIN');
  await client.rows("SET standard_conforming_strings = 'off'");
  const begun = (name: string) => client.ask(bindTexts('', name, ['1']), execute(''), sync());
  expect((await begun('a')).rows).toEqual([['2']]);
  expect((await begun('b')).rows).toEqual([['x1']]);
  expect(await client.value("SELECT current_setting('pgweir.client_encoding', true)")).toBe(null);
});

test.each([
  'RESET DateStyle',
  'DISCARD ALL',
  'SET DateStyle TO DEFAULT',
])('a statement prepared behind %s in a pipeline is read by what the client gave at its start', async (sql) => {
  const client = await connect('pooler', ROLE, { DateStyle: 'ISO, DMY' });
  const other = await connect();
  await client.rows("SET DateStyle = 'ISO, YMD'");
  await client.send(query(sql), frontend.parse('a', "SELECT '01/02/2003'::date"), sync());
  for (let i = 0; i < 2; i++) expect((await client.answer()).errors).toEqual([]);
  expect((await client.ask(...bound, sync())).rows).toEqual([['2003-02-01']]);
  await other.query('BEGIN');
  expect((await client.ask(...bound, sync())).rows).toEqual([['2003-02-01']]);
});

describe('a statement prepared behind a SET that is not answered yet', () => {
  const dates = "SELECT '01/02/2003'::date";
  const letters = shown('ä');
  const parseDates = frontend.parse('a', dates);
  const set = (value: string) => `SET DateStyle = 'ISO, ${value}'`;

  test.each<[string, readonly Buffer[], number]>([
    ['in a Query of its own', [query(set('DMY')), parseDates, sync()], 2],
    ['in a Query of its own, as SQL', [query(set('DMY')), query(`PREPARE a AS ${dates}`)], 2],
    [
      'in a Query of its own, as SQL in the other protocol',
      [query(set('DMY')), unnamed(`PREPARE a AS ${dates}`), sync()],
      2,
    ],
    ['in the same Query', [query(`${set('DMY')}; PREPARE a AS ${dates}`)], 1],
    [
      'in the same stretch, by a name that is taken',
      [frontend.parse('a', 'SELECT 1'), sync(), unnamed(set('DMY')), parseDates, sync()],
      2,
    ],
    ['in a Query that changes it once more', [query(`PREPARE a AS ${dates}; ${set('DMY')}`)], 1],
    ['in an earlier stretch', [unnamed(set('DMY')), sync(), parseDates, sync()], 2],
    ['in the same stretch', [unnamed(set('DMY')), parseDates, sync()], 1],
    ['in the same stretch, as SQL', [unnamed(set('DMY')), unnamed(`PREPARE a AS ${dates}`), sync()], 1],
    [
      'in the same stretch, by name',
      [frontend.parse('s', set('DMY')), bindTexts('', 's', []), execute(''), parseDates, sync()],
      1,
    ],
    ['in the same stretch, as the value was before', [unnamed(set('MDY')), parseDates, sync()], 1],
    [
      'in the same transaction',
      [unnamed('BEGIN'), unnamed(`SET LOCAL${set('DMY').slice(3)}`), parseDates, sync(), query('COMMIT')],
      2,
    ],
    ['as RESET', [query(set('DMY')), query('RESET DateStyle'), parseDates, sync()], 3],
    ['of the encoding', [query("SET client_encoding = 'LATIN1'"), ...prepareLatin1(letters)], 2],
    [
      'of the encoding, in the same stretch',
      [unnamed("SET client_encoding = 'LATIN1'"), ...prepareLatin1(letters)],
      1,
    ],
    [
      'of the encoding, in the same Query',
      [query(`SET client_encoding = 'LATIN1'; PREPARE a AS ${letters}`)],
      1,
    ],
  ])('is read by what it has set: %s', async (_where, bytes, count) => {
    const [direct, client, other] = [await connect('server'), await connect(), await connect()];
    const seen: Answer[][] = [];
    for (const each of [direct, client]) {
      await each.rows("SET DateStyle = 'ISO, MDY'");
      await each.send(...bytes);
      const answers = [];
      for (let i = 0; i < count; i++) answers.push(await each.answer());
      if (each === client) await other.query('BEGIN');
      answers.push(
        await each.query("SET DateStyle = 'ISO, YMD'"),
        await each.query("SET client_encoding = 'UTF8'"),
      );
      answers.push(await each.ask(...bound, sync()), await each.query('SHOW DateStyle'));
      seen.push(answers);
    }
    expect(seen[1]?.map(told)).toEqual(seen[0]?.map(told));
  });

  test.each<[string, readonly Buffer[], number]>([
    ['it fails', [unnamed(set('DMY')), parseDates, unnamed('SELECT 1/0'), sync()], 1],
    [
      'it is rolled back',
      [unnamed('BEGIN'), unnamed(set('DMY')), parseDates, unnamed('ROLLBACK'), sync()],
      1,
    ],
    ['it ends with its transaction', [unnamed(`SET LOCAL${set('DMY').slice(3)}`), parseDates, sync()], 1],
    ['another follows', [unnamed(set('DMY')), parseDates, unnamed(set('MDY')), sync()], 1],
  ])('is refused by other servers where nothing tells how it was read: %s', async (_why, bytes, count) => {
    const [client, other] = [await connect(), await connect()];
    await client.rows("SET DateStyle = 'ISO, MDY'");
    await client.send(...bytes);
    for (let i = 0; i < count; i++) await client.answer();
    expect((await client.ask(...bound, sync())).rows).toEqual([['2003-02-01']]);
    await other.query('BEGIN');
    const { errors } = await client.ask(...bound, sync());
    expect([errors[0]?.['C'], errors[0]?.['M']]).toEqual([
      '22023',
      'invalid value for parameter "DateStyle": "not known when the statement was prepared"',
    ]);
    expect(await client.value('SHOW DateStyle')).toBe('ISO, MDY');
    await other.query('COMMIT');
    // One that reads otherwise has not got it.
    await other.rows("SET DateStyle = 'ISO, MDY'");
    for (let i = 0; i < 2; i++) {
      expect(
        (await other.ask(frontend.parse(`a${i}`, dates), bindTexts('', `a${i}`, []), execute(''), sync()))
          .rows,
      ).toEqual([['2003-01-02']]);
    }
  });
});
