import { describe, expect, test } from 'vitest';
import { frontend, message } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';
import { runNamed, WireStage } from '../support/wire-stage.ts';

const ROLE = 'prepared_sql_app';
const { parse, bindTexts, execute, close, sync, query } = frontend;

const stage = new WireStage(ROLE, { default_pool_size: 2 });
const connect = (parameters: Readonly<Record<string, string>> = {}) => stage.connect(parameters);

describe('PREPARE as SQL', () => {
  test('EXECUTE finds it on whatever server its client is linked to, and nobody else does', async () => {
    const [client, other] = [await connect(), await connect()];
    expect((await client.query('PREPARE plus (int) AS SELECT $1 + 1')).tags).toEqual(['PREPARE']);
    for (let i = 0; i < 4; i++) {
      const letGo = await stage.occupy();
      expect(await client.value(`EXECUTE plus(${i})`)).toBe(`${i + 1}`);
      await letGo();
    }
    const { errors } = await other.query('EXECUTE plus(1)');
    expect([errors[0]?.['C'], errors[0]?.['M']]).toEqual([
      '26000',
      'prepared statement "plus" does not exist',
    ]);
  });

  test('is gone on behind although its server is another client’s by then', async () => {
    await stage.pooler.reload({ settings: { default_pool_size: 1 } });
    const client = await connect();
    const other = await connect({ application_name: 'which the server has to be told first' });
    const waiting = async (count: number) =>
      waitFor(async () => (await stage.pooler.show('SHOW POOLS')).some((row) => row['cl_waiting'] === count));
    const letGo = await stage.occupy();
    await client.send(query('PREPARE a AS SELECT 7'), query('EXECUTE a'));
    await waiting(1);
    await other.send(query('SELECT 8'));
    await waiting(2);
    await letGo();
    expect([(await client.answer()).tags, (await other.answer()).rows]).toEqual([['PREPARE'], [['8']]]);
    expect((await client.answer()).rows).toEqual([['7']]);
  });

  test('is refused a name that is taken, where what stands for that on a server may be about to be closed', async () => {
    await stage.pooler.reload({ settings: { max_prepared_statements: 1 } });
    const client = await connect();
    const taken = 'PREPARE a AS SELECT 1';
    for (const again of [query(taken), Buffer.concat([unnamed(taken), sync()])]) {
      const name = again[0] === 0x51 ? 'by Query' : 'by Parse';
      await client.ask(close('S', 'a'), parse('a', 'SELECT 2'), sync());
      await client.ask(parse(name, 'SELECT 3'), sync());
      expect((await client.query(taken)).errors[0]?.['C']).toBe('42P05');
      // Skipped, and with it the Close of what was there.
      await client.send(unnamed('SELECT 1/0'), parse(`${name} too`, 'SELECT 4'), sync(), again);
      expect((await client.answer()).errors[0]?.['C']).toBe('22012');
      const { types, errors } = await client.answer();
      // An error of ours ahead of the Parse would have all behind it skipped.
      expect(types).toBe(again[0] === 0x51 ? 'EZ' : '12EZ');
      expect(errors.map(({ M }) => M)).toEqual(['prepared statement "a" already exists']);
    }
  });

  test('shares its names with Parse, Bind and Close of the protocol', async () => {
    const client = await connect();
    await client.ask(parse('by_protocol', 'SELECT $1::int * 2'), sync());
    await client.query('PREPARE by_sql (int) AS SELECT $1 * 3');
    const letGo = await stage.occupy();
    expect(await client.value('EXECUTE by_protocol(2)')).toBe('4');
    expect((await client.ask(runNamed('by_sql', '2'), sync())).rows).toEqual([['6']]);
    await letGo();
    expect((await client.query('PREPARE by_protocol AS SELECT 1')).errors[0]?.['M']).toBe(
      'prepared statement "by_protocol" already exists',
    );
    expect((await client.ask(parse('by_sql', 'SELECT 1'), sync())).errors[0]?.['M']).toBe(
      'prepared statement "by_sql" already exists',
    );
    await client.ask(close('S', 'by_sql'), sync());
    expect((await client.query('EXECUTE by_sql(1)')).errors[0]?.['C']).toBe('26000');
  });

  test('what PDO does: prepare by protocol, DEALLOCATE as SQL, again and again', async () => {
    const client = await connect();
    for (let i = 0; i < 5; i++) {
      const name = `pdo_stmt_0000000${i % 2}`;
      expect((await client.ask(parse(name, 'SELECT $1::text'), sync())).types).toBe('1Z');
      const letGo = await stage.occupy();
      expect((await client.ask(runNamed(name, `${i}`), sync())).rows).toEqual([[`${i}`]]);
      expect((await client.query(`DEALLOCATE ${name}`)).types).toBe('CZ');
      await letGo();
      expect((await client.query(`DEALLOCATE ${name}`)).errors[0]?.['C']).toBe('26000');
    }
  });

  test('in the extended protocol, too', async () => {
    const client = await connect();
    await client.ask(unnamed('PREPARE a AS SELECT 1'), sync());
    expect((await client.ask(unnamed('EXECUTE a'), sync())).rows).toEqual([['1']]);
    expect(await client.value('EXECUTE a')).toBe('1');
    expect((await client.ask(unnamed('DEALLOCATE a'), sync())).tags).toEqual(['DEALLOCATE']);
    expect((await client.query('EXECUTE a')).errors[0]?.['C']).toBe('26000');
  });

  test('a DEALLOCATE that is executed again behind a Parse that was skipped names it as the client does', async () => {
    const client = await connect();
    await client.ask(parse('a', 'SELECT 1'), sync());
    expect((await client.ask(unnamed('DEALLOCATE a'), sync())).tags).toEqual(['DEALLOCATE']);
    const skipped = [bindTexts('', 'nobody', []), parse('', 'SELECT 2'), sync()];
    const again = [bindTexts('', '', []), execute(''), sync()];
    // In one write it is not known yet that the Parse is skipped, when it is executed.
    for (const isOneWrite of [true, false]) {
      if (isOneWrite) await client.send(...skipped, ...again);
      else await client.send(...skipped);
      expect((await client.answer()).errors[0]?.['C']).toBe('26000');
      const { errors } = isOneWrite ? await client.answer() : await client.ask(...again);
      expect([errors[0]?.['C'], errors[0]?.['M']]).toEqual([
        '26000',
        'prepared statement "a" does not exist',
      ]);
    }
  });

  test('an error has the client’s name, however many Parses were skipped since it was given', async () => {
    const client = await connect();
    const names = Array.from({ length: 40 }, (_, i) => `n${i}`);
    await client.ask(parse('a', 'SELECT 1'), sync());
    await client.ask(...names.map((name) => parse(name, `SELECT '${name}'`)), sync());
    await client.ask(unnamed('DEALLOCATE a'), sync());
    const skipped = names.map((name) => parse('', `DEALLOCATE ${name}`));
    await client.send(bindTexts('', 'nobody', []), ...skipped, sync());
    await client.send(bindTexts('', '', []), execute(''), sync());
    await client.answer();
    const { errors } = await client.answer();
    expect([errors[0]?.['C'], errors[0]?.['M']]).toEqual(['26000', 'prepared statement "a" does not exist']);
  });

  test('is what it was behind a Parse that was skipped, and nothing behind one that failed', async () => {
    const client = await connect();
    const skip = [
      bindTexts('', 'nobody', []),
      parse('', 'SELECT 2'),
      parse('', `SELECT '${'x'.repeat(70_000)}'`),
    ];
    const again = [bindTexts('', '', []), execute(''), sync()];
    await client.ask(parse('a', 'SELECT 1'), sync());
    expect((await client.ask(unnamed('DEALLOCATE a'), sync())).tags).toEqual(['DEALLOCATE']);
    await client.ask(parse('a', 'SELECT 1'), sync());
    expect((await client.ask(...skip, sync())).errors[0]?.['C']).toBe('26000');
    expect((await client.ask(...again)).tags).toEqual(['DEALLOCATE']);
    expect((await client.ask(runNamed('a'), sync())).errors[0]?.['C']).toBe('26000');
    // Its errors have their places in the client's own text.
    const failed = await client.ask(unnamed('PREPARE b AS SELECT no_such_column'), sync());
    expect(failed.errors[0]?.['P']).toBe('21');
    await client.ask(...skip, sync());
    expect((await client.ask(...again)).errors).toEqual(failed.errors);
    // One that was done has taken its place, whatever is skipped behind it.
    await client.ask(parse('', 'SELECT 3'), ...skip, sync());
    expect((await client.ask(...again)).rows).toEqual([['3']]);
    await client.ask(unnamed('PREPARE c AS SELECT 4'), sync());
    await client.ask(parse('', 'no sense'), parse('', 'SELECT 5'), sync());
    const gone = await client.ask(...again);
    expect(gone.errors.map(({ C, M }) => [C, M])).toEqual([
      ['26000', 'unnamed prepared statement does not exist'],
    ]);
    expect((await client.ask(parse('c', 'SELECT 6'), sync())).errors[0]?.['C']).toBe('42P05');
  });

  test('in the extended protocol with portals that have names', async () => {
    const client = await connect();
    const through = (portal: string, sql: string) => [
      parse('', sql),
      bindTexts(portal, '', []),
      execute(portal),
    ];
    await client.ask(...through('p', 'PREPARE a AS SELECT 1'), sync());
    const letGo = await stage.occupy();
    expect((await client.ask(...through('p', 'EXECUTE a'), runNamed('a'), sync())).rows).toEqual([
      ['1'],
      ['1'],
    ]);
    const two = [
      ...through('p', 'DEALLOCATE a').slice(0, 2),
      ...through('q', 'PREPARE b AS SELECT 2').slice(0, 2),
    ];
    expect((await client.ask(...two, execute('q'), execute('p'), sync())).tags).toEqual([
      'PREPARE',
      'DEALLOCATE',
    ]);
    await letGo();
    expect((await client.ask(parse('a', 'SELECT 3'), runNamed('a'), runNamed('b'), sync())).rows).toEqual([
      ['3'],
      ['2'],
    ]);
  });

  test('in the extended protocol, by a portal that is older than another PREPARE of the same text', async () => {
    const client = await connect();
    const bound = [parse('', 'PREPARE f AS SELECT 6'), bindTexts('p', '', [])];
    const other = unnamed('PREPARE c AS SELECT 6');
    const answer = await client.ask(...bound, other, execute('p'), sync());
    expect([answer.tags, answer.errors]).toEqual([['PREPARE', 'PREPARE'], []]);
    expect([await client.value('EXECUTE f'), await client.value('EXECUTE c')]).toEqual(['6', '6']);
  });

  test('in the extended protocol, also behind one that was skipped in an earlier stretch', async () => {
    const client = await connect();
    for (const name of ['a', 'b']) await client.query(`PREPARE ${name} AS SELECT 1`);
    await client.send(unnamed('SELECT pg_sleep(0.1), 1/0'), parse('', 'DEALLOCATE a'), sync());
    await client.send(parse('', 'DEALLOCATE b'), message('H'));
    expect((await client.answer()).errors[0]?.['C']).toBe('22012');
    expect((await client.answerTo('1')).types).toBe('1');
    expect((await client.ask(bindTexts('', '', []), execute(''), sync())).tags).toEqual(['DEALLOCATE']);
    expect((await client.ask(parse('b', 'SELECT 2'), runNamed('b'), runNamed('a'), sync())).rows).toEqual([
      ['2'],
      ['1'],
    ]);
  });

  test('in EXPLAIN, CREATE TABLE AS, and strings of several statements with comments and quotes', async () => {
    const client = await connect();
    const sql = `/* PREPARE no; */ PREPARE "Odd;Name" AS SELECT 'EXECUTE x; --'; -- ;
      EXECUTE "Odd;Name"; DEALLOCATE "Odd;Name"`;
    const all = await client.query(sql);
    expect([all.rows, all.tags]).toEqual([[['EXECUTE x; --']], ['PREPARE', 'SELECT 1', 'DEALLOCATE']]);
    await client.query('PREPARE a AS SELECT 1 AS one');
    const letGo = await stage.occupy();
    expect((await client.query('EXPLAIN EXECUTE a')).tags).toEqual(['EXPLAIN']);
    await client.query('BEGIN');
    expect((await client.query('CREATE TEMP TABLE made AS EXECUTE a')).tags).toEqual(['SELECT 1']);
    expect(await client.value('SELECT one FROM made')).toBe('1');
    await client.query('ROLLBACK');
    await letGo();
  });

  test('DEALLOCATE ALL drops the client’s own statements alone', async () => {
    const [client, other] = [await connect(), await connect()];
    for (const each of [client, other]) await each.query('PREPARE a AS SELECT 1');
    expect((await client.query('DEALLOCATE ALL')).tags).toEqual(['DEALLOCATE ALL']);
    expect((await client.query('EXECUTE a')).errors[0]?.['C']).toBe('26000');
    expect(await other.value('EXECUTE a')).toBe('1');
  });

  test('errors have positions in the client’s own text', async () => {
    const client = await connect();
    const sql = 'PREPARE "ä name that is long enough to be longer than ours" AS SELECT no_such_column';
    const { errors } = await client.query(sql);
    expect([errors[0]?.['C'], errors[0]?.['P']]).toEqual(['42703', `${sql.indexOf('no_such') + 1}`]);
    expect((await client.query('SELECT 1; PREPARE a AS SELECT nope')).errors[0]?.['P']).toBe('31');
  });

  test('a transaction that has failed answers as PostgreSQL does', async () => {
    const client = await connect();
    await client.query('PREPARE a AS SELECT 1');
    await client.query('BEGIN');
    await client.query('SELECT 1/0');
    for (const sql of ['EXECUTE a', 'DEALLOCATE a', 'PREPARE b AS SELECT 2']) {
      expect((await client.query(sql)).errors[0]?.['C']).toBe('25P02');
    }
    await client.query('ROLLBACK');
    expect(await client.value('EXECUTE a')).toBe('1');
    expect((await client.query('EXECUTE b')).errors[0]?.['C']).toBe('26000');
  });

  test('backslashes in strings are read as the session has it', async () => {
    const client = await connect({ standard_conforming_strings: 'off' });
    // With the setting on, the string would end at the second quote, and EXECUTE a would be a statement.
    const sql = String.raw`PREPARE a AS SELECT 'x\'; EXECUTE nothing; --'`;
    expect((await client.query(sql)).tags).toEqual(['PREPARE']);
    expect(await client.value('EXECUTE a')).toBe("x'; EXECUTE nothing; --");
  });

  test('a pipeline of simple queries prepares, executes and drops', async () => {
    const client = await connect();
    await client.send(
      query('PREPARE a AS SELECT 1'),
      query('EXECUTE a'),
      query('DEALLOCATE a'),
      query('PREPARE a AS SELECT 2'),
      query('EXECUTE a'),
      query('DEALLOCATE ALL'),
      query('EXECUTE a'),
    );
    const answers = [];
    for (let i = 0; i < 7; i++) answers.push(await client.answer());
    expect(answers.map(({ tags, rows, errors }) => tags[0] ?? errors[0]?.['C'] ?? rows)).toEqual([
      'PREPARE',
      'SELECT 1',
      'DEALLOCATE',
      'PREPARE',
      'SELECT 1',
      'DEALLOCATE ALL',
      '26000',
    ]);
    expect([answers[1]?.rows, answers[4]?.rows]).toEqual([[['1']], [['2']]]);
  });
});

