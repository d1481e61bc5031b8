import { beforeAll, expect, test } from 'vitest';
import { byEffort } from '../support/effort.ts';
import { ParameterStage } from '../support/parameter-stage.ts';
import { frontend } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

const ROLE = 'followed_random_app';
const ROUNDS = byEffort({ quick: 50, wide: 150, full: 1500 });

/** Values by name: reported or not, PostgreSQL's own or an application's, lists, and what makes text hard to read. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  DateStyle: ['German', 'ISO, YMD', 'SQL, DMY'],
  TimeZone: ['Asia/Tokyo', 'UTC', 'Europe/Rome', 'America/New_York'],
  application_name: ['a', 'A', "it's", 'b\\c', ''],
  IntervalStyle: ['iso_8601', 'sql_standard', 'postgres'],
  standard_conforming_strings: ['on', 'off'],
  client_encoding: ['UTF8', 'LATIN1'],
  work_mem: ['1111kB', '4MB', '2MB'],
  statement_timeout: ['12345ms', '1h', '0'],
  search_path: ['"$user", public', 'app, public', '"It\'s", x', 'pg_catalog'],
  'app.tenant': ['one', 'two', 'dré "\'\\'],
  'user.id': ['7', '8'],
  extra_float_digits: ['0', '1', '3'],
  default_transaction_isolation: ['read committed', 'serializable'],
};
const NAMES = Object.keys(VALUES);
const REPORTED = NAMES.slice(0, 4);
const TRACKED =
  'IntervalStyle, work_mem, search_path, app.tenant, user.id, statement_timeout, default_transaction_isolation, ' +
  'extra_float_digits';
const SHOWN = NAMES.map((name) => `encode(convert_to(current_setting('${name}', true), 'UTF8'), 'hex')`);

type Mode = 'transaction' | 'session';

/** Those of which SET TO DEFAULT goes back to what was given. */
const DEFAULTED: Readonly<Record<Mode, readonly string[]>> = {
  session: ['DateStyle'],
  transaction: ['DateStyle', 'work_mem', 'statement_timeout', 'extra_float_digits'],
};

/** One client through the pooler, and one of PostgreSQL's own that gave and does the same. */
interface Pair {
  readonly pooled: WireClient;
  readonly direct: WireClient;
  readonly done: string[];
}

beforeAll(() => ParameterStage.prepare(ROLE));

