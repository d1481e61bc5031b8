import { beforeAll, expect, test } from 'vitest';
import { columnsOf, errorFields, frontend, type ReadMessage } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const ROLE = 'repaired_random';
const { parse, bindTexts, describe: describing, execute, flush, close: closing, sync, query } = frontend;
const ROUNDS = byEffort({ quick: 75, wide: 300, full: 5000 });

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), ROLE, ROLE);
});

/** What is done to the tables between requests: results change, sometimes parameters with them. */
const ALTERATIONS = [
  'ALTER TABLE changing ADD IF NOT EXISTS c int DEFAULT 3',
  'ALTER TABLE changing DROP IF EXISTS c',
  'ALTER TABLE changing ALTER a TYPE bigint',
  'ALTER TABLE changing ALTER a TYPE int',
  'ALTER TABLE changing ALTER b TYPE varchar(9)',
  'ALTER TABLE changing ALTER b TYPE text COLLATE "C"',
  'ALTER TABLE changing ALTER b TYPE text COLLATE "default"',
];

/** Text, a parameter's value if it has one, and whether the parameter's type is given in it. */
const TEXTS: readonly (readonly [sql: string, values: string[], isTyped: boolean])[] = [
  ['SELECT * FROM changing', [], true],
  ['SELECT * FROM changing WHERE a = $1::int', ['1'], true],
  ['SELECT * FROM changing WHERE a = $1', ['1'], false],
  ['INSERT INTO changing (a) VALUES (9) RETURNING *', [], true],
  ['SELECT 1', [], true],
];

/** One stretch of requests. */
interface Stretch {
  readonly name: string;
  readonly bytes: Buffer;
  /** A statement that a client has prepared just now, or that tells it its rows anew, has to run. */
  readonly mustRun: boolean;
}

function stretch(random: Random, names: Map<string, number>, isAlone: boolean): Stretch {
  const known = [...names.keys()];
  const isNew = known.length === 0 || random.below(4) === 0;
  const name = isNew ? `n${names.size}` : random.pick(known);
  const index = isNew ? random.below(TEXTS.length) : (names.get(name) as number);
  names.set(name, index);
  const [sql, values, isTyped] = TEXTS[index] as (typeof TEXTS)[number];
  const isDescribed = random.below(3) === 0;
  const parts: Buffer[] = [];
  if (isNew) parts.push(parse(name, sql));
  if (isDescribed) parts.push(describing('S', name));
  let mustRun = isAlone && (isNew || isTyped);
  for (let runs = random.below(isDescribed ? 2 : 3); runs >= 0; runs--) {
    if (random.below(8) === 0) parts.push(flush());
    parts.push(bindTexts('', name, values));
    const isPortalDescribed = random.below(3) > 0;
    if (isPortalDescribed) parts.push(describing('P', ''));
    else if (!isDescribed && !isNew) mustRun = false;
    parts.push(execute(''));
  }
  parts.push(sync());
  return { name, bytes: Buffer.concat(parts), mustRun };
}

async function answers(
  client: WireClient,
  bytes: Buffer,
  count: number,
  random: Random | null,
): Promise<ReadMessage[]> {
  const cuts =
    random === null ? [] : Array.from({ length: random.below(4) }, () => random.below(bytes.length));
  let from = 0;
  for (const to of [...cuts.sort((x, y) => x - y), bytes.length]) {
    await client.send(bytes.subarray(from, to));
    from = to;
    // PostgreSQL's answer to what has been sent comes ahead of the rest, or not.
    for (let turns = random?.below(30) ?? 0; turns > 0; turns--)
      await new Promise<void>((done) => void setImmediate(done));
  }
  const messages: ReadMessage[] = [];
  for (let i = 0; i < count; i++) messages.push(...(await client.peer.messagesTo('Z')));
  return messages;
}

