import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort, type Postgres } from '../../src/cli/start/postgres.ts';
import { backendPids, poolShows } from '../support/backends.ts';
import { backend, errorFields, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { workersOfTests } from '../support/pooler-config.ts';
import { connectTo, startPostgres, withClient } from '../support/postgres.ts';
import { endOf, fatal, refusalOf } from '../support/refusals.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, connectPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'failures';
const login = { user: ROLE, password: 'secret', database: 'postgres' };

let postgres: Postgres;
beforeAll(async () => {
  postgres = await startPostgres();
  await createRole(postgres.address, { name: ROLE, auth: 'scram', password: 'secret' });
  await createRole(postgres.address, { name: 'failures_nologin', auth: 'scram', password: 'secret' });
  await withClient(postgres.address, (client) => client.query('ALTER ROLE failures_nologin NOLOGIN'));
});
afterAll(() => postgres[Symbol.asyncDispose]());

function start(settings: Record<string, string | number> = {}, databases = {}): Promise<LocalPooler> {
  return startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 2, server_login_retry: 0.3, ...settings },
    databases: { postgres: '', ...databases },
    userlist: { [ROLE]: 'secret', failures_nologin: 'secret', failures_missing: 'secret' },
  });
}

async function one(client: pg.Client): Promise<unknown> {
  return (await client.query<{ one: number }>('SELECT 1 AS one')).rows[0]?.one;
}

describe('PostgreSQL is restarted under load', () => {
  test.for([
    'fast',
    'immediate',
  ] as const)('in mode %s: who has a server hears an error, all others and all later ones are served', async (mode) => {
    await using pooler = await start();
    const texts = new Set<string>();
    let served = 0;
    let isOver = false;
    const worker = async (): Promise<void> => {
      while (!isOver) {
        try {
          const client = await pooler.client(login);
          try {
            for (let i = 0; i < 20 && !isOver; i++) {
              await client.query('SELECT pg_sleep(0.002)');
              served++;
            }
          } finally {
            await client.end();
          }
        } catch (error) {
          texts.add(error instanceof Error ? error.message : String(error));
        }
      }
    };
    const idle = await pooler.client(login);
    const holder = await pooler.client(login);
    await holder.query('BEGIN');
    const workers = Array.from({ length: 6 }, worker);
    await waitFor(() => served > 20);
    const lost = endOf(holder);
    await postgres.restart(mode);
    const before = served;
    await waitFor(() => served > before + 50);
    isOver = true;
    await Promise.all(workers);
    // PostgreSQL's own words reach the client where some of them are an error.
    const said = 'terminating connection due to administrator command';
    expect(await lost).toEqual(mode === 'fast' ? fatal(said, '57P01') : fatal('server conn crashed?'));
    expect(await one(idle)).toBe(1);
    await idle.end();
    const known = [
      /^terminating connection /,
      /^server conn crashed\?$/,
      /^server login has been failing, cached error: .* \(server_login_retry\)$/,
      /^the database system is (shutting down|starting up|not accepting connections|in recovery mode)/,
      // What came right behind an answer, in one piece with it: node-postgres keeps the words to itself then.
      /^Client has encountered a connection error and is not queryable$/,
    ];
    const unknown = [...texts].filter((text) => !known.some((pattern) => pattern.test(text)));
    expect(unknown).toEqual([]);
    await poolShows(pooler, 'postgres', ROLE, { cl_active: 0, cl_waiting: 0, sv_active: 0, sv_login: 0 });
  });

  test('a backend that is terminated: its client hears it, an idle one is replaced unnoticed', async () => {
    await using pooler = await start({ default_pool_size: 1 });
    const client = await pooler.client(login);
    const bystander = await pooler.client(login);
    await client.query('BEGIN');
    const ended = endOf(client);
    const [pid] = await backendPids(pooler, ROLE);
    await withClient(postgres.address, (admin) => admin.query('SELECT pg_terminate_backend($1)', [pid]));
    expect(await ended).toEqual(fatal('terminating connection due to administrator command', '57P01'));
    expect(await one(bystander)).toBe(1);
    const [second] = await backendPids(pooler, ROLE);
    expect(second).not.toBe(pid);
    await withClient(postgres.address, (admin) => admin.query('SELECT pg_terminate_backend($1)', [second]));
    await waitFor(async () => (await backendPids(pooler, ROLE)).length === 0);
    await poolShows(pooler, 'postgres', ROLE, { sv_idle: 0 });
    expect(await one(bystander)).toBe(1);
    await bystander.end();
  });
});