const quoted = (name: string) => name.replace('user.id', '"user"."id"');
const literal = (value: string) => `E'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;

/** By a function: followed where it is reported. */
function byFunction(random: Random, without: ReadonlySet<string>): string {
  const name = random.pick(REPORTED);
  const value = literal(random.pick(VALUES[name] as readonly string[]));
  return `SELECT set_config('${name}', ${value}, ${!without.has(name) && random.below(3) === 0})`;
}

/** A SET, RESET or the like; none of `without` LOCAL, for PostgreSQL says that this was set when a RESET went ahead. */
function change(
  random: Random,
  mode: Mode,
  without: ReadonlySet<string>,
): { sql: string; reset: readonly string[] } {
  const name = random.pick(NAMES);
  const value = random.pick((VALUES[name] as readonly string[]).filter((each) => !/[^ -~]/.test(each)));
  const text = name === 'search_path' ? value : literal(value);
  const set = `${quoted(name)} ${random.pick(['=', 'TO'])} ${text}`;
  switch (random.below(14)) {
    case 0:
    case 1:
      return { sql: `SET ${without.has(name) ? '' : 'LOCAL '}${set}`, reset: [] };
    case 2:
    case 3:
      return { sql: `RESET ${quoted(name)}`, reset: [name] };
    case 4:
      return { sql: 'RESET ALL', reset: NAMES };
    case 7:
      // Where something tells of it: a report, which needs a value that changes, or, between transactions, a question.
      if (DEFAULTED[mode].includes(name)) return { sql: `SET ${name} TO DEFAULT`, reset: [name] };
      break;
    case 5:
      return { sql: byFunction(random, without), reset: [] };
    case 6:
      return {
        sql: random.pick([
          "SET TIME ZONE 'Asia/Seoul'",
          "SET NAMES 'LATIN1'",
          "SET SCHEMA 'other'",
          'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ',
        ]),
        reset: [],
      };
  }
  return { sql: `SET ${random.pick(['', 'SESSION '])}${set}`, reset: [] };
}

/** A statement outside of a transaction, or a transaction. */
function work(random: Random, mode: Mode): string[] {
  const kind = random.below(30);
  if (kind === 0) return ['DISCARD ALL'];
  if (kind < 10) return [change(random, mode, new Set()).sql];
  const statements = ['BEGIN'];
  const reset = new Set<string>();
  let savepoints = 0;
  for (let left = random.below(6); left >= 0; left--) {
    const what = random.below(12);
    if (what === 0) statements.push(`SAVEPOINT s${savepoints++}`);
    else if (what === 1 && savepoints > 0) statements.push(`ROLLBACK TO s${random.below(savepoints)}`);
    else if (what === 2 && savepoints > 0) statements.push(`RELEASE s${--savepoints}`);
    else if (what === 3 && left === 0) statements.push('SELECT 1/0');
    else {
      const { sql, reset: names } = change(random, mode, reset);
      statements.push(sql);
      for (const name of names) reset.add(name);
    }
  }
  return [...statements, random.pick(['COMMIT', 'ROLLBACK', 'END'])];
}

/** Does it one by one, as one text, or as a pipeline in either protocol; gives what a client sees of that. */
async function run(client: WireClient, statements: readonly string[], manner: number): Promise<string> {
  const statuses: string[] = [];
  if (manner === 0) for (const sql of statements) statuses.push((await client.query(sql)).status);
  else if (manner === 1) statuses.push((await client.query(statements.join(';'))).status);
  else {
    const message = (sql: string) =>
      manner === 2 ? frontend.query(sql) : Buffer.concat([unnamed(sql), frontend.sync()]);
    await client.send(...statements.map(message));
    for (const _ of statements) statuses.push((await client.answer()).status);
  }
  if (statuses.at(-1) !== 'I') statuses.push((await client.query('ROLLBACK')).status);
  return statuses.join('');
}

const shown = async (client: WireClient) =>
  (await client.rows(`SELECT ${SHOWN.join(', ')}`))[0]?.map(
    (hex, i) => `${NAMES[i]}=${Buffer.from(hex ?? '', 'hex').toString()}`,
  );

test.each([
  ['transaction', 5],
  ['session', 2],
] as const)('in %s mode clients have the parameters that they would have with PostgreSQL alone', async (mode, count) => {
  await withSeed(async (random) => {
    await using stage = await ParameterStage.set(ROLE, {
      pool_mode: mode,
      default_pool_size: 2,
      track_extra_parameters: TRACKED,
      max_prepared_statements: random.pick([0, 200]),
    });
    const pairs: Pair[] = [];
    for (let i = 0; i < count; i++) {
      const given: Record<string, string> =
        random.below(2) === 0 ? { options: '-c work_mem=3333kB -c lock_timeout=77s' } : {};
      for (const name of NAMES) {
        if (random.below(4) === 0) given[name] = random.pick(VALUES[name] as readonly string[]);
      }
      pairs.push({
        pooled: await stage.connect(given),
        direct: await WireClient.connect(sharedPostgres(), { user: ROLE, database: ROLE, ...given }),
        done: [`given ${JSON.stringify(given)}`],
      });
    }
    for (let i = 0; i < ROUNDS; i++) {
      const [pair, holder] = [random.pick(pairs), random.pick(pairs)];
      const [statements, manner] = [work(random, mode), random.below(4)];
      pair.done.push(statements.join('; '));
      const done = pair.done.join('\n');
      // So that it is not the same server each time.
      if (holder !== pair) await holder.pooled.query('BEGIN');
      const answered = await run(pair.pooled, statements, manner);
      expect(answered, done).toBe(await run(pair.direct, statements, manner));
      expect(await shown(pair.pooled), done).toEqual(await shown(pair.direct));
      if (holder === pair) continue;
      await holder.pooled.query('COMMIT');
      expect(await shown(holder.pooled), holder.done.join('\n')).toEqual(await shown(holder.direct));
    }
    for (const { direct } of pairs) await direct.end();
    expect(stage.pooler.lines.filter((line) => /internal error|var change|asking for/.test(line))).toEqual(
      [],
    );
  });
});
