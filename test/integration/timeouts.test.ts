import { beforeAll, describe, expect, test } from 'vitest';
import { Holders, poolShows } from '../support/backends.ts';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { detailedRefusalOf, endOf, fatal, refusalOf } from '../support/refusals.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { expectStruckAfter, sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const A = 'timeouts_a';
const B = 'timeouts_b';
const alice = { user: A, password: '', database: 'one' };
const bob = { user: B, password: '', database: 'one' };

beforeAll(async () => {
  const postgres = sharedPostgres();
  for (const name of [A, B]) await createRole(postgres, { name, auth: 'trust' });
  for (const name of ['timeouts_one', 'timeouts_two']) await createDatabase(postgres, name);
});

type Options = Parameters<typeof startPooler>[0];

/** Transaction mode, one server connection per pool, two databases. */
function start(options: Options): Promise<LocalPooler> {
  return startPooler({
    databases: { one: 'dbname=timeouts_one', two: 'dbname=timeouts_two' },
    userlist: { [A]: '', [B]: '' },
    ...options,
    settings: { pool_mode: 'transaction', default_pool_size: 1, ...options?.settings },
  });
}

/** The refusal of a client that has waited, with why in its DETAIL. */
function waited(message: string, servers: string): object {
  const detail = `^Waited \\d+\\.\\d s as one of 1\\. Server connections \\(pool_size 1\\): ${servers}$`;
  return { ...fatal(message), detail: expect.stringMatching(detail) };
}

async function errorOf(peer: ScriptedPeer): Promise<Record<string, string>> {
  return errorFields((await peer.messagesTo('E')).at(-1)?.body ?? Buffer.alloc(0));
}

describe.concurrent('client_login_timeout', () => {
  test('ends logins that stall, wherever they stall', async () => {
    await using pooler = await start({ settings: { auth_type: 'plain', client_login_timeout: 0.5 } });
    const startMs = performance.now();
    const startup = frontend.startup({ user: A, database: 'one' });
    const silent = await connectPeer(pooler.port);
    const half = await connectPeer(pooler.port);
    await half.send(startup.subarray(0, 10));
    const askedForPassword = await connectPeer(pooler.port);
    await askedForPassword.send(startup);
    const halfPassword = await connectPeer(pooler.port);
    await halfPassword.send(startup, frontend.password('secret').subarray(0, 7));
    for (const peer of [silent, half, askedForPassword, halfPassword]) {
      expect(await errorOf(peer)).toMatchObject({ S: 'FATAL', C: '08P01', M: 'client_login_timeout' });
      expect(await peer.end()).toHaveLength(0);
    }
    expectStruckAfter(0.5, startMs);
  });

  test('names the server when the login waits for that alone', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start({
      settings: { client_login_timeout: 0.5 },
      databases: { one: `host=127.0.0.1 port=${server.port}` },
    });
    const startMs = performance.now();
    expect(await detailedRefusalOf(pooler.client(alice))).toEqual(
      waited('client_login_timeout (server down)', '1 logging in\\.'),
    );
    expectStruckAfter(0.5, startMs);
  });

  test('says so when the database is paused', async () => {
    await using pooler = await start({ settings: { client_login_timeout: 0.5 } });
    await pooler.show('PAUSE');
    expect(await detailedRefusalOf(pooler.client(alice))).toEqual(
      waited('client_login_timeout (server down)', 'none\\. The database is paused\\.'),
    );
  });

  test('leaves clients alone that are logged in', async () => {
    await using pooler = await start({ settings: { client_login_timeout: 0.3 } });
    const client = await pooler.client(alice);
    await sweepsPass(3);
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.end();
  });
});

