import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answersTo, reconciled } from '../support/compared-answers.ts';
import { frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { startPostgres, withClient } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import {
  NAMES,
  type Piece,
  randomCopyIn,
  randomPiece,
  REQUESTED_SCHEMA,
  SYNC,
} from '../support/random-requests.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const role = 'differential_app';
const database = 'differential';
const { sync, query } = frontend;
/** Batches per mode; `npm run test:full` takes its time. */
const BATCHES = byEffort({ quick: 80, wide: 500, full: 5000 });
const TIMEOUT_MS = byEffort({ wide: 120_000, full: 900_000 });

// A server of its own: what no sane client sends can end more than the session in which it is sent.
let postgres: Awaited<ReturnType<typeof startPostgres>>;

beforeAll(async () => {
  postgres = await startPostgres();
  await createRole(postgres.address, { name: role, auth: 'trust' });
  await createDatabase(postgres.address, database, role);
  await withClient(postgres.address, (client) => client.query(REQUESTED_SCHEMA), { database, user: role });
});

afterAll(() => postgres[Symbol.asyncDispose]());

/** By its text, or because what is run may be a PREPARE. */
const GIVES_NAME = /^(?:parse [^:]|.*PREPARE |close S \S|bind and execute |run \S+ (?:in |undescribed))/;

/** Requests of one batch. `mode`: what pool_mode is. */
function batch(random: Random, mode: string): Piece[] {
  const pieces: Piece[] = [];
  const vocabulary: { names: readonly string[]; hasBlocks: boolean } = {
    names: NAMES,
    hasBlocks: mode !== 'statement',
  };
  // With a Parse of ours among requests, PostgreSQL is in another kind of transaction when a Query follows
  // without a Sync: no driver does that, and PostgreSQL itself loses its transaction there at times. And DISCARD ALL
  // is refused behind an Execute of ours, by which a server learns what SQL has prepared.
  const isApart = mode !== 'session';
  let isOpen = false;
  // See docs/differences.md of an unnamed DEALLOCATE whose name is given between it and another use, or of an EXECUTE that
  // is described when its name is gone.
  let given: 'nothing' | 'awaited' | 'a name' = 'nothing';
  for (let count = 1 + random.below(8); count > 0; count--) {
    const next = random.below(8) === 0 ? randomCopyIn(random) : randomPiece(random, vocabulary);
    if (/^run (?:and describe )?(?:DEALLOCATE|EXECUTE) /.test(next.name)) given = 'awaited';
    else if (given === 'awaited' && GIVES_NAME.test(next.name)) given = 'a name';
    if (isApart && given === 'a name' && next.name.includes('  ')) continue;
    if (isApart && isOpen && (next.isSimple || /^run (?:named )?DISCARD ALL$/.test(next.name)))
      pieces.push(SYNC);
    isOpen = !next.isSimple && next !== SYNC;
    pieces.push(next);
    if (isApart && /copy.* sync/.test(next.name) && /bad|fail/.test(next.name)) vocabulary.names = [''];
  }
  return pieces;
}

describe.each([
  ['transaction mode', { pool_mode: 'transaction', default_pool_size: 1 }],
  [
    'transaction mode with room for one statement',
    { pool_mode: 'transaction', default_pool_size: 1, max_prepared_statements: 1 },
  ],
  ['transaction mode on two servers', { pool_mode: 'transaction', default_pool_size: 2 }],
  [
    'transaction mode on two servers with room for two statements each',
    { pool_mode: 'transaction', default_pool_size: 2, max_prepared_statements: 2 },
  ],
  ['statement mode', { pool_mode: 'statement', default_pool_size: 1 }],
  ['session mode', { pool_mode: 'session', default_pool_size: 2 }],
] as const)('%s', (_, settings) => {
  test(
    'answers whatever clients send in turns as PostgreSQL itself does',
    async () => {
      await withSeed(async (random) => {
        await using pooler = await startPooler({
          postgres: postgres.address,
          settings,
          userlist: { [role]: '' },
        });
        const login = { user: role, database };
        const pair = () =>
          Promise.all([
            WireClient.connect(postgres.address, login),
            WireClient.connect(pooler.port, login),
          ] as const);
        // Two clients, who have a server connection in turns, each beside one that has PostgreSQL for itself.
        const pairs = [await pair(), await pair()];
        // Who takes the server that was used last, for a while: the other one has not heard of the clients' statements.
        const isSeveral = settings.pool_mode === 'transaction' && settings.default_pool_size === 2;
        const taking = isSeveral ? await WireClient.connect(pooler.port, login) : null;
        for (let i = 0; i < BATCHES; i++) {
          const at = random.below(pairs.length);
          const [direct, pooled] = pairs[at] as (typeof pairs)[number];
          const pieces = batch(random, settings.pool_mode);
          const marker = `marker ${i}`;
          const ending = [sync(), query('ROLLBACK'), query(`SELECT '${marker}'`)];
          const bytes = Buffer.concat([...pieces.map((piece) => piece.bytes), ...ending]);
          const cut = random.below(bytes.length);
          if (random.below(3) === 0) await taking?.query(random.pick(['BEGIN', 'COMMIT']));
          try {
            await direct.send(bytes);
            const expected = await answersTo(direct, marker);
            await pooled.peer.sendChunks(
              random.below(2) === 0 ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)],
            );
            const got = await answersTo(pooled, marker);
            expect(settings.pool_mode === 'session' ? got : reconciled(got, expected)).toEqual(expected);
            if (expected.isOver) {
              await Promise.all([direct.peer.close(), pooled.peer.close()]);
              pairs[at] = await pair();
            }
          } catch (error) {
            const said = pieces.map(({ name }) => name).join(' | ');
            throw new Error(`batch ${i}, ${said}: ${(error as Error).message}`, { cause: error });
          }
        }
        await taking?.end();
        await Promise.all(pairs.flat().map((client) => client.end()));
      });
    },
    TIMEOUT_MS,
  );
});
