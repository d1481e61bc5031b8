import { beforeAll, expect, test } from 'vitest';
import type { ClientSession } from '../../src/client/session.ts';
import { errorFields, frontend, type ReadMessage } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const ROLE = 'repaired_amid';
const { parse, bindTexts, describe: describing, execute, flush, close, sync, query } = frontend;
const STRETCHES = byEffort({ quick: 20, wide: 60, full: 1000 });
const CLIENTS = 6;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), ROLE, ROLE);
});

const ALTERATIONS = ['changing', 'tagged'].flatMap((table) => [
  `ALTER TABLE ${table} ADD IF NOT EXISTS c int DEFAULT 3`,
  `ALTER TABLE ${table} DROP IF EXISTS c`,
  `ALTER TABLE ${table} ALTER a TYPE bigint`,
  `ALTER TABLE ${table} ALTER a TYPE int`,
]);

const COMMANDS = ['RELOAD', 'RECONNECT', 'SET max_prepared_statements=1', 'SET max_prepared_statements=100'];

/** Each of their rows ends with, or begins with, what was given for the parameter. */
const TEXTS = [
  'SELECT $1::text AS tag, * FROM changing',
  'SELECT $1::varchar AS tag, * FROM changing, changing other',
  'INSERT INTO tagged (tag) VALUES ($1) RETURNING *',
  'INSERT INTO tagged (tag, a) SELECT $1, a FROM changing RETURNING *',
] as const;

/** What PostgreSQL may say to them: the plan is stale, the query was cancelled. */
const ERRORS = new Set(['0A000', '57014']);

/** What stands in the table for certain, and what may or may not, for nobody knows how it has ended. */
class Tags {
  readonly done = new Set<string>();
  readonly unknown = new Set<string>();
}

/** A client that runs statements whose results change, in every form, and is gone now and then. */
class Runner {
  readonly #pooler: LocalPooler;
  readonly #random: Random;
  readonly #id: number;
  readonly #tags: Tags;
  /** Texts by name. */
  readonly #names = new Map<string, string>();
  #client: WireClient | null = null;
  #runs = 0;

  constructor(pooler: LocalPooler, random: Random, id: number, tags: Tags) {
    this.#pooler = pooler;
    this.#random = random;
    this.#id = id;
    this.#tags = tags;
  }

  async run(): Promise<void> {
    for (let i = 0; i < STRETCHES; i++) await this.#stretch();
    await this.#client?.peer.close();
  }

  async #stretch(): Promise<void> {
    const random = this.#random;
    this.#client ??= await WireClient.connect(this.#pooler.port, { user: ROLE, database: ROLE });
    const client = this.#client;
    const { name, bytes, tags, isInsert, isDescribed } = this.#requests();
    const behind = random.below(6) === 0 ? query(`SELECT '${this.#id}'`) : null;
    const whole = behind === null ? bytes : Buffer.concat([bytes, behind]);
    const isVanishing = random.below(12) === 0;
    const cancelling = random.below(12) === 0 ? client.cancel() : null;
    const end = isVanishing ? random.below(whole.length + 1) : whole.length;
    const cuts = Array.from({ length: random.below(4) }, () => random.below(end + 1)).sort((x, y) => x - y);
    let from = 0;
    const sending: Promise<void>[] = [];
    for (const to of [...cuts, end]) {
      sending.push(client.send(whole.subarray(from, to)));
      from = to;
      for (let turns = random.below(30); turns > 0; turns--)
        await new Promise<void>((done) => void setImmediate(done));
    }
    if (isVanishing) {
      if (isInsert) for (const tag of tags) this.#tags.unknown.add(tag);
      if (random.below(2) === 0) client.peer.reset();
      await client.peer.close();
      await Promise.allSettled(sending);
      this.#client = null;
      this.#names.clear();
      await cancelling;
      return;
    }
    const isDone = this.#check(await client.peer.messagesTo('Z'), tags, isInsert, isDescribed);
    // It may have been skipped or refused where it was to be prepared.
    if (!isDone) this.#names.delete(name);
    if (behind !== null) {
      const { rows, errors } = await client.answer();
      if (errors[0]?.['C'] !== '57014') expect(rows).toEqual([[`${this.#id}`]]);
    }
    // What it has cancelled is nothing that comes later.
    await cancelling;
    if (cancelling !== null) await client.query('SELECT 1');
  }

  #requests(): { name: string; bytes: Buffer; tags: string[]; isInsert: boolean; isDescribed: boolean } {
    const random = this.#random;
    const known = [...this.#names.keys()];
    const isNew = known.length === 0 || random.below(4) === 0;
    const name = isNew ? `n${random.below(5)}` : random.pick(known);
    const parts: Buffer[] = [];
    if (isNew) {
      parts.push(close('S', name));
      this.#names.set(name, random.pick(TEXTS));
      parts.push(parse(name, this.#names.get(name) as string));
    }
    const isDescribed = random.below(4) > 0;
    const byStatement = random.below(3) === 0;
    if (isDescribed && byStatement) parts.push(describing('S', name));
    const tags: string[] = [];
    for (let i = random.below(3); i >= 0; i--) {
      // Some don't fit into what is kept, some not even into what is held.
      const filler = 'x'.repeat(random.pick([0, 0, 0, 10, 17_000, 200_000]));
      const tag = `${this.#id}-${++this.#runs}-${filler}`;
      tags.push(tag);
      parts.push(bindTexts('', name, [tag]));
      if (isDescribed && !byStatement) parts.push(describing('P', ''));
      parts.push(execute(''));
      if (random.below(6) === 0) parts.push(flush());
    }
    parts.push(sync());
    const isInsert = this.#names.get(name)?.startsWith('INSERT') === true;
    return { name, bytes: Buffer.concat(parts), tags, isInsert, isDescribed };
  }

  #check(
    messages: readonly ReadMessage[],
    tags: readonly string[],
    isInsert: boolean,
    isDescribed: boolean,
  ): boolean {
    const shown = messages.map(({ type }) => type).join('');
    const error = messages.find(({ type }) => type === 'E');
    const seen: string[] = [];
    let columns = -1;
    for (const { type, body } of messages) {
      if (type === 'T') columns = body.readUInt16BE(0);
      if (type !== 'D') continue;
      if (isDescribed) expect(body.readUInt16BE(0), shown).toBe(columns);
      seen.push(body.toString('utf8', 6, 6 + body.readInt32BE(2)));
    }
    if (error === undefined) {
      expect(seen, shown).toEqual(tags);
      if (isInsert) for (const tag of tags) this.#tags.done.add(tag);
      return true;
    }
    const { C, M } = errorFields(error.body);
    expect(ERRORS.has(C ?? ''), `${C} ${M} ${shown}`).toBe(true);
    expect(seen, shown).toEqual(tags.slice(0, seen.length));
    expect(messages.filter(({ type }) => 'EZ'.includes(type)).map(({ type }) => type)).toEqual(['E', 'Z']);
    return false;
  }
}

