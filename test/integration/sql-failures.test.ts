import { expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { type Answer, unnamed } from '../support/wire-client.ts';
import { runNamed, WireStage } from '../support/wire-stage.ts';
import { poolRow } from '../support/backends.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'sql_failures_app';
const { flush, parse, query, sync } = frontend;

const stage = new WireStage(
  ROLE,
  { default_pool_size: 1 },
  {
    tables: [
      'DROP TABLE IF EXISTS changing, late',
      'CREATE TABLE changing (a int)',
      'CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)',
      `ALTER TABLE changing OWNER TO ${ROLE}`,
    ],
  },
);
const connect = () => stage.connect({});
const codes = ({ errors }: Answer) => errors.map(({ C }) => C);

test.each([
  ['cannot use any more', '0A000', 'ALTER TABLE changing ADD b int'],
  ['has lost', '26000', "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"],
])('what the server %s is refused to EXECUTE once, and is there again afterwards', async (_how, code, spoils) => {
  for (const ask of [
    [query('EXECUTE a')],
    [unnamed('EXECUTE a'), sync()],
    [query('EXECUTE a; DEALLOCATE a')],
  ]) {
    const [client, other] = [await connect(), await connect()];
    await stage.direct.rows('ALTER TABLE changing DROP COLUMN IF EXISTS b');
    await client.query('PREPARE a AS SELECT * FROM changing');
    await other.query(spoils);
    expect(codes(await client.ask(...ask))).toEqual([code]);
    expect(codes(await client.ask(...ask))).toEqual([]);
    await Promise.all([client.end(), other.end()]);
  }
});

test('what is prepared or dropped by a Query whose transaction fails at its end is nobody else’s trouble', async () => {
  const [client, other] = [await connect(), await connect()];
  const fails = 'INSERT INTO late VALUES (1), (1)';
  expect(codes(await client.query(`${fails}; PREPARE a AS SELECT 1`))).toEqual(['23505']);
  expect(codes(await other.query('PREPARE b AS SELECT 1'))).toEqual([]);
  await client.query('PREPARE c AS SELECT 1');
  expect(codes(await client.query(`${fails}; DEALLOCATE c`))).toEqual(['23505']);
  expect(await other.value('EXECUTE b')).toBe('1');
});

test('what a text prepares that is too long to be read stays with nobody', async () => {
  const [client, other] = [await connect(), await connect()];
  const bytes = query(`SELECT '${'x'.repeat(100_000)}'; PREPARE foo AS SELECT 'leaked'`);
  await client.send(bytes.subarray(0, 1000));
  await waitFor(async () => (await poolRow(stage.pooler, ROLE, ROLE))?.['sv_active'] === 1);
  await client.send(bytes.subarray(1000));
  expect((await client.answer()).tags).toEqual(['SELECT 1', 'PREPARE']);
  expect(codes(await other.query('EXECUTE foo'))).toEqual(['26000']);
});

test('what the server has lost is sent anew, also when its text is parsed behind the failure in its stretch', async () => {
  const [client, other] = [await connect(), await connect()];
  await client.ask(parse('a', 'SELECT 1'), sync());
  await other.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
  await client.send(runNamed('a'), flush());
  expect(codes(await client.answerTo('E'))).toEqual(['26000']);
  await client.ask(parse('b', 'SELECT 1'), sync());
  const { errors, rows } = await client.ask(runNamed('a'), sync());
  expect([errors, rows]).toEqual([[], [['1']]]);
});
