import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

const database = 'transaction_mode';
const { query, sync, flush } = frontend;

let pooler: LocalPooler;

beforeAll(async () => {
  await createDatabase(sharedPostgres(), database);
  await withClient(sharedPostgres(), (client) => client.query('CREATE TABLE kept (n int)'), { database });
});

beforeEach(async () => {
  pooler = await startPooler({ settings: { pool_mode: 'transaction', default_pool_size: 1 } });
});

afterEach(() => pooler[Symbol.asyncDispose]());

function connect(): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: 'postgres', database });
}

function connectTwo(): Promise<[WireClient, WireClient]> {
  return Promise.all([connect(), connect()]);
}

async function end(...clients: readonly WireClient[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end()));
}

function backend(client: WireClient): Promise<string | null> {
  return client.value('SELECT pg_backend_pid()');
}

async function pool(): Promise<Record<string, string | number | null>> {
  const pools = await pooler.show('SHOW POOLS');
  return pools.find((row) => row['database'] === database) ?? {};
}

async function waitForWaiting(count: number): Promise<void> {
  await waitFor(async () => Number((await pool())['cl_waiting']) === count, { what: `${count} waiting` });
}

test('a link lasts as long as the transaction, failed or not; who waits is served in order', async () => {
  const [holder, ...others] = await Promise.all([connect(), connect(), connect(), connect()]);
  expect((await holder.query('BEGIN')).status).toBe('T');
  const order: number[] = [];
  for (const [i, other] of others.entries()) {
    await other.send(query('SELECT extract(epoch FROM clock_timestamp())'));
    void other.answer().then(({ rows }) => order.push(i, Number(rows[0]?.[0])));
    await waitForWaiting(i + 1);
  }
  expect((await holder.query('SELECT 1/0')).status).toBe('E');
  expect((await holder.query('SELECT 1')).status).toBe('E');
  expect(order).toEqual([]);
  expect((await holder.query('ROLLBACK')).status).toBe('I');
  await waitFor(() => order.length === 6);
  expect([order[0], order[2], order[4]]).toEqual([0, 1, 2]);
  const times = [order[1], order[3], order[5]];
  expect(times).toEqual(times.toSorted());
  await end(holder, ...others);
});

describe.each(['transaction', 'statement'])('a link in %s mode', (mode) => {
  beforeEach(() => pooler.reload({ settings: { pool_mode: mode } }));

  test('ends with the request: two clients take turns on one server', async () => {
    const [one, two] = await connectTwo();
    const pids = new Set<string | null>();
    for (let i = 0; i < 5; i++) {
      pids.add(await backend(one));
      pids.add((await two.ask(unnamed('SELECT pg_backend_pid()'), sync())).rows[0]?.[0] ?? null);
    }
    expect(pids.size).toBe(1);
    await end(one, two);
  });

  test('is made by a lone Sync, which is answered and ends it', async () => {
    const [one, two] = await connectTwo();
    const answer = await one.ask(sync());
    expect([answer.types, answer.status]).toEqual(['Z', 'I']);
    expect(await two.value('SELECT 1')).toBe('1');
    expect(await one.value('SELECT 2')).toBe('2');
    await end(one, two);
  });

  test('is not made by a lone Flush', async () => {
    const [one, two] = await connectTwo();
    await one.send(flush());
    for (let i = 0; i < 3; i++) expect(await two.value('SELECT 1')).toBe('1');
    expect(await one.value('SELECT 2')).toBe('2');
    await end(one, two);
  });

  test('lasts while requests without a Sync are open', async () => {
    const [one, two] = await connectTwo();
    await one.send(unnamed("SELECT 'unfinished'"), flush());
    expect((await one.answerTo('C')).rows).toEqual([['unfinished']]);
    await two.send(query('SELECT 1'));
    await waitForWaiting(1);
    expect((await one.ask(sync())).types).toBe('Z');
    expect((await two.answer()).rows).toEqual([['1']]);
    await end(one, two);
  });

  test('lasts until the last of several Syncs sent at once is answered', async () => {
    await pooler.reload({ settings: { default_pool_size: 4 } });
    const [one, two, ...rest] = await Promise.all([connect(), connect(), connect(), connect()]);
    for (let round = 0; round < 20; round++) {
      const requests = Array.from({ length: 8 }, () => [unnamed('SELECT pg_backend_pid()'), sync()]).flat();
      await Promise.all([one.send(...requests), two.send(...requests)]);
      for (const client of [one, two]) {
        const pids = new Set<string | null | undefined>();
        for (let i = 0; i < 8; i++) pids.add((await client.answer()).rows[0]?.[0]);
        expect(pids.size).toBe(1);
      }
    }
    await end(one, two, ...rest);
  });

  test('ends after an error in a pipeline, once its Sync is answered', async () => {
    const [one, two] = await connectTwo();
    const failed = await one.ask(unnamed('SELECT 1'), unnamed('SELECT nothing'), unnamed('SELECT 2'), sync());
    expect([failed.types, failed.status]).toEqual(['12DCEZ', 'I']);
    expect(await two.value('SELECT 1')).toBe('1');
    await end(one, two);
  });

  test('ends after a simple query with an error among its statements', async () => {
    const [one, two] = await connectTwo();
    const failed = await one.query('SELECT 1; SELECT 1/0; SELECT 2');
    expect([failed.types, failed.status]).toEqual(['TDCEZ', 'I']);
    expect(await two.value('SELECT 1')).toBe('1');
    await end(one, two);
  });

  test('ends after an empty query, a function call, a portal run in parts', async () => {
    const [one, two] = await connectTwo();
    expect((await one.query('')).types).toBe('IZ');
    expect(await two.value('SELECT 1')).toBe('1');
    const oid = Number(await one.value("SELECT 'reverse(text)'::regprocedure::oid"));
    const call = message('F', oid, int16(0), int16(1), 3, Buffer.from('abc'), int16(0));
    expect((await one.ask(call)).types).toBe('VZ');
    expect(await two.value('SELECT 1')).toBe('1');
    const rows = [frontend.parse('', 'SELECT generate_series(1, 3)'), frontend.bind('', '')];
    const twoRows = message('E', '', 2);
    expect((await one.ask(...rows, frontend.describe('P', ''), twoRows, twoRows, sync())).types).toBe(
      '12TDDsDCZ',
    );
    expect(await two.value('SELECT 1')).toBe('1');
    await end(one, two);
  });

  test('carries messages far larger than any buffer, both ways', async () => {
    const [one, two] = await connectTwo();
    const large = 'x'.repeat(5_000_000);
    const answer = await one.ask(unnamed('SELECT $1 || $1', large), sync());
    expect(answer.rows[0]?.[0]?.length).toBe(10_000_000);
    expect(await two.value('SELECT 1')).toBe('1');
    await end(one, two);
  });
});

