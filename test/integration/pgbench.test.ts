import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { refusedLogins } from '../support/backends.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectTo, sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { installedPgbench, type Ledger, ledgerQuery, runOwnLoad, tpcbTables } from '../support/tpcb.ts';

/** The role's own limit in PostgreSQL, and the pool's size: one connection too many would be refused and logged. */
const SLOTS = 5;
const role = 'pgbench_five';
/** The role of the test in session mode: its connections count apart. */
const sessionRole = 'pgbench_five_sessions';
const database = 'pgbench_five';
const run = installedPgbench() ?? runOwnLoad;

let pooler: LocalPooler;

beforeAll(async () => {
  for (const name of [role, sessionRole]) {
    await createRole(sharedPostgres(), { name, auth: 'trust', options: `CONNECTION LIMIT ${SLOTS}` });
  }
  await createDatabase(sharedPostgres(), database, role);
  pooler = await startPooler({
    settings: {
      pool_mode: 'transaction',
      default_pool_size: SLOTS,
      max_client_conn: 200,
      // On a busy machine some wait so long that they would be told.
      query_wait_notify: 0,
      log_connections: 0,
      log_disconnections: 0,
    },
    userlist: { [role]: '' },
  });
});

afterAll(() => pooler[Symbol.asyncDispose]());

/** Tables without any balance. Made by the superuser, so that the role's slots stay the pool's. */
beforeEach(() =>
  withClient(
    sharedPostgres(),
    async (client) => {
      await client.query(tpcbTables);
      await client.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}, ${sessionRole}`);
    },
    { database },
  ),
);

async function ledger(): Promise<Ledger> {
  return withClient(
    sharedPostgres(),
    async (client) => (await client.query<Ledger>(ledgerQuery)).rows[0] as Ledger,
    { database },
  );
}

const load = { user: role, database } as const;

test("a sixth connection of such a role would show in PostgreSQL's log", async () => {
  const user = 'pgbench_five_direct';
  await createRole(sharedPostgres(), { name: user, auth: 'trust', options: `CONNECTION LIMIT ${SLOTS}` });
  const clients = await Promise.all(
    Array.from({ length: SLOTS }, () => connectTo(sharedPostgres(), { user })),
  );
  await expect(connectTo(sharedPostgres(), { user })).rejects.toThrow('too many connections for role');
  expect(refusedLogins(user)).toHaveLength(1);
  await Promise.all(clients.map((client) => client.end()));
});

/** What the pooler has counted of prepared statements so far: of its clients, and on its servers. */
async function parses(): Promise<{ client: number; server: number }> {
  const rows = await pooler.show('SHOW STATS');
  const row = rows.find((each) => each['database'] === database);
  return {
    client: Number(row?.['total_client_parse_count']),
    server: Number(row?.['total_server_parse_count']),
  };
}

describe.each(['simple', 'extended', 'prepared'] as const)('a hundred clients, %s protocol', (protocol) => {
  const isThreaded = protocol === 'prepared';

  test('SELECTs all get through on five connections, none refused', async () => {
    const { address } = pooler;
    const result = await run({
      ...load,
      address,
      protocol,
      isThreaded,
      script: 'select',
      clients: 100,
      transactions: 60,
    });
    expect(result).toEqual({ processed: 6000, complaints: '' });
    expect(refusedLogins(role)).toEqual([]);
  });

  test('TPC-B leaves accounts = tellers = branches = history, none refused', async () => {
    const { address } = pooler;
    const how = { ...load, address, protocol, isThreaded } as const;
    const result = await run({ ...how, script: 'tpcb', clients: 100, transactions: 10 });
    expect(result).toEqual({ processed: 1000, complaints: '' });
    const sums = await ledger();
    expect(sums).toEqual({
      accounts: sums.history,
      tellers: sums.history,
      branches: sums.history,
      history: sums.history,
      count: 1000,
    });
    expect(refusedLogins(role)).toEqual([]);
  });

  test('without tellers and branches, accounts = history', async () => {
    const { address } = pooler;
    const how = { ...load, address, protocol, isThreaded } as const;
    const result = await run({ ...how, script: 'simple-update', clients: 100, transactions: 10 });
    expect(result).toEqual({ processed: 1000, complaints: '' });
    const sums = await ledger();
    expect(sums).toEqual({
      accounts: sums.history,
      tellers: 0,
      branches: 0,
      history: sums.history,
      count: 1000,
    });
    expect(refusedLogins(role)).toEqual([]);
  });
});

test('what a hundred clients prepare, each of five servers learns once', async () => {
  const before = await parses();
  const how = { ...load, address: pooler.address, protocol: 'prepared', isThreaded: true } as const;
  const result = await run({ ...how, script: 'tpcb', clients: 100, transactions: 5 });
  expect(result).toEqual({ processed: 500, complaints: '' });
  const { client, server } = await parses();
  // BEGIN, three UPDATEs, SELECT, INSERT, END.
  expect(client - before.client).toBe(100 * 7);
  expect(server - before.server).toBeLessThanOrEqual(SLOTS * 7);
  expect(refusedLogins(role)).toEqual([]);
});

test('prepared statements hold in session mode, five clients after five others', async () => {
  await using sessions = await startPooler({
    settings: { pool_mode: 'session', default_pool_size: SLOTS },
    userlist: { [sessionRole]: '' },
  });
  const { address } = sessions;
  for (let round = 1; round <= 2; round++) {
    const result = await run({
      ...load,
      user: sessionRole,
      address,
      protocol: 'prepared',
      script: 'tpcb',
      clients: SLOTS,
      transactions: 40,
    });
    expect(result).toEqual({ processed: 200, complaints: '' });
    expect((await ledger()).count).toBe(200 * round);
  }
  expect(refusedLogins(sessionRole)).toEqual([]);
});

test('the same transactions by node-postgres keep the ledger too', async () => {
  const { address } = pooler;
  for (const protocol of ['simple', 'extended', 'prepared'] as const) {
    const result = await runOwnLoad({
      ...load,
      address,
      protocol,
      script: 'tpcb',
      clients: 20,
      transactions: 5,
    });
    expect(result).toEqual({ processed: 100, complaints: '' });
  }
  const sums = await ledger();
  expect([sums.tellers, sums.branches, sums.accounts, sums.count]).toEqual([
    sums.history,
    sums.history,
    sums.history,
    300,
  ]);
  expect(refusedLogins(role)).toEqual([]);
});
