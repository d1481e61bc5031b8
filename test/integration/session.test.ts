import { expect, test } from 'vitest';
import { frontend, int16, message } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

/** A pool of one server in session mode, so that whoever comes next gets what the one before left. */
function sessionPooler(settings: Record<string, string | number> = {}): Promise<LocalPooler> {
  return startPooler({ settings: { pool_mode: 'session', default_pool_size: 1, ...settings } });
}

function connect(pooler: LocalPooler, parameters: Record<string, string> = {}): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: 'postgres', database: 'postgres', ...parameters });
}

function backend(client: WireClient): Promise<string | null> {
  return client.value('SELECT pg_backend_pid()');
}

async function waitForLog(pooler: LocalPooler, text: string): Promise<void> {
  await waitFor(() => pooler.lines.some((line) => line.includes(text)), { what: `the log line "${text}"` });
}

/** Whether PostgreSQL still has this backend. */
async function isBackendThere(pid: string | null): Promise<boolean> {
  return withClient(sharedPostgres(), async (client) => {
    const found = await client.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [Number(pid)]);
    return found.rowCount === 1;
  });
}

test('a client keeps its server from its first query to its end, the login alone takes none', async () => {
  await using pooler = await sessionPooler();
  const idle = await connect(pooler);
  const first = await connect(pooler);
  const pid = await backend(first);
  await idle.send(frontend.query('SELECT pg_backend_pid()'));
  await waitFor(async () => {
    const pools = await pooler.show('SHOW POOLS');
    return Number(pools.find((row) => row['database'] === 'postgres')?.['cl_waiting']) === 1;
  });
  expect(await backend(first)).toBe(pid);
  expect(idle.peer.unread).toBe(0);
  await first.end();
  expect((await idle.answer()).rows).toEqual([[pid]]);
  await idle.end();
});

test('the next session gets the same backend with settings, tables, statements and locks discarded', async () => {
  await using pooler = await sessionPooler();
  const first = await connect(pooler);
  const pid = await backend(first);
  await first.rows(
    "SET work_mem = '777kB'; CREATE TEMP TABLE left_over (a int); PREPARE left_over AS SELECT 1",
  );
  await first.rows('SELECT pg_advisory_lock(4711)');
  expect(await first.value('SHOW work_mem')).toBe('777kB');
  await first.end();
  const second = await connect(pooler);
  expect(await backend(second)).toBe(pid);
  expect(
    await second.rows(
      `SELECT current_setting('work_mem') <> '777kB', to_regclass('left_over') IS NULL,
              (SELECT count(*) FROM pg_prepared_statements), pg_try_advisory_xact_lock(4711),
              (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711)`,
    ),
  ).toEqual([['t', 't', '0', 't', '1']]);
  await second.end();
});

test('server_reset_query is what runs in between, and nothing does when it is empty', async () => {
  await using pooler = await sessionPooler({ server_reset_query: "SET session_test.mark = 'was reset'" });
  for (const mark of ['was reset', 'set by the first client']) {
    const first = await connect(pooler);
    await first.rows("SET session_test.mark = 'set by the first client'");
    await first.end();
    const second = await connect(pooler);
    expect(await second.value('SHOW session_test.mark')).toBe(mark);
    await second.end();
    await pooler.reload({ settings: { server_reset_query: '' } });
  }
});

test('a connection whose reset query failed serves nobody else: the client can have seen to that', async () => {
  await using pooler = await sessionPooler({});
  const first = await connect(pooler);
  // Ahead of the time limit, which a busy machine may exceed with anything.
  const pid = await backend(first);
  await first.rows(
    `SET work_mem = '777kB';
     DO $$BEGIN FOR i IN 1..800 LOOP EXECUTE format('CREATE TEMP TABLE left_%s ()', i); END LOOP; END$$;
     SET statement_timeout = '2ms'`,
  );
  await first.end();
  const second = await connect(pooler);
  expect(await second.rows("SELECT current_setting('work_mem') <> '777kB', to_regclass('left_1')")).toEqual([
    ['t', null],
  ]);
  expect(await backend(second)).not.toBe(pid);
  expect(pooler.lines.find((line) => line.includes('reset query failed: '))).toMatch(
    /^ERROR S-\S+ \S+ reset query failed: ERROR: canceling statement due to statement timeout$/,
  );
  await second.end();
});

test.each([
  'terminate',
  'reset',
  'half-close',
] as const)('a session that ends at rest by %s leaves its server to the next', async (how) => {
  await using pooler = await sessionPooler();
  const first = await connect(pooler);
  const pid = await backend(first);
  if (how === 'terminate') await first.end();
  if (how === 'reset') first.peer.reset();
  if (how === 'half-close') first.peer.halfClose();
  const second = await connect(pooler);
  expect(await backend(second)).toBe(pid);
  await second.end();
});

test('a session that ends inside a transaction takes its server with it, and its work is undone', async () => {
  await using pooler = await sessionPooler();
  const first = await connect(pooler);
  const pid = await backend(first);
  await first.rows('BEGIN; CREATE TABLE session_undone (a int)');
  first.peer.reset();
  const second = await connect(pooler);
  expect(await backend(second)).not.toBe(pid);
  expect(await second.value("SELECT to_regclass('session_undone')")).toBe(null);
  expect(await isBackendThere(pid)).toBe(false);
  await waitForLog(pooler, 'closing because: client disconnect while server was not ready');
  await second.end();
});

test('a session that ends in a failed transaction takes its server with it', async () => {
  await using pooler = await sessionPooler();
  const first = await connect(pooler);
  const pid = await backend(first);
  expect((await first.query('BEGIN; SELECT 1/0')).status).toBe('E');
  await first.end();
  const second = await connect(pooler);
  expect(await backend(second)).not.toBe(pid);
  await second.end();
});

