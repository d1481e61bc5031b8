import { describe, expect, test } from 'vitest';
import { cuttings } from '../support/cut.ts';
import { columnsOf, frontend, int16, int32, message } from '../support/peer-messages.ts';
import { type Random, withSeed } from '../support/random.ts';
import { type Answer, unnamed, type WireClient } from '../support/wire-client.ts';
import { describedRun, ITEMS, runNamed, WireStage } from '../support/wire-stage.ts';
import { byEffort } from '../support/effort.ts';

const ROLE = 'told_app';
const { parse, bindTexts, describe: describing, execute, sync, query } = frontend;
const ROUNDS = byEffort({ quick: 100, wide: 400, full: 6000 });

const stage = new WireStage(ROLE, { default_pool_size: 2 }, { tables: ITEMS });
const connect = (parameters: Readonly<Record<string, string>> = {}) => stage.connect(parameters);

const ALL = 'SELECT * FROM items';
const alter = () => stage.direct.rows('ALTER TABLE items ADD more int DEFAULT 7');
const restore = () => stage.direct.rows('ALTER TABLE items DROP more');

/** A client that was told of the rows of {@link ALL}, its `a`: by a Describe of the statement, or of a portal. */
async function told(by: 'S' | 'P' = 'S'): Promise<WireClient> {
  const client = await connect();
  const telling = by === 'S' ? describing('S', 'a') : describedRun('a');
  expect((await client.ask(parse('a', ALL), telling, sync())).types).toContain('T');
  return client;
}

function outcome({ types, rows, errors }: Answer): unknown {
  return errors.length > 0 ? [types, errors.map(({ C, M, R }) => `${C} ${M} ${R}`)] : [types, rows];
}

const REFUSED = ['EZ', ['0A000 cached plan must not change result type RevalidateCachedQuery']];
const AS_TOLD = ['2DCZ', [['1', 'one']]];
const AS_IT_IS = ['2DCZ', [['1', 'one', '7']]];

