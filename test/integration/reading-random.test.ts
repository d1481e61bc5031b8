import { beforeAll, describe, expect, test } from 'vitest';
import { type Answers, answersTo, reconciled } from '../support/compared-answers.ts';
import { frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { randomReading } from '../support/random-readings.ts';
import { type Piece, SYNC } from '../support/random-requests.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const ROLE = 'reading_random_app';
const { sync, query } = frontend;
const BATCHES = byEffort({ wide: 500, full: 5000 });
const TIMEOUT_MS = byEffort({ wide: 120_000, full: 900_000 });

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), ROLE, ROLE);
  // What PostgreSQL says where it reads a text is said once for all who share it.
  await withClient(sharedPostgres(), (client) =>
    client.query(`ALTER ROLE ${ROLE} SET escape_string_warning = off`),
  );
});

/** A server refuses what nobody can tell any more how it was read: see docs/differences.md. */
const NOT_KNOWN =
  /^E .*C22023.*(not known when the statement was prepared|_strings.* requires a Boolean value)/;

/**
 * An Execute of ours may be ahead of what needs a transaction block, for which PostgreSQL takes a pipeline: then what it
 * says of that comes from another line of its sources.
 */
const SOURCE = /(?<=^E .*C25P01.*)\\u0000Fxact\.c.*/;

function comparable({ all, isOver }: Answers): Answers {
  return { all: all.map((each) => each.replace(SOURCE, '')), isOver };
}

function batch(random: Random): Piece[] {
  const pieces: Piece[] = [];
  let isOpen = false;
  for (let count = 1 + random.below(10); count > 0; count--) {
    const next = randomReading(random);
    // See the test of all requests for what a Query does behind others without a Sync.
    if (isOpen && next.isSimple) pieces.push(SYNC);
    isOpen = !next.isSimple && next !== SYNC;
    pieces.push(next);
  }
  return pieces;
}

describe.each([
  ['two servers', { default_pool_size: 2 }],
  ['one server with room for one statement', { default_pool_size: 1, max_prepared_statements: 1 }],
] as const)('with %s', (_, settings) => {
  test(
    'a text says what it said when it was prepared, whatever is set meanwhile, by whom and in what pipeline',
    async () => {
      await withSeed(async (random) => {
        await using pooler = await startPooler({
          settings: { pool_mode: 'transaction', ...settings },
          userlist: { [ROLE]: '' },
        });
        const login = { user: ROLE, database: ROLE };
        const pair = () =>
          Promise.all([
            WireClient.connect(sharedPostgres(), login),
            WireClient.connect(pooler.port, login),
          ] as const);
        const pairs = [await pair(), await pair()];
        // Has one of two servers in use, for a while.
        const blocker = await WireClient.connect(pooler.port, login);
        let isBlocking = false;
        for (let i = 0; i < BATCHES; i++) {
          const at = random.below(pairs.length);
          const [direct, pooled] = pairs[at] as (typeof pairs)[number];
          if (settings.default_pool_size > 1 && random.below(2) === 0) {
            await blocker.rows(isBlocking ? 'COMMIT' : 'BEGIN');
            isBlocking = !isBlocking;
          }
          const pieces = batch(random);
          const marker = `marker ${i}`;
          const ending = [sync(), query('ROLLBACK'), query(`SELECT '${marker}'`)];
          const bytes = Buffer.concat([...pieces.map((piece) => piece.bytes), ...ending]);
          const cut = random.below(bytes.length);
          try {
            await direct.send(bytes);
            const expected = comparable(await answersTo(direct, marker));
            await pooled.peer.sendChunks(
              random.below(2) === 0 ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)],
            );
            const got = reconciled(comparable(await answersTo(pooled, marker)), expected);
            const refusal = got.all.findIndex((each) => NOT_KNOWN.test(each));
            if (refusal < 0) expect(got).toEqual(expected);
            else {
              // What it takes back is reported ahead of it.
              const told = got.all.slice(0, refusal).findLastIndex((each) => !each.startsWith('S ')) + 1;
              expect(got.all.slice(0, told)).toEqual(expected.all.slice(0, told));
              await Promise.all([direct.end(), pooled.end()]);
              pairs[at] = await pair();
            }
          } catch (error) {
            const said = pieces.map(({ name }) => name).join(' | ');
            throw new Error(`batch ${i}, ${said}: ${(error as Error).message}`, { cause: error });
          }
        }
        await Promise.all([...pairs.flat(), blocker].map((client) => client.end()));
      });
    },
    TIMEOUT_MS,
  );
});