test('a statement that a server cannot learn is nobody else’s trouble', async () => {
  const [client, other] = [await connect(), await connect()];
  await client.query('CREATE TEMP TABLE gone (n int)');
  await client.query('PREPARE a AS SELECT * FROM gone');
  await other.query("PREPARE b AS SELECT 'b'");
  // The other server knows none of the two, and not the table.
  await stage.occupy();
  expect((await client.ask(runNamed('a'), sync())).errors[0]?.['C']).toBe('42P01');
  expect((await other.ask(runNamed('b'), sync())).rows).toEqual([['b']]);
});

test('what goes back with a transaction in which a server cannot learn a statement is told, and followed', async () => {
  const client = await connect();
  await client.query('CREATE TEMP TABLE gone (n int)');
  await client.query('PREPARE a AS SELECT * FROM gone');
  const letGo = await stage.occupy();
  const began = await client.query("BEGIN; SET IntervalStyle = 'sql_standard'");
  expect(began.parameters).toEqual([['IntervalStyle', 'sql_standard']]);
  const failed = await client.ask(runNamed('a'), sync());
  expect([failed.errors[0]?.['C'], failed.status]).toEqual(['42P01', 'E']);
  expect(failed.parameters).toEqual([['IntervalStyle', 'postgres']]);
  await client.query('ROLLBACK');
  await letGo();
  // On whatever server it is, it has what it was told.
  for (const again of [null, await stage.occupy()]) {
    expect(await client.value('SHOW IntervalStyle')).toBe('postgres');
    await again?.();
  }
});