describe('a client that goes away', () => {
  test.each([
    'terminate',
    'reset',
    'half-close',
  ] as const)('by %s inside a transaction: its work is undone, its locks are free, the pool goes on', async (how) => {
    const [one, two] = await connectTwo();
    const pid = await backend(one);
    await one.rows('BEGIN; INSERT INTO kept VALUES (1); LOCK TABLE kept IN ACCESS EXCLUSIVE MODE');
    if (how === 'terminate') await one.end();
    if (how === 'reset') one.peer.reset();
    if (how === 'half-close') one.peer.halfClose();
    expect(await two.value('SELECT count(*) FROM kept')).toBe('0');
    expect(await backend(two)).not.toBe(pid);
    expect(
      pooler.lines.filter((line) =>
        line.includes('closing because: client disconnect while server was not ready'),
      ),
    ).toHaveLength(1);
    await two.end();
  });

  test('between transactions leaves the server as it is', async () => {
    const [one, two] = await connectTwo();
    const pid = await backend(one);
    one.peer.reset();
    expect(await backend(two)).toBe(pid);
    await two.end();
  });

  test('after its query was answered but before it read that, has done its work', async () => {
    const [one, two] = await connectTwo();
    const pid = await backend(two);
    one.peer.stall();
    await one.send(query('INSERT INTO kept VALUES (2)'));
    await waitFor(async () => (await two.value('SELECT count(*) FROM kept WHERE n = 2')) === '1');
    one.peer.reset();
    expect(await backend(two)).toBe(pid);
    await two.rows('DELETE FROM kept');
    await two.end();
  });

  test('in the middle of a message of an open transaction costs the server, not the next client', async () => {
    const [one, two] = await connectTwo();
    const pid = await backend(one);
    expect((await one.query('BEGIN')).status).toBe('T');
    await one.send(query("SELECT 'cut in the middle'").subarray(0, 15));
    one.peer.reset();
    expect(await two.value("SELECT 'whole'")).toBe('whole');
    expect(await backend(two)).not.toBe(pid);
    await two.end();
  });

  test('while it waits for a server is forgotten at once', async () => {
    const [one, two] = await connectTwo();
    await one.rows('BEGIN');
    await two.send(query('INSERT INTO kept VALUES (3)'));
    await waitForWaiting(1);
    two.peer.reset();
    await waitForWaiting(0);
    await one.rows('COMMIT');
    expect(await one.value('SELECT count(*) FROM kept')).toBe('0');
    await one.end();
  });
});

