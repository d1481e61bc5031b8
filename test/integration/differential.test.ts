import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { frontend, int32, type ReadMessage } from '../support/peer-messages.ts';
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

const role = 'differential_app';
const database = 'differential';
const { sync, query } = frontend;
/** Batches per mode; `npm run test:full` takes its time. */
const isFull = process.env['PGWEIR_TEST_FULL'] !== undefined;
const BATCHES = isFull ? 5000 : 500;
const TIMEOUT_MS = isFull ? 300_000 : 30_000;

// A server of its own: what no sane client sends can end more than the session in which it is sent.
let postgres: Awaited<ReturnType<typeof startPostgres>>;

beforeAll(async () => {
  postgres = await startPostgres();
  await createRole(postgres.address, { name: role, auth: 'trust' });
  await createDatabase(postgres.address, database, role);
  await withClient(postgres.address, (client) => client.query(REQUESTED_SCHEMA), { database, user: role });
});

afterAll(() => postgres[Symbol.asyncDispose]());

/** What PostgreSQL says before it gives up a connection whose client sent requests in the middle of a COPY. */
const SYNC_LOST = 'terminating connection because protocol synchronization was lost';

/** That there is no transaction to end, up to the line in PostgreSQL's sources that says so. */
const NO_TRANSACTION = /^SWARNING\0VWARNING\0C25P01\0M[^\0]*\0/;

/**
 * A message as text that can be compared and read. A notification's sender is another process each time. Where a
 * server learns what SQL has prepared, an Execute of ours is ahead of the client's: then another line of PostgreSQL's
 * sources says that there is no transaction.
 */
function shown({ type, body }: ReadMessage): string {
  const compared = type === 'A' ? Buffer.concat([int32(0), body.subarray(4)]) : body;
  const text = compared.toString('latin1');
  return `${type} ${JSON.stringify(type === 'N' ? (NO_TRANSACTION.exec(text)?.[0] ?? text) : text)}`;
}

/** An error from the Parse by which a server was to learn a statement anew, in a transaction that has failed. */
const TAUGHT_IN_VAIN = /^E .*C25P02.*Rexec_parse_message/;

/** In the middle of a COPY it may be a request of ours that ends it, ahead of the client's that needs it. */
const AMID_COPY = /unexpected message type 0x[0-9a-f]+ during COPY/i;

/** `got`, with such errors taken for those of the requests that they stand for. */
function reconciled(got: Answers, expected: Answers): Answers {
  const all = got.all.map((each, i) => {
    const other = expected.all[i];
    if (other === undefined) return each;
    const ending = AMID_COPY.exec(other)?.[0];
    if (ending !== undefined) return each.replace(AMID_COPY, ending);
    return TAUGHT_IN_VAIN.test(each) && other.startsWith('E ') ? other : each;
  });
  return { ...got, all };
}

/** What came up to the answer to the marker, or to the end. */
interface Answers {
  readonly all: readonly string[];
  readonly isOver: boolean;
}

async function answersTo(client: WireClient, marker: string): Promise<Answers> {
  const { all, isOver } = await readTo(client, marker);
  return { all: withSortedStatuses(all), isOver };
}

/**
 * Adjacent ParameterStatus in one order: PostgreSQL reports what a DISCARD ALL resets in the order in which it was
 * set, be it by the client or on its behalf when it was linked.
 */
function withSortedStatuses(all: readonly string[]): string[] {
  const sorted: string[] = [];
  let statuses: string[] = [];
  for (const each of all) {
    if (each.startsWith('S ')) {
      statuses.push(each);
      continue;
    }
    sorted.push(...statuses.sort(), each);
    statuses = [];
  }
  return [...sorted, ...statuses.sort()];
}

async function readTo(client: WireClient, marker: string): Promise<Answers> {
  const all: string[] = [];
  for (;;) {
    const next = await client.peer.message().catch((error: Error) => {
      throw new Error(`${error.message}, behind ${all.at(-1) ?? 'nothing'}`, { cause: error });
    });
    all.push(shown(next));
    if (next.type === 'E' && next.body.includes(SYNC_LOST)) return { all, isOver: true };
    if (next.type !== 'D' || !next.body.includes(marker)) continue;
    for (const rest of await client.peer.messagesTo('Z')) all.push(shown(rest));
    return { all, isOver: false };
  }
}

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
  for (let count = 1 + random.below(8); count > 0; count--) {
    const next = random.below(8) === 0 ? randomCopyIn(random) : randomPiece(random, vocabulary);
    if (isApart && isOpen && (next.isSimple || next.name === 'run DISCARD ALL')) pieces.push(SYNC);
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
