import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Answers, answersTo, reconciled } from '../support/compared-answers.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

const database = 'copy_modes';
const ROLE = 'copy_direct';
const { query, parse, bind, execute, close, copyData, copyDone, copyFail, sync, flush } = frontend;
const COPY_IN = 'COPY copied FROM STDIN';
const BAD_ROW = copyData('not a number\n');
const BAD_ROW_TEXT = 'invalid input syntax for type integer: "not a number"';

let pooler: LocalPooler;

beforeAll(async () => {
  await createDatabase(sharedPostgres(), database);
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  const schema = `CREATE TABLE copied (n int); GRANT INSERT ON copied TO ${ROLE}`;
  await withClient(sharedPostgres(), (client) => client.query(schema), { database });
  pooler = await startPooler({
    settings: { default_pool_size: 1 },
    databases: {
      transaction: `dbname=${database} pool_mode=transaction`,
      statement: `dbname=${database} pool_mode=statement`,
      session: `dbname=${database} pool_mode=session`,
    },
  });
});

afterAll(() => pooler[Symbol.asyncDispose]());

beforeEach(() => withClient(sharedPostgres(), (client) => client.query('TRUNCATE copied'), { database }));

function connect(mode: string): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: 'postgres', database: mode });
}

function connectDirectly(): Promise<WireClient> {
  return WireClient.connect(sharedPostgres(), { user: ROLE, database });
}

async function copiedRows(): Promise<number[]> {
  return withClient(
    sharedPostgres(),
    async (client) => {
      const { rows } = await client.query<{ n: number }>('SELECT n FROM copied ORDER BY n');
      return rows.map(({ n }) => n);
    },
    { database },
  );
}

/**
 * The client is of use still, and so is the pool's only server: in session mode for somebody else after the client
 * has left, in the others while it stays.
 */
async function checkAfterwards(client: WireClient, mode: string): Promise<void> {
  expect(await client.value("SELECT 'still here'")).toBe('still here');
  if (mode === 'session') await client.end();
  const other = await connect(mode);
  expect(await other.value("SELECT 'next'")).toBe('next');
  await other.end();
  if (mode === 'session') return;
  expect(await client.value("SELECT 'again'")).toBe('again');
  await client.end();
}