test('stale plans are repaired amid clients that go, cancels, commands and long messages: once, and to whom they belong', async () => {
  await withSeed(async (random) => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 2 },
      userlist: { [ROLE]: '' },
      databases: { [ROLE]: '' },
    });
    const direct = await WireClient.connect(sharedPostgres(), { user: ROLE, database: ROLE });
    await direct.query(
      'DROP TABLE IF EXISTS changing, tagged; CREATE TABLE changing AS SELECT 1 AS a; CREATE TABLE tagged (tag text, a int)',
    );
    const tags = new Tags();
    const runners = Array.from(
      { length: CLIENTS },
      (_, i) => new Runner(pooler, new Random(random.below(2 ** 31)), i, tags),
    );
    let isOver = false;
    const around = async (): Promise<void> => {
      while (!isOver) {
        await direct.rows(random.pick(ALTERATIONS));
        if (random.below(10) === 0) await pooler.show(random.pick(COMMANDS));
        if (random.below(20) === 0) {
          await pooler.show('PAUSE');
          await pooler.show('RESUME');
        }
        for (let turns = random.below(60); turns > 0; turns--)
          await new Promise<void>((done) => void setImmediate(done));
      }
    };
    const changing = around();
    try {
      await Promise.all(runners.map((runner) => runner.run()));
    } finally {
      isOver = true;
      await changing;
    }
    const { state } = pooler.pooler;
    await waitFor(() => state.sessions.size === 0);
    // Whoever of the vanished still inserts has ended then.
    await direct.rows('BEGIN; LOCK tagged; COMMIT');
    const counts = new Map(
      (await direct.rows('SELECT tag, count(*) FROM tagged GROUP BY 1')) as [string, string][],
    );
    for (const [tag, count] of counts) {
      expect(count, tag).toBe('1');
      expect(tags.done.has(tag) || tags.unknown.has(tag), tag).toBe(true);
    }
    for (const tag of tags.done) expect(counts.has(tag), tag).toBe(true);
    expect(pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
    // All that was held is given back, once no server knows a statement any more.
    const last = await WireClient.connect(pooler.port, { user: ROLE, database: ROLE });
    const [session] = state.sessions.values() as MapIterator<ClientSession>;
    const { cache } = (session as ClientSession).prepared;
    await pooler.show('RECONNECT');
    await last.query('SELECT 1');
    await last.peer.close();
    await waitFor(() => cache.size === 0 && cache.budget.usedBytes === 0);
    await direct.peer.close();
  });
}, 240_000);
