import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Row } from '../support/console.ts';
import { connectAndLogin, connectPeer } from '../support/scripted-peer.ts';
import { frontend } from '../support/peer-messages.ts';
import { workersOfTests } from '../support/pooler-config.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';

let pooler: LocalPooler;
let admin: pg.Client;
const user = 'sh_user';
const SECRET = 'pw of sh_user';

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: user, auth: 'scram', password: SECRET });
});

/** A pooler of its own per group, so that every number is the group's. */
function useOwnPooler(options: Parameters<typeof startPooler>[0]): void {
  beforeAll(async () => {
    pooler = await startPooler({ userlist: { [user]: SECRET }, ...options });
    admin = await pooler.admin();
  });

  afterAll(async () => {
    await admin.end();
    await pooler[Symbol.asyncDispose]();
  });
}

async function show(what: string): Promise<Row[]> {
  return (await admin.query<Row>(`SHOW ${what}`)).rows;
}

/** The rows of one database; there must be some. */
async function showOf(what: string, database: string, name = 'database'): Promise<Row> {
  const row = (await show(what)).find((each) => each[name] === database);
  if (row === undefined) throw new Error(`SHOW ${what} has no row for ${database}`);
  return row;
}

describe('clients that work, wait and idle', () => {
  useOwnPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 2, max_db_client_connections: 9 },
    databases: { shown: `dbname=postgres pool_size=2`, second: 'dbname=postgres' },
    users: { [user]: 'max_user_connections=7 pool_size=2' },
  });

  const clients: pg.Client[] = [];
  const waits: Promise<unknown>[] = [];
  const pids: number[] = [];

  beforeAll(async () => {
    const login = (application_name: string) =>
      pooler.client({ user, password: SECRET, database: 'shown', application_name });
    for (const name of ['work 1', 'work 2', 'wait 1', 'wait 2', 'wait 3', 'idle 1'])
      clients.push(await login(name));
    for (const client of clients.slice(0, 2)) {
      await client.query('BEGIN');
      pids.push((await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid ?? 0);
    }
    for (const client of clients.slice(2, 5)) {
      waits.push(client.query('SELECT 1'));
      await waitFor(async () => (await showOf('POOLS', 'shown'))['cl_waiting'] === waits.length);
    }
  });

  afterAll(async () => {
    for (const client of clients.slice(0, 2)) await client.query('COMMIT');
    await Promise.all(waits);
    for (const client of clients) await client.end();
  });

  test('SHOW POOLS counts who is there: idle ones are active, too', async () => {
    await waitFor(async () => Number((await showOf('POOLS', 'shown'))['maxwait']) >= 1);
    const { maxwait, maxwait_us, ...counts } = await showOf('POOLS', 'shown');
    expect(counts).toEqual({
      database: 'shown',
      user,
      cl_active: 3,
      cl_waiting: 3,
      cl_active_cancel_req: 0,
      cl_waiting_cancel_req: 0,
      sv_active: 2,
      sv_active_cancel: 0,
      sv_being_canceled: 0,
      sv_idle: 0,
      sv_used: 0,
      sv_tested: 0,
      sv_login: 0,
      pool_mode: 'transaction',
      load_balance_hosts: null,
    });
    expect(maxwait).toBeLessThan(20);
    expect(maxwait_us).toBeLessThan(1_000_000);
  });

  test('SHOW CLIENTS tells states, waits and links; SHOW SERVERS the backends at their other end', async () => {
    const rows = (await show('CLIENTS')).filter(({ database }) => database === 'shown');
    const byName = new Map(rows.map((row) => [row['application_name'], row]));
    const states = [...byName].map(([name, { state }]) => `${name} ${state}`);
    expect(states.sort()).toEqual([
      'idle 1 idle',
      'wait 1 waiting',
      'wait 2 waiting',
      'wait 3 waiting',
      'work 1 active',
      'work 2 active',
    ]);
    const servers = await show('SERVERS');
    expect(servers.map(({ remote_pid }) => remote_pid).sort()).toEqual([...pids].sort());
    for (const [index, name] of ['work 1', 'work 2'].entries()) {
      const client = byName.get(name);
      const server = servers.find(({ remote_pid }) => remote_pid === pids[index]);
      expect(server).toMatchObject({
        type: 'S',
        user,
        database: 'shown',
        replication: 'none',
        state: 'active',
        addr: '127.0.0.1',
        port: sharedPostgres().port,
        local_addr: '127.0.0.1',
        close_needed: 0,
        tls: '',
        application_name: name,
        link: client?.['ptr'],
      });
      expect(client).toMatchObject({ type: 'C', link: server?.['ptr'], local_port: pooler.port });
    }
    expect(byName.get('idle 1')).toMatchObject({ link: '', wait: 0, wait_us: 0 });
    const [first, last] = ['wait 1', 'wait 3'].map((name) => byName.get(name));
    const waited = (row: Row | undefined) => Number(row?.['wait']) * 1e6 + Number(row?.['wait_us']);
    expect(waited(first)).toBeGreaterThan(waited(last));
    expect(waited(last)).toBeGreaterThan(0);
    expect(first?.['connect_time']).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+$/);
  });

  test('SHOW DATABASES and SHOW USERS show limits in force and connections in use', async () => {
    expect(await showOf('DATABASES', 'shown', 'name')).toEqual({
      name: 'shown',
      host: sharedPostgres().host,
      port: sharedPostgres().port,
      database: 'postgres',
      force_user: null,
      pool_size: 2,
      min_pool_size: 0,
      reserve_pool_size: 0,
      server_lifetime: 3600,
      pool_mode: null,
      load_balance_hosts: null,
      max_connections: 0,
      current_connections: 2,
      max_client_connections: 9,
      current_client_connections: 6,
      paused: 0,
      disabled: 0,
    });
    expect((await show('DATABASES')).map(({ name }) => name)).toEqual(['pgbouncer', 'second', 'shown']);
    const users = await show('USERS');
    expect(users.find(({ name }) => name === user)).toEqual({
      name: user,
      pool_size: '        2',
      reserve_pool_size: '',
      pool_mode: null,
      max_user_connections: 7,
      current_connections: 2,
      max_user_client_connections: 0,
      current_client_connections: 6,
    });
    expect(users.find(({ name }) => name === sharedPostgres().user)).toMatchObject({
      pool_size: '',
      max_user_connections: 0,
      current_connections: 0,
      current_client_connections: 0,
    });
    expect(users.map(({ name }) => name)).toContain('pgbouncer');
  });

  test('SHOW LISTS adds everything up, SHOW SOCKETS names those in login, too', async () => {
    const probe = await connectPeer(pooler.port);
    const login = await waitFor(async () =>
      (await show('SOCKETS')).find(({ state }) => state === 'cl_login'),
    );
    expect(login).toMatchObject({ type: 'C', user: '(nouser)', database: '(nodb)' });
    const lists = Object.fromEntries((await show('LISTS')).map(({ list, items }) => [list, items]));
    expect(lists).toEqual({
      databases: 3,
      users: 3,
      peers: 0,
      pools: 2,
      peer_pools: 0,
      free_clients: 0,
      used_clients: 7,
      login_clients: 1,
      free_servers: 0,
      used_servers: 2,
      dns_names: 0,
      dns_zones: 0,
      dns_queries: 0,
      dns_pending: 0,
    });
    const states = (await show('SOCKETS')).map(({ state }) => String(state));
    expect(states.sort()).toEqual([
      ...Array(3).fill('cl_active'),
      'cl_idle',
      'cl_login',
      ...Array(3).fill('cl_waiting'),
      ...Array(2).fill('sv_active'),
    ]);
    expect((await show('CLIENTS')).filter(({ user: name }) => name === '(nouser)')).toEqual([]);
    await probe.close();
  });

  test('SHOW WORKERS has a row for each event loop, which together have all clients and servers', async () => {
    const count = async (what: string) => (await show(what)).length;
    const workers = await show('WORKERS');
    expect(workers.map(({ worker }) => worker)).toEqual(
      Array.from({ length: workersOfTests() }, (_, i) => i + 1),
    );
    const sum = (column: string) => workers.reduce((total, row) => total + Number(row[column]), 0);
    // The console is none of the clients that count.
    expect(sum('clients')).toBe((await count('CLIENTS')) - 1);
    expect(sum('servers')).toBe(await count('SERVERS'));
    for (const worker of workers) {
      expect(worker).toMatchObject({ state: 'serving' });
      expect(Number(worker['cpu_ms'])).toBeGreaterThan(0);
      // Between the only one and others nothing goes.
      if (workers.length === 1) expect(worker).toMatchObject({ total_sent: '0', avg_sent: '0' });
    }
  });

  test('SHOW FDS has a line per socket and no secret in it', async () => {
    const rows = await show('FDS');
    const tasks = rows.map(({ task }) => task);
    expect([tasks.filter((t) => t === 'client').length, tasks.filter((t) => t === 'server').length]).toEqual([
      6, 2,
    ]);
    // The listeners: TCP, then the unix socket.
    expect(rows.filter(({ task }) => task === 'pooler').map(({ addr, port }) => [addr, port])).toEqual([
      ['127.0.0.1', pooler.port],
      ['unix', pooler.port],
    ]);
    const fds = rows.map(({ fd }) => Number(fd));
    expect(new Set(fds).size).toBe(fds.length);
    expect(rows.every((row) => row['password'] === null && row['scram_client_key'] === null)).toBe(true);
    expect(JSON.stringify(rows)).not.toContain(SECRET);
    const linked = rows.filter(({ link }) => link !== 0);
    // Two links, told from both of their ends.
    expect(linked).toHaveLength(4);
    expect(linked.every(({ link }) => fds.includes(Number(link)))).toBe(true);
  });
});

