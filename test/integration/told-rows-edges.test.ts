import { expect, test } from 'vitest';
import { frontend, int16, int32, message } from '../support/peer-messages.ts';
import { waitFor } from '../support/wait-for.ts';
import { type Answer, unnamed, type WireClient } from '../support/wire-client.ts';
import { describedRun, ITEMS, runNamed, WireStage } from '../support/wire-stage.ts';

const ROLE = 'told_edges';
const { parse, bindTexts, describe: describing, execute, sync, close, query } = frontend;

const stage = new WireStage(ROLE, { default_pool_size: 2 }, { tables: ITEMS });
const connect = (parameters: Readonly<Record<string, string>> = {}) => stage.connect(parameters);

const ALL = 'SELECT * FROM items';
const alter = () => stage.direct.rows('ALTER TABLE items ADD more int DEFAULT 7');

async function told(): Promise<WireClient> {
  const client = await connect();
  expect((await client.ask(parse('a', ALL), describing('S', 'a'), sync())).types).toContain('T');
  return client;
}

function outcome({ types, rows, errors }: Answer): unknown {
  return errors.length > 0 ? [types, errors.map(({ C, M }) => `${C} ${M}`)] : [types, rows];
}

const REFUSED = ['EZ', ['0A000 cached plan must not change result type']];
const AS_TOLD = ['2DCZ', [['1', 'one']]];

/** {@link ROLE}'s tables `own` of two schemas, whose rows are of different types. */
async function schemas(): Promise<void> {
  await stage.direct.rows('DROP SCHEMA IF EXISTS one CASCADE; DROP SCHEMA IF EXISTS two CASCADE');
  await stage.direct.rows('CREATE SCHEMA one; CREATE TABLE one.own AS SELECT 1::int AS id');
  await stage.direct.rows("CREATE SCHEMA two; CREATE TABLE two.own AS SELECT 'x'::text AS id, 2 AS more");
}

const OWN = 'SELECT * FROM own';

/** Portal `p` of statement `a`, in a transaction. */
async function open(client: WireClient, sql: string): Promise<void> {
  expect((await client.ask(parse('a', sql), bindTexts('p', 'a', []), sync())).types).toBe('12Z');
}

test('a portal is described as PostgreSQL does it, whatever has become of its tables since', async () => {
  await schemas();
  for (const client of [stage.direct, await connect()]) {
    await client.query('BEGIN; SET LOCAL search_path = one');
    await open(client, OWN);
    await client.query('SET LOCAL search_path = two');
    expect(outcome(await client.ask(describing('P', 'p'), execute('p'), sync()))).toEqual(['TDCZ', [['1']]]);
    expect((await client.query('ROLLBACK')).tags).toEqual(['ROLLBACK']);
  }
  await stage.direct.query('DEALLOCATE ALL');
});

test('a portal is described whose statement the server had to forget', async () => {
  await stage.pooler.show('SET max_prepared_statements = 1');
  const client = await connect();
  await client.query('BEGIN');
  await open(client, ALL);
  await client.ask(parse('b', 'SELECT 2'), runNamed('b'), sync());
  const answer = await client.ask(describing('P', 'p'), execute('p'), sync());
  expect(outcome(answer)).toEqual(['TDCZ', [['1', 'one']]]);
});

test('a portal tells of the statement that it was made of, not of the next one of that name', async () => {
  const client = await connect();
  await client.query('BEGIN');
  await open(client, 'SELECT 5');
  await client.ask(close('S', 'a'), parse('a', ALL), describing('S', 'a'), sync());
  await client.ask(describing('P', 'p'), sync());
  await client.query('COMMIT');
  await stage.occupy();
  await alter();
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
});

test('a Bind with too many parameters is refused for that, as by PostgreSQL, not for its rows', async () => {
  const client = await told();
  await stage.occupy();
  await alter();
  const answer = await client.ask(bindTexts('', 'a', ['1', '2']), execute(''), sync());
  const text = '08P01 bind message supplies 2 parameters, but prepared statement "a" requires 0';
  expect(outcome(answer)).toEqual(['EZ', [text]]);
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
});

test('a portal tells of the rows that it has, though its statement has been prepared anew', async () => {
  await schemas();
  const client = await connect();
  await client.query('BEGIN; SET LOCAL search_path = two');
  await client.ask(parse('b', OWN), describing('S', 'b'), sync());
  await client.query('COMMIT');
  await stage.occupy();
  await client.query('BEGIN; SET LOCAL search_path = one');
  await open(client, OWN);
  await client.query('SET LOCAL search_path = two');
  expect(outcome(await client.ask(runNamed('b'), sync()))).toEqual(['2DCZ', [['x', '2']]]);
  expect((await client.ask(describing('P', 'p'), sync())).types).toBe('TZ');
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
});