describe.each([
  'S',
  'P',
] as const)('a client that was told of the rows of its statement (Describe %s)', (by) => {
  test('runs it without asking on a server that has not known it', async () => {
    const client = await told(by);
    await stage.occupy();
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_TOLD);
  });

  test('is refused other rows on a server that has not known it, until it is told of them', async () => {
    const client = await told(by);
    await stage.occupy();
    await alter();
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
    await client.ask(describing('S', 'a'), sync());
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_IT_IS);
  });

  test('is refused other rows on a server where another client has had it prepared anew', async () => {
    const client = await told(by);
    const other = await connect();
    await alter();
    expect(outcome(await other.ask(parse('b', ALL), runNamed('b'), sync()))).toEqual([
      '12DCZ',
      [['1', 'one', '7']],
    ]);
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
    expect((await client.ask(describedRun('a'), sync())).rows).toEqual([['1', 'one', '7']]);
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_IT_IS);
    expect(outcome(await other.ask(runNamed('b'), sync()))).toEqual(AS_IT_IS);
  });

  test('runs it where the rows are again what it was told, though the server has known others', async () => {
    const client = await told(by);
    const other = await connect();
    await alter();
    expect((await other.ask(parse('b', ALL), describedRun('b'), sync())).rows).toEqual([['1', 'one', '7']]);
    await restore();
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_TOLD);
  });

  test('gets other rows where it is told of them ahead of them, wherever its requests are cut', async () => {
    const client = await told(by);
    const other = await connect();
    await other.ask(parse('b', ALL), describing('S', 'b'), sync());
    for (const [bytes, types] of [
      [Buffer.concat([describedRun('a'), sync()]), '2TDCZ'],
      [Buffer.concat([describing('S', 'a'), runNamed('a'), sync()]), 'tT2DCZ'],
      [
        Buffer.concat([
          bindTexts('p', 'a', []),
          parse('', 'SELECT'),
          describing('P', 'p'),
          execute('p'),
          sync(),
        ]),
        '21TDCZ',
      ],
    ] as const) {
      for (const { name, chunks } of cuttings(bytes)) {
        await restore().catch(() => {});
        expect((await client.ask(describedRun('a'), sync())).rows, name).toEqual([['1', 'one']]);
        await alter();
        expect((await other.ask(describedRun('b'), sync())).rows, name).toEqual([['1', 'one', '7']]);
        for (const chunk of chunks) await client.send(chunk);
        expect(outcome(await client.answer()), name).toEqual([types, [['1', 'one', '7']]]);
      }
    }
  });

  test('gets its own where a server has known others, cut behind a Flush ahead of a description', async () => {
    const client = await told(by);
    const other = await connect();
    await other.ask(parse('b', ALL), sync());
    const first = Buffer.concat([describedRun('a'), message('H'), bindTexts('', 'a', [])]);
    const rest = Buffer.concat([describing('P', ''), execute(''), sync()]);
    for (let cut = 0; cut < describing('P', '').length; cut++) {
      await alter();
      expect((await other.ask(describedRun('b'), sync())).rows).toEqual([['1', 'one', '7']]);
      await restore();
      await client.send(first, rest.subarray(0, cut));
      // What it awaits comes ahead of the rest.
      const head = await client.peer.message();
      expect(head.type, `cut at ${cut}`).toBe('2');
      await client.send(rest.subarray(cut));
      const run = [
        ['1', 'one'],
        ['1', 'one'],
      ];
      expect(outcome(await client.answer()), `cut at ${cut}`).toEqual(['TDC2TDCZ', run]);
    }
  });

  test('is refused them where only other portals are described, or its own behind them', async () => {
    for (const requests of [
      [bindTexts('p', 'a', []), describing('P', ''), execute('p')],
      [bindTexts('p', 'a', []), execute('p'), describing('P', 'p')],
      [bindTexts('p', 'a', []), describing('S', 'none'), execute('p')],
    ]) {
      const client = await told(by);
      const release = await stage.occupy();
      await alter();
      expect(outcome(await client.ask(...requests, sync()))).toEqual(REFUSED);
      await release();
      await restore();
    }
  });

  test('is refused them in a transaction, which has failed then', async () => {
    const client = await told(by);
    await stage.occupy();
    await client.query('BEGIN');
    await alter();
    const { types, status, errors } = await client.ask(unnamed('SELECT 1'), runNamed('a'), sync());
    expect([types, status, errors[0]?.['C']]).toEqual(['12DCEZ', 'E', '0A000']);
    expect((await client.query('ROLLBACK')).tags).toEqual(['ROLLBACK']);
    expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
  });

  test('gets PostgreSQL’s own error where the statement can no longer be prepared', async () => {
    const client = await told(by);
    await stage.occupy();
    await stage.direct.rows('DROP TABLE items');
    const { types, errors } = await client.ask(runNamed('a'), runNamed('a'), sync());
    expect([types, errors[0]?.['C'], errors[0]?.['P']]).toEqual(['EZ', '42P01', '15']);
    expect((await client.query('SELECT 2')).rows).toEqual([['2']]);
  });

  test('runs it behind an error that skips it, and many at once', async () => {
    const client = await told(by);
    await stage.occupy();
    const many = Array.from({ length: 50 }, () => runNamed('a'));
    const skipped = await client.ask(unnamed('SELECT 1/0'), ...many, sync());
    expect([skipped.types, skipped.errors[0]?.['C']]).toEqual(['1EZ', '22012']);
    expect((await client.ask(...many, sync())).rows).toEqual(many.map(() => ['1', 'one']));
  });
});

/** Bind of a parameter in binary, as who was told of its type sends it, and Execute. */
const runBinary = (name: string, value: number) =>
  Buffer.concat([
    message('B', '', name, int16(1), int16(1), int16(1), int32(4), int32(value), int16(0)),
    execute(''),
  ]);

test('parameters are not taken for values of another type than the client was told', async () => {
  const client = await connect();
  const sql = 'SELECT name FROM items WHERE id = $1';
  await client.ask(parse('a', sql), describing('S', 'a'), sync());
  expect((await client.ask(runBinary('a', 1), sync())).rows).toEqual([['one']]);
  await stage.occupy();
  // As long as an int, and read without complaint.
  await stage.direct.rows('ALTER TABLE items ALTER id TYPE real');
  for (const asking of [[], [describing('P', '')]]) {
    const requests = [runBinary('a', 1).subarray(0, -execute('').length), ...asking, execute('')];
    expect(outcome(await client.ask(...requests, sync()))).toEqual(REFUSED);
    await client.ask(describing('S', 'a'), sync());
    await stage.direct.rows('ALTER TABLE items ALTER id TYPE int');
    await stage.pooler.show('RECONNECT');
    const other = await connect();
    await other.ask(parse('b', sql), describing('S', 'b'), sync());
  }
});