describe('ids and states over time', () => {
  useOwnPooler({ settings: { pool_mode: 'transaction' }, databases: { seen: 'dbname=postgres' } });

  test('each connection, client or server, gets the next id, and no id comes twice', async () => {
    const seen = new Set<number>();
    let highest = 0;
    for (let round = 0; round < 4; round++) {
      const client = await pooler.client({ database: 'seen', application_name: `round ${round}` });
      await client.query('SELECT 1');
      const id = (await show('CLIENTS')).find((row) => row['application_name'] === `round ${round}`)?.['id'];
      const server = (await show('SERVERS')).find(({ database }) => database === 'seen')?.['id'];
      expect(id).toBeGreaterThan(highest);
      // The client came first, and the server was opened for it.
      expect(server).toBe(Number(id) + 1);
      for (const each of [id, server]) {
        expect(seen.has(Number(each))).toBe(false);
        seen.add(Number(each));
      }
      highest = Number(server);
      await client.end();
      await admin.query('RECONNECT seen');
      await waitFor(async () => (await show('SERVERS')).length === 0);
    }
  });

  test('a client goes from idle over waiting to active and back', async () => {
    const client = await pooler.client({ database: 'seen', application_name: 'changing' });
    const state = async () =>
      (await show('CLIENTS')).find(({ application_name }) => application_name === 'changing')?.['state'];
    expect(await state()).toBe('idle');
    await admin.query('PAUSE seen');
    const begun = client.query('BEGIN');
    await waitFor(async () => (await state()) === 'waiting');
    await admin.query('RESUME seen');
    await begun;
    expect(await state()).toBe('active');
    await client.query('COMMIT');
    expect(await state()).toBe('idle');
    await client.end();
    await waitFor(async () => (await state()) === undefined);
  });

  test('SHOW STATE tells of a PAUSE', async () => {
    const states = async () => (await show('STATE')).map(({ key, value }) => `${key} ${value}`);
    expect(await states()).toEqual(['active yes', 'paused no', 'suspended no']);
    await admin.query('PAUSE');
    expect(await states()).toEqual(['active no', 'paused yes', 'suspended no']);
    await admin.query('RESUME');
    expect(await states()).toEqual(['active yes', 'paused no', 'suspended no']);
  });
});

