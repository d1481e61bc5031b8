import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { frontend, message, type ReadMessage } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { startPostgres, withClient } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { WireClient } from '../support/wire-client.ts';

const role = 'differential_app';
const database = 'differential';
const { parse, bind, describe: describing, execute, close, flush, sync, query } = frontend;
const { copyData, copyDone, copyFail } = frontend;
/** Batches per mode; `npm run test:full` takes its time. */
const BATCHES = process.env['PGWEIR_TEST_FULL'] === undefined ? 500 : 5000;

// A server of its own: what no sane client sends can end more than the session in which it is sent.
let postgres: Awaited<ReturnType<typeof startPostgres>>;

beforeAll(async () => {
  postgres = await startPostgres();
  await createRole(postgres.address, { name: role, auth: 'trust' });
  await createDatabase(postgres.address, database, role);
  await withClient(postgres.address, (client) => client.query('CREATE TABLE rows_here (n int)'), {
    database,
    user: role,
  });
});

afterAll(() => postgres[Symbol.asyncDispose]());

/** One thing that a client may send, and its name for the message of a failure. */
type Piece = readonly [name: string, bytes: Buffer];

/**
 * Statements and portals. Behind a Sync that follows bad data of a COPY in the extended protocol whether PostgreSQL
 * skips or answers cannot be told, nor be found out before the next Sync: names given there may be lost, see
 * docs/differences.md.
 */
const NAMES = ['', 'a', 'b'];

/** Requests in no sensible order, most of which fail for lack of what they refer to. */
function piece(random: Random, names: readonly string[]): Piece {
  const name = random.pick(names);
  const sql = random.pick(['SELECT 1', 'SELECT generate_series(1, 3)', 'SELECT 1/0', 'BEGIN', 'COMMIT', '']);
  // SQL's EXECUTE of a BEGIN or COMMIT that was prepared by Parse ends PostgreSQL's session, at best.
  const text = random.pick(['SELECT 1', 'SELECT generate_series(1, 3)', 'SELECT 1/0', '']);
  const control = random.pick(['BEGIN', 'COMMIT']);
  // A stray Execute of the unnamed portal, behind SQL's EXECUTE in it and a failed transaction, ends PostgreSQL 18.4.
  const portal = random.pick(['a', 'b']);
  const third = names.length > 1 ? 'c' : '';
  const named = `"${name}"`;
  const statement =
    name === ''
      ? 'SELECT 8'
      : random.pick([
          `PREPARE ${named} AS SELECT 5`,
          `PREPARE ${named} (int) AS SELECT $1 + 1`,
          `PREPARE ${named} AS SELECT no_such_column`,
          `EXECUTE ${named}`,
          `EXECUTE ${named}`,
          `EXECUTE ${named} (1)`,
          `EXPLAIN (COSTS OFF) EXECUTE ${named}`,
          `DEALLOCATE ${named}`,
          `DEALLOCATE ${named}`,
          'DEALLOCATE ALL',
          'DISCARD ALL',
          `PREPARE ${named} AS SELECT 6; EXECUTE ${named}; DEALLOCATE ${named}`,
          `EXECUTE ${named}; SELECT 1/0; DEALLOCATE ${named}`,
          `DEALLOCATE ${named}; PREPARE ${named} AS SELECT 7`,
        ]);
  return random.pick<() => Piece>([
    // A query of PostgreSQL's behind it: it drops the unnamed statement, which a lone DEALLOCATE here does not reach.
    () => [`query ${statement}`, Buffer.concat([query(statement), query('SELECT 8')])],
    () => [`query ${statement}`, Buffer.concat([query(statement), query('SELECT 8')])],
    () => [`run ${statement}`, Buffer.concat([parse('', statement), bind('', ''), execute('')])],
    () => [`parse ${name}: ${text}`, parse(name, text)],
    () => [`parse ${third}: ${control}`, parse(third, control)],
    () => [`run ${third}`, Buffer.concat([bind('', third), execute('')])],
    () => [`close S ${third}`, close('S', third)],
    () => [`parse ${name} bad`, parse(name, 'SELECT no_such_column')],
    () => [`bind ${name}`, bind(name, random.pick(names))],
    () => [`describe S ${name}`, describing('S', name)],
    () => [`describe P ${name}`, describing('P', name)],
    () => [`execute ${portal}`, execute(portal)],
    () => [`execute ${portal} 1 row`, message('E', portal, 1)],
    () => [`close S ${name}`, close('S', name)],
    () => [`close P ${name}`, close('P', name)],
    () => [`run ${sql}`, Buffer.concat([parse('', sql), bind('', ''), execute('')])],
    () => [`run ${sql}`, Buffer.concat([parse('', sql), bind('', ''), execute('')])],
    () => [`query ${sql}`, query(sql)],
    () => ['query of two', query('SELECT 1; SELECT 2')],
    () => ['query of two, one fails', query('SELECT 1; SELECT 1/0')],
    () => ['query ROLLBACK', query('ROLLBACK')],
    () => ['flush', flush()],
    () => ['sync', sync()],
    () => ['sync', sync()],
    () => ['stray copy data', copyData('1\n')],
    () => ['stray copy done', copyDone()],
    () => ['stray copy fail', copyFail('stray')],
  ])();
}