describe('between clients', () => {
  test('no reset query runs: what was set without SET LOCAL stays on the server', async () => {
    const [one, two] = await connectTwo();
    await one.rows("SET transaction_test.mark = 'left behind'");
    expect(await two.value('SHOW transaction_test.mark')).toBe('left behind');
    await end(one, two);
  });

  test('with server_reset_query_always the reset query runs after each transaction', async () => {
    await pooler.reload({
      settings: {
        server_reset_query_always: 1,
        server_reset_query: "SET transaction_test.mark = 'was reset'",
      },
    });
    const [one, two] = await connectTwo();
    await one.rows("SET transaction_test.mark = 'left behind'");
    expect(await two.value('SHOW transaction_test.mark')).toBe('was reset');
    await end(one, two);
  });

  test('a notification that comes while nobody is linked is dropped, and the server stays', async () => {
    const one = await connect();
    const pid = await backend(one);
    await one.rows('LISTEN transaction_channel');
    await withClient(sharedPostgres(), (client) => client.query('NOTIFY transaction_channel'), { database });
    await waitFor(() => pooler.lines.some((line) => line.includes('notification')));
    const answer = await one.query('SELECT pg_backend_pid()');
    expect([answer.rows, answer.notifications]).toEqual([[[pid]], []]);
    await one.end();
  });

  test('the server that an administrator ends is replaced', async () => {
    const one = await connect();
    const pid = await backend(one);
    await withClient(sharedPostgres(), (client) =>
      client.query('SELECT pg_terminate_backend($1, 10000)', [Number(pid)]),
    );
    await waitFor(async () => Number((await pool())['sv_idle']) === 0);
    expect(await backend(one)).not.toBe(pid);
    await one.end();
  });
});

test('an administrator who ends the backend of an open transaction is quoted, then the connection ends', async () => {
  const [one, two] = await connectTwo();
  const pid = await backend(one);
  await one.rows('BEGIN');
  await withClient(sharedPostgres(), (client) =>
    client.query('SELECT pg_terminate_backend($1)', [Number(pid)]),
  );
  const told = await one.answerTo('E');
  expect(told.errors[0]).toMatchObject({
    S: 'FATAL',
    C: '57P01',
    M: 'terminating connection due to administrator command',
  });
  const after = await one.answerTo('E');
  expect(after.errors[0]).toMatchObject({ S: 'FATAL', C: '08P01', M: 'server conn crashed?' });
  await one.peer.end();
  expect(await two.value('SELECT 1')).toBe('1');
  await two.end();
});

describe('pool_mode', () => {
  test('of the database wins over the global one, of the user over both', async () => {
    await pooler.reload({
      databases: { plain: `dbname=${database}`, sessions: `dbname=${database} pool_mode=session` },
      users: { postgres: 'pool_mode=statement' },
    });
    const modes = async () => {
      const pools = await pooler.show('SHOW POOLS');
      return Object.fromEntries(pools.map((row) => [row['database'], row['pool_mode']]));
    };
    const plain = await WireClient.connect(pooler.port, { user: 'postgres', database: 'plain' });
    const sessions = await WireClient.connect(pooler.port, { user: 'postgres', database: 'sessions' });
    expect(await modes()).toMatchObject({ plain: 'statement', sessions: 'statement' });
    await pooler.reload({ users: {} });
    expect(await modes()).toMatchObject({ plain: 'transaction', sessions: 'session' });
    // At the next ReadyForQuery the new mode counts: the transaction is kept.
    expect((await plain.query('BEGIN')).status).toBe('T');
    expect((await plain.query('COMMIT')).status).toBe('I');
    await end(plain, sessions);
  });

  test('is looked at anew at each ReadyForQuery, also inside a transaction', async () => {
    const [one, two, three] = await Promise.all([connect(), connect(), connect()]);
    expect((await one.query('BEGIN')).status).toBe('T');
    await pooler.reload({ settings: { pool_mode: 'statement' } });
    expect((await one.query('SELECT 1')).status).toBe('T');
    expect((await one.answerTo('E')).errors[0]?.['M']).toBe(
      'transaction blocks not allowed in statement pooling mode',
    );
    await one.peer.end();
    await pooler.reload({ settings: { pool_mode: 'session' } });
    const pid = await backend(two);
    await pooler.reload({ settings: { pool_mode: 'transaction' } });
    // A server of a session is for nobody else.
    const next = await backend(three);
    expect(next).not.toBe(pid);
    await two.query('BEGIN; COMMIT');
    expect(await backend(two)).toBe(next);
    await end(two, three);
  });
});

test('disable_pqexec refuses simple queries without taking a server, and nothing else', async () => {
  await using strict = await startPooler({ settings: { pool_mode: 'transaction', disable_pqexec: 1 } });
  const login = { user: 'postgres', database };
  const good = await WireClient.connect(strict.port, login);
  const pid = (await good.ask(unnamed('SELECT pg_backend_pid()'), sync())).rows;
  const bad = await WireClient.connect(strict.port, login);
  await bad.send(query('SELECT 1'));
  expect((await bad.answerTo('E')).errors).toMatchObject([
    { S: 'FATAL', C: '08P01', M: 'PQexec disallowed' },
  ]);
  expect((await bad.peer.end()).length).toBe(0);
  expect((await good.ask(unnamed('SELECT pg_backend_pid()'), sync())).rows).toEqual(pid);
  await good.end();
});
