import { beforeAll, describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, spawnPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor, within } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

const user = 'vanish';
const database = 'vanish';
const NOT_READY = 'closing because: client disconnect while server was not ready';

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: user, auth: 'trust' });
  await createDatabase(sharedPostgres(), database, user);
  await withClient(
    sharedPostgres(),
    (client) => client.query('CREATE TABLE left_rows (tag text); CREATE TABLE left_copies (tag text)'),
    { database, user },
  );
});

/** One server connection, and far more patience with it than a test has. */
function start(settings: Record<string, string | number> = {}, own = {}): Promise<LocalPooler> {
  return startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1, ...settings },
    own: { server_close_timeout: 60, ...own },
    userlist: { [user]: '' },
  });
}

function connect(to: LocalPooler | string, more: Record<string, string> = {}): Promise<WireClient> {
  return WireClient.connect(typeof to === 'string' ? to : to.port, { user, database, ...more });
}

function backend(client: WireClient): Promise<string | null> {
  return client.value('SELECT pg_backend_pid()');
}

/** How many backends run something with this tag in its text. */
async function running(tag: string): Promise<number> {
  return withClient(sharedPostgres(), async (client) => {
    const { rows } = await client.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM pg_stat_activity
       WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()`,
      [`%${tag}%`],
    );
    return rows[0]?.n ?? 0;
  });
}

const LEAVE = {
  'by a FIN': (client: WireClient) => client.peer.close(),
  'by a RST': async (client: WireClient) => client.peer.reset(),
  'by closing its sending half': async (client: WireClient) => client.peer.halfClose(),
} as const;

/** It asks, its query runs, it is gone. */
async function vanishAmid(
  client: WireClient,
  tag: string,
  requests: readonly Uint8Array[],
  leave: (client: WireClient) => Promise<void> = LEAVE['by a RST'],
): Promise<void> {
  await client.send(...requests);
  await waitFor(async () => (await running(tag)) === 1, { what: `a running query ${tag}` });
  await leave(client);
}

describe('the query of a client that vanishes is cancelled and its server serves the next client (#63, #1312)', () => {
  for (const pool_mode of ['session', 'transaction', 'statement']) {
    for (const [how, leave] of Object.entries(LEAVE)) {
      for (const socket of ['TCP', 'unix'] as const) {
        // A unix socket knows no reset.
        if (socket === 'unix' && how === 'by a RST') continue;
        test(`${pool_mode} mode, ${socket}, ${how}`, async () => {
          await using pooler = await start({ pool_mode });
          const gone = await connect(socket === 'TCP' ? pooler : pooler.socketPath);
          // In session mode it would keep the server.
          const pid = pool_mode === 'session' ? await backend(gone) : null;
          const next = await connect(pooler);
          const kept = pid ?? (await backend(next));
          const tag = `sleeps in ${pool_mode} mode, ${socket}, ${how}`;
          await vanishAmid(gone, tag, [frontend.query(`SELECT pg_sleep(600) /* ${tag} */`)], leave);
          expect(await backend(next)).toBe(kept);
          expect(await running(tag)).toBe(0);
          expect(pooler.lines.filter((line) => line.includes(NOT_READY))).toEqual([]);
          await next.end();
        });
      }
    }
  }

  test('one in the extended protocol, with its Sync', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await vanishAmid(gone, 'extended sleep', [
      unnamed('SELECT pg_sleep(600) /* extended sleep */'),
      frontend.sync(),
    ]);
    expect(await backend(next)).toBe(pid);
    await next.end();
  });

  test('one that KILL_CLIENT ends', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await vanishAmid(
      gone,
      'killed sleep',
      [frontend.query('SELECT pg_sleep(600) /* killed sleep */')],
      async () => {
        const [active] = (await pooler.show('SHOW CLIENTS')).filter(({ state }) => state === 'active');
        await pooler.show(`KILL_CLIENT ${active?.['id']}`).catch(() => {});
      },
    );
    expect(await backend(next)).toBe(pid);
    await next.end();
  });

  test('each of a row of pipelined queries', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    const sleep = frontend.query('SELECT pg_sleep(600) /* row of sleeps */');
    await vanishAmid(gone, 'row of sleeps', [sleep, sleep, sleep]);
    expect(await backend(next)).toBe(pid);
    expect(await running('row of sleeps')).toBe(0);
    await next.end();
  });
});

describe('what a client that vanishes has asked for', () => {
  test('never reaches the next one, however much of it there is', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    const large = "SELECT 'not yours', repeat('x', 1000) FROM generate_series(1, 5000)";
    for (let i = 0; i < 5; i++) {
      const vanishing = i === 0 ? gone : await connect(pooler);
      await vanishing.send(
        frontend.query(large),
        unnamed(large),
        frontend.sync(),
        frontend.query("COPY (SELECT 'not yours' FROM generate_series(1, 100000)) TO STDOUT"),
        frontend.query('SELECT no_such_column'),
      );
      await vanishing.peer.bytes(20_000);
      vanishing.peer.reset();
      const answer = await next.query(`SELECT 'mine ${i}', pg_backend_pid()`);
      expect(answer).toMatchObject({ types: 'TDCZ', rows: [[`mine ${i}`, pid]], errors: [], notices: [] });
    }
    await next.end();
  });

  test('trap: Parse and Bind delivered, Sync never (client gone): is undone, and nobody has to wait (pgdog #803)', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    const insert = "INSERT INTO left_rows VALUES ('without Sync')";
    await gone.send(unnamed(insert), frontend.flush());
    expect((await gone.answerTo('C')).tags).toEqual(['INSERT 0 1']);
    gone.peer.reset();
    expect(await backend(next)).toBe(pid);
    expect(await next.rows("SELECT * FROM left_rows WHERE tag = 'without Sync'")).toEqual([]);

    const parsed = await connect(pooler);
    await parsed.send(frontend.parse('', insert), frontend.bind('', ''), frontend.flush());
    await parsed.answerTo('2');
    parsed.peer.reset();
    expect(await backend(next)).toBe(pid);

    const failed = await connect(pooler);
    await failed.send(unnamed('SELECT no_such_column'), frontend.flush());
    await failed.answerTo('E');
    await failed.peer.close();
    expect(await next.query('SELECT 1')).toMatchObject({ rows: [['1']], status: 'I', errors: [] });
    expect(await backend(next)).toBe(pid);
    await next.end();
  });

  test('without a Sync and still running is cancelled and undone', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await vanishAmid(gone, 'sleep without Sync', [
      unnamed("INSERT INTO left_rows VALUES ('sleep without Sync')"),
      unnamed('SELECT pg_sleep(600) /* sleep without Sync */'),
    ]);
    expect(await next.rows("SELECT * FROM left_rows WHERE tag = 'sleep without Sync'")).toEqual([]);
    expect(await backend(next)).toBe(pid);
    await next.end();
  });

  test.each([
    ['simple', true, (sql: string) => [frontend.query(sql)]],
    ['extended, without Sync', true, (sql: string) => [unnamed(sql)]],
    // The Sync was swallowed by the COPY, or was not: the connection is closed.
    ['extended, with Sync', false, (sql: string) => [unnamed(sql), frontend.sync()]],
  ] as const)('a COPY FROM STDIN without its end (%s) has copied nothing', async (_name, isKept, ask) => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await gone.send(...ask('COPY left_copies FROM STDIN'));
    await gone.answerTo('G');
    await gone.send(frontend.copyData('one\n'), frontend.copyData('two\n'));
    gone.peer.reset();
    expect(await next.value('SELECT count(*) FROM left_copies')).toBe('0');
    expect((await backend(next)) === pid).toBe(isKept);

    // Gone before the server has even said that it takes data.
    const early = await connect(pooler);
    const before = await backend(next);
    await early.send(...ask('COPY left_copies FROM STDIN'));
    early.peer.reset();
    expect(await next.value('SELECT count(*) FROM left_copies')).toBe('0');
    if (isKept) expect(await backend(next)).toBe(before);
    await next.end();
  });

  test('in a transaction is cancelled and undone at once; the server goes', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await gone.rows("BEGIN; INSERT INTO left_rows VALUES ('in a transaction')");
    await vanishAmid(gone, 'sleep in a transaction', [
      frontend.query('SELECT pg_sleep(600) /* sleep in a transaction */'),
    ]);
    expect(await next.rows("SELECT * FROM left_rows WHERE tag = 'in a transaction'")).toEqual([]);
    expect(await running('sleep in a transaction')).toBe(0);
    expect(await backend(next)).not.toBe(pid);
    expect(pooler.lines.filter((line) => line.includes(NOT_READY))).toHaveLength(1);
    await next.end();
  });

  test('ends a transaction that it has begun, when that is among what was sent', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await gone.rows('BEGIN');
    await vanishAmid(gone, 'sleep and end', [
      frontend.query('SELECT pg_sleep(600) /* sleep and end */'),
      frontend.query('ROLLBACK'),
    ]);
    expect(await backend(next)).toBe(pid);
    await next.end();
  });

  test('leaves the server only what the next client may find there', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler, { application_name: 'gone' }), await connect(pooler)];
    await next.rows("SET application_name = 'next'");
    const pid = await backend(next);
    // Both follow their clients: what is tracked is set anew, and known.
    await vanishAmid(gone, 'tracked', [
      frontend.query("SET application_name = 'left'; SET TimeZone = 'Asia/Tokyo'"),
      frontend.query('SELECT pg_sleep(600) /* tracked */'),
    ]);
    expect(await next.value('SHOW application_name')).toBe('next');
    expect(await next.value('SHOW TimeZone')).not.toBe('Asia/Tokyo');
    expect(await backend(next)).toBe(pid);
    await next.end();
  });

  test.each([
    ['search_path', 'SET search_path = pg_catalog'],
    ['session_authorization', `SET SESSION AUTHORIZATION ${user}`],
  ])('takes the server along if it has changed %s, which nobody is left to follow', async (name, sql) => {
    await using pooler = await start();
    const superuser = { user: sharedPostgres().user };
    const [gone, next] = [await connect(pooler, superuser), await connect(pooler, superuser)];
    const pid = await backend(next);
    const before = await next.value(`SHOW ${name}`);
    // Reported behind the last byte that the client has been there for.
    await vanishAmid(
      gone,
      'untracked',
      [frontend.query(`SELECT pg_sleep(0.3) /* untracked */`), frontend.query(sql)],
      async (client) => {
        await client.send(frontend.terminate());
        await client.peer.close();
      },
    );
    expect(await next.value(`SHOW ${name}`)).toBe(before);
    expect(await backend(next)).not.toBe(pid);
    await next.end();
  });

  test('leaves prepared statements as the server has them', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await vanishAmid(gone, 'prepared sleep', [
      frontend.parse('one', 'SELECT 1 AS one'),
      frontend.parse('broken', 'SELECT no_such_column'),
      frontend.parse('skipped', 'SELECT 2 AS skipped'),
      frontend.sync(),
      frontend.parse('sleep', 'SELECT pg_sleep(600) /* prepared sleep */'),
      frontend.bind('', 'sleep'),
      frontend.execute(''),
      frontend.parse('behind', 'SELECT 3 AS behind'),
      frontend.sync(),
    ]);
    for (const [i, sql] of ['SELECT 1 AS one', 'SELECT 2 AS skipped', 'SELECT 3 AS behind'].entries()) {
      const answer = await next.ask(
        frontend.parse(`mine${i}`, sql),
        frontend.bind('', `mine${i}`),
        frontend.execute(''),
        frontend.sync(),
      );
      expect(answer).toMatchObject({ types: '12DCZ', rows: [[String(i + 1)]] });
    }
    expect(await backend(next)).toBe(pid);
    await next.end();
  });
});

test('SHUTDOWN WAIT_FOR_CLIENTS ends when what the last client has left running is cancelled', async () => {
  await using pooler = await spawnPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    own: { server_close_timeout: 60 },
    userlist: { [user]: '' },
  });
  const gone = await WireClient.connect(pooler.port, { user, database });
  // One is cancelled with each sweep.
  const sleep = frontend.query('SELECT pg_sleep(600) /* last sleep */');
  await vanishAmid(gone, 'last sleep', [sleep, sleep, sleep], async () => {
    await pooler.show('SHUTDOWN WAIT_FOR_CLIENTS');
    gone.peer.reset();
  });
  expect(await within(pooler.ended, 'the end of the pooler')).toMatchObject({ code: 0 });
  expect(await running('last sleep')).toBe(0);
});

test('SHUTDOWN WAIT_FOR_CLIENTS waits, too, where the server of the last client has to be closed', async () => {
  await using pooler = await spawnPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    own: { server_close_timeout: 0.2 },
    userlist: { [user]: '' },
  });
  const gone = await WireClient.connect(pooler.port, { user, database });
  const half = frontend.bind('', '').subarray(0, 8);
  await vanishAmid(
    gone,
    'half behind it',
    [frontend.query('SELECT pg_sleep(600) /* half behind it */'), half],
    async () => {
      await pooler.show('SHUTDOWN WAIT_FOR_CLIENTS');
      gone.peer.reset();
    },
  );
  expect(await within(pooler.ended, 'the end of the pooler')).toMatchObject({ code: 0 });
  expect(await running('half behind it')).toBe(0);
});

describe('a client that says Terminate behind a query', () => {
  test('has it done, if that takes no longer than server_close_timeout', async () => {
    await using pooler = await start();
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await gone.send(
      frontend.query("INSERT INTO left_rows SELECT 'goodbye' FROM pg_sleep(0.3)"),
      frontend.terminate(),
    );
    await gone.peer.close();
    await poolShows(pooler, database, user, { sv_being_canceled: 1, sv_active_cancel: 0 });
    expect(await next.rows("SELECT tag FROM left_rows WHERE tag = 'goodbye'")).toEqual([['goodbye']]);
    expect(await backend(next)).toBe(pid);
    await next.end();
  });

  test('has it cancelled after that', async () => {
    await using pooler = await start({}, { server_close_timeout: 1 });
    const [gone, next] = [await connect(pooler), await connect(pooler)];
    const pid = await backend(next);
    await gone.send(frontend.query('SELECT pg_sleep(600) /* goodbye */'), frontend.terminate());
    const saidMs = performance.now();
    await gone.peer.end();
    expect(await backend(next)).toBe(pid);
    expect(performance.now() - saidMs).toBeGreaterThan(990);
    await next.end();
  });
});