describe('a server that cannot be reached', () => {
  test('fails clients that need it fast, keeps those who log in waiting, and serves all once it is there', async () => {
    await using pooler = await start({ server_login_retry: 0.5 });
    const client = await pooler.client(login);
    const second = await pooler.client(login);
    await postgres.stop('fast');
    // Nobody has been told yet: the first attempt fails while this one waits, and it goes on waiting.
    await poolShows(pooler, 'postgres', ROLE, { sv_idle: 0 });
    const waiting = one(client);
    await waitFor(() => pooler.lines.some((line) => line.includes('because: connect failed')));
    // All threads have answered, and so have heard of it.
    await pooler.show('SHOW POOLS');
    const refusal = await refusalOf(second.query('SELECT 1'));
    expect(refusal).toEqual(
      fatal('server login has been failing, cached error: connect failed (server_login_retry)'),
    );
    await postgres.start();
    expect(await waiting).toBe(1);
    const third = await pooler.client(login);
    expect(await one(third)).toBe(1);
    for (const each of [client, third]) await each.end();
  });
});

describe('a login that the server refuses', () => {
  test('reaches the client with the server’s own words and SQLSTATE', async () => {
    await using pooler = await start(
      { server_login_retry: 0 },
      { missing: 'dbname=failures_db', wrong: `dbname=postgres user=${ROLE} password=wrong` },
    );
    expect(await refusalOf(pooler.client({ ...login, user: 'failures_nologin' }))).toEqual(
      fatal('role "failures_nologin" is not permitted to log in', '28000'),
    );
    expect(await refusalOf(pooler.client({ ...login, user: 'failures_missing' }))).toEqual(
      fatal('password authentication failed for user "failures_missing"', '28P01'),
    );
    expect(await refusalOf(pooler.client({ ...login, database: 'missing' }))).toEqual(
      fatal('database "failures_db" does not exist', '3D000'),
    );
    expect(await refusalOf(pooler.client({ ...login, database: 'wrong' }))).toEqual(
      fatal(`password authentication failed for user "${ROLE}"`, '28P01'),
    );
    const text = 'database "failures_db" does not exist';
    expect(pooler.lines).toContain(`WARNING server login failed: FATAL ${text}`);
    expect(pooler.lines).toContainEqual(
      expect.stringMatching(`^LOG S-0x.* closing because: ${text} \\(age=0s\\)$`),
    );
    // Nothing of it is held against another pool.
    const client = await pooler.client(login);
    expect(await one(client)).toBe(1);
    await client.end();
  });

  test.for([
    ['RECONNECT', {}],
    ['server_lifetime', { server_lifetime: 0 }],
  ] as const)('after a changed password and %s costs one attempt, however many clients wait', async ([
    way,
    settings,
  ]) => {
    await createRole(postgres.address, { name: `changed_${way}`, auth: 'scram', password: 'old' });
    await using pooler = await startPooler({
      postgres: postgres.address,
      settings: { pool_mode: 'transaction', default_pool_size: 5, server_login_retry: 30, ...settings },
      userlist: { [`changed_${way}`]: 'old' },
    });
    const user = { user: `changed_${way}`, password: 'old', database: 'postgres' };
    const clients = [];
    for (let i = 0; i < 8; i++) clients.push(await pooler.client(user));
    expect(await one(clients[0] as pg.Client)).toBe(1);
    await withClient(postgres.address, (admin) =>
      admin.query(`ALTER ROLE ${pg.escapeIdentifier(user.user)} PASSWORD 'new'`),
    );
    if (way === 'RECONNECT') await pooler.show('RECONNECT');
    await waitFor(async () => (await backendPids(pooler, user.user)).length === 0);
    const text = `password authentication failed for user "${user.user}"`;
    const refusals = await Promise.all(clients.map((client) => refusalOf(client.query('SELECT 1'))));
    expect(refusals).toEqual(clients.map(() => fatal(text, '28P01')));
    const attempts = postgres
      .log()
      .split('\n')
      .filter((line) => line.includes(`FATAL:  ${text}`));
    // Threads that begin at one time don't know of each other's.
    expect(attempts.length).toBeGreaterThan(0);
    expect(attempts.length).toBeLessThanOrEqual(workersOfTests());
  });

  test('is remembered: a client that needs a server hears the cached words until server_login_retry is over', async () => {
    await createRole(postgres.address, { name: 'cached', auth: 'trust' });
    await using pooler = await startPooler({
      postgres: postgres.address,
      settings: { pool_mode: 'transaction', server_login_retry: 1 },
      userlist: { cached: '' },
    });
    const user = { user: 'cached', password: '', database: 'postgres' };
    const clients = [];
    for (let i = 0; i < 3; i++) clients.push(await pooler.client(user));
    const [first, second, third] = clients as [pg.Client, pg.Client, pg.Client];
    await withClient(postgres.address, (admin) => admin.query('ALTER ROLE cached NOLOGIN'));
    await pooler.show('RECONNECT');
    const text = 'role "cached" is not permitted to log in';
    expect(await refusalOf(first.query('SELECT 1'))).toEqual(fatal(text, '28000'));
    // All threads have answered, and so have heard of it.
    await pooler.show('SHOW POOLS');
    expect(await refusalOf(second.query('SELECT 1'))).toEqual(
      fatal(`server login has been failing, cached error: ${text} (server_login_retry)`),
    );
    await withClient(postgres.address, (admin) => admin.query('ALTER ROLE cached LOGIN'));
    const later = await pooler.client(user);
    await waitFor(async () => {
      const { sv_idle } = (await pooler.show('SHOW POOLS')).find((row) => row['user'] === 'cached') ?? {};
      // Of several threads each may have made one.
      if (Number(sv_idle) >= 1) return true;
      // Each refusal may start the next attempt, once its time has come.
      const probe = await pooler.client(user);
      await probe.query('SELECT 1').catch(() => null);
      await probe.end();
      return false;
    });
    expect(await one(later)).toBe(1);
    expect(await one(third)).toBe(1);
    for (const client of [later, third]) await client.end();
  });
});