test('where its parameters are what they were told to be, a portal’s description is enough', async () => {
  const client = await connect();
  await client.ask(parse('a', 'SELECT * FROM items WHERE id = $1'), describing('S', 'a'), sync());
  await stage.occupy();
  await alter();
  expect(outcome(await client.ask(describedRun('a', '1'), sync()))).toEqual(['2TDCZ', [['1', 'one', '7']]]);
});

test('one that has prepared it anew was told nothing of it', async () => {
  const client = await told();
  await stage.occupy();
  await alter();
  await client.ask(frontend.close('S', 'a'), parse('a', ALL), sync());
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_IT_IS);
});

test('one that was told again goes by that', async () => {
  const client = await told();
  await stage.occupy();
  await alter();
  expect((await client.ask(describing('S', 'a'), sync())).types).toBe('tTZ');
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_IT_IS);
});

test('what was to tell it and failed has told it nothing', async () => {
  const client = await told();
  const holder = await stage.occupy();
  await alter();
  // The server there knows it with its new rows, and fails before it describes them.
  const other = await connect();
  await other.ask(parse('b', ALL), describing('S', 'b'), sync());
  const failed = await client.ask(unnamed('SELECT 1/0'), describing('S', 'a'), sync());
  expect(failed.errors[0]?.['C']).toBe('22012');
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
  await holder();
});

test('a server that it needs to be described on serves others while the client sends no more', async () => {
  const client = await told();
  const release = await stage.occupy();
  await alter();
  await client.send(bindTexts('', 'a', []));
  const other = await connect();
  for (let i = 0; i < 3; i++) expect((await other.query(`SELECT ${i}`)).rows).toEqual([[`${i}`]]);
  await client.send(describing('P', ''), execute(''), sync());
  expect(outcome(await client.answer())).toEqual(['2TDCZ', [['1', 'one', '7']]]);
  await release();
});

test('clients with other schemas get each its own rows, on one server', async () => {
  await stage.direct.rows('DROP SCHEMA IF EXISTS one CASCADE; DROP SCHEMA IF EXISTS two CASCADE');
  await stage.direct.rows('CREATE SCHEMA one; CREATE TABLE one.own AS SELECT 1::int AS id');
  await stage.direct.rows("CREATE SCHEMA two; CREATE TABLE two.own AS SELECT 'x'::text AS id, 2 AS more");
  await stage.pooler.show('SET default_pool_size = 1');
  const [one, two] = [
    await connect({ options: '-c search_path=one' }),
    await connect({ options: '-c search_path=two' }),
  ];
  const prepare = [parse('a', 'SELECT * FROM own'), describing('S', 'a'), sync()];
  expect((await one.ask(...prepare)).errors).toEqual([]);
  expect((await two.ask(...prepare)).errors).toEqual([]);
  for (let i = 0; i < 3; i++) {
    expect(outcome(await one.ask(runNamed('a'), sync()))).toEqual(['2DCZ', [['1']]]);
    expect(outcome(await two.ask(runNamed('a'), sync()))).toEqual(['2DCZ', [['x', '2']]]);
  }
});

test('statements without rows, and prepared by SQL, are told of as others', async () => {
  const client = await connect();
  await client.query(`PREPARE a AS ${ALL}`);
  await client.ask(describing('S', 'a'), sync());
  await client.ask(parse('n', 'DELETE FROM items WHERE id = 9'), describing('S', 'n'), sync());
  await stage.occupy();
  expect((await client.ask(runNamed('n'), sync())).tags).toEqual(['DELETE 0']);
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(AS_TOLD);
  await alter();
  const other = await connect();
  await other.query(`PREPARE b AS ${ALL}`);
  await other.ask(describing('S', 'b'), sync());
  expect(outcome(await client.ask(runNamed('a'), sync()))).toEqual(REFUSED);
});