describe.each(['transaction', 'statement', 'session'])('COPY in %s mode', (mode) => {
  test('FROM STDIN by a simple query', async () => {
    const client = await connect(mode);
    await client.send(query(COPY_IN));
    expect((await client.answerTo('G')).types).toBe('G');
    const done = await client.ask(copyData('1\n'), copyData('2\n3'), copyData('\n'), copyDone());
    expect([done.types, done.tags, done.status]).toEqual(['CZ', ['COPY 3'], 'I']);
    expect(await copiedRows()).toEqual([1, 2, 3]);
    await checkAfterwards(client, mode);
  });

  test('FROM STDIN in one write with the query', async () => {
    const client = await connect(mode);
    const done = await client.ask(query(COPY_IN), copyData('1\n'), copyDone());
    expect([done.types, done.tags]).toEqual(['GCZ', ['COPY 1']]);
    expect(await copiedRows()).toEqual([1]);
    await checkAfterwards(client, mode);
  });

  test('FROM STDIN by the extended protocol', async () => {
    const client = await connect(mode);
    await client.send(unnamed(COPY_IN), flush());
    expect((await client.answerTo('G')).types).toBe('12G');
    const done = await client.ask(copyData('1\n'), copyData('2\n'), copyDone(), sync());
    expect([done.types, done.tags, done.status]).toEqual(['CZ', ['COPY 2'], 'I']);
    expect(await copiedRows()).toEqual([1, 2]);
    await checkAfterwards(client, mode);
  });

  test('FROM STDIN by the extended protocol with a Sync already sent, which PostgreSQL swallows', async () => {
    const client = await connect(mode);
    await client.send(unnamed(COPY_IN), sync());
    expect((await client.answerTo('G')).types).toBe('12G');
    const done = await client.ask(copyData('1\n'), copyDone(), sync());
    expect([done.types, done.tags, done.status]).toEqual(['CZ', ['COPY 1'], 'I']);
    await checkAfterwards(client, mode);
  });

  test('given up by CopyFail', async () => {
    const client = await connect(mode);
    const failed = await client.ask(query(COPY_IN), copyData('1\n'), copyFail('changed my mind'));
    expect([failed.types, failed.errors[0]?.['M']]).toEqual([
      'GEZ',
      'COPY from stdin failed: changed my mind',
    ]);
    expect(await copiedRows()).toEqual([]);
    await checkAfterwards(client, mode);
  });

  test('trap: CopyData and CopyDone that arrive after the server’s error keep no server', async () => {
    const client = await connect(mode);
    await client.send(query(COPY_IN), BAD_ROW);
    await client.answerTo('G');
    await client.send(copyData('1\n'), copyDone());
    const failed = await client.answer();
    expect([failed.types, failed.errors[0]?.['M'], failed.status]).toEqual(['EZ', BAD_ROW_TEXT, 'I']);
    await checkAfterwards(client, mode);
    expect(await copiedRows()).toEqual([]);
  });

  test.each([
    ['CopyDone', copyDone()],
    ['CopyFail', copyFail('too late')],
  ])('trap: CopyData and %s sent only after the server’s error has been read are dropped', async (_, ending) => {
    const client = await connect(mode);
    // More than PostgreSQL reads ahead, so that it fails before CopyDone.
    await client.send(query(COPY_IN), BAD_ROW, copyData('7\n'.repeat(100_000)));
    const failed = await client.answer();
    expect([failed.types, failed.status]).toEqual(['GEZ', 'I']);
    await client.send(copyData('1\n'), ending);
    await checkAfterwards(client, mode);
    expect(await copiedRows()).toEqual([]);
  });

  test('an error by the extended protocol: everything is skipped up to the Sync', async () => {
    const client = await connect(mode);
    await client.send(unnamed(COPY_IN), flush());
    await client.answerTo('G');
    const failed = await client.ask(BAD_ROW, copyData('1\n'), copyDone(), unnamed('SELECT 1'), sync());
    expect([failed.types, failed.errors[0]?.['M'], failed.status]).toEqual(['EZ', BAD_ROW_TEXT, 'I']);
    await checkAfterwards(client, mode);
    expect(await copiedRows()).toEqual([]);
  });

  test('an error by the extended protocol with a Sync sent before CopyDone leaves no answer to somebody else', async () => {
    const client = await connect(mode);
    await client.send(unnamed(COPY_IN), sync());
    await client.answerTo('G');
    const failed = await client.ask(BAD_ROW, copyDone(), sync());
    expect([failed.types, failed.errors[0]?.['M'], failed.status]).toEqual(['EZ', BAD_ROW_TEXT, 'I']);
    for (let i = 0; i < 3; i++) {
      const other = await (mode === 'session' ? client : connect(mode));
      expect(await other.value(`SELECT 'turn ${i}'`)).toBe(`turn ${i}`);
      if (other !== client) await other.end();
    }
    await checkAfterwards(client, mode);
  });

  test('requests pipelined behind a Sync that follows a bad row are answered, and the next client is served', async () => {
    const [client, next] = [await connect(mode), await connect(mode)];
    await client.send(unnamed(COPY_IN), sync());
    await client.answerTo('G');
    // The row fails at once, so PostgreSQL answers the Sync behind it, and then the rest. In one chunk or in two.
    const behind = [copyDone(), unnamed('SELECT 7'), sync(), query('SELECT 8')];
    await client.send(BAD_ROW, sync(), ...behind);
    expect([(await client.answer()).types, (await client.answer()).rows]).toEqual(['EZ', [['7']]]);
    expect((await client.answer()).rows).toEqual([['8']]);
    await client.send(unnamed(COPY_IN), sync());
    await client.answerTo('G');
    await client.send(BAD_ROW, sync());
    expect((await client.answer()).types).toBe('EZ');
    await client.send(...behind);
    expect([(await client.answer()).rows, (await client.answer()).rows]).toEqual([[['7']], [['8']]]);
    if (mode !== 'session') expect(await next.value('SELECT 9')).toBe('9');
    await checkAfterwards(client, mode);
  });

  test('a COPY that cannot begin: its data and CopyDone are dropped', async () => {
    const client = await connect(mode);
    const failed = await client.ask(query('COPY no_such_table FROM STDIN'), copyData('1\n'), copyDone());
    expect([failed.types, failed.errors[0]?.['C']]).toEqual(['EZ', '42P01']);
    await checkAfterwards(client, mode);
  });

  test('TO STDOUT by both protocols, and an error in its middle', async () => {
    const client = await connect(mode);
    const sql = 'COPY (SELECT g FROM generate_series(1, 3) AS g) TO STDOUT';
    const simple = await client.query(sql);
    expect([simple.types, simple.copied, simple.tags]).toEqual(['HdddcCZ', '1\n2\n3\n', ['COPY 3']]);
    const extended = await client.ask(unnamed(sql), sync());
    expect([extended.types, extended.copied]).toEqual(['12HdddcCZ', '1\n2\n3\n']);
    const failing = await client.query('COPY (SELECT 1/(3 - g) FROM generate_series(1, 5) AS g) TO STDOUT');
    expect([failing.types, failing.copied, failing.errors[0]?.['C'], failing.status]).toEqual([
      'HddEZ',
      '0\n1\n',
      '22012',
      'I',
    ]);
    await checkAfterwards(client, mode);
  });

  test('several statements of one query with a COPY among them', async () => {
    const client = await connect(mode);
    const done = await client.ask(
      query(`SELECT 'before'; ${COPY_IN}; SELECT count(*) FROM copied`),
      copyData('1\n2\n'),
      copyDone(),
    );
    expect([done.types, done.rows]).toEqual(['TDCGCTDCZ', [['before'], ['2']]]);
    await checkAfterwards(client, mode);
  });

  test('trap: COPY FROM STDIN of a client that vanishes copies nothing and keeps no server', async () => {
    const client = await connect(mode);
    await client.send(query(COPY_IN), copyData('1\n'));
    await client.answerTo('G');
    await client.send(copyData('2\n3\n').subarray(0, 7));
    client.peer.reset();
    const other = await connect(mode);
    expect(await other.value("SELECT 'next'")).toBe('next');
    await other.end();
    expect(await copiedRows()).toEqual([]);
  });
});