describe('a list of hosts', () => {
  /** Two scripted servers behind unix sockets of the same port, or a path where nobody listens. */
  async function startHosts(pooler: LocalPooler, names: readonly string[]): Promise<ScriptedServer[]> {
    return Promise.all(
      names.map((name) => ScriptedServer.listen(join(pooler.folder, name, '.s.PGSQL.5432'))),
    );
  }

  async function startPool(entry: string, oneLoop?: string): Promise<LocalPooler> {
    const pooler = await startPooler({
      ...(oneLoop === undefined ? {} : { oneLoop }),
      settings: { pool_mode: 'transaction', default_pool_size: 4, server_login_retry: 0 },
      userlist: { somebody: '' },
    });
    for (const name of ['a', 'b']) mkdirSync(join(pooler.folder, name));
    const hosts = ['a', 'b'].map((name) => join(pooler.folder, name)).join(',');
    await pooler.reload({ databases: { listed: `host=${hosts} ${entry}` } });
    return pooler;
  }

  /** Logs clients in and has each hold a server connection. */
  async function hold(pooler: LocalPooler, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const client = await connectAndLogin(pooler.port, { user: 'somebody', database: 'listed' });
      await client.send(frontend.query('BEGIN'));
    }
  }

  /** Logs every connection in that comes. */
  function answer(server: ScriptedServer): void {
    const next = (): void => {
      server.acceptLogin().then(next, () => {});
    };
    next();
  }

  test('with round-robin each new connection goes to the next one', async () => {
    await using pooler = await startPool('', 'each thread goes through the list for itself');
    const servers = await startHosts(pooler, ['a', 'b']);
    await using _a = servers[0] as ScriptedServer;
    await using _b = servers[1] as ScriptedServer;
    for (const server of servers) answer(server);
    await hold(pooler, 4);
    await waitFor(() => servers.every((server) => server.accepted === 2));
  });

  test('with disable all go to the first one', async () => {
    await using pooler = await startPool('load_balance_hosts=disable');
    const servers = await startHosts(pooler, ['a', 'b']);
    await using a = servers[0] as ScriptedServer;
    await using b = servers[1] as ScriptedServer;
    for (const server of servers) answer(server);
    await hold(pooler, 4);
    await waitFor(() => a.accepted === 4);
    expect(b.accepted).toBe(0);
  });

  test('with disable an unreachable first one is left once, for good', async () => {
    await using pooler = await startPool('load_balance_hosts=disable');
    await using b = await ScriptedServer.listen(join(pooler.folder, 'b', '.s.PGSQL.5432'));
    answer(b);
    await hold(pooler, 2);
    await waitFor(() => b.accepted === 2);
    // The first one is back, but nobody fails any more.
    await using a = await ScriptedServer.listen(join(pooler.folder, 'a', '.s.PGSQL.5432'));
    answer(a);
    await hold(pooler, 2);
    await waitFor(() => b.accepted === 4);
    expect(a.accepted).toBe(0);
  });

  test('with round-robin and an unreachable member clients are still served, on the others', async () => {
    await using pooler = await startPool('');
    await using b = await ScriptedServer.listen(join(pooler.folder, 'b', '.s.PGSQL.5432'));
    answer(b);
    await hold(pooler, 3);
    await waitFor(() => b.accepted === 3);
    const told = pooler.lines.filter((line) =>
      /WARNING S-.* connect failed: connect ENOENT .*\/a\//.test(line),
    );
    expect(told.length).toBeGreaterThan(0);
    // Each time the same attempt went on to the other one.
    expect(
      pooler.lines.filter((line) => line.includes('connect failed: going on to the next address')),
    ).toHaveLength(told.length);
    expect(pooler.lines.filter((line) => line.includes('because: connect failed'))).toEqual([]);
  });
});

