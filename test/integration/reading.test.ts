import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { frontend, int16, message } from '../support/peer-messages.ts';
import { bound, latin1, prepareLatin1, ReadingStage, shown, told } from '../support/reading-stage.ts';
import { type Answer, unnamed, type WireClient } from '../support/wire-client.ts';

const ROLE = 'reading_app';
const { bindTexts, describe: describing, execute, query, sync } = frontend;

let stage: ReadingStage;
const connect: ReadingStage['connect'] = (...given) => stage.connect(...given);

beforeAll(() => ReadingStage.prepare(ROLE));
beforeEach(async () => {
  stage = await ReadingStage.open(ROLE);
});
afterEach(() => stage[Symbol.asyncDispose]());

/** What a client prepares as `a` while its parameter is `before`, and uses when it is `after`. */
interface Case {
  readonly parameter: string;
  readonly before: string;
  readonly after: string;
  /** Its bytes. */
  readonly sql: Buffer;
}

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
  { parameter: 'client_encoding', before: 'UTF8', after: 'SJIS', sql: latin1(String.raw`SELECT E'it\'s'`) },
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

test.each(
  Object.entries(PREPARE),
)('a client that reads otherwise by now does not decide for others what is read anew, prepared %s', async (_by, prepare) => {
  const [client, other, direct] = [await connect(), await connect(), await connect('server')];
  await direct.rows('DROP TABLE IF EXISTS changing');
  await direct.rows('CREATE TABLE changing AS SELECT 1 AS n');
  for (const each of [client, other, direct]) {
    await each.rows("SET DateStyle = 'ISO, DMY'");
    await each.ask(...prepare(latin1("SELECT '01/02/2003'::date FROM changing")));
  }
  const run = async (who: WireClient) => (await who.ask(...bound, sync())).rows;
  expect(await run(client)).toEqual([['2003-02-01']]);
  for (const each of [other, direct]) await each.rows("SET DateStyle = 'ISO, MDY'");
  await direct.rows('ANALYZE changing');
  // Now PostgreSQL reads the constant again.
  expect(await run(direct)).toEqual([['2003-01-02']]);
  expect(await run(other)).toEqual([['2003-01-02']]);
  expect(await run(client)).toEqual([['2003-02-01']]);
  expect(await run(client)).toEqual([['2003-02-01']]);
  // It is prepared once more for each who reads otherwise than the one before, and for nobody else.
  const prepared = async () => (await client.rows('SELECT prepare_time FROM pg_prepared_statements'))[0];
  const then = await prepared();
  await run(client);
  expect(await prepared()).toEqual(then);
  await run(other);
  await run(other);
  expect(await prepared()).toEqual(then);
  await run(client);
  expect(await prepared()).not.toEqual(then);
});
