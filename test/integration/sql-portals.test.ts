import { describe, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';
import { type Answer, unnamed, WireClient } from '../support/wire-client.ts';
import { runNamed, WireStage } from '../support/wire-stage.ts';

const ROLE = 'sql_portals_app';
const { bindTexts, close, execute, parse, query, sync } = frontend;

const stage = new WireStage(ROLE, { default_pool_size: 1 });
const connect = () => stage.connect({});

/** Makes `portal` of a text, and does not execute it. */
function made(portal: string, sql: string): Buffer {
  return Buffer.concat([parse('', sql), bindTexts(portal, '', [])]);
}

const codes = ({ errors }: Answer) => errors.map(({ C }) => C);
const pidOf = (client: WireClient) => client.value('SELECT pg_backend_pid()');

describe('a portal whose name another Bind wants in vain', () => {
  test('gives a name to what it prepares when it is executed', async () => {
    const [client, other] = [await connect(), await connect()];
    await client.ask(query('BEGIN'));
    await client.ask(made('p', 'PREPARE foo AS SELECT 1'), sync());
    await client.ask(query('SAVEPOINT s'));
    expect(codes(await client.ask(made('p', 'SELECT 2'), sync()))).toEqual(['42P03']);
    await client.ask(query('ROLLBACK TO s'));
    expect((await client.ask(execute('p'), sync())).tags).toEqual(['PREPARE']);
    await client.ask(query('COMMIT'));
    expect(await client.value('EXECUTE foo')).toBe('1');
    expect(codes(await other.query('PREPARE foo AS SELECT 1'))).toEqual([]);
    expect(await client.value('EXECUTE foo')).toBe('1');
  });

  test('drops nothing where that one would have', async () => {
    const [client, other] = [await connect(), await connect()];
    await client.ask(parse('a', 'SELECT 1'), runNamed('a'), sync());
    await client.ask(query('BEGIN'));
    await client.ask(made('p', 'SELECT 7'), sync());
    await client.ask(query('SAVEPOINT s'));
    expect(codes(await client.ask(made('p', 'DEALLOCATE ALL'), sync()))).toEqual(['42P03']);
    await client.ask(query('ROLLBACK TO s'));
    expect((await client.ask(execute('p'), sync())).rows).toEqual([['7']]);
    await client.ask(query('COMMIT'));
    expect((await client.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
    expect((await other.ask(parse('b', 'SELECT 1'), runNamed('b'), sync())).rows).toEqual([['1']]);
  });
});

describe('what is skipped with its stretch leaves the unnamed statement', () => {
  test('a Parse of what drops all', async () => {
    const client = await connect();
    await client.ask(parse('a', 'SELECT 1'), sync());
    await client.send(
      ...[parse('', 'SELECT 7'), sync()],
      ...[execute('none'), parse('', 'DEALLOCATE ALL'), sync()],
      ...[bindTexts('', '', []), execute(''), sync(), runNamed('a'), sync()],
    );
    const all = [await client.answer(), await client.answer(), await client.answer(), await client.answer()];
    expect(all.map(codes)).toEqual([[], ['34000'], [], []]);
    expect(all.slice(2).map(({ rows }) => rows)).toEqual([[['7']], [['1']]]);
  });

  test('a Query', async () => {
    const client = await connect();
    await client.send(
      ...[parse('', 'PREPARE foo AS SELECT 1'), sync()],
      ...[execute('none'), query('SELECT 5'), sync()],
      ...[bindTexts('', '', []), execute(''), sync()],
    );
    const all = [await client.answer(), await client.answer(), await client.answer()];
    expect(all.map(codes)).toEqual([[], ['34000'], []]);
    expect(await client.value('EXECUTE foo')).toBe('1');
  });
});

test('what a statement does is read as it was when it was prepared, not by a SET behind it', async () => {
  const [client, other] = [await connect(), await connect()];
  // With standard_conforming_strings off these are two statements.
  const text = String.raw`PREPARE foo AS SELECT '\', ';', ' --'`;
  const sets = unnamed("SET client_encoding = 'UTF8'");
  const setsBehind = unnamed('SET standard_conforming_strings = off');
  expect(codes(await client.ask(sets, parse('q', text), setsBehind, sync()))).toEqual([]);
  expect((await client.ask(runNamed('q'), sync())).tags).toEqual(['PREPARE']);
  expect(codes(await other.query('EXECUTE foo'))).toEqual(['26000']);
});

describe('a PREPARE that is executed behind a SET by which it is another statement', () => {
  const text = "PREPARE foo AS SELECT '01/02/2003'::date::text";
  const german = "SET DateStyle = 'German'";

  test('is refused as PostgreSQL does where its portal is executed again', async () => {
    const answers = [];
    for (const client of [stage.direct, await connect()]) {
      const { tags, errors } = await client.ask(
        ...[made('p', text), unnamed(german), execute('p'), execute('p'), sync()],
      );
      answers.push([tags, errors.map(({ C, M }) => [C, M])]);
      await client.query('DEALLOCATE foo; RESET DateStyle');
    }
    expect(answers[0]).toEqual([['SET', 'PREPARE'], [['55000', 'portal "p" cannot be run']]]);
    expect(answers[1]).toEqual(answers[0]);
  });

  test('is the one that it was where it is prepared anew as it was', async () => {
    const client = await connect();
    const before = await client.value('SHOW DateStyle');
    await client.ask(query('BEGIN'));
    await client.ask(made('p', text), unnamed(german), execute('p'), close('P', 'p'), sync());
    expect(await client.value('EXECUTE foo')).toBe('01.02.2003');
    await client.query('DEALLOCATE foo');
    await client.query(`SET DateStyle = '${before}'`);
    expect(codes(await client.query(text))).toEqual([]);
    expect(await client.value('EXECUTE foo')).toBe('2003-01-02');
    await client.ask(query('COMMIT'));
    expect(await client.value('EXECUTE foo')).toBe('2003-01-02');
  });

  test('leaves one of the same text what it was', async () => {
    const client = await connect();
    await client.query(text.replace('foo', 'bar'));
    await client.ask(query('BEGIN'));
    await client.ask(made('p', text), unnamed(german), execute('p'), sync());
    expect(await client.value('EXECUTE foo')).toBe('01.02.2003');
    expect(await client.value('EXECUTE bar')).toBe('02.01.2003');
    await client.ask(query('COMMIT'));
  });
});

test.for([
  'SET TimeZone TO UTC',
  'PREPARE foo AS SELECT 1',
])('%s keeps nobody waiting whose Parse and Bind come behind it', async (sql) => {
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    settings: { pool_mode: 'transaction' },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    userlist: { [ROLE]: '' },
  });
  const [client, peer] = await Promise.all([
    WireClient.connect(pooler.port, { user: ROLE, database: 'scripted' }),
    server.acceptLogin(),
  ]);
  await client.send(unnamed(sql), sync(), unnamed('SELECT 1'), sync(), unnamed('SELECT 2'), sync());
  for (const _ of 'SSS') await peer.messagesTo('S');
  await client.peer.close();
});

test('a portal that is closed is not counted: its server goes on, however many there are', async () => {
  const client = await connect();
  await client.query('PREPARE foo AS SELECT 1');
  const pid = await pidOf(client);
  await client.ask(query('BEGIN'));
  for (let i = 0; i < 70; i++) {
    const { rows } = await client.ask(
      made(`p${i}`, 'EXECUTE foo'),
      execute(`p${i}`),
      close('P', `p${i}`),
      sync(),
    );
    expect(rows).toEqual([['1']]);
  }
  await client.ask(query('COMMIT'));
  expect(await pidOf(client)).toBe(pid);
});

test('what a portal prepares whose name is too long to be looked at stays with nobody', async () => {
  const [client, other] = [await connect(), await connect()];
  const portal = 'p'.repeat(5000);
  await client.ask(made(portal, 'PREPARE foo AS SELECT 1'), execute(portal), sync());
  expect(codes(await other.query('PREPARE foo AS SELECT 1'))).toEqual([]);
  expect(await other.value('EXECUTE foo')).toBe('1');
});

test.each([
  ['a simple query', query('EXECUTE g')],
  ['a portal', Buffer.concat([unnamed('EXECUTE g'), sync()])],
])('how texts are read that come behind an EXECUTE of SET by %s is not known', async (_by, run) => {
  const [client, other] = [await connect(), await connect()];
  const text = "SELECT '01/02/2000'::date::text";
  await client.ask(parse('g', "SET DateStyle = 'ISO, DMY'"), sync());
  await client.send(run, parse('q', text), runNamed('q'), sync());
  await client.answer();
  expect((await client.answer()).rows).toEqual([['2000-02-01']]);
  expect((await other.ask(parse('q', text), runNamed('q'), sync())).rows).toEqual([['2000-01-02']]);
  expect((await client.ask(runNamed('q'), sync())).rows).toEqual([['2000-02-01']]);
});

test('what a Query prepares that is read otherwise by a SET ahead of it in its stretch stays with nobody', async () => {
  const [client, other] = [await connect(), await connect()];
  // With backslashes that mean something, the string ends ahead of what looks like its end.
  const text = query("SELECT '\\', '; PREPARE foo AS SELECT 1 --'");
  expect(codes(await client.ask(unnamed('SET standard_conforming_strings = off'), text))).toEqual([]);
  expect(codes(await other.query('EXECUTE foo'))).toEqual(['26000']);
});

test('a statement that was prepared behind a SET in its stretch costs no server once its reading is known', async () => {
  const client = await connect();
  const set = unnamed("SET client_encoding = 'UTF8'");
  expect(codes(await client.ask(set, parse('q', "SELECT 'é'"), runNamed('q'), sync()))).toEqual([]);
  const pid = await pidOf(client);
  for (let i = 0; i < 3; i++) expect(codes(await client.ask(runNamed('q'), sync()))).toEqual([]);
  expect(await pidOf(client)).toBe(pid);
});