test.each([
  ['fails', [bindTexts('p', 'b', [])], '42P03'],
  [
    'is skipped',
    [unnamed('SELECT 1/0'), ...Array.from({ length: 3 }, () => bindTexts('p', 'b', []))],
    '22012',
  ],
] as const)('a portal whose name a Bind that %s would have given tells of what it is', async (_, bad, sqlstate) => {
  const prepare = [parse('a', ALL), parse('b', 'SELECT id, name FROM items WHERE id > 0')];
  for (const client of [stage.direct, await connect()]) {
    await client.ask(...prepare, sync());
    await client.query('BEGIN');
    await client.ask(bindTexts('p', 'a', []), sync());
    await client.query('SAVEPOINT before');
    expect((await client.ask(...bad, sync())).errors[0]?.['C']).toBe(sqlstate);
    await client.query('ROLLBACK TO before');
    expect((await client.ask(describing('P', 'p'), sync())).types).toBe('TZ');
    await client.query('COMMIT');
    if (client === stage.direct) {
      await client.query('DEALLOCATE ALL');
      continue;
    }
    await stage.occupy();
    await stage.direct.rows('ALTER TABLE items ALTER id TYPE bigint');
    expect(outcome(await client.ask(runNamed('b'), sync()))).toEqual(AS_TOLD);
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
  }
});

test('with more portals than are known by name, what one of them has told counts as told', async () => {
  const client = await told();
  const release = await stage.occupy();
  await alter();
  await client.query('BEGIN');
  const many = (from: string) => Array.from({ length: 1030 }, (_, i) => bindTexts(`${from}${i}`, 'b', []));
  const others = [parse('b', 'SELECT 2'), ...many('q')];
  const of = [bindTexts('p', 'a', []), describing('P', 'p')];
  expect((await client.ask(...others, ...of, sync())).errors).toEqual([]);
  await client.query('COMMIT');
  await release();
  // It is the last one, and known.
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(['2DCZ', [['1', 'one', '7']]]);
  for (const isBoundInVain of [false, true]) {
    await client.query('BEGIN');
    const lost = [bindTexts('p', 'a', []), ...many('r')];
    expect((await client.ask(...lost, sync())).errors).toEqual([]);
    if (isBoundInVain) {
      await client.query('SAVEPOINT before');
      expect((await client.ask(bindTexts('p', 'b', []), sync())).errors[0]?.['C']).toBe('42P03');
      await client.query('ROLLBACK TO before');
    }
    expect((await client.ask(describing('P', 'p'), sync())).types).toBe('TZ');
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
    await client.query('ROLLBACK');
    await client.ask(describing('S', 'a'), describing('S', 'b'), sync());
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(['2DCZ', [['1', 'one', '7']]]);
  }
});

test('a portal of a statement that SQL has prepared tells of its rows in a later stretch, too', async () => {
  const client = await connect();
  await client.query(`PREPARE a AS ${ALL}`);
  await client.query('BEGIN');
  await client.ask(bindTexts('p', 'a', []), sync());
  expect((await client.ask(describing('P', 'p'), sync())).types).toBe('TZ');
  await client.query('COMMIT');
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_TOLD);
  await stage.occupy();
  await alter();
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
});

test('what a server was asked in a stretch that fails is asked again in the next one', async () => {
  const client = await connect();
  await client.query(`PREPARE a AS ${ALL}`);
  const failing = [execute('none'), bindTexts('', 'a', []), describing('P', ''), sync()];
  await client.send(...failing, describing('S', 'a'), sync());
  expect((await client.answer()).types).toBe('EZ');
  expect((await client.answer()).types).toBe('tTZ');
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_TOLD);
});

test('a portal is described behind a Sync in a COPY that has failed: its Describe names no statement', async () => {
  await stage.direct.rows('DROP TABLE IF EXISTS numbers; CREATE TABLE numbers (n int)');
  const client = await connect();
  await client.ask(parse('a', ALL), sync());
  const { copyData, copyDone } = frontend;
  const copy = [query('COPY numbers FROM STDIN'), copyData('x\n'), sync(), copyDone()];
  await client.send(
    bindTexts('', 'a', ['1']),
    sync(),
    ...copy,
    parse('', 'SELECT 7'),
    describing('P', ''),
    sync(),
  );
  await client.send(query("SELECT 'the end'"));
  for (;;) {
    const { rows } = await client.answer();
    if (rows[0]?.[0] === 'the end') break;
  }
});

test('what gives a name anew and fails leaves it what it was told', async () => {
  for (const requests of [
    [close('S', 'a'), parse('a', ALL), describing('S', 'a')],
    [describing('S', 'a'), close('S', 'a')],
    [bindTexts('', 'a', []), describing('P', ''), describing('S', 'a')],
  ]) {
    const client = await told();
    const release = await stage.occupy();
    await alter();
    const other = await connect();
    await other.ask(parse('b', ALL), runNamed('b'), sync());
    expect((await client.ask(unnamed('SELECT 1/0'), ...requests, sync())).errors[0]?.['C']).toBe('22012');
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
    await release();
    await stage.direct.rows('ALTER TABLE items DROP more');
  }
});