test('a statement that a server cannot learn is refused for the reason that PostgreSQL has', async () => {
  const client = await connect();
  const other = await connect();
  const direct = await WireClient.connect(sharedPostgres(), { user: ROLE, database: 'postgres' });
  const text = `SELECT 'é', * FROM gone_for_good`;
  const sql = `PREPARE with_a_name_of_its_own AS ${text}`;
  const begun = async (each: WireClient) => {
    await each.rows('CREATE TEMP TABLE gone_for_good (n int)');
    await each.rows(sql);
    expect((await each.ask(parse('by_protocol', text), sync())).types).toBe('1Z');
    await each.rows('DROP TABLE gone_for_good');
  };
  await begun(direct);
  // One server has them, and the client gets the other one.
  await begun(client);
  await other.query('BEGIN');
  const errors = async (each: WireClient, ...queries: string[]) => {
    const all = [];
    for (const one of queries) {
      const { errors: its, rows } = await each.query(one);
      all.push(its, rows);
    }
    return all;
  };
  for (const name of ['with_a_name_of_its_own', 'by_protocol']) {
    const queries = [
      `EXECUTE ${name}`,
      `SELECT 1; EXECUTE ${name}`,
      'BEGIN',
      `EXECUTE ${name}`,
      'SELECT 2',
      'ROLLBACK',
      `EXPLAIN EXECUTE ${name}`,
      'EXECUTE none_at_all',
      `EXECUTE none_at_all; EXECUTE ${name}`,
    ];
    expect(await errors(client, ...queries)).toEqual(await errors(direct, ...queries));
  }
  await direct.end();
});