test.each([
  'transaction',
  'session',
])('after an error inside a transaction in %s mode the late CopyDone does not count', async (mode) => {
  const client = await connect(mode);
  expect((await client.query('BEGIN')).status).toBe('T');
  await client.send(query(COPY_IN), BAD_ROW, copyData('7\n'.repeat(100_000)));
  const failed = await client.answer();
  expect([failed.types, failed.status]).toEqual(['GEZ', 'E']);
  await client.send(copyData('1\n'), copyDone());
  expect((await client.query('ROLLBACK')).status).toBe('I');
  await checkAfterwards(client, mode);
});

test('a request that names a statement, behind one for which PostgreSQL ends the COPY, waits to hear that', async () => {
  const pair = [await connectDirectly(), await connect('transaction')];
  const seen = [];
  for (const client of pair) {
    await client.send(unnamed(COPY_IN));
    await client.answerTo('G');
    await client.send(sync(), parse('a', 'SELECT 1'), sync(), bind('', 'a'), execute(''), sync());
    const answers = [await client.answerTo('E'), await client.answerTo('E')];
    seen.push(answers.flatMap(({ errors }) => errors.map(({ S, C, M }) => [S, C, M])));
    await client.peer.end();
  }
  expect(seen[0]).toHaveLength(2);
  expect(seen[1]).toEqual(seen[0]);
  await checkAfterwards(await connect('transaction'), 'transaction');
});

describe('a request that is answered by us ends the connection amid a COPY as PostgreSQL does', () => {
  test.each([
    ['Close behind a Query', query(COPY_IN), close('S', 'a')],
    ['Close behind an Execute', unnamed(COPY_IN), close('S', 'a')],
    ['Close behind a Sync', Buffer.concat([unnamed(COPY_IN), sync()]), close('S', 'a')],
    ['Close of what there is none of', unnamed(COPY_IN), close('S', 'none')],
    ['Parse of what the server has', unnamed(COPY_IN), parse('b', 'SELECT 1')],
  ])('%s', async (_, begun, request) => {
    for (const isKnown of [false, true]) {
      const [direct, pooled] = [await connectDirectly(), await connect('transaction')];
      const answers = [];
      for (const client of [direct, pooled]) {
        await client.ask(parse('a', 'SELECT 1'), sync());
        const rest = [request, copyDone(), sync(), query("SELECT 'marker'")];
        if (isKnown) {
          await client.send(begun);
          await client.answerTo('G');
          await client.send(...rest);
        } else await client.send(begun, ...rest);
        answers.push(await answersTo(client, 'marker'));
      }
      const [expected, got] = answers as [Answers, Answers];
      expect(expected.isOver).toBe(true);
      expect(reconciled(got, expected)).toEqual(expected);
      await Promise.all([direct.peer.close(), pooled.peer.close()]);
      await checkAfterwards(await connect('transaction'), 'transaction');
    }
  });

  test('where none begins after all it is answered', async () => {
    const client = await connect('transaction');
    await client.ask(parse('a', 'SELECT 1'), sync());
    const { types } = await client.ask(
      ...[unnamed('SELECT 1'), parse('b', 'SELECT 1'), bind('', 'b'), execute('')],
      ...[close('S', 'a'), close('S', 'b'), sync()],
    );
    expect(types).toBe('12DC12DC33Z');
    await client.send(query('SELECT 1/0'), close('S', 'a'), sync());
    expect([(await client.answer()).types, (await client.answer()).types]).toEqual(['EZ', '3Z']);
    await client.send(unnamed('SELECT 1/0'), close('S', 'a'), sync(), close('S', 'a'), sync());
    expect([(await client.answer()).types, (await client.answer()).types]).toEqual(['1EZ', '3Z']);
    await checkAfterwards(client, 'transaction');
  });
});

test('a server in COPY IN mode stays with its client while that says nothing', async () => {
  const client = await connect('transaction');
  await client.send(query(COPY_IN));
  await client.answerTo('G');
  const other = await connect('transaction');
  await other.send(query('SELECT 1'));
  await waitFor(async () => {
    const pools = await pooler.show('SHOW POOLS');
    return Number(pools.find((row) => row['database'] === 'transaction')?.['cl_waiting']) === 1;
  });
  expect((await client.ask(copyData('1\n'), copyDone())).tags).toEqual(['COPY 1']);
  expect((await other.answer()).rows).toEqual([['1']]);
  await Promise.all([client.end(), other.end()]);
});
