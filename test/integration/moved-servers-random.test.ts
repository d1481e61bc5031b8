import { beforeAll, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { TwoLoops } from '../support/two-loops.ts';
import { waitFor } from '../support/wait-for.ts';
import { type Answer, WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const ROLE = 'moved_random_app';
const DATABASE = 'postgres';
const { parse, bindTexts, describe: describing, execute, close, sync, query } = frontend;
const STEPS = byEffort({ quick: 200, wide: 600, full: 5000 });

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
});

/** Values that follow clients. */
const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  client_encoding: ['UTF8', 'LATIN1'],
  search_path: ['app', 'public', 'public, app'],
  TimeZone: ['UTC', 'Asia/Tokyo', 'America/New_York'],
  DateStyle: ["'ISO, DMY'", "'German'"],
  IntervalStyle: ['iso_8601', 'postgres'],
  application_name: ["'one'", "'two'"],
};
/** With another search_path PostgreSQL reads constants anew, by what is set then: here not on each server (docs/differences.md). */
const READING = ['TimeZone', 'DateStyle', 'IntervalStyle'];
const NAMES_OF_SETTINGS = Object.keys(SETTINGS);

const TEXTS = [
  "SELECT current_setting('search_path'), $1::text",
  "SELECT 'one ' || $1::text",
  "SELECT '1.2.2003'::date, $1::text",
  "SELECT timestamptz '2003-02-01 12:00', $1::text",
  "SELECT octet_length('\u00e4'), $1::text",
  "SELECT interval '1 day 2:03', $1::text",
  `SELECT $1::text -- ${'long '.repeat(2000)}`,
];
const NAMES = ['a', 'b', 'c'];

/** What a client sees of an answer. Where a name's error stands in PostgreSQL's sources isn't for the pooler to keep. */
function seen({ types, rows, tags, errors, notices, notifications, status }: Answer) {
  return {
    ...{ types, rows, tags, notices, notifications, status },
    errors: errors.map(({ C, M }) => [C, M]),
  };
}

/** A client through one of the loops, and one of PostgreSQL's own that does the same. */
interface Pair {
  readonly side: 0 | 1;
  readonly pooled: WireClient;
  readonly direct: WireClient;
  readonly named: Set<string>;
}

function run(name: string, tag: string): Buffer {
  return Buffer.concat([bindTexts('', name, [tag]), describing('P', ''), execute(''), sync()]);
}

/** What a client asks for next; each is answered to the last ReadyForQuery of as many as are given. */
function step(
  random: Random,
  pair: Pair,
  settings: readonly string[],
  tag: string,
): { bytes: Buffer; answers: number; name: string } {
  const name = random.pick(NAMES);
  const setting = random.pick(settings);
  const one = (text: string, ...parts: Buffer[]) => ({
    bytes: Buffer.concat(parts),
    answers: 1,
    name: text,
  });
  const simple = (sql: string) => one(sql, query(sql));
  const text = random.pick(TEXTS);
  const value = random.pick(SETTINGS[setting] as readonly string[]);
  switch (random.below(12)) {
    case 0:
      return simple(`SET ${setting} TO ${value}`);
    case 1:
      return simple(random.below(4) === 0 ? `RESET ${setting}` : `SHOW ${setting}`);
    case 2:
    case 3:
      pair.named.add(name);
      return one(`parse ${name}: ${text.slice(0, 40)}`, parse(name, text), describing('S', name), sync());
    case 4:
      return one(`PREPARE ${name}`, query(`PREPARE ${name} (text) AS ${text}`));
    case 5:
      return simple(`EXECUTE ${name}('${tag}')`);
    case 6:
      return simple(random.below(3) === 0 ? 'DEALLOCATE ALL' : `DEALLOCATE ${name}`);
    case 7:
      return one(`close ${name}`, close('S', name), sync());
    case 8: {
      const bytes = [query('BEGIN'), run(name, tag), query(random.pick(['COMMIT', 'ROLLBACK']))];
      return { bytes: Buffer.concat(bytes), answers: 3, name: `${name} in a transaction` };
    }
    default:
      return one(`run ${name}`, run(name, tag));
  }
}