describe.concurrent('client_idle_timeout', () => {
  test('ends a client that has asked for nothing; a value of [users] goes before it', async () => {
    await using pooler = await start({
      settings: { client_idle_timeout: 0.6 },
      users: { [B]: 'client_idle_timeout=2' },
    });
    // Taken ahead of what the rest begins behind: what it takes to hear of that is not to be counted.
    const startMs = performance.now();
    const [short, long] = [await pooler.client(alice), await pooler.client(bob)];
    expect(await endOf(short)).toEqual(fatal('client_idle_timeout'));
    expectStruckAfter(0.6, startMs);
    const restMs = performance.now();
    await long.query('SELECT 1');
    expect(await endOf(long)).toEqual(fatal('client_idle_timeout'));
    expectStruckAfter(2, restMs);
  });

  test('of one user alone is no business of the others', async () => {
    await using pooler = await start({ users: { [B]: 'client_idle_timeout=1' } });
    const [spared, idle] = [await pooler.client(alice), await pooler.client(bob)];
    expect(await endOf(idle)).toEqual(fatal('client_idle_timeout'));
    await sweepsPass();
    expect((await spared.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await spared.end();
  });

  test('spares clients in a transaction, waiting clients and sessions that have a server', async () => {
    await using pooler = await start({ settings: { client_idle_timeout: 0.4 } });
    const holder = await pooler.client(alice);
    await holder.query('BEGIN');
    const waiting = await pooler.client(alice);
    const answer = waiting.query('SELECT 1 AS one');
    await sweepsPass(3);
    await holder.query('COMMIT');
    expect((await answer).rows).toEqual([{ one: 1 }]);
    await Promise.all([endOf(holder), endOf(waiting)]);

    await using sessions = await start({ settings: { pool_mode: 'session', client_idle_timeout: 0.4 } });
    const session = await sessions.client(alice);
    await session.query('SELECT 1');
    await sweepsPass(3);
    expect((await session.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await session.end();
  });
});

describe.concurrent('query_wait_timeout', () => {
  test('tells the client how long it has waited, and what the server connections are doing', async () => {
    await using pooler = await start({ settings: { query_wait_timeout: 0.5, default_pool_size: 2 } });
    const [idle, busy, waiting, other] = await Promise.all(
      Array.from({ length: 4 }, () => pooler.client(alice)),
    );
    await idle?.query('BEGIN');
    const work = busy?.query('SELECT pg_sleep(1)');
    await poolShows(pooler, 'one', A, { sv_active: 2 });
    const errors = await Promise.all(
      [waiting, other].map((client) =>
        client?.query('SELECT 1').catch((error: { detail?: string }) => error.detail),
      ),
    );
    for (const detail of errors) {
      expect(detail).toMatch(
        /^Waited 0\.\d s as one of [12]\. Server connections \(pool_size 2\): 1 busy, 1 idle in transaction\.$/,
      );
    }
    await work;
    await Promise.all([idle?.end(), busy?.end()]);
  });

  test('of [users] goes before that of the database, and that before the global one', async () => {
    await using pooler = await start({
      settings: { query_wait_timeout: 0.5 },
      databases: { one: 'dbname=timeouts_one', two: 'dbname=timeouts_two query_wait_timeout=1' },
      users: { [B]: 'query_wait_timeout=2' },
    });
    const cases = [
      [alice, 0.5],
      [{ ...alice, database: 'two' }, 1],
      [{ ...bob, database: 'two' }, 2],
    ] as const;
    await Promise.all(
      cases.map(async ([config, seconds]) => {
        await using holders = await new Holders().add(pooler, 1, config);
        await waitFor(() => holders.holding === 1);
        const client = await pooler.client(config);
        const startMs = performance.now();
        expect(await refusalOf(client.query('SELECT 1'))).toEqual(fatal('query_wait_timeout'));
        expectStruckAfter(seconds, startMs);
      }),
    );
  });

  test('runs on during PAUSE, and 0 waits for ever', async () => {
    await using pooler = await start({
      settings: { query_wait_timeout: 0.5 },
      users: { [B]: 'query_wait_timeout=0' },
    });
    const [client, patient] = [await pooler.client(alice), await pooler.client(bob)];
    await pooler.show('PAUSE');
    const startMs = performance.now();
    const answer = patient.query('SELECT 1 AS one');
    expect(await refusalOf(client.query('SELECT 1'))).toEqual(fatal('query_wait_timeout'));
    expectStruckAfter(0.5, startMs);
    await sweepsPass();
    await pooler.show('RESUME');
    expect((await answer).rows).toEqual([{ one: 1 }]);
    await patient.end();
  });
});

describe.concurrent('query_wait_notify', () => {
  test('tells a waiting client once per wait, and nobody during the login', async () => {
    await using pooler = await start({ settings: { query_wait_notify: 1 } });
    await pooler.show('PAUSE');
    const notices: string[] = [];
    const connecting = pooler.client(alice).then((client) => {
      client.on('notice', ({ severity, code, message }) => notices.push(`${severity} ${code} ${message}`));
      return client;
    });
    await sweepsPass(4);
    await pooler.show('RESUME');
    const client = await connecting;
    expect(notices).toEqual([]);
    const told = 'NOTICE 00000 No server connection available in postgres backend, client being queued';
    for (let wait = 1; wait <= 2; wait++) {
      await pooler.show('PAUSE');
      const startMs = performance.now();
      const answer = client.query('SELECT 1 AS one');
      await waitFor(() => notices.length === wait);
      expectStruckAfter(1, startMs);
      await sweepsPass(2);
      await pooler.show('RESUME');
      expect((await answer).rows).toEqual([{ one: 1 }]);
      expect(notices).toEqual(Array(wait).fill(told));
    }
    await client.end();
  });

  test('0 tells nobody', async () => {
    await using pooler = await start({ settings: { query_wait_notify: 0 } });
    const client = await pooler.client(alice);
    const notices: string[] = [];
    client.on('notice', ({ message }) => notices.push(message ?? ''));
    await pooler.show('PAUSE');
    const answer = client.query('SELECT 1 AS one');
    await sweepsPass(4);
    await pooler.show('RESUME');
    await answer;
    expect(notices).toEqual([]);
    await client.end();
  });
});

describe.concurrent('query_timeout', () => {
  test('ends a query that runs for longer; the pool user’s value goes before it', async () => {
    await using pooler = await start({
      settings: { query_timeout: 0.5 },
      own: { server_close_timeout: 0 },
      users: { [B]: 'query_timeout=1' },
    });
    await Promise.all(
      (
        [
          [alice, 0.5],
          [bob, 1],
        ] as const
      ).map(async ([config, seconds]) => {
        const client = await pooler.client(config);
        const startMs = performance.now();
        expect(await refusalOf(client.query('SELECT pg_sleep(30)'))).toEqual(fatal('query timeout'));
        expectStruckAfter(seconds, startMs);
        // The slot comes back with the end of that query in PostgreSQL, which may take longer than the next one may wait.
        await waitFor(async () =>
          (await pooler.show('SHOW SERVERS')).every(({ user }) => user !== config.user),
        );
        const next = await pooler.client(config);
        expect((await next.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
        await next.end();
      }),
    );
  });

  test('ends a client that waits for longer, with a text of its own', async () => {
    await using pooler = await start({
      settings: { query_timeout: 0.5 },
      // The holder's own queries are short.
      users: { [A]: 'query_timeout=30' },
    });
    await using holders = await new Holders().add(pooler, 1, alice);
    await waitFor(() => holders.holding === 1);
    const client = await pooler.client(alice);
    const startMs = performance.now();
    expect(await detailedRefusalOf(client.query('SELECT 1'))).toEqual(
      waited('query_timeout', '1 idle in transaction\\.'),
    );
    expectStruckAfter(0.5, startMs);
  });

  test('does not count the time between the queries of a transaction', async () => {
    await using pooler = await start({ settings: { query_timeout: 0.4 } });
    const client = await pooler.client(alice);
    await client.query('BEGIN');
    await sweepsPass(3);
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.query('COMMIT');
    await client.end();
  });

  test('does not count what the pooler has answered by itself', async () => {
    await using pooler = await start({ settings: { query_timeout: 0.4 } });
    const client = await WireClient.connect(pooler.port, { user: A, database: 'one' });
    await client.query('BEGIN');
    for (const answers of [
      () => client.query('DEALLOCATE ALL'),
      () => client.send(frontend.close('S', 'none'), frontend.flush()).then(() => client.answerTo('3')),
    ]) {
      await answers();
      await sweepsPass(3);
      expect(await client.value('SELECT 1')).toBe('1');
    }
    await client.end();
  });

  test('does not strike a session for a Flush, or for what comes late of a failed COPY', async () => {
    await using pooler = await start({ settings: { query_timeout: 0.4, pool_mode: 'session' } });
    const client = await WireClient.connect(pooler.port, { user: A, database: 'one' });
    await client.query('SELECT 1');
    await client.send(frontend.flush());
    await sweepsPass(3);
    await client.query('CREATE TEMP TABLE numbers (n int)');
    await client.send(frontend.query('COPY numbers FROM STDIN'), frontend.copyData('none\n'));
    expect((await client.answer()).errors[0]?.['C']).toBe('22P02');
    await client.send(frontend.copyData('1\n'), frontend.copyDone());
    await sweepsPass(3);
    expect(await client.value('SELECT 1')).toBe('1');
    await client.end();
  });
});

describe.concurrent('idle_transaction_timeout', () => {
  test('trap: counts from each query’s end, not from BEGIN; the pool user’s value goes before it', async () => {
    await using pooler = await start({
      settings: { idle_transaction_timeout: 0.5 },
      users: { [B]: 'idle_transaction_timeout=1' },
    });
    await Promise.all(
      (
        [
          [alice, 0.5],
          [bob, 1],
        ] as const
      ).map(async ([config, seconds]) => {
        const client = await pooler.client(config);
        await client.query('BEGIN');
        // Work goes on for longer than the limit.
        await client.query(`SELECT pg_sleep(${seconds + 0.7})`);
        // Taken ahead of the last answer: what it takes to hear of that is not to be counted.
        const startMs = performance.now();
        await client.query('SELECT 1');
        expect(await endOf(client)).toEqual(fatal('idle transaction timeout'));
        expectStruckAfter(seconds, startMs);
      }),
    );
    await poolShows(pooler, 'one', A, { sv_active: 0, cl_active: 0 });
  });

  test('ends a failed transaction, too, and spares clients outside of one', async () => {
    await using pooler = await start({ settings: { idle_transaction_timeout: 0.4 } });
    const [idle, failed] = [await pooler.client(bob), await pooler.client(alice)];
    await idle.query('SELECT 1');
    await failed.query('BEGIN');
    await expect(failed.query('SELECT 1/0')).rejects.toThrow('division by zero');
    expect(await endOf(failed)).toEqual(fatal('idle transaction timeout'));
    await sweepsPass();
    expect((await idle.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await idle.end();
  });
});

describe.concurrent('transaction_timeout', () => {
  test('ends a transaction however busy it is; the pool user’s value goes before it', async () => {
    await using pooler = await start({
      settings: { transaction_timeout: 0.6 },
      users: { [B]: 'transaction_timeout=1' },
    });
    await Promise.all(
      (
        [
          [alice, 0.6],
          [bob, 1],
        ] as const
      ).map(async ([config, seconds]) => {
        const client = await pooler.client(config);
        // Not counted together: each of these is a transaction of its own.
        const beforeMs = performance.now();
        while (performance.now() - beforeMs < seconds * 1000 + 500)
          await client.query('SELECT pg_sleep(0.05)');
        const startMs = performance.now();
        await client.query('BEGIN');
        const busy = (async () => {
          for (;;) await client.query('SELECT pg_sleep(0.02)');
        })();
        // What strikes between two of its queries, the client takes for news while it asks for nothing.
        const struck = Promise.any([refusalOf(busy), endOf(client)]);
        expect(await struck).toEqual(fatal('transaction timeout'));
        expectStruckAfter(seconds, startMs);
      }),
    );
  });
});
