import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { bound, prepareLatin1, ReadingStage, told } from '../support/reading-stage.ts';
import { unnamed, type WireClient } from '../support/wire-client.ts';

const ROLE = 'reading_anew_app';
const { bindTexts, execute, parse, query, sync } = frontend;

let stage: ReadingStage;
const connect: ReadingStage['connect'] = (...given) => stage.connect(...given);

beforeAll(() => ReadingStage.prepare(ROLE));
beforeEach(async () => {
  stage = await ReadingStage.open(ROLE);
});
afterEach(() => stage[Symbol.asyncDispose]());

/** Two clients and one on PostgreSQL itself, who have prepared `sql` as `a` alike; by `PREPARE` where it is a query. */
async function alike(sql: string): Promise<readonly [WireClient, WireClient, WireClient]> {
  const all = [await connect(), await connect(), await connect('server')] as const;
  await all[2].rows('DROP TABLE IF EXISTS changing');
  await all[2].rows('CREATE TABLE changing AS SELECT 1 AS n');
  for (const each of all) {
    await each.rows("SET DateStyle = 'ISO, DMY'");
    await each.ask(...prepareLatin1(sql));
  }
  return all;
}

test('who executes a portal of EXECUTE behind a SET does not decide for others', async () => {
  const [client, other, direct] = await alike("SELECT '01/02/2003'::date FROM changing");
  const run = async (who: WireClient) => (await who.ask(...bound, sync())).rows;
  expect(await run(client)).toEqual([['2003-02-01']]);
  await other.ask(query('BEGIN'));
  await other.ask(parse('', 'EXECUTE a'), sync());
  await other.ask(parse('s', "SET DateStyle = 'ISO, MDY'"), bindTexts('', 's', []), execute(''), sync());
  await direct.rows('ANALYZE changing');
  expect((await other.ask(bindTexts('', '', []), execute(''), sync())).rows).toEqual([['2003-01-02']]);
  await other.ask(query('COMMIT'));
  expect(await run(client)).toEqual([['2003-02-01']]);
});

test('nor does who has bound it before the SET', async () => {
  const [client, other, direct] = await alike("SELECT '01/02/2003'::date FROM changing");
  const run = async (who: WireClient) => (await who.ask(...bound, sync())).rows;
  expect(await run(client)).toEqual([['2003-02-01']]);
  await other.ask(query('BEGIN'));
  await other.ask(parse('', 'EXECUTE a'), bindTexts('p', '', []), sync());
  await other.ask(parse('s', "SET DateStyle = 'ISO, MDY'"), bindTexts('', 's', []), execute(''), sync());
  await direct.rows('ANALYZE changing');
  expect((await other.ask(execute('p'), sync())).rows).toEqual([['2003-01-02']]);
  await other.ask(query('COMMIT'));
  expect(await run(client)).toEqual([['2003-02-01']]);
});

test('in one Query a SET ahead of EXECUTE counts', async () => {
  const [client, other, direct] = await alike("SELECT '01/02/2003'::date FROM changing");
  const run = async (who: WireClient) => (await who.ask(...bound, sync())).rows;
  expect(await run(client)).toEqual([['2003-02-01']]);
  await direct.rows('ANALYZE changing');
  expect((await other.ask(query("BEGIN; SET LOCAL DateStyle = 'ISO, MDY'; EXECUTE a; COMMIT"))).rows).toEqual(
    [['2003-01-02']],
  );
  expect(await run(client)).toEqual([['2003-02-01']]);
});

test('what is skipped leaves it as the last one has read it', async () => {
  const [client, other, direct] = await alike("SELECT '01/02/2003'::date FROM changing");
  const plain = [bindTexts('', 'a', []), execute('')];
  const run = async (who: WireClient) => (await who.ask(...plain, sync())).rows;
  expect(await run(client)).toEqual([['2003-02-01']]);
  await other.rows("SET DateStyle = 'ISO, MDY'");
  await direct.rows('ANALYZE changing');
  expect(await run(other)).toEqual([['2003-01-02']]);
  await client.send(unnamed('SELECT 1/0'), frontend.flush());
  await client.answerTo('E');
  await client.ask(...plain, sync());
  expect(await run(client)).toEqual([['2003-02-01']]);
});

test('a pipeline that fails ahead of it leaves it as the last one has read it', async () => {
  const [client, other, direct] = await alike("SELECT '01/02/2003'::date FROM changing");
  const run = async (who: WireClient) => (await who.ask(...bound, sync())).rows;
  expect(await run(client)).toEqual([['2003-02-01']]);
  await other.rows("SET DateStyle = 'ISO, MDY'");
  await direct.rows('ANALYZE changing');
  expect(await run(other)).toEqual([['2003-01-02']]);
  await client.ask(unnamed('SELECT 1/0'), ...bound, ...bound, sync());
  expect(await run(client)).toEqual([['2003-02-01']]);
});

test.each([
  ["ROLLBACK /* it's over */", ['BEGIN', 'SELECT 1/0']],
  ["-- 'x'\nCOMMIT", ['BEGIN', 'SELECT 1/0']],
  ["BEGIN ISOLATION LEVEL SERIALIZABLE /* it's on */", []],
  ["VACUUM (PARALLEL 0) changing -- 'x'", []],
])('what has no constants to be read anew runs as it is, whoever ran it before: %s', async (sql, ahead) => {
  const [client, other, direct] = await alike(sql);
  const run = async (who: WireClient) => {
    for (const text of ahead) await who.ask(query(text));
    const answer = told(await who.ask(bindTexts('', 'a', []), execute(''), sync()));
    await who.ask(query('ROLLBACK'));
    return answer;
  };
  for (const [who, style] of [
    [client, 'ISO, MDY'],
    [other, 'ISO, YMD'],
    [client, 'ISO, MDY'],
  ] as const) {
    for (const each of [who, direct]) await each.rows(`SET DateStyle = '${style}'`);
    expect(await run(who)).toEqual(await run(direct));
  }
});

test.each([
  ["SET standard_conforming_strings = 'off'", String.raw`SELECT 'a\\b'`],
  ["SET client_encoding = 'LATIN1'", "SELECT 'ä'"],
])('behind %s in its stretch PREPARE without a name gives its name, or finds it taken', async (set, sql) => {
  const client = await connect();
  const direct = await connect('server');
  const prepared = [unnamed(set), unnamed(`PREPARE b AS ${sql}`), sync()];
  for (const types of ['12C12CZ', '12C12EZ']) {
    const [got, expected] = [await client.ask(...prepared), await direct.ask(...prepared)];
    expect([got.types.replaceAll('S', ''), expected.types.replaceAll('S', '')]).toEqual([types, types]);
    expect(got.errors.map(({ C, M }) => [C, M])).toEqual(expected.errors.map(({ C, M }) => [C, M]));
    const rows = (await direct.ask(query('EXECUTE b'))).rows;
    expect((await client.ask(query('EXECUTE b'))).rows).toEqual(rows);
    expect(rows).toHaveLength(1);
  }
});