function shown({ type, body }: ReadMessage): string {
  if (type !== 'E') return `${type} ${body.toString('latin1')}`;
  const { C, M, P } = errorFields(body);
  return `E ${C} ${M} ${P ?? ''}`;
}

test('requests through changing tables are answered as if they were prepared anew, or refused as stale', async () => {
  await withSeed(async (random) => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 2 },
      userlist: { [ROLE]: '' },
      databases: { [ROLE]: '' },
    });
    const login = { user: ROLE, database: ROLE };
    const direct = await WireClient.connect(sharedPostgres(), login);
    const holder = await WireClient.connect(pooler.port, login);
    await direct.query(
      "DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 1 AS a, 'x'::text AS b",
    );
    const clients = await Promise.all([0, 1, 2].map(() => WireClient.connect(pooler.port, login)));
    const known = clients.map(() => new Map<string, number>());
    const history: string[] = [];
    let refused = 0;
    for (let round = 0; round < ROUNDS; round++) {
      if (random.below(2) === 0) {
        const sql = random.pick(ALTERATIONS);
        history.push(sql);
        await direct.rows(sql);
      }
      // Another of the two servers is used while this one is held.
      if (random.below(3) === 0) await holder.query(random.pick(['BEGIN', 'COMMIT']));
      const at = random.below(clients.length);
      const [client, names] = [clients[at] as WireClient, known[at] as Map<string, number>];
      const kind = random.below(6);
      const given = new Set(names.keys());
      const { name, bytes, mustRun } = stretch(random, names, kind > 1);
      const [sql] = TEXTS[names.get(name) as number] as (typeof TEXTS)[number];
      const whole =
        kind === 0
          ? Buffer.concat([unnamed('SELECT 5'), bytes])
          : kind === 1
            ? Buffer.concat([bytes, query('SELECT 6')])
            : bytes;
      const count = kind === 1 ? 2 : 1;
      history.push(
        `client ${at}, ${name} ${sql}: ${bytes.toString('latin1').replaceAll(/[^\x20-\x7e]+/g, ' ')}`,
      );
      await direct.rows('DEALLOCATE ALL');
      if (given.has(name)) await direct.ask(parse(name, sql), sync());
      const isWriting = sql.startsWith('INSERT');
      const got = (await answers(client, whole, count, random)).map(shown);
      if (isWriting) await direct.rows('DELETE FROM changing WHERE a = 9');
      const expected = (await answers(direct, whole, count, null)).map(shown);
      if (isWriting) await direct.rows('DELETE FROM changing WHERE a = 9');
      const error = got.findIndex((each) =>
        each.startsWith('E 0A000 cached plan must not change result type'),
      );
      if (error >= 0 && !mustRun) {
        refused++;
        // PostgreSQL still tells the types of parameters that it knew.
        const done = got[error - 1]?.startsWith('t') === true ? error - 1 : error;
        expect(got.slice(0, done), history.slice(-12).join('\n')).toEqual(expected.slice(0, done));
        continue;
      }
      expect(got, history.slice(-12).join('\n')).toEqual(expected);
    }
    expect(refused).toBeLessThan(ROUNDS / 2);
    for (const client of [...clients, holder, direct]) await client.peer.close();
  });
}, 120_000);

/** One stretch of requests for the statement `name`; `isNew`: it is prepared in it. */
function told(
  random: Random,
  name: string,
  index: number,
  isNew: boolean,
): { bytes: Buffer; isTold: boolean } {
  const [sql, values] = TEXTS[index] as (typeof TEXTS)[number];
  const parts: Buffer[] = isNew ? [parse(name, sql)] : [];
  let isDescribed = false;
  let isTold = true;
  /** The unnamed portal and another, as far as they are described. */
  const portals = new Map<string, boolean>();
  for (let steps = 1 + random.below(6); steps > 0; steps--) {
    const portal = random.pick(['', 'p']);
    switch (random.below(4)) {
      case 0:
        parts.push(describing('S', name));
        isDescribed = true;
        for (const bound of portals.keys()) portals.set(bound, true);
        break;
      case 1:
        if (portal !== '' && portals.has(portal)) parts.push(closing('P', portal));
        parts.push(bindTexts(portal, name, values));
        portals.set(portal, isDescribed);
        break;
      case 2:
        if (!portals.has(portal)) break;
        parts.push(describing('P', portal));
        portals.set(portal, true);
        break;
      case 3:
        if (!portals.has(portal)) break;
        parts.push(execute(portal));
        isTold &&= portals.get(portal) === true;
        break;
    }
  }
  parts.push(sync());
  return { bytes: Buffer.concat(parts), isTold };
}

