import { describe, expect, test } from 'vitest';
import { backend, frontend, message } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Answer, unnamed, WireClient } from '../support/wire-client.ts';
import { runNamed, ScriptedStage, WireStage } from '../support/wire-stage.ts';

const ROLE = 'prepared_sql_named_app';
const { bindTexts, close, describe: describing, execute, parse, query, sync } = frontend;

const stage = new WireStage(ROLE, { default_pool_size: 2 });
const connect = (parameters: Readonly<Record<string, string>> = {}) => stage.connect(parameters);

/** Prepared by a name, and run by that. */
function named(sql: string, ...values: readonly string[]): Buffer {
  return Buffer.concat([close('S', 's'), parse('s', sql), runNamed('s', ...values)]);
}

function inPortal(portal: string, name: string): Buffer {
  return Buffer.concat([bindTexts(portal, name, []), execute(portal)]);
}

const isQuery = (bytes: Buffer) => bytes[0] === query('')[0];
const codes = ({ errors }: Answer) => errors.map(({ C }) => C);

describe('what drops all statements, run by a name', () => {
  test.each([
    'DEALLOCATE ALL',
    'DISCARD ALL',
  ])('%s: what follows it in a pipeline is prepared anew, by its client and by all others', async (sql) => {
    const [client, other] = [await connect(), await connect()];
    await client.ask(parse('a', 'SELECT 1'), parse('d', sql), sync());
    await client.send(runNamed('d'), sync(), parse('a', 'SELECT 1'), sync(), runNamed('a'), sync());
    const all = [await client.answer(), await client.answer(), await client.answer()];
    expect(all.map(({ types }) => types)).toEqual(['2CZ', '1Z', '2DCZ']);
    expect((await client.ask(runNamed('d'), sync())).errors[0]?.['C']).toBe('26000');
    expect((await other.ask(parse('b', 'SELECT 1'), runNamed('b'), sync())).rows).toEqual([['1']]);
    expect((await client.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
  });

  test('DEALLOCATE ALL: also what follows it in its own stretch, and where it is EXECUTE that runs it', async () => {
    const client = await connect();
    const drops = [runNamed('d'), inPortal('p', 'd'), unnamed('EXECUTE d'), query('EXECUTE d')];
    for (const dropped of drops) {
      await client.ask(parse('a', 'SELECT 1'), parse('d', 'DEALLOCATE ALL'), sync());
      await client.send(dropped, parse('b', 'SELECT 1'), runNamed('b'), close('S', 'b'), sync());
      if (isQuery(dropped)) expect((await client.answer()).errors).toEqual([]);
      const { errors, rows } = await client.answer();
      expect([errors, rows]).toEqual([[], [['1']]]);
      expect(codes(await client.ask(runNamed('a'), sync()))).toEqual(['26000']);
    }
  });

  test('EXPLAIN EXECUTE of it drops nothing', async () => {
    const [client, other] = [await connect(), await connect()];
    await client.ask(parse('a', 'SELECT 1'), parse('d', 'DEALLOCATE ALL'), runNamed('a'), sync());
    expect((await client.ask(query('EXPLAIN EXECUTE d'))).errors).toEqual([]);
    const explained = await client.ask(unnamed('EXPLAIN EXECUTE d'), sync());
    expect(explained.errors).toEqual([]);
    expect((await other.ask(parse('b', 'SELECT 1'), runNamed('b'), sync())).rows).toEqual([['1']]);
    expect((await client.ask(runNamed('a'), sync())).rows).toEqual([['1']]);
  });

  test('there may be more portals of it than are known: a name that is given behind it stands for what it was given to', async () => {
    const [client, other] = [await connect(), await connect()];
    await client.ask(parse('a', 'SELECT 1'), parse('d', 'DEALLOCATE ALL'), sync());
    const portals = Array.from({ length: 66 }, (_, i) => bindTexts(`p${i}`, 'd', []));
    await client.send(
      ...portals,
      execute('p65'),
      sync(),
      parse('a', 'SELECT 1'),
      sync(),
      runNamed('a'),
      sync(),
    );
    expect((await client.answer()).tags).toEqual(['DEALLOCATE ALL']);
    expect((await client.answer()).types).toBe('1Z');
    expect((await client.answer()).rows).toEqual([['1']]);
    expect((await other.ask(parse('b', 'SELECT 1'), runNamed('b'), sync())).rows).toEqual([['1']]);
  });
});

describe('PREPARE, EXECUTE and DEALLOCATE, prepared by a name', () => {
  test('know the client’s statements on whatever server it is', async () => {
    const client = await connect();
    await client.query('PREPARE foo (int) AS SELECT $1 + 1');
    await client.ask(
      ...[parse('e', 'EXECUTE foo (1)'), parse('x', 'EXPLAIN (COSTS OFF) EXECUTE foo (1)')],
      ...[parse('d', 'DEALLOCATE foo'), parse('p', 'PREPARE bar AS SELECT 5'), sync()],
    );
    for (let i = 0; i < 2; i++) {
      const letGo = await stage.occupy();
      const { types, rows } = await client.ask(describing('S', 'e'), runNamed('e'), sync());
      expect([types, rows]).toEqual(['tT2DCZ', [['2']]]);
      expect((await client.ask(runNamed('x'), sync())).tags).toEqual(['EXPLAIN']);
      await letGo();
    }
    expect((await client.ask(runNamed('d'), sync())).tags).toEqual(['DEALLOCATE']);
    for (const sql of [query('EXECUTE foo (1)'), Buffer.concat([runNamed('e'), sync()])])
      expect((await client.ask(sql)).errors.map(({ C, M }) => [C, M])).toEqual([
        ['26000', 'prepared statement "foo" does not exist'],
      ]);
    expect((await client.ask(runNamed('p'), sync())).tags).toEqual(['PREPARE']);
    expect(codes(await client.ask(runNamed('p'), sync()))).toEqual(['42P05']);
    for (let i = 0; i < 2; i++) {
      const letGo = await stage.occupy();
      expect(await client.value('EXECUTE bar')).toBe('5');
      expect((await client.ask(runNamed('bar'), sync())).rows).toEqual([['5']]);
      await letGo();
    }
  });

  test('give and find no other client’s', async () => {
    const [client, other] = [await connect(), await connect()];
    expect((await client.ask(named("PREPARE foo AS SELECT 'mine'"), sync())).tags).toEqual(['PREPARE']);
    for (const sql of ['EXECUTE foo', 'DEALLOCATE foo'])
      for (const each of [query(sql), Buffer.concat([named(sql), sync()])])
        expect(codes(await other.ask(each))).toEqual(['26000']);
    expect((await other.ask(named("PREPARE foo AS SELECT 'other'"), sync())).tags).toEqual(['PREPARE']);
    for (let i = 0; i < 2; i++) {
      const letGo = await stage.occupy();
      expect(await client.value('EXECUTE foo')).toBe('mine');
      expect((await other.ask(named('EXECUTE foo'), sync())).rows).toEqual([['other']]);
      await letGo();
    }
  });

  test('what a statement with a name prepares by SQL’s EXECUTE stays with nobody', async () => {
    const [client, other] = [await connect(), await connect()];
    await client.ask(parse('s', "PREPARE foo AS SELECT 'leaked'"), sync());
    await client.query('EXECUTE s');
    expect(codes(await other.query('EXECUTE foo'))).toEqual(['26000']);
  });

  test('answer as PostgreSQL does', async () => {
    const client = await connect();
    const direct = await WireClient.connect(sharedPostgres(), { user: ROLE, database: ROLE });
    const requests: readonly (readonly Buffer[])[] = [
      [named('PREPARE "ä b" AS SELECT no_such_column'), sync()],
      [named('  PREPARE /* c */ "ä b" (int) AS SELECT $1 + 1'), sync()],
      [named('PREPARE "ä b" AS SELECT 2'), sync()],
      [named('PREPARE "ä b" AS SELECT no_such_column'), sync()],
      [parse('broken', 'PREPARE foo'), sync()],
      [named('EXECUTE "ä b"'), sync()],
      [named('EXECUTE "ä b" (1, 2)'), sync()],
      [named('EXECUTE "ä b" (no_such_column)'), sync()],
      [named('EXECUTE "ä b" (1)', '1'), sync()],
      [message('P', 'typed', 'EXECUTE "ä b" ($1)', Buffer.of(0, 1), 23), describing('S', 'typed'), sync()],
      [runNamed('typed', '41'), sync(), runNamed('typed', '42'), runNamed('typed', 'x'), sync()],
      [parse('', 'SELECT 7'), named('EXPLAIN (COSTS OFF) EXECUTE "ä b" (1)'), runNamed(''), sync()],
      [query('BEGIN'), query('SELECT 1/0'), runNamed('typed', '1'), sync(), query('ROLLBACK')],
      [close('S', 's'), parse('s', 'EXECUTE "ä b" (1)'), describing('S', 's'), sync()],
      [bindTexts('c', 's', []), describing('P', 'c'), execute('c'), execute('c'), sync()],
      [
        parse('gone', 'DEALLOCATE "ä b"'),
        runNamed('gone'),
        describing('S', 'gone'),
        runNamed('gone'),
        sync(),
      ],
      [runNamed('s'), sync(), query('EXECUTE "ä b" (1)')],
    ];
    for (const [i, request] of requests.entries()) {
      const answers = [];
      for (const each of [direct, client]) {
        await each.send(...request);
        const its = [];
        const ends = request.filter((bytes) => bytes.equals(sync()) || isQuery(bytes));
        for (const _ of ends) its.push(await each.answer());
        answers.push(
          its.map(({ types, rows, tags, errors }) => ({ types, rows, tags, errors: errors.map(said) })),
        );
      }
      expect(answers[1], `request ${i}`).toEqual(answers[0]);
    }
    await direct.end();
  });

  test('a name that was taken when the portal was made, and let go of since, is given to what the portal says', async () => {
    for (const bound of ['s', '']) {
      const [client, other] = [await connect(), await connect()];
      await client.ask(parse('a', "SELECT 'old'"), runNamed('a'), sync());
      const { tags } = await client.ask(
        ...[parse(bound, "PREPARE a AS SELECT 'new'"), bindTexts('p', bound, [])],
        ...[close('S', 'a'), execute('p'), sync()],
      );
      expect(tags).toEqual(['PREPARE']);
      expect(await client.value('EXECUTE a')).toBe('new');
      expect((await other.ask(parse('b', "SELECT 'old'"), runNamed('b'), sync())).rows).toEqual([['old']]);
      expect(await client.value('EXECUTE a')).toBe('new');
      await Promise.all([client.end(), other.end()]);
    }
  });
});

test('what is prepared by a text that cannot be read with certainty stays with nobody', async () => {
  // A byte of it may be a quote, or a part of a character.
  const text = Buffer.concat([
    Buffer.from("PREPARE foo AS SELECT '"),
    Buffer.of(0x82, 0xa0),
    Buffer.from("'\0"),
  ]);
  for (const name of [null, '', 's']) {
    const [client, other] = [await connect({ client_encoding: 'SJIS' }), await connect()];
    const { tags } = await (name === null
      ? client.ask(message('Q', text))
      : client.ask(message('P', name, text, Buffer.of(0, 0)), runNamed(name), sync()));
    expect(tags).toEqual(['PREPARE']);
    expect(codes(await other.query('EXECUTE foo'))).toEqual(['26000']);
    await Promise.all([client.end(), other.end()]);
  }
});

describe('from a server whose answer to DEALLOCATE ALL is there in part', () => {
  const scripted = new ScriptedStage(`${ROLE}_scripted`);

  test.each([
    'DEALLOCATE ALL',
    'EXECUTE d',
  ])('%s: nothing is expected of what it has dropped', async (sql) => {
    const { client, peer } = scripted;
    const parsed = [message('1'), message('t', Buffer.of(0, 0)), message('n')];
    await client.send(parse('a', 'SELECT 1'), parse('d', 'DEALLOCATE ALL'), sync());
    await peer.messagesTo('S');
    await peer.send(...parsed, ...parsed, backend.readyForQuery());
    await client.messagesTo('Z');
    await client.send(unnamed(sql), parse('b', 'SELECT 1'), runNamed('b'), sync());
    await peer.messagesTo('E');
    const done = backend.commandComplete('DEALLOCATE ALL');
    await peer.send(message('1'), message('2'), done.subarray(0, 9));
    for (;;) {
      const { type, body } = await peer.message();
      if (type === 'H') continue;
      expect([type, body.toString()]).toEqual(['P', expect.stringContaining('SELECT 1')]);
      break;
    }
    await peer.send(done.subarray(9), ...parsed);
    await peer.messagesTo('S');
    await peer.send(message('2'), backend.commandComplete('SELECT 0'), backend.readyForQuery());
    expect((await client.messagesTo('Z')).map(({ type }) => type).join('')).toBe('12C12CZ');
  });
});

describe('behind an error in the same stretch', () => {
  const scripted = new ScriptedStage(`${ROLE}_skipped`);

  test('no text is sent for what the server passes over', async () => {
    const { client, peer } = scripted;
    await client.send(parse('a', 'SELECT 1'), sync());
    await peer.messagesTo('S');
    await peer.send(message('1'), message('t', Buffer.of(0, 0)), message('n'), backend.readyForQuery());
    await client.messagesTo('Z');
    const bind = bindTexts('', 'a', []);
    await client.send(bind, frontend.flush());
    await peer.messagesTo('H');
    // It has lost it: the next use would send it anew.
    await peer.send(backend.errorResponse({ S: 'ERROR', V: 'ERROR', C: '26000', M: 'none' }));
    await client.messagesTo('E');
    await client.send(bind, unnamed('EXECUTE a'), bind, sync());
    expect((await peer.messagesTo('S')).map(({ type }) => type).join('')).toBe('BPBEBS');
  });
});

function said({ C, M, P }: Record<string, string>): string {
  return `${C} ${M} ${P ?? ''}`;
}

test('a name that a late PREPARE gives to another text is not taken for the old one behind it', async () => {
  const client = await connect();
  await client.ask(parse('a', 'SELECT 1'), parse('p', 'PREPARE a AS SELECT 2'), sync());
  const { errors, rows } = await client.ask(
    bindTexts('late', 'p', []),
    close('S', 'a'),
    execute('late'),
    parse('b', 'SELECT 1'),
    runNamed('b'),
    runNamed('a'),
    sync(),
  );
  expect([errors, rows]).toEqual([[], [['1'], ['2']]]);
});

test('a server that turns out to have a statement that nobody knows of serves nobody any more', async () => {
  const [first, client] = [await connect(), await connect()];
  await first.ask(query('BEGIN'));
  await first.ask(parse('a', 'SELECT 7'), runNamed('a'), sync());
  const names = await first.ask(
    query("SELECT name FROM pg_prepared_statements WHERE statement = 'SELECT 7'"),
  );
  await client.ask(query(`DO $$BEGIN EXECUTE 'PREPARE "${names.rows[0]?.[0]}" AS SELECT 8'; END$$`));
  const ask = () => client.ask(parse('', ''), parse('b', 'SELECT 7'), runNamed('b'), sync());
  expect(codes(await ask())).toEqual(['42P05']);
  expect((await ask()).rows).toEqual([['7']]);
  await first.ask(query('COMMIT'));
});

test('long texts that name others are sent one after the other, however many Binds there are', async () => {
  const client = await connect();
  await client.ask(query('PREPARE lengths(text) AS SELECT length($1)'));
  await client.ask(parse('e', `EXECUTE lengths('${'x'.repeat(100_000)}')`), sync());
  const { errors, rows } = await client.ask(...new Array<Buffer>(50).fill(runNamed('e')), sync());
  expect([errors, rows]).toEqual([[], new Array(50).fill(['100000'])]);
});