const ALTERATIONS = [
  'ALTER TABLE items ADD IF NOT EXISTS more int DEFAULT 7',
  'ALTER TABLE items DROP IF EXISTS more',
  'ALTER TABLE items ALTER id TYPE bigint',
  'ALTER TABLE items ALTER id TYPE int',
];

/** One client, and what it has been told of its statements by name. */
class Decoder {
  readonly client: WireClient;
  readonly #told = new Map<string, string>();
  readonly #names = new Set<string>();
  runs = 0;
  refusals = 0;

  constructor(client: WireClient) {
    this.client = client;
  }

  /** Asks for something; `now` is what rows are at the time. */
  async step(random: Random, now: string, history: string[]): Promise<void> {
    const name = `n${random.below(3)}`;
    const parts: Buffer[] = [];
    if (!this.#names.has(name)) parts.push(parse(name, ALL));
    else if (random.below(12) === 0) parts.push(frontend.close('S', name), parse(name, ALL));
    if (parts.length > 0) this.#told.delete(name);
    this.#names.add(name);
    const isTold = random.below(4) === 0;
    if (isTold) parts.push(describing('S', name));
    const by: boolean[] = [];
    for (let i = random.below(3); i >= 0; i--) {
      const isDescribed = random.below(4) === 0;
      by.push(isDescribed);
      parts.push(isDescribed ? describedRun(name) : runNamed(name));
      if (random.below(6) === 0) parts.push(message('H'));
    }
    const whole = Buffer.concat([...parts, sync()]);
    const cut = random.below(whole.length);
    await this.client.send(whole.subarray(0, cut));
    for (let turns = random.below(20); turns > 0; turns--) await new Promise((done) => setImmediate(done));
    await this.client.send(whole.subarray(cut));
    const messages = await this.client.peer.messagesTo('Z');
    history.push(
      `${name} ${messages.map(({ type }) => type).join('')}, told ${this.#told.get(name)}, is ${now}`,
    );
    const shown = history.slice(-10).join('\n');
    for (const { type, body } of messages) {
      if (type === 'T') {
        expect(columnsOf(body), shown).toBe(now);
        this.#told.set(name, now);
      } else if (type === 'D') {
        this.runs++;
        // Rows of what it has been told, if anything.
        expect(this.#told.get(name) ?? now, shown).toBe(now);
        expect(body.readUInt16BE(0), shown).toBe(now.split(', ').length);
      } else if (type === 'E') {
        const text = body.toString();
        expect(text, shown).toContain('0A000');
        this.refusals++;
        // A client that knows nothing else is refused nothing.
        if (by.every((each) => each)) expect(this.#told.get(name), shown).not.toBe(now);
      }
    }
  }
}

test('whatever happens to tables and servers, clients get rows only of what they were told last', async () => {
  await withSeed(async (random) => {
    const decoders = await Promise.all([0, 1, 2].map(async () => new Decoder(await connect())));
    const holder = await connect();
    const history: string[] = [];
    const rows = async () =>
      columnsOf(
        (await stage.direct.send(query(ALL)), await stage.direct.peer.messagesTo('Z')).find(
          ({ type }) => type === 'T',
        )?.body as Buffer,
      );
    let now = await rows();
    for (let round = 0; round < ROUNDS; round++) {
      if (random.below(3) === 0) {
        const sql = random.pick(ALTERATIONS);
        history.push(sql);
        await stage.direct.rows(sql);
        now = await rows();
      }
      if (random.below(3) === 0) await holder.query(random.pick(['BEGIN', 'COMMIT']));
      if (random.below(60) === 0) await stage.pooler.show(random.pick(['RECONNECT', 'RELOAD']));
      const at = random.below(decoders.length);
      history.push(`client ${at}`);
      await (decoders[at] as Decoder).step(random, now, history);
    }
    const sum = (count: (each: Decoder) => number) => decoders.reduce((all, each) => all + count(each), 0);
    expect(sum(({ runs }) => runs)).toBeGreaterThan(ROUNDS);
    // One that is refused goes on being so until it asks.
    expect(sum(({ refusals }) => refusals)).toBeLessThan(ROUNDS / 2);
  });
}, 120_000);