test('PREPARE of a name that is taken waits until it is known what the server has under it', async () => {
  const client = await connect();
  // Two names for one statement, which a text that fails at its beginning was to drop.
  for (const name of ['a', 'b']) await client.ask(parse(name, 'SELECT 1'), runNamed(name), sync());
  const [first, second] = ['PREPARE a AS SELECT 2; DEALLOCATE a', 'PREPARE b AS SELECT 3'];
  await client.send(query(first), parse('', second), runNamed(''), sync());
  expect((await client.answer()).types).toBe('EZ');
  const { types, errors } = await client.answer();
  expect(types).toBe('12EZ');
  expect([errors[0]?.['C'], errors[0]?.['M']]).toEqual(['42P05', 'prepared statement "b" already exists']);
});

describe('a text of several statements', () => {
  test('finds all that it executes, were it more than a server may have', async () => {
    await stage.pooler.reload({ settings: { max_prepared_statements: 1 } });
    const client = await connect();
    for (const name of ['a', 'b', 'c']) await client.query(`PREPARE ${name} AS SELECT '${name}'`);
    // The other server, which has none of them.
    await stage.occupy();
    for (const order of ['a', 'ab', 'cab', 'bca', 'abcabc', 'aab']) {
      const { rows, errors } = await client.query([...order].map((name) => `EXECUTE ${name}`).join(';'));
      expect([errors, rows.flat().join('')]).toEqual([[], order]);
    }
  });

  test('may prepare once more what it has executed by another name', async () => {
    const client = await connect();
    await client.query('PREPARE a AS SELECT 1');
    const { rows, errors } = await client.query('EXECUTE a; PREPARE b AS SELECT 1; EXECUTE b; DEALLOCATE a');
    expect([rows, errors]).toEqual([[['1'], ['1']], []]);
    expect((await client.query('EXECUTE a')).errors[0]?.['C']).toBe('26000');
    expect(await client.value('EXECUTE b')).toBe('1');
  });

  test('may give a name anew that it has dropped with all others', async () => {
    const client = await connect();
    await client.query('PREPARE a AS SELECT 1');
    for (const value of ['2', '2', '3']) {
      const { tags, errors } = await client.query(`DEALLOCATE ALL; PREPARE a AS SELECT ${value}`);
      expect([tags, errors]).toEqual([['DEALLOCATE ALL', 'PREPARE'], []]);
      for (let i = 0; i < 2; i++) {
        const letGo = await stage.occupy();
        expect(await client.value('EXECUTE a')).toBe(value);
        await letGo();
      }
    }
    const twice = await client.query('DEALLOCATE ALL; PREPARE a AS SELECT 4; PREPARE a AS SELECT 5');
    expect(twice.errors.map(({ C }) => C)).toEqual(['42P05']);
    expect(await client.value('EXECUTE a')).toBe('4');
  });
});