test('a connection that is refused outright is retried for clients that log in, until client_login_timeout', async () => {
  const port = await freePort();
  await using pooler = await startPooler({
    settings: { server_login_retry: 0, client_login_timeout: 0.8 },
    databases: { nowhere: `host=127.0.0.1 port=${port}` },
    userlist: { [ROLE]: '' },
  });
  expect(await refusalOf(pooler.client({ ...login, database: 'nowhere' }))).toEqual(
    fatal('client_login_timeout (server down)'),
  );
  const failures = pooler.lines.filter((line) => line.includes('because: connect failed'));
  expect(failures.length).toBeGreaterThan(1);
  await expect(connectTo({ ...postgres.address, port })).rejects.toThrow('ECONNREFUSED');
});

test('a host whose name means nothing is told from one that cannot be reached', async () => {
  await using pooler = await startPooler({
    settings: { client_login_timeout: 0.4 },
    // Empty labels are in no name: nobody has to be asked.
    databases: { nowhere: 'host=a..b', closed: 'host=127.0.0.1 port=1', gone: 'host=/nowhere' },
    userlist: { [ROLE]: '' },
  });
  const refusals = ['nowhere', 'closed', 'gone'].map((database) =>
    refusalOf(pooler.client({ ...login, database })),
  );
  expect(await Promise.all(refusals)).toEqual(Array(3).fill(fatal('client_login_timeout (server down)')));
  expect(pooler.lines).toContainEqual(
    expect.stringMatching(/^LOG S-0x.*closing because: server DNS lookup failed \(age=\d+s\)$/),
  );
  // What the system said of each, once per attempt.
  for (const reason of [
    /^WARNING S-0x\S+ nowhere\/\S+ connect failed: getaddrinfo \w+ a\.\.b$/,
    /^WARNING S-0x\S+ closed\/\S+ connect failed: connect ECONNREFUSED 127\.0\.0\.1:1$/,
    /^WARNING S-0x\S+ gone\/\S+ connect failed: connect ENOENT \/nowhere\/\.s\.PGSQL\.\d+$/,
  ]) {
    expect(pooler.lines.filter((line) => reason.test(line))).toHaveLength(1);
  }
});

test('a server that is starting up keeps clients waiting, whatever else it says sends them away', async () => {
  await using server = await ScriptedServer.listen();
  await using pooler = await startPooler({
    settings: { server_login_retry: 0 },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    userlist: { [ROLE]: '' },
  });
  const refuse = async (C: string, M: string): Promise<void> => {
    const peer = await server.accept();
    await peer.packet();
    await peer.send(backend.errorResponse({ S: 'FATAL', C, M }));
    await peer.end();
    await peer.close();
  };
  const client = await connectPeer(pooler.port);
  await client.send(frontend.startup({ user: ROLE, database: 'scripted' }));
  await refuse('57P03', 'the database system is starting up');
  await server.acceptLogin();
  expect((await client.messagesTo('Z')).map(({ type }) => type)).not.toContain('E');
  await client.close();

  await pooler.reload({ databases: { scripted: `host=127.0.0.1 port=${server.port} dbname=other` } });
  const second = await connectPeer(pooler.port);
  await second.send(frontend.startup({ user: ROLE, database: 'scripted' }));
  await refuse('53300', 'too many clients');
  expect(errorFields((await second.message('E')).body)).toMatchObject({ C: '53300', M: 'too many clients' });
  await second.close();
});