describe('statistics of a known session-mode workload', () => {
  useOwnPooler({
    settings: { pool_mode: 'session', stats_period: 1, log_stats: 1 },
    databases: { counted: 'dbname=postgres' },
  });

  test('STATS, STATS_TOTALS and TOTALS agree with it and with each other', async () => {
    const queries = ['SELECT 1', 'BEGIN', 'SELECT pg_sleep(0.05)', 'COMMIT', 'SELECT nonsense'];
    const bytes = queries.reduce((sum, sql) => sum + frontend.query(sql).length, 0);
    const received: number[] = [];
    for (let client = 0; client < 3; client++) {
      const peer = await connectAndLogin(pooler.port, { user: sharedPostgres().user, database: 'counted' });
      let total = 0;
      for (const sql of queries) {
        await peer.send(frontend.query(sql));
        for (const { body } of await peer.messagesTo('Z')) total += body.length + 5;
      }
      received.push(total);
      await peer.send(frontend.terminate());
      await peer.close();
      await waitFor(async () => (await showOf('POOLS', 'counted'))['sv_idle'] === 1);
    }
    const stats = await showOf('STATS', 'counted');
    expect(stats).toMatchObject({
      total_server_assignment_count: '3',
      // Per client: SELECT 1, the block, the one with the error.
      total_xact_count: '9',
      total_query_count: '15',
      total_received: String(bytes * 3),
      total_client_parse_count: '0',
      total_server_parse_count: '0',
      total_bind_count: '0',
      total_client_login_count: '3',
    });
    const sent = Number(stats['total_sent']);
    const toClients = received.reduce((sum, each) => sum + each, 0);
    // What the clients got, and the answers to three reset queries.
    expect(sent).toBeGreaterThan(toClients);
    expect(sent).toBeLessThan(toClients + 3 * 200);
    const xactTime = Number(stats['total_xact_time']);
    const queryTime = Number(stats['total_query_time']);
    expect(queryTime).toBeGreaterThan(3 * 50_000);
    expect(xactTime).toBeGreaterThanOrEqual(queryTime);

    const totals = await showOf('STATS_TOTALS', 'counted');
    for (const [name, value] of Object.entries(totals)) {
      const inStats = { bytes_received: 'total_received', bytes_sent: 'total_sent' }[name] ?? `total_${name}`;
      if (name !== 'database') expect([name, value]).toEqual([name, stats[inStats]]);
    }
  });

  test('TOTALS has the console’s own commands in it', async () => {
    const sum = async (): Promise<Record<string, number>> =>
      Object.fromEntries((await show('TOTALS')).map(({ name, value }) => [String(name), Number(value)]));
    const before = await sum();
    await admin.query('SHOW STATE');
    const after = await sum();
    const databases = await show('STATS_TOTALS');
    expect(databases.map(({ database }) => database)).toEqual(['counted', 'pgbouncer']);
    expect(Number(after['total_query_count']) - Number(before['total_query_count'])).toBe(2);
    for (const [row, column] of [
      ['total_server_assignment_count', 'server_assignment_count'],
      ['total_client_bytes', 'bytes_received'],
      ['total_client_login_count', 'client_login_count'],
    ] as const) {
      expect(after[row]).toBe(databases.reduce((total, each) => total + Number(each[column]), 0));
    }
  });

  test('averages follow within two periods, and the log has its line', async () => {
    const average = await waitFor(async () => {
      const row = await showOf('STATS_AVERAGES', 'counted');
      return Number(row['query_time']) > 0 && row;
    });
    // Fifteen queries, three of them of 50 ms: microseconds per query.
    expect(Number(average['query_time'])).toBeGreaterThan(9_000);
    expect(Number(average['query_time'])).toBeLessThan(60_000);
    const line =
      /^LOG stats: \d+ xacts\/s, \d+ queries\/s, 0 client parses\/s, 0 server parses\/s, 0 binds\/s, \d+ client logins\/s, in \d+ B\/s, out \d+ B\/s, xact \d+ us, query \d+ us, wait \d+ us$/;
    await waitFor(() => pooler.lines.some((each) => line.test(each)));
  });
});
