import { describe, expect, test } from 'vitest';
import type { ClientSession } from '../../src/client/session.ts';
import { cuttings } from '../support/cut.ts';
import { frontend, int16, message } from '../support/peer-messages.ts';
import { waitFor } from '../support/wait-for.ts';
import { type Answer, unnamed, type WireClient } from '../support/wire-client.ts';
import { describedRun, ITEMS, WireStage } from '../support/wire-stage.ts';

const ROLE = 'repaired_app';
const { parse, bindTexts, describe: describing, execute, close, sync, query } = frontend;
const flush = message('H');

const stage = new WireStage(ROLE, { default_pool_size: 1 }, { tables: ITEMS });
const connect = (parameters: Readonly<Record<string, string>> = {}) => stage.connect(parameters);

const ALL = 'SELECT * FROM items';
const alter = () => stage.direct.rows('ALTER TABLE items ADD more int DEFAULT 7');

/** A client that has run `sql` under the name `a`, whose server has it, with a plan that is out of date now. */
async function stale(sql = ALL, ...values: string[]): Promise<WireClient> {
  const client = await connect();
  const first = await client.ask(parse('a', sql), describedRun('a', ...values), sync());
  expect(first.errors).toEqual([]);
  await alter();
  return client;
}

/** PostgreSQL's error has come, and no client knows of it. */
async function errorIsHeld(): Promise<void> {
  await waitFor(() => [...stage.pooler.pooler.state.sessions.values()].some(({ kept }) => kept.isHeld));
}

function outcome({ types, rows, errors }: Answer): unknown {
  return errors.length > 0 ? [types, errors.map(({ C, M }) => `${C} ${M}`)] : [types, rows];
}

const REPAIRED = ['2TDCZ', [['1', 'one', '7']]];
const REFUSED = ['EZ', ['0A000 cached plan must not change result type']];

/** Bind of an unnamed portal that asks for each column's format by itself, and gives no parameters. */
function bindFormats(name: string, ...formats: number[]): Buffer {
  return message('B', '', name, int16(0), int16(0), int16(formats.length), ...formats.map(int16));
}