/** The columns that a client is told of last; undefined: of none. */
function descriptionIn(messages: readonly ReadMessage[]): string | undefined {
  const last = messages.findLast(({ type }) => type === 'T');
  return last === undefined ? undefined : columnsOf(last.body);
}

test('a client gets no rows that it would decode by what it was told of them before', async () => {
  await withSeed(async (random) => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1 },
      userlist: { [ROLE]: '' },
      databases: { [ROLE]: '' },
    });
    const login = { user: ROLE, database: ROLE };
    const direct = await WireClient.connect(sharedPostgres(), login);
    const client = await WireClient.connect(pooler.port, login);
    await direct.query(
      "DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 1 AS a, 'x'::text AS b",
    );
    const known = new Set<number>();
    /** By what the client goes. */
    const descriptions = new Map<number, string | undefined>();
    const refused = new Set<number>();
    const history: string[] = [];
    let repaired = 0;
    for (let round = 0; round < ROUNDS; round++) {
      if (random.below(2) === 0) {
        history.push(random.pick(ALTERATIONS));
        await direct.rows(history.at(-1) as string);
      }
      const index = random.below(TEXTS.length);
      const [sql, , isTyped] = TEXTS[index] as (typeof TEXTS)[number];
      // Where a parameter's type is refused, the statement is new at once.
      if (!isTyped) continue;
      const name = `n${index}`;
      const { bytes, isTold } = told(random, name, index, !known.has(index));
      known.add(index);
      history.push(`${sql}: ${bytes.toString('latin1').replaceAll(/[^\x20-\x7e]+/g, ' ')}`);
      const before = descriptions.get(index);
      const run = async (on: WireClient, by: Random | null): Promise<string[]> => {
        const messages = await answers(on, bytes, 1, by);
        await direct.rows('DELETE FROM changing WHERE a = 9');
        if (on === client) descriptions.set(index, descriptionIn(messages) ?? before);
        return messages.map(shown);
      };
      const isStale = (messages: string[]) => messages.some((each) => each.startsWith('E 0A000 cached plan'));
      const where = () => history.slice(-12).join('\n');
      const renew = () => direct.ask(closing('S', name), parse(name, sql), sync());
      // What was refused is new with its next use, where the client was told nothing of it.
      if (refused.has(index)) await renew();
      const isUsed = bytes.length > sync().length;
      if (isUsed) refused.delete(index);
      const expected = await run(direct, null);
      const got = await run(client, random);
      if (!isStale(expected)) {
        expect(got, where()).toEqual(expected);
        continue;
      }
      if (isStale(got)) {
        if (descriptions.get(index) === undefined) refused.add(index);
        continue;
      }
      repaired++;
      await renew();
      // It may have been told by another portal. What has changed may be none of its business, such as a collation.
      await direct.send(describing('S', name), sync());
      const now = descriptionIn(await direct.peer.messagesTo('Z'));
      if (!isTold) expect([before, descriptions.get(index)], where()).toContain(now);
      expect(got, where()).toEqual(await run(direct, null));
    }
    expect(repaired).toBeGreaterThan(0);
    for (const each of [client, direct]) await each.peer.close();
  });
}, 120_000);