test('a session that ends while its query runs leaves its server when that is cancelled, discarded as ever', async () => {
  await using pooler = await sessionPooler();
  const first = await connect(pooler);
  const pid = await backend(first);
  await first.rows("SET work_mem = '777kB'; CREATE TEMP TABLE left_running (a int)");
  await first.send(frontend.query('SELECT pg_sleep(60)'));
  first.peer.reset();
  const second = await connect(pooler);
  expect(await backend(second)).toBe(pid);
  expect(await second.value('SHOW work_mem')).not.toBe('777kB');
  expect(await second.value("SELECT to_regclass('left_running')")).toBe(null);
  await second.end();
});

test('requests without a Sync are no rest: they are undone before the server has another session', async () => {
  await using pooler = await sessionPooler();
  const first = await connect(pooler);
  const pid = await backend(first);
  await first.send(unnamed('SELECT 1'), frontend.flush());
  expect((await first.answerTo('C')).types).toBe('12DC');
  first.peer.reset();
  const second = await connect(pooler);
  expect(await backend(second)).toBe(pid);
  expect(await second.value('SELECT now() = statement_timestamp()')).toBe('t');
  await second.end();
});

test('a message cut in the middle never becomes the beginning of the next client’s', async () => {
  await using pooler = await sessionPooler();
  const first = await connect(pooler);
  const pid = await backend(first);
  await first.send(frontend.query('SELECT 1').subarray(0, 9));
  await waitFor(async () => (await pooler.show('SHOW SERVERS')).length === 1);
  first.peer.reset();
  const second = await connect(pooler);
  expect(await second.value("SELECT 'whole'")).toBe('whole');
  expect(await backend(second)).not.toBe(pid);
  await second.end();
});

test('notifications reach a listening session, asked for or not, and never the one that follows', async () => {
  await using pooler = await sessionPooler();
  const listener = await connect(pooler);
  const pid = await backend(listener);
  await listener.rows('LISTEN session_channel');
  const notify = (payload: string) =>
    withClient(sharedPostgres(), (client) => client.query(`NOTIFY session_channel, '${payload}'`));
  await notify('while idle');
  expect((await listener.answerTo('A')).notifications).toEqual([['session_channel', 'while idle']]);
  const own = await listener.query("NOTIFY session_channel, 'own'");
  expect(own.notifications).toEqual([['session_channel', 'own']]);
  await listener.end();
  const next = await connect(pooler);
  expect(await backend(next)).toBe(pid);
  await notify('for nobody');
  expect((await next.query('SELECT 1')).notifications).toEqual([]);
  await next.end();
});

test('named statements, portals, cursors and temporary tables last as long as the session', async () => {
  await using pooler = await sessionPooler({ default_pool_size: 2 });
  const client = await connect(pooler);
  const other = await connect(pooler);
  await client.rows('CREATE TEMP TABLE mine AS SELECT g FROM generate_series(1, 5) AS g');
  expect((await client.ask(frontend.parse('all', 'SELECT g FROM mine'), frontend.sync())).types).toBe('1Z');
  expect((await client.query('BEGIN')).status).toBe('T');
  const portal = [frontend.bind('p', 'all'), frontend.describe('P', 'p')];
  const two = message('E', 'p', 2);
  expect((await client.ask(...portal, two, frontend.sync())).types).toBe('2TDDsZ');
  expect(await other.value('SELECT 1')).toBe('1');
  expect((await client.ask(two, frontend.sync())).rows).toEqual([['3'], ['4']]);
  expect((await client.ask(frontend.close('P', 'p'), frontend.sync())).types).toBe('3Z');
  await client.rows('DECLARE c CURSOR WITH HOLD FOR SELECT g FROM mine ORDER BY g; COMMIT');
  expect(await client.rows('FETCH 1 FROM c')).toEqual([['1']]);
  await Promise.all([client.end(), other.end()]);
});

test('a function call is answered, and the one after it', async () => {
  await using pooler = await sessionPooler();
  const client = await connect(pooler);
  const oid = Number(await client.value("SELECT 'reverse(text)'::regprocedure::oid"));
  const text = Buffer.from('called');
  // Arguments and result as text.
  const call = message('F', oid, int16(0), int16(1), text.length, text, int16(0));
  for (let i = 0; i < 2; i++) {
    await client.send(call);
    const { body } = await client.peer.message('V');
    expect(body.subarray(4).toString()).toBe('dellac');
    expect((await client.answer()).status).toBe('I');
  }
  await client.end();
});

test('what an error or a notice says comes through as PostgreSQL sent it', async () => {
  await using pooler = await sessionPooler();
  const sql = `DO $$ BEGIN
    RAISE WARNING 'careful' USING DETAIL = 'some detail', HINT = 'a hint', ERRCODE = '01W42';
    RAISE EXCEPTION 'gone wrong' USING DETAIL = 'why', TABLE = 'some_table', ERRCODE = 'P0042';
  END $$`;
  const client = await connect(pooler);
  const answer = await client.query(sql);
  expect(answer.types).toBe('EZ');
  expect(answer.notices[0]).toMatchObject({
    S: 'WARNING',
    C: '01W42',
    M: 'careful',
    D: 'some detail',
    H: 'a hint',
  });
  expect(answer.errors[0]).toMatchObject({
    S: 'ERROR',
    C: 'P0042',
    M: 'gone wrong',
    D: 'why',
    t: 'some_table',
  });
  await client.end();
});