test('a failed transaction that is about to end lets no other rows through', async () => {
  const client = await told();
  await stage.occupy();
  await alter();
  for (const [rollback, answers] of [
    [[query('ROLLBACK')], 2],
    [[unnamed('ROLLBACK'), sync()], 2],
    [[unnamed('ROLLBACK')], 1],
  ] as const) {
    await client.query('BEGIN');
    await client.query('SELECT 1/0');
    await client.send(...rollback, runNamed('a'), sync());
    if (answers === 2) expect((await client.answer()).tags).toEqual(['ROLLBACK']);
    const { types, rows, errors } = await client.answer();
    expect([types, rows, errors[0]?.['C']]).toEqual([answers === 2 ? 'EZ' : '12CEZ', [], '0A000']);
  }
});

test('many uses of a statement, each with its Sync, are all refused', async () => {
  const client = await told();
  await stage.occupy();
  await alter();
  await client.send(...Array.from({ length: 20 }, () => [runNamed('a'), sync()]).flat());
  for (let i = 0; i < 20; i++) expect(outcome(await client.answer()), `${i}`).toEqual(REFUSED);
});

test('a description counts though other portals are bound ahead of it, and only if it is of that name’s', async () => {
  const client = await told();
  const release = await stage.occupy();
  await alter();
  const both = [bindTexts('p', 'a', []), bindTexts('q', 'a', []), describing('P', 'p'), describing('P', 'q')];
  const row = ['1', 'one', '7'];
  const answer = await client.ask(...both, execute('p'), execute('q'), sync());
  expect(outcome(answer)).toEqual(['22TTDCDCZ', [row, row]]);
  await release();
  await stage.direct.rows('ALTER TABLE items DROP more');
  await client.ask(describedRun('a'), sync());
  await stage.occupy();
  await alter();
  const anew = [close('S', 'a'), parse('a', 'SELECT 1'), describing('S', 'a')];
  expect(outcome(await client.ask(bindTexts('', 'a', []), ...anew, execute(''), sync()))).toEqual(REFUSED);
});

test('a broken message behind a Bind is not waited for', async () => {
  const client = await told();
  await stage.occupy();
  await client.send(bindTexts('', 'a', []), message('P', Buffer.from('name')), sync());
  expect((await client.peer.end()).toString('latin1')).toContain('broken Parse packet');
});

test('a Bind of many megabytes is neither held nor looked through for what follows it', async () => {
  const client = await connect();
  await client.ask(parse('a', 'SELECT length($1)'), describing('S', 'a'), sync());
  const big = 'x'.repeat(4 * 1024 * 1024);
  const [, session] = [0, [...stage.pooler.pooler.state.sessions.values()][0]];
  const { budget } = session?.prepared.cache ?? {};
  if (budget === undefined) throw new Error('no session');
  // What a client may hold beyond 64 kB.
  budget.limitBytes = budget.usedBytes + 256 * 1024;
  for (const requests of [
    [runNamed('a', big)],
    [bindTexts('', 'a', ['x']), parse('', `SELECT '${big}'`), execute('')],
  ]) {
    const release = await stage.occupy();
    const { errors, rows } = await client.ask(...requests, sync());
    expect([errors, rows]).toEqual([[], [[`${requests.length === 1 ? big.length : 1}`]]]);
    await release();
    await stage.pooler.show('RECONNECT');
  }
});

test('columns are the same whatever encoding their names are told in', async () => {
  await stage.direct.rows('DROP TABLE IF EXISTS enc; CREATE TABLE enc AS SELECT 1 AS "größe"');
  const client = await connect({ client_encoding: 'UTF8' });
  await client.ask(parse('a', 'SELECT * FROM enc'), describing('S', 'a'), sync());
  await client.query('SET client_encoding = LATIN1');
  const release = await stage.occupy();
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(['2DCZ', [['1']]]);
  await release();
  await stage.direct.rows('ALTER TABLE enc ALTER "größe" TYPE text');
  await stage.pooler.show('RECONNECT');
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
});

test('what the client was told of parameters holds behind a plan that was repaired', async () => {
  const client = await connect();
  await client.ask(parse('a', 'SELECT * FROM items WHERE id = $1'), describing('S', 'a'), sync());
  await alter();
  const repaired = await client.ask(describedRun('a', '1'), sync());
  expect(outcome(repaired)).toEqual(['2TDCZ', [['1', 'one', '7']]]);
  await stage.occupy();
  // As long as an int, and read without complaint.
  await stage.direct.rows('ALTER TABLE items ALTER id TYPE real');
  const binary = message('B', '', 'a', int16(1), int16(1), int16(1), int32(4), int32(1), int16(0));
  expect(outcome(await client.ask(binary, describing('P', ''), execute(''), sync()))).toEqual(REFUSED);
});

test('a client that has sent half of its requests runs no query', async () => {
  const client = await told();
  await stage.occupy();
  const [session] = [...stage.pooler.pooler.state.sessions.values()].filter(({ server }) => server === null);
  await client.send(bindTexts('', 'a', []));
  const isIdle = () => session?.server === null && session.queryStartMs === 0 && session.xactStartMs === 0;
  await waitFor(() => (session?.heldBytes ?? 0) > 0 && isIdle());
  expect(outcome(await client.ask(execute(''), sync()))).toEqual(AS_TOLD);
});
