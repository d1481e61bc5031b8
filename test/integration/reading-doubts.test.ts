import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { bound, prepareLatin1, ReadingStage, shown, told } from '../support/reading-stage.ts';
import { type Answer, unnamed, type WireClient } from '../support/wire-client.ts';

const ROLE = 'reading_doubts_app';
const { bind, bindTexts, execute, parse, query, sync } = frontend;

let stage: ReadingStage;
const connect: ReadingStage['connect'] = (...given) => stage.connect(...given);

beforeAll(() => ReadingStage.prepare(ROLE));
beforeEach(async () => {
  stage = await ReadingStage.open(ROLE);
});
afterEach(() => stage[Symbol.asyncDispose]());

const dates = "SELECT '01/02/2003'::date";
const parseDates = parse('a', dates);
const set = (value: string) => `SET DateStyle = 'ISO, ${value}'`;
const setLocal = (value: string) => `SET LOCAL DateStyle = 'ISO, ${value}'`;

/** What is the same text says to a client that reads so, on the server that it meets: nobody else's is shared. */
async function expectOwn(client: WireClient): Promise<void> {
  for (const [value, date] of [
    ['MDY', '2003-01-02'],
    ['DMY', '2003-02-01'],
  ] as const) {
    await client.rows(set(value));
    const { rows } = await client.ask(parse(value, dates), bindTexts('', value, []), execute(''), sync());
    expect(rows).toEqual([[date]]);
  }
}

test.each([
  'RESET DateStyle',
  'DISCARD ALL',
  'SET DateStyle TO DEFAULT',
])('a statement prepared behind %s in a pipeline is read by what the client gave at its start', async (sql) => {
  const client = await connect('pooler', ROLE, { DateStyle: 'ISO, DMY' });
  const other = await connect();
  await client.rows("SET DateStyle = 'ISO, YMD'");
  await client.send(query(sql), parse('a', "SELECT '01/02/2003'::date"), sync());
  for (let i = 0; i < 2; i++) expect((await client.answer()).errors).toEqual([]);
  expect((await client.ask(...bound, sync())).rows).toEqual([['2003-02-01']]);
  await other.query('BEGIN');
  expect((await client.ask(...bound, sync())).rows).toEqual([['2003-02-01']]);
});

describe('a statement prepared behind a SET that is not answered yet', () => {
  const letters = shown('ä');

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
      [parse('a', 'SELECT 1'), sync(), unnamed(set('DMY')), parseDates, sync()],
      2,
    ],
    ['in a Query that changes it once more', [query(`PREPARE a AS ${dates}; ${set('DMY')}`)], 1],
    ['in an earlier stretch', [unnamed(set('DMY')), sync(), parseDates, sync()], 2],
    ['in the same stretch', [unnamed(set('DMY')), parseDates, sync()], 1],
    ['in the same stretch, as SQL', [unnamed(set('DMY')), unnamed(`PREPARE a AS ${dates}`), sync()], 1],
    [
      'in the same stretch, by name',
      [parse('s', set('DMY')), bindTexts('', 's', []), execute(''), parseDates, sync()],
      1,
    ],
    ['in the same stretch, as the value was before', [unnamed(set('MDY')), parseDates, sync()], 1],
    [
      'in the same transaction',
      [unnamed('BEGIN'), unnamed(setLocal('DMY')), parseDates, sync(), query('COMMIT')],
      2,
    ],
    [
      'in the same stretch, parsed ahead of it',
      [
        query('BEGIN'),
        parse('', set('DMY')),
        sync(),
        bind('', ''),
        execute(''),
        parseDates,
        sync(),
        query('END'),
      ],
      4,
    ],
    [
      'in the same stretch, as a portal made ahead of it',
      [
        query('BEGIN'),
        parse('', set('DMY')),
        bind('p', ''),
        sync(),
        execute('p'),
        parseDates,
        sync(),
        query('END'),
      ],
      4,
    ],
    [
      'in the same stretch, as a portal of a name made ahead of it',
      [
        ...[query('BEGIN'), parse('s', set('DMY')), bind('p', 's'), sync()],
        ...[execute('p'), parseDates, sync(), query('END')],
      ],
      4,
    ],
    [
      'in the same stretch, as DISCARD ALL',
      [query(set('DMY')), unnamed('DISCARD ALL'), parseDates, sync()],
      2,
    ],
    [
      'in a stretch that another follows',
      [unnamed(set('DMY')), parseDates, sync(), unnamed(set('MDY')), sync()],
      2,
    ],
    [
      'in a transaction that is committed in the same stretch',
      [unnamed('BEGIN'), unnamed(set('DMY')), parseDates, unnamed('COMMIT'), sync()],
      1,
    ],
    [
      'behind an error',
      [parse('x', 'SELECT 1'), unnamed('SELECT 1/0'), sync(), unnamed(set('DMY')), parseDates, sync()],
      2,
    ],
    [
      'executed ahead of a PREPARE that was parsed before',
      [
        ...[query('BEGIN'), parse('s', set('DMY')), parse('', `PREPARE a AS ${dates}`), sync()],
        ...[bind('', 's'), execute(''), bind('', ''), execute(''), sync(), query('END')],
      ],
      4,
    ],
    [
      'executed in a stretch ahead of a PREPARE that was parsed before',
      [
        ...[query('BEGIN'), parse('s', set('DMY')), parse('', `PREPARE a AS ${dates}`), sync()],
        ...[bind('', 's'), execute(''), sync(), bind('', ''), execute(''), sync(), query('END')],
      ],
      5,
    ],
    [
      'at the end of a text too long to be read',
      [query(`SELECT length('${'x'.repeat(2 ** 20)}'); ${set('DMY')}`), parseDates, sync()],
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
    ['it ends with its transaction', [unnamed(setLocal('DMY')), parseDates, sync()], 1],
    [
      'it ends with its transaction, and another begins',
      [
        unnamed('BEGIN'),
        unnamed(setLocal('DMY')),
        parseDates,
        unnamed('COMMIT'),
        unnamed('BEGIN'),
        sync(),
        query('END'),
      ],
      2,
    ],
    [
      'it ends with its transaction, and another begins, in one Query',
      [query(`BEGIN; ${setLocal('DMY')}; PREPARE a AS ${dates}; COMMIT; BEGIN`), query('END')],
      2,
    ],
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
    // The name is taken all the same.
    for (const again of [
      query('PREPARE a AS SELECT 1'),
      Buffer.concat([unnamed('PREPARE a AS SELECT 1'), sync()]),
    ]) {
      expect((await client.ask(again)).errors.map(({ C, M }) => [C, M])).toEqual([
        ['42P05', 'prepared statement "a" already exists'],
      ]);
    }
    await other.query('COMMIT');
    // One that reads otherwise has not got it.
    await other.rows("SET DateStyle = 'ISO, MDY'");
    for (let i = 0; i < 2; i++) {
      expect(
        (await other.ask(parse(`a${i}`, dates), bindTexts('', `a${i}`, []), execute(''), sync())).rows,
      ).toEqual([['2003-01-02']]);
    }
  });
});

