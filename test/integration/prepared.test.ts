import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import type { ClientSession } from '../../src/client/session.ts';
import { backend, frontend, int16, message } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { connectAndLogin, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, type WireClient } from '../support/wire-client.ts';
import { runNamed, WireStage } from '../support/wire-stage.ts';

const ROLE = 'prepared_app';
const { parse, describe: describing, close, sync, query } = frontend;

const stage = new WireStage(ROLE, { default_pool_size: 2, max_prepared_statements: 3 });
const connect = (parameters: Readonly<Record<string, string>> = {}) => stage.connect(parameters);

describe('a prepared statement', () => {
  test('is there on whatever server its client is linked to', async () => {
    const client = await connect();
    expect((await client.ask(parse('a', 'SELECT $1::int + 1'), sync())).types).toBe('1Z');
    for (let i = 0; i < 4; i++) {
      const letGo = await stage.occupy();
      expect((await client.ask(runNamed('a', `${i}`), sync())).rows).toEqual([[`${i + 1}`]]);
      await letGo();
    }
  });

  test('is one for all clients with the same text, and each has its own names', async () => {
    const [one, other] = [await connect(), await connect()];
    await one.ask(parse('a', "SELECT 'one'"), sync());
    await other.ask(parse('a', "SELECT 'other'"), parse('b', "SELECT 'one'"), sync());
    expect((await one.ask(runNamed('a'), sync())).rows).toEqual([['one']]);
    expect((await other.ask(runNamed('a'), runNamed('b'), sync())).rows).toEqual([['other'], ['one']]);
  });

  test.each([
    ['client_encoding', ['LATIN1', 'UTF8'], "SELECT length('é')", ['2', '1']],
    ['standard_conforming_strings', ['off', 'on'], "SELECT length('a\\\\b')", ['3', '4']],
    [
      'TimeZone',
      ['UTC', 'Etc/GMT+3'],
      "SELECT '2026-01-01 00:00'::timestamptz = '2026-01-01 00:00Z'",
      ['t', 'f'],
    ],
    ['DateStyle', ['ISO, DMY', 'ISO, MDY'], "SELECT '01/02/2026'::date", ['2026-02-01', '2026-01-02']],
  ])('is read by its own client’s %s', async (parameter, values, sql, results) => {
    for (const prepare of [
      (client: WireClient) => client.ask(parse('a', sql), sync()),
      (client: WireClient) => client.query(`PREPARE a AS ${sql}`),
    ]) {
      const both = [
        await connect({ [parameter]: values[0] ?? '' }),
        await connect({ [parameter]: values[1] ?? '' }),
      ];
      for (const client of both) await prepare(client);
      const rows = [];
      for (const client of both) rows.push((await client.ask(runNamed('a'), sync())).rows);
      expect(rows).toEqual(results.map((each) => [[each]]));
    }
  });

  test('whose name is taken is refused with PostgreSQL’s own error, and the connection lives', async () => {
    const client = await connect();
    await client.ask(parse('a', 'SELECT 1'), sync());
    const again = await client.ask(parse('a', 'SELECT 2'), sync());
    expect([again.types, again.errors[0]?.['C'], again.errors[0]?.['M']]).toEqual([
      'EZ',
      '42P05',
      'prepared statement "a" already exists',
    ]);
    expect((await client.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
  });

  test('that does not exist is refused with PostgreSQL’s own error, and the connection lives', async () => {
    const client = await connect();
    for (const bytes of [runNamed('none'), describing('S', 'none')]) {
      const { errors } = await client.ask(bytes, sync());
      expect([errors[0]?.['C'], errors[0]?.['M']]).toEqual([
        '26000',
        'prepared statement "none" does not exist',
      ]);
    }
    expect((await client.query('SELECT 1')).rows).toEqual([['1']]);
  });

  test('that fails leaves its name free', async () => {
    const client = await connect();
    const failed = await client.ask(parse('a', 'SELECT no_such_column'), runNamed('a'), sync());
    expect([failed.types, failed.errors[0]?.['C']]).toEqual(['EZ', '42703']);
    expect((await client.ask(parse('a', 'SELECT 1'), runNamed('a'), sync())).rows).toEqual([['1']]);
  });

  test('that is closed is gone for its client alone', async () => {
    const [one, other] = [await connect(), await connect()];
    for (const client of [one, other]) await client.ask(parse('a', 'SELECT 5'), sync());
    expect((await one.ask(close('S', 'a'), close('S', 'never there'), sync())).types).toBe('33Z');
    expect((await one.ask(runNamed('a'), sync())).errors[0]?.['C']).toBe('26000');
    expect((await other.ask(runNamed('a'), sync())).rows).toEqual([['5']]);
  });

  test.each(['DISCARD ALL', 'DEALLOCATE ALL'])('is gone after %s, for this client alone', async (sql) => {
    const [one, other] = [await connect(), await connect()];
    for (const client of [one, other]) await client.ask(parse('a', 'SELECT 5'), sync());
    await one.query(sql);
    expect((await one.ask(runNamed('a'), sync())).errors[0]?.['C']).toBe('26000');
    expect((await other.ask(runNamed('a'), sync())).rows).toEqual([['5']]);
    await one.ask(parse('a', 'SELECT 6'), sync());
    expect((await one.ask(runNamed('a'), sync())).rows).toEqual([['6']]);
  });

  test('of more than a server may have take turns there', async () => {
    const client = await connect();
    const names = Array.from({ length: 10 }, (_, i) => `s${i}`);
    for (const name of names) await client.ask(parse(name, `SELECT '${name}'`), sync());
    for (let round = 0; round < 3; round++) {
      for (const name of names) expect((await client.ask(runNamed(name), sync())).rows).toEqual([[name]]);
    }
    const count = await client.rows('SELECT count(*) FROM pg_prepared_statements');
    expect(Number(count[0]?.[0])).toBe(3);
  });

  test('of more than a server may have are refused behind an error like any other', async () => {
    const client = await connect();
    for (const name of ['a', 'b', 'c']) await client.ask(parse(name, `SELECT '${name}'`), sync());
    await client.send(parse('wrong', 'SELECT wrong'), message('H'));
    await client.answerTo('E');
    expect((await client.ask(parse('d', "SELECT 'd'"), runNamed('d'), sync())).types).toBe('Z');
    for (const name of ['a', 'b', 'c'])
      expect((await client.ask(runNamed(name), sync())).rows).toEqual([[name]]);
  });

  test('larger than any buffer is taken in any pieces', async () => {
    const client = await connect();
    const text = 'x'.repeat(300_000);
    const bytes = Buffer.concat([parse('big', `SELECT '${text}'`), runNamed('big'), sync()]);
    for (let pos = 0; pos < bytes.length; pos += 50_000) await client.send(bytes.subarray(pos, pos + 50_000));
    expect((await client.answer()).rows).toEqual([[text]]);
    expect((await client.ask(runNamed('big'), sync())).rows).toEqual([[text]]);
  });

  test('is described by its own name', async () => {
    const client = await connect();
    const { types } = await client.ask(
      parse('a', 'SELECT $1::int'),
      describing('S', 'a'),
      runNamed('a', '1'),
      sync(),
    );
    expect(types).toBe('1tT2DCZ');
    const letGo = await stage.occupy();
    expect((await client.ask(describing('S', 'a'), sync())).types).toBe('tTZ');
    await letGo();
  });

  test('in a transaction that has failed is answered as PostgreSQL does', async () => {
    const client = await connect();
    await client.ask(parse('a', 'SELECT 1'), sync());
    await client.query('BEGIN');
    expect((await client.query('SELECT 1/0')).status).toBe('E');
    expect((await client.ask(parse('b', 'SELECT 1'), sync())).errors[0]?.['C']).toBe('25P02');
    expect((await client.ask(runNamed('a'), sync())).errors[0]?.['C']).toBe('25P02');
    expect((await client.ask(close('S', 'a'), sync())).types).toBe('3Z');
    await client.query('ROLLBACK');
    expect((await client.ask(runNamed('b'), sync())).errors[0]?.['C']).toBe('26000');
    expect((await client.ask(parse('b', 'SELECT 1'), runNamed('b'), sync())).rows).toEqual([['1']]);
  });

  test('closed and given anew in one pipeline that fails means what it did before, also to requests behind', async () => {
    const client = await connect();
    await client.ask(parse('a', "SELECT 'old'"), sync());
    await client.send(
      parse('', 'SELECT 1/0'),
      runNamed(''),
      close('S', 'a'),
      parse('a', "SELECT 'new'"),
      sync(),
      runNamed('a'),
      sync(),
      message('H'),
    );
    expect((await client.answer()).errors[0]?.['C']).toBe('22012');
    expect((await client.answer()).rows).toEqual([['old']]);
  });

  test('lost by its server is refused once and there again afterwards', async () => {
    const client = await connect();
    const letGo = await stage.occupy();
    await client.ask(parse('a', 'SELECT 1'), runNamed('a'), sync());
    await client.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
    const lost = await client.ask(runNamed('a'), sync());
    expect([lost.errors[0]?.['C'], lost.errors[0]?.['M']]).toEqual([
      '26000',
      'prepared statement "a" does not exist',
    ]);
    expect((await client.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
    await letGo();
  });

  test('whose result changes its type is refused once and there again afterwards', async () => {
    const client = await connect();
    const letGo = await stage.occupy();
    await client.query('BEGIN; DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int); COMMIT');
    await client.ask(parse('a', 'SELECT * FROM changing'), runNamed('a'), sync());
    await client.query('ALTER TABLE changing ADD b int');
    expect((await client.ask(runNamed('a'), sync())).errors[0]?.['C']).toBe('0A000');
    expect((await client.ask(runNamed('a'), sync())).types).toBe('2CZ');
    await letGo();
  });
});

test('SHOW counts what was prepared', async () => {
  const client = await connect();
  await client.ask(parse('a', 'SELECT 1'), parse('b', 'SELECT 2'), sync());
  await client.ask(runNamed('a'), runNamed('a'), runNamed('b'), sync());
  await client.query('BEGIN');
  const own = (rows: Record<string, unknown>[]) => rows.find(({ database }) => database === ROLE);
  expect(own(await stage.pooler.show('SHOW CLIENTS'))?.['prepared_statements']).toBe(2);
  expect(own(await stage.pooler.show('SHOW SERVERS'))?.['prepared_statements']).toBe(2);
  expect(own(await stage.pooler.show('SHOW STATS_TOTALS'))).toMatchObject({
    client_parse_count: '2',
    server_parse_count: '2',
    bind_count: '3',
  });
});

test('requests that are broken end their client alone', async () => {
  const other = await connect();
  await other.ask(parse('a', 'SELECT 1'), sync());
  for (const [bytes, text] of [
    [message('P', Buffer.from('name')), 'broken Parse packet'],
    [message('B', Buffer.from('portal\0name')), 'broken Bind packet'],
    [message('D', Buffer.from('Sname')), 'broken Describe packet'],
    [message('C', Buffer.from('Sname')), 'broken Close packet'],
  ] as const) {
    const client = await connect();
    await client.send(bytes);
    expect((await client.answerTo('E')).errors[0]).toMatchObject({ S: 'FATAL', C: '08P01', M: text });
  }
  expect((await other.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
});

test('a simple query among requests changes nothing for them', async () => {
  const client = await connect();
  await client.send(parse('a', 'SELECT 1'), sync(), query('SELECT 2'), runNamed('a'), sync());
  expect((await client.answer()).types).toBe('1Z');
  expect((await client.answer()).rows).toEqual([['2']]);
  expect((await client.answer()).rows).toEqual([['1']]);
});

describe('with max_prepared_statements 0 for a while', () => {
  const limit = (max: number) => stage.pooler.reload({ settings: { max_prepared_statements: max } });

  test('names are not what they were before, for others may have been given', async () => {
    const client = await connect();
    await client.ask(parse('a', 'SELECT 1'), sync());
    await client.query('BEGIN');
    await limit(0);
    expect((await client.ask(parse('a', 'SELECT 2'), sync())).types).toBe('1Z');
    await limit(3);
    expect((await client.ask(runNamed('a'), sync())).rows).toEqual([['2']]);
    await client.query('COMMIT');
  });

  test('the unnamed statement is not what it was before', async () => {
    const client = await connect();
    await client.ask(parse('a', 'SELECT 1'), sync());
    await client.query('BEGIN');
    await client.ask(parse('', 'DEALLOCATE a'), sync());
    await limit(0);
    await client.ask(parse('', 'SELECT 5'), sync());
    await limit(3);
    await client.ask(parse('a', 'SELECT 1'), sync());
    expect((await client.ask(runNamed(''), sync())).rows).toEqual([['5']]);
    expect((await client.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
    await client.query('COMMIT');
  });
});

test('texts of all clients together take no more memory than they may', async () => {
  const [large, other] = [await connect(), await connect()];
  const [session] = stage.pooler.pooler.state.sessions.values();
  const { budget } = (session as ClientSession).prepared.cache;
  budget.limitBytes = 1_300_000;
  await other.ask(parse('a', 'SELECT 1'), sync());
  const text = (bytes: number) => `SELECT '${'x'.repeat(bytes)}'`;
  await large.ask(parse('a', text(400_000)), sync());
  // Another one may use it, for it is there.
  await other.ask(parse('same', text(400_000)), sync());
  for (const bytes of [parse('b', text(400_001)), query(`PREPARE c AS ${text(300_000)}`)]) {
    const client = await connect();
    await client.send(bytes);
    expect((await client.answerTo('E')).errors[0]).toMatchObject({ S: 'FATAL', M: 'out of memory' });
  }
  // It is refused before all of it has come.
  const slow = await connect();
  await slow.send(parse('d', text(2_000_000)).subarray(0, 1_500_000));
  expect((await slow.peer.end()).toString()).toContain('out of memory');
  expect((await other.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
  await stage.closeClients();
  await stage.pooler.show('RECONNECT');
  await waitFor(() => budget.usedBytes === 0);
});

test('the text of an unnamed EXECUTE is not held beyond its message', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const held = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  const idle = await connect();
  await idle.query('PREPARE a AS SELECT length($1::text)');
  const before = held();
  const bytes = 16 * 1024 * 1024;
  const { types } = await idle.ask(parse('', `EXECUTE a('${'x'.repeat(bytes)}')`), sync());
  expect(types).toBe('1Z');
  await waitFor(() => held() < before + bytes / 2);
  expect((await idle.ask(runNamed(''), sync())).rows).toEqual([[`${bytes}`]]);
});

test('a client that waits for an answer is not looked at again for each part of another', async () => {
  await using server = await ScriptedServer.listen();
  await using front = await startPooler({
    settings: { pool_mode: 'transaction' },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    userlist: { [ROLE]: '' },
  });
  const [client, peer] = await Promise.all([
    connectAndLogin(front.port, { user: ROLE, database: 'scripted' }),
    server.acceptLogin(),
  ]);
  // What `a` stands for is known when its Parse is answered, behind the rows.
  await client.send(unnamed('SELECT 1'), parse('a', 'SELECT 2'), sync(), runNamed('a'), sync());
  await peer.messagesTo('S');
  await peer.send(message('1'), message('2'));
  for (let i = 0; i < 20; i++) {
    await peer.send(backend.dataRow(`${i}`));
    await client.messagesTo('D');
  }
  const described = [message('t', int16(0)), message('n')];
  await peer.send(backend.commandComplete('SELECT 20'), message('1'), ...described, backend.readyForQuery());
  const types = (await peer.messagesTo('B')).map(({ type }) => type);
  // One for what is waited for, and perhaps one behind each answer that was not it.
  expect(types.filter((type) => type === 'H').length).toBeLessThan(6);
  await client.close();
});