test(
  'a server that moves back and forth answers each client as its own session would',
  { timeout: 300_000 },
  () =>
    withSeed(async (random) => {
      await using two = await TwoLoops.start({
        settings: {
          ...{ pool_mode: 'transaction', default_pool_size: 1, max_prepared_statements: 6 },
          track_extra_parameters: 'IntervalStyle, search_path',
        },
        userlist: { [ROLE]: '' },
        isStreaming: random.below(2) === 0,
      });
      const login = { user: ROLE, database: DATABASE };
      let at: 0 | 1 = 0;
      const move = async (): Promise<void> => {
        const moved = await waitFor(() => two.take(at, DATABASE, ROLE), { what: 'a server that may move' });
        at = at === 0 ? 1 : 0;
        two.bring(moved, at);
      };
      const pairs: Pair[] = [];
      let pid: string | null = null;
      for (const side of [0, 1, 0, 1] as const) {
        const begun = WireClient.connect(two.loops[side].port, login);
        if (pairs.length === 1) {
          await waitFor(
            () => two.loops[1].loop.state.pools.find(DATABASE, ROLE)?.clients.waiting_login.length === 1,
          );
          await move();
        }
        const pooled = await begun;
        const direct = await WireClient.connect(sharedPostgres(), login);
        pairs.push({ side, pooled, direct, named: new Set() });
        if (pid === null) pid = await pooled.value('SELECT pg_backend_pid()');
      }
      const hasPaths = random.below(2) === 0;
      const settings = NAMES_OF_SETTINGS.filter((name) =>
        hasPaths ? !READING.includes(name) : name !== 'search_path',
      );
      const done: string[] = [];
      let moves = 0;
      for (let i = 0; i < STEPS; i++) {
        const pair = random.pick(pairs);
        const asked = step(random, pair, settings, `t${i}`);
        done.push(`${pairs.indexOf(pair)} on ${pair.side}: ${asked.name}`);
        await Promise.all([pair.pooled.send(asked.bytes), pair.direct.send(asked.bytes)]);
        // It waits for the server, or finds it there.
        if (at !== pair.side) {
          moves++;
          await move();
        }
        for (let n = 0; n < asked.answers; n++) {
          const [got, expected] = [await pair.pooled.answer(), await pair.direct.answer()];
          expect(seen(got), done.slice(-30).join('\n')).toEqual(seen(expected));
          for (const { M } of got.errors) expect(M).not.toMatch(/pgweir/);
        }
        if (random.below(20) === 0) {
          moves++;
          await move();
        }
      }
      expect(moves).toBeGreaterThan(STEPS / 5);
      await move();
      const last = pairs[at] as Pair;
      expect(await last.pooled.value('SELECT pg_backend_pid()')).toBe(pid);
      const { rows } = await withClient(sharedPostgres(), (client) =>
        client.query<{ pid: number; client_port: number }>(
          'SELECT pid, client_port FROM pg_stat_activity WHERE usename = $1',
          [ROLE],
        ),
      );
      // The pooler's one, and those that were there for comparison.
      expect(rows).toHaveLength(1 + pairs.length);
      // What the loops believe to be prepared is what is.
      const believed = new Set(
        [...two.server(at, DATABASE, ROLE).statements.entries()].map(([{ name }]) => name),
      );
      const there = await last.pooled.rows(
        "SELECT name FROM pg_prepared_statements WHERE name LIKE 'pgweir%'",
      );
      expect(new Set(there.map(([name]) => name))).toEqual(believed);
      expect(two.loops.flatMap(({ lines }) => lines.filter((line) => /^(ERROR|WARNING)/.test(line)))).toEqual(
        [],
      );
      for (const pair of pairs) {
        await pair.pooled.end();
        await pair.direct.end();
      }
      for (const loop of two.loops)
        expect(loop.loop.state.pools.find(DATABASE, ROLE)?.clients.count ?? 0).toBe(0);
    }),
);