describe('a statement whose result has another type now', () => {
  test('runs, when its portal is described in the same stretch', async () => {
    const client = await stale();
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REPAIRED);
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REPAIRED);
  });

  test('runs twice in one stretch', async () => {
    const client = await stale();
    const { types, rows } = await client.ask(describedRun('a'), describedRun('a'), sync());
    expect([types, rows]).toEqual([
      '2TDC2TDCZ',
      [
        ['1', 'one', '7'],
        ['1', 'one', '7'],
      ],
    ]);
  });

  test('runs wherever the requests are cut', async () => {
    const client = await stale();
    const bytes = Buffer.concat([describedRun('a'), sync()]);
    for (const { name, chunks } of cuttings(bytes)) {
      await stage.direct.rows('ALTER TABLE items DROP more');
      expect((await client.ask(describedRun('a'), sync())).rows, name).toEqual([['1', 'one']]);
      await alter();
      let sent = 0;
      for (const chunk of chunks) {
        await client.send(chunk);
        sent += chunk.length;
        if (sent >= bindTexts('', 'a', []).length && sent < bytes.length) await errorIsHeld();
      }
      expect(outcome(await client.answer()), name).toEqual(REPAIRED);
    }
  });

  test('runs with parameters, whose types are what they were', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1 AND name = $2', '1', 'one');
    expect(outcome(await client.ask(describedRun('a', '1', 'one'), sync()))).toEqual(REPAIRED);
    expect(outcome(await client.ask(describedRun('a', '2', 'one'), sync()))).toEqual(['2TCZ', []]);
  });

  test('is refused where a parameter has another type now, and runs then', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1', '1');
    await stage.direct.rows('ALTER TABLE items ALTER id TYPE bigint');
    expect(outcome(await client.ask(describedRun('a', '1'), sync()))).toEqual(REFUSED);
    expect(outcome(await client.ask(describedRun('a', '1'), sync()))).toEqual(REPAIRED);
  });

  test('runs with a format for each column only if there are as many', async () => {
    const client = await stale();
    const run = Buffer.concat([bindFormats('a', 0, 0), describing('P', ''), execute(''), sync()]);
    expect(outcome(await client.ask(run))).toEqual(REFUSED);
    expect((await client.ask(run)).errors[0]?.['M']).toMatch(/2 result formats but query has 3 columns/);
    await stage.direct.rows('ALTER TABLE items ALTER more TYPE text');
    const fitting = Buffer.concat([bindFormats('a', 0, 0, 0), describing('P', ''), execute(''), sync()]);
    expect(outcome(await client.ask(fitting))).toEqual(REPAIRED);
  });

  test('is refused where the client was told of its rows before, until it is told of them anew', async () => {
    const client = await stale();
    const run = Buffer.concat([bindTexts('', 'a', []), execute(''), sync()]);
    expect(outcome(await client.ask(run))).toEqual(REFUSED);
    expect(outcome(await client.ask(run))).toEqual(REFUSED);
    await client.ask(describing('S', 'a'), sync());
    expect(outcome(await client.ask(run))).toEqual(['2DCZ', [['1', 'one', '7']]]);
  });

  test('is refused where the client was told nothing, and runs then', async () => {
    const client = await connect();
    const run = Buffer.concat([bindTexts('', 'a', []), execute(''), sync()]);
    await client.ask(parse('a', ALL), run);
    await alter();
    expect(outcome(await client.ask(run))).toEqual(REFUSED);
    expect(outcome(await client.ask(run))).toEqual(['2DCZ', [['1', 'one', '7']]]);
  });

  test('is prepared anew by the next use, also when that was skipped once', async () => {
    const client = await connect();
    const run = Buffer.concat([bindTexts('', 'a', []), execute('')]);
    await client.ask(parse('a', ALL), run, sync());
    await alter();
    expect(outcome(await client.ask(run, sync()))).toEqual(REFUSED);
    expect((await client.ask(unnamed('SELECT 1/0'), run, sync())).errors[0]?.['C']).toBe('22012');
    expect(outcome(await client.ask(run, sync()))).toEqual(['2DCZ', [['1', 'one', '7']]]);
  });

  test('is refused where another portal than its own is described, or only behind its rows', async () => {
    for (const run of [
      [bindTexts('p', 'a', []), describing('P', ''), execute('p')],
      [bindTexts('', 'a', []), execute(''), describing('P', '')],
      [bindTexts('', 'a', []), describing('P', ''), bindTexts('', 'a', []), execute('')],
    ]) {
      const client = await stale();
      expect(outcome(await client.ask(...run, sync()))).toEqual(REFUSED);
      await stage.direct.rows('ALTER TABLE items DROP more');
      await client.peer.close();
    }
  });

  test('is described anew, and once', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1', '1');
    await stage.direct.rows('ALTER TABLE items ALTER id TYPE bigint');
    expect((await client.ask(describing('S', 'a'), sync())).types).toBe('tTZ');
    expect(outcome(await client.ask(describedRun('a', '1'), sync()))).toEqual(REPAIRED);
    expect(
      outcome(await client.ask(describing('S', 'a'), bindTexts('', 'a', ['1']), execute(''), sync())),
    ).toEqual(['tT2DCZ', [['1', 'one', '7']]]);
  });

  test('is refused when described for a parameter that has another type now, and its description is not doubled', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1', '1');
    await stage.direct.rows('ALTER TABLE items ALTER id TYPE bigint');
    const run = [describing('S', 'a'), bindTexts('', 'a', ['1']), execute('')];
    expect(outcome(await client.ask(...run, sync()))).toEqual(REFUSED);
    expect(outcome(await client.ask(...run, sync()))).toEqual(['tT2DCZ', [['1', 'one', '7']]]);
  });

  test.each([
    'bigint',
    'text',
  ])('runs for a client that prepares it, with a parameter that has become %s', async (type) => {
    const sql = 'SELECT * FROM items WHERE id = $1';
    for (const [types, ...requests] of [
      ['12TDCZ', parse('b', sql), describedRun('b', '1')],
      ['1tTZ', parse('b', sql), describing('S', 'b')],
      ['1tT2DCZ', parse('b', sql), describing('S', 'b'), bindTexts('', 'b', ['1']), execute('')],
      ['12DCZ', parse('b', sql), bindTexts('', 'b', ['1']), execute('')],
    ] as const) {
      await stale(sql, '1');
      await stage.direct.rows(`ALTER TABLE items ALTER id TYPE ${type}`);
      const client = await connect();
      const answer = await client.ask(...requests, sync());
      expect([answer.types, answer.errors]).toEqual([types, []]);
      if (types.includes('D')) expect(answer.rows).toEqual([['1', 'one', '7']]);
      await stage.direct.rows('ALTER TABLE items DROP more, ALTER id TYPE int USING id::int');
    }
  });

  test('lost by its server runs for a client that prepares it', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1', '1');
    await client.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
    const requests = [parse('b', 'SELECT * FROM items WHERE id = $1'), describedRun('b', '1'), sync()];
    expect(outcome(await client.ask(...requests))).toEqual(['12TDCZ', [['1', 'one', '7']]]);
  });

  test('runs for a client that asks step by step, with Flush', async () => {
    const sql = 'SELECT * FROM items WHERE id = $1';
    await stale(sql, '1');
    const client = await connect();
    await client.send(parse('b', sql), describing('S', 'b'), flush);
    expect((await client.answerTo('T')).types).toBe('1tT');
    await client.send(bindTexts('', 'b', ['1']), flush);
    expect((await client.answerTo('2')).types).toBe('2');
    await client.send(describing('P', ''), execute(''), sync());
    expect(outcome(await client.answer())).toEqual(['TDCZ', [['1', 'one', '7']]]);
    await stage.direct.rows('ALTER TABLE items DROP more');
    await client.send(bindTexts('', 'b', ['1']), describing('P', ''), flush);
    expect((await client.answerTo('T')).types).toBe('2T');
    expect(outcome(await client.ask(execute(''), sync()))).toEqual(['DCZ', [['1', 'one']]]);
  });

  test('is refused at once where the client waits ahead of the description', async () => {
    const client = await stale();
    await client.send(bindTexts('', 'a', []), flush);
    expect((await client.answerTo('E')).errors[0]?.['C']).toBe('0A000');
    expect(outcome(await client.ask(describing('P', ''), execute(''), sync()))).toEqual(['Z', []]);
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REPAIRED);
  });

  test('is refused in a transaction', async () => {
    const client = await stale();
    await client.query('BEGIN');
    const { types, status, errors } = await client.ask(describedRun('a'), sync());
    expect([types, status, errors[0]?.['C']]).toEqual(['EZ', 'E', '0A000']);
    await client.query('ROLLBACK');
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REPAIRED);
  });

  test('is refused behind requests of the same stretch that were done', async () => {
    const client = await stale();
    const { types, errors } = await client.ask(unnamed('SELECT 1'), describedRun('a'), sync());
    expect([types, errors[0]?.['C']]).toEqual(['12DCE' + 'Z', '0A000']);
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REPAIRED);
  });

  test('is refused behind requests of the same stretch that were answered', async () => {
    const client = await stale();
    await client.send(unnamed('SELECT 1'), flush);
    expect((await client.answerTo('C')).types).toBe('12DC');
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REFUSED);
  });

  test('is refused with more requests under way behind its Sync, which are answered', async () => {
    for (const [behind, types] of [
      [Buffer.concat([unnamed('SELECT 2'), sync()]), '12DCZ'],
      [query('SELECT 2'), 'TDCZ'],
    ] as const) {
      const client = await stale();
      await client.send(describedRun('a'), sync(), behind);
      expect(outcome(await client.answer())).toEqual(REFUSED);
      expect(outcome(await client.answer())).toEqual([types, [['2']]]);
      await stage.direct.rows('ALTER TABLE items DROP more');
    }
  });

  test('is answered ahead of what is sent while its requests are incomplete', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1', '1');
    await client.send(bindTexts('', 'a', ['1']), describing('P', '').subarray(0, 3));
    await errorIsHeld();
    await client.send(describing('P', '').subarray(3), execute(''), sync(), unnamed('SELECT 2'), sync());
    await client.send(query('SELECT 3'));
    expect(outcome(await client.answer())).toEqual(REPAIRED);
    expect(outcome(await client.answer())).toEqual(['12DCZ', [['2']]]);
    expect(outcome(await client.answer())).toEqual(['TDCZ', [['3']]]);
  });

  test.each([
    ['a long one', 'x'.repeat(300_000)],
    ['a short one', 'x'],
  ])('does not keep a client from finishing a message that it has half sent: %s', async (_name, value) => {
    const client = await stale('SELECT * FROM items WHERE name <> $1', 'x');
    const bytes = Buffer.concat([
      describedRun('a', 'x'),
      describedRun('a', value),
      sync(),
      query('SELECT 2'),
    ]);
    const half = describedRun('a', 'x').length + 20;
    await client.send(bytes.subarray(0, half));
    await errorIsHeld();
    await client.send(bytes.subarray(half));
    const { types, errors } = await client.answer();
    if (value === 'x') expect(types).toBe('2TDC2TDCZ');
    else expect(errors[0]?.['C']).toBe('0A000');
    expect(outcome(await client.answer())).toEqual(['TDCZ', [['2']]]);
    expect(outcome(await client.ask(describedRun('a', 'x'), sync()))).toEqual(REPAIRED);
  });

  test('does not keep a client from sending a long text behind it', async () => {
    const client = await stale('SELECT * FROM items WHERE name <> $1', 'x');
    await client.ask(describedRun('a', 'x'), sync());
    const text = parse('b', `SELECT '${'x'.repeat(100_000)}'`);
    // Answers come with the Sync behind the text.
    await client.send(describedRun('a', 'y'.repeat(15_000)), text.subarray(0, 90_000));
    const { held } = [...stage.pooler.pooler.state.sessions.values()][0] as ClientSession;
    await waitFor(() => held.length === 90_000);
    await client.send(text.subarray(90_000), sync());
    expect((await client.answer()).types).toBe('2TDC1Z');
  });

  test('is clean with the next use, also when it is named again behind what was refused', async () => {
    const client = await stale();
    await client.send(bindTexts('', 'a', []));
    await errorIsHeld();
    await client.send(execute(''), bindTexts('', 'a', []), execute(''), sync());
    expect(outcome(await client.answer())).toEqual(REFUSED);
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REPAIRED);
  });

  test('leaves the server to others when its client goes meanwhile', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1', '1');
    await client.send(bindTexts('', 'a', ['1']));
    await client.peer.close();
    const other = await connect();
    expect((await other.query('SELECT 1')).rows).toEqual([['1']]);
  });

  test('is refused when more than 16 kB was sent with it', async () => {
    const long = 'x'.repeat(17_000);
    const client = await stale('SELECT * FROM items WHERE name <> $1', long);
    expect(outcome(await client.ask(describedRun('a', long), sync()))).toEqual(REFUSED);
    expect(outcome(await client.ask(describedRun('a', long), sync()))).toEqual(REPAIRED);
  });

  test('runs by protocol, when it was prepared by SQL', async () => {
    const client = await connect();
    await client.query(`PREPARE a AS ${ALL}`);
    await alter();
    expect(outcome(await client.ask(describedRun('a'), sync()))).toEqual(REPAIRED);
  });

  test('is refused with PostgreSQL’s own error, byte by byte', async () => {
    const run = Buffer.concat([bindTexts('', 'a', []), execute(''), sync()]);
    const raw = async (client: WireClient): Promise<Buffer> => {
      await client.send(run);
      return Buffer.concat((await client.peer.messagesTo('Z')).map(({ type, body }) => message(type, body)));
    };
    const client = await stale();
    await stage.direct.ask(parse('a', ALL), sync());
    await stage.direct.rows('ALTER TABLE items ADD even_more int');
    expect(await raw(client)).toEqual(await raw(stage.direct));
    await stage.direct.ask(close('S', 'a'), sync());
  });

  test('counts as one query', async () => {
    const client = await stale('SELECT * FROM items WHERE id = $1', '1');
    const count = async () =>
      (await stage.pooler.show('SHOW STATS_TOTALS')).find(({ database }) => database === ROLE) ?? {};
    const before = await count();
    expect(outcome(await client.ask(describedRun('a', '1'), sync()))).toEqual(REPAIRED);
    const after = await count();
    for (const name of ['query_count', 'xact_count', 'bind_count'])
      expect(Number(after[name]) - Number(before[name]), name).toBe(1);
  });
});
