import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Crowd } from '../support/crowd.ts';
import { INSPECTED } from '../support/inspector.ts';
import { ProcessMemory } from '../support/process-memory.ts';
import { workersOfTests } from '../support/pooler-config.ts';
import { type SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { TlsFolder } from '../support/tls.ts';
import { growthPerUnit, type Reading } from '../support/trend.ts';
import { waitFor, within } from '../support/wait-for.ts';
import { isFull } from '../support/effort.ts';

/** `npm run test:leak` asks for a million of them, which takes the better part of an hour. */
const CONNECTIONS = Number(process.env['PGWEIR_TEST_CONNECTIONS'] ?? (isFull ? 12_000 : 3000));
const isShort = CONNECTIONS < 100_000;
/** Memory is looked at behind each of them; all have the same mixture of clients. */
const WINDOWS = isShort ? 12 : 40;
/** Clients at a time. */
const PLACES = 24;
/** With more than one, each has a heap of its own, and servers are in custody by a second descriptor. */
const THREADS = workersOfTests();
/**
 * Bytes on the heap that each connection, with its ten transactions, may leave. An object for each costs 50 and more, an
 * entry of a Map 30, one for each transaction ten times that. Over few connections what V8 itself keeps counts, too: code,
 * and what it knows of it, in each thread.
 */
const HEAP_BOUND = CONNECTIONS < 10_000 ? 1000 * THREADS : isShort ? 200 * THREADS : 5;
/** As above, of resident memory: what it was let go of stays resident in part, where it lies among what is kept. */
const RESIDENT_BOUND = 32;
const MINUTE_MS = 60_000;
/** `postgres` and those of the console, the users' pools and that of the console. */
const DATABASES = 2;
const POOLS = 4;

const role = 'leak_app';
const scram = { user: 'leak_scram', password: 'leak secret' };
const table = 'leak_rows';
const isLinux = process.platform === 'linux';
if (!isLinux) console.info('the memory of a process is told by /proc, which only Linux has: not measured');

let pooler: SpawnedPooler;
let memory: ProcessMemory;
let admin: pg.Client;
const tls = new TlsFolder();

beforeAll(async () => {
  if (!isLinux) return;
  const postgres = sharedPostgres();
  await createRole(postgres, { name: role, auth: 'trust' });
  const secret = await createRole(postgres, { name: scram.user, auth: 'scram', password: scram.password });
  await withClient(postgres, async (client) => {
    await client.query(`CREATE TABLE ${table} (line text)`);
    await client.query(`GRANT INSERT ON ${table} TO ${role}`);
  });
  const { certFile, keyFile } = tls.identity('pooler', { commonName: 'localhost' });
  const hbaFile = join(tls.folder, 'hba');
  writeFileSync(
    hbaFile,
    `host all ${scram.user} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n`,
  );
  pooler = await spawnPooler({
    nodeArgs: [INSPECTED],
    settings: {
      pool_mode: 'transaction',
      default_pool_size: 4,
      max_client_conn: 1000,
      max_prepared_statements: 50,
      server_login_retry: '0.2',
      auth_type: 'hba',
      auth_hba_file: hbaFile,
      client_tls_sslmode: 'allow',
      client_tls_cert_file: certFile,
      client_tls_key_file: keyFile,
      log_connections: 0,
      log_disconnections: 0,
      log_pooler_errors: 0,
      log_stats: 0,
    },
    userlist: { [role]: '', [scram.user]: secret ?? '' },
  });
  memory = await ProcessMemory.of(pooler.pid, () => pooler.stderr);
  admin = await pooler.admin();
});
afterAll(async () => {
  await admin?.end();
  memory?.[Symbol.dispose]();
  await pooler?.[Symbol.asyncDispose]();
  tls[Symbol.dispose]();
});

/** Rows of the console, on one connection that stays. */
async function show(what: string): Promise<Record<string, string | number>[]> {
  return (await admin.query<Record<string, string | number>>(`SHOW ${what}`)).rows;
}

/** Waits until nobody is there any more, and what strangers have made the pooler keep for a moment is gone. */
async function settled(): Promise<void> {
  await waitFor(
    async () => {
      const items = new Map((await show('LISTS')).map(({ list, items: count }) => [list, count]));
      // The console's own client is one.
      return (
        items.get('used_clients') === 1 &&
        items.get('login_clients') === 0 &&
        items.get('databases') === DATABASES &&
        (items.get('pools') as number) <= POOLS
      );
    },
    { what: 'a pooler without clients, and without databases that are none', deadlineMs: 20_000 },
  );
}

/** Descriptors that are open beside those of servers. */
async function descriptors(): Promise<number> {
  return memory.descriptors - (THREADS === 1 ? 1 : 2) * (await show('SERVERS')).length;
}

describe.skipIf(!isLinux)(`${CONNECTIONS} connections with ten transactions each`, () => {
  test('leave nothing behind', { timeout: 60 * MINUTE_MS }, async () => {
    const { port, socketPath } = pooler;
    const crowd = new Crowd({ port, socketPath, database: 'postgres', trusted: role, scram, table });
    const deck = Crowd.deck().slice(0, isShort ? CONNECTIONS / WINDOWS : undefined);
    const decks = Math.ceil(CONNECTIONS / WINDOWS / deck.length);
    const heap: Reading[] = [];
    const resident: Reading[] = [];
    let open = 0;
    for (let window = 0; window < WINDOWS; window++) {
      for (let i = 0; i < decks; i++) {
        const done = crowd.visit(deck, PLACES);
        try {
          await within(done, 'the end of some visits', MINUTE_MS);
        } catch (error) {
          throw new Error(`still there: ${[...crowd.present.values()].join(', ')}`, { cause: error });
        }
      }
      await settled();
      if (window === 0) open = await descriptors();
      await waitFor(async () => (await descriptors()) === open, { what: `${open} descriptors again` });
      const use = await memory.use();
      heap.push({ done: crowd.connections, value: use.heapBytes + use.externalBytes });
      resident.push({ done: crowd.connections, value: use.residentBytes });
    }
    // Threads have code, and what V8 knows of it, each for itself: it takes them half a million connections.
    const from = isShort || THREADS === 1 ? 'second' : 'third';
    const [heapGrowth, residentGrowth] = [growthPerUnit(heap, from), growthPerUnit(resident, from)];
    console.info(
      `${crowd.connections} connections, ${crowd.transactions} transactions, workers = ${THREADS}: ` +
        `${heapGrowth.toFixed(2)} bytes of heap for each connection, ${residentGrowth.toFixed(2)} resident; ` +
        heap.map(({ value }) => (value / 1e6).toFixed(2)).join(' '),
    );
    expect(crowd.connections).toBeGreaterThanOrEqual(CONNECTIONS);
    expect(crowd.transactions).toBeGreaterThanOrEqual(10 * CONNECTIONS);
    expect(heapGrowth).toBeLessThan(HEAP_BOUND);
    if (!isShort) expect(residentGrowth).toBeLessThan(RESIDENT_BOUND);
  });
});