/**
 * A COPY with what a client may send while it is on, to its CopyDone or CopyFail. With a Sync behind bad data
 * nothing on the wire tells whether PostgreSQL swallowed it in COPY mode or answers it after the error, so how
 * many answers are still to come has to be found out by a probe.
 */
function copy(random: Random): Piece {
  const sql = 'COPY rows_here FROM STDIN';
  const isSimple = random.below(2) === 0;
  const parts = [isSimple ? query(sql) : Buffer.concat([parse('', sql), bind('', ''), execute('')])];
  const names = [isSimple ? 'copy' : 'extended copy'];
  const add = (name: string, bytes: Buffer) => {
    names.push(name);
    parts.push(bytes);
  };
  for (let i = random.below(5); i > 0; i--) {
    const kind = random.below(5);
    if (kind === 0) add('data', copyData('1\n2\n'));
    else if (kind === 1) add('cut data', copyData('3'));
    else if (kind === 2) add('flush', flush());
    else if (kind === 3) add('sync', sync());
    else add('bad data', copyData('\nx\n'));
  }
  if (random.below(3) > 0) add('done', copyDone());
  else add('fail', copyFail('given up'));
  return [names.join(' '), Buffer.concat(parts)];
}

/** What PostgreSQL says before it gives up a connection whose client sent requests in the middle of a COPY. */
const SYNC_LOST = 'terminating connection because protocol synchronization was lost';

/** What came up to the answer to the marker, or to the end, as text that can be compared and read. */
async function answersTo(client: WireClient, marker: string): Promise<{ all: string[]; isOver: boolean }> {
  const all: string[] = [];
  const show = ({ type, body }: ReadMessage) => `${type} ${JSON.stringify(body.toString('latin1'))}`;
  for (;;) {
    const next = await client.peer.message();
    all.push(show(next));
    if (next.type === 'E' && next.body.includes(SYNC_LOST)) return { all, isOver: true };
    if (next.type !== 'D' || !next.body.includes(marker)) continue;
    for (const rest of await client.peer.messagesTo('Z')) all.push(show(rest));
    return { all, isOver: false };
  }
}

describe.each(['transaction', 'session'])('%s mode', (mode) => {
  test('answers whatever a client sends as PostgreSQL itself does, and goes on to the next client', async () => {
    await withSeed(async (random) => {
      await using pooler = await startPooler({
        postgres: postgres.address,
        settings: { pool_mode: mode, default_pool_size: mode === 'session' ? 2 : 1 },
        userlist: { [role]: '' },
      });
      const login = { user: role, database };
      const pair = () =>
        Promise.all([
          WireClient.connect(postgres.address, login),
          WireClient.connect(pooler.port, login),
        ] as const);
      const other = await WireClient.connect(pooler.port, login);
      let [direct, pooled] = await pair();
      for (let i = 0; i < BATCHES; i++) {
        const pieces: Piece[] = [];
        let names: readonly string[] = NAMES;
        // With a Parse of ours among requests, PostgreSQL is in another kind of transaction when a Query follows
        // without a Sync: no driver does that, and PostgreSQL itself loses its transaction there at times.
        const isApart = mode !== 'session';
        let isOpen = false;
        for (let count = 1 + random.below(8); count > 0; count--) {
          const next = random.below(8) === 0 ? copy(random) : piece(random, names);
          const isSimple = /^(query|copy)/.test(next[0]);
          if (isApart && isOpen && isSimple) pieces.push(['sync', sync()]);
          isOpen = !isSimple && next[0] !== 'sync' && (isOpen || /^[a-z]+ /.test(next[0]));
          pieces.push(next);
          if (mode !== 'session' && /copy.* sync/.test(next[0]) && /bad|fail/.test(next[0])) names = [''];
        }
        const marker = `marker ${i}`;
        const ending = [sync(), query('ROLLBACK'), query(`SELECT '${marker}'`)];
        const bytes = Buffer.concat([...pieces.map(([, part]) => part), ...ending]);
        const cut = random.below(bytes.length);
        try {
          await direct.send(bytes);
          const expected = await answersTo(direct, marker);
          await pooled.peer.sendChunks(
            random.below(2) === 0 ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)],
          );
          expect(await answersTo(pooled, marker)).toEqual(expected);
          if (expected.isOver) {
            await Promise.all([direct.peer.close(), pooled.peer.close()]);
            [direct, pooled] = await pair();
          }
          const next = `other ${i}`;
          expect(await other.value(`SELECT '${next}'`)).toBe(next);
          // The same for the session that it is compared with, where it drops the unnamed statement too.
          await direct.value(`SELECT '${next}'`);
          if (mode === 'session') await pooled.value(`SELECT '${next}'`);
        } catch (error) {
          const said = pieces.map(([name]) => name).join(' | ');
          throw new Error(`batch ${i}, ${said}: ${(error as Error).message}`, { cause: error });
        }
      }
      await Promise.all([direct.end(), pooled.end(), other.end()]);
    });
  });
});