describe('a statement prepared behind the end of a transaction that is not answered yet', () => {
  test.each<[string, readonly string[], readonly Buffer[], number]>([
    ['rolled back in a Query', [set('DMY')], [query('ROLLBACK'), parseDates, sync()], 2],
    ['rolled back in an earlier stretch', [set('DMY')], [unnamed('ROLLBACK'), sync(), parseDates, sync()], 2],
    ['rolled back in the same stretch', [set('DMY')], [unnamed('ABORT'), parseDates, sync()], 1],
    ['rolled back in the same Query', [set('DMY')], [query(`ROLLBACK; PREPARE a AS ${dates}`)], 1],
    [
      'rolled back to a savepoint',
      ['SAVEPOINT s', set('DMY')],
      [unnamed('ROLLBACK TO s'), parseDates, sync(), query('END')],
      2,
    ],
    [
      'rolled back to a savepoint, where nothing was seen to change',
      [`${set('DMY')}; SAVEPOINT s; ${set('MDY')}`],
      [unnamed('ROLLBACK TO s'), parseDates, sync(), query('END')],
      2,
    ],
    [
      'rolled back behind an error',
      [set('DMY')],
      [query('SELECT 1/0'), query('ROLLBACK'), parseDates, sync()],
      3,
    ],
    ['committed, where it was LOCAL', [setLocal('DMY')], [unnamed('COMMIT'), parseDates, sync()], 1],
    ['committed by name', [setLocal('DMY')], [bind('', 'commit'), execute(''), parseDates, sync()], 1],
    ['committed in the same Query', [setLocal('DMY')], [query(`END; PREPARE a AS ${dates}`)], 1],
    [
      'committed, where a function has set it',
      ["SELECT set_config('DateStyle', 'ISO, DMY', true)"],
      [unnamed('COMMIT'), parseDates, sync()],
      1,
    ],
    [
      'committed in vain',
      [
        'CREATE TEMP TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP',
        'INSERT INTO t VALUES (1), (1)',
        set('DMY'),
      ],
      [query('COMMIT'), parseDates, sync()],
      2,
    ],
  ])('is read by what that leaves: %s', async (_how, begun, bytes, count) => {
    const [direct, client, other] = [await connect('server'), await connect(), await connect()];
    const seen: Answer[][] = [];
    for (const each of [direct, client]) {
      await each.rows(set('MDY'));
      await each.ask(parse('commit', 'COMMIT'), sync());
      await each.rows('BEGIN');
      for (const sql of begun) await each.rows(sql);
      await each.send(...bytes);
      const answers = [];
      for (let i = 0; i < count; i++) answers.push(await each.answer());
      if (each === client) await other.query('BEGIN');
      answers.push(await each.query(set('YMD')), await each.ask(...bound, sync()));
      seen.push(answers);
    }
    expect(seen[1]?.map(told)).toEqual(seen[0]?.map(told));
    await expectOwn(other);
  });
});

test('a client that prepares amid a COPY whose end would tell how that is read is refused, not waited for', async () => {
  const [client, other] = [await connect(), await connect()];
  await client.rows('CREATE TABLE copied (n int)');
  await client.send(query(`${set('DMY')}; COPY copied FROM STDIN`), parseDates, sync());
  const told = [await client.answerTo('E'), await client.answerTo('E')].flatMap(({ errors }) => errors);
  expect(told.map((error) => [error['S'], error['C'], error['M']])).toEqual([
    ['ERROR', '08P01', 'unexpected message type 0x50 during COPY from stdin'],
    ['FATAL', '08P01', 'terminating connection because protocol synchronization was lost'],
  ]);
  await client.peer.end();
  await other.rows('DROP TABLE copied');
});
