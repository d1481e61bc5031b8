import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BulkClient } from '../support/bulk-client.ts';
import { frontend, int16, int32, message } from '../support/peer-messages.ts';
import { type SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { byEffort, isFull } from '../support/effort.ts';

const MIB = 1024 * 1024;
/** PostgreSQL takes and gives messages of up to 1 GiB less one byte; `npm run test:full` sends one. */
const VALUE_BYTES = isFull ? 1024 * MIB - 64 : 128 * MIB;
const COPY_BYTES = isFull ? 2048 * MIB : 128 * MIB;
const DEADLINE_MS = byEffort({ wide: 30_000, full: 300_000 });
/** How much the pooler may grow by it, whatever the size. */
const GROWTH = 64 * MIB;
/** How often a client that reads slowly lets everything come to a stop. */
const STOPS = 4;
/** A row of a COPY, its line feed included. */
const ROW_BYTES = 64 * 1024;

const role = 'memory_app';
const login = { user: role, database: 'postgres' };
const { bind, describe: describing, execute, parse, query, sync } = frontend;
const isLinux = process.platform === 'linux';
if (!isLinux) console.info('the memory of a process is told by /proc, which only Linux has: not measured');

let pooler: SpawnedPooler;

beforeAll(async () => {
  if (!isLinux) return;
  await createRole(sharedPostgres(), { name: role, auth: 'trust' });
  pooler = await spawnPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { [role]: '' },
  });
  // What it takes to run at all is there before anything is measured.
  using client = await BulkClient.connect(pooler.port, login);
  await client.send(query(`SELECT repeat('x', ${8 * MIB})`));
  await client.ready(2);
});
afterAll(() => pooler?.[Symbol.asyncDispose]());

/** A figure of /proc/PID/status, in bytes. */
function statusBytes(name: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pooler.pid}/status`, 'latin1');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}

/** How far the pooler's resident memory rises above what it is now while `work` is done. Bytes. */
async function growthIn(work: () => Promise<void>): Promise<number> {
  const before = statusBytes('VmRSS');
  // Sets the peak back to what is resident now.
  writeFileSync(`/proc/${pooler.pid}/clear_refs`, '5');
  await work();
  const growth = statusBytes('VmHWM') - before;
  if (isFull) console.info(`${(before / MIB).toFixed(1)} MiB and ${(growth / MIB).toFixed(1)} MiB more`);
  return growth;
}

/**
 * Takes an answer of `bytes` in parts, with a wait between them for PostgreSQL to be stopped by it; towards the end
 * the system's buffers may hold all that is left, and it waits for the next query.
 */
async function readSlowly(client: BulkClient, bytes: number): Promise<void> {
  for (let i = 0; i < STOPS; i++) {
    client.stopAfter(i === 0 ? 0 : bytes / (STOPS + 1));
    await client.stopped(DEADLINE_MS);
    await waitFor(
      () =>
        withClient(sharedPostgres(), async (watcher) => {
          const { rows } = await watcher.query(
            'SELECT FROM pg_stat_activity WHERE usename = $1 AND wait_event = ANY ($2)',
            [role, i === 0 ? ['ClientWrite'] : ['ClientWrite', 'ClientRead']],
          );
          return rows.length > 0;
        }),
      { deadlineMs: DEADLINE_MS, what: 'PostgreSQL stopped by a client that does not read' },
    );
  }
  client.goOn();
  await client.ready(2, DEADLINE_MS);
}

describe.skipIf(!isLinux)(`resident memory of the pooler grows by less than ${GROWTH / MIB} MiB`, () => {
  const options = { timeout: DEADLINE_MS };

  test.each([
    ['a simple query', query(`SELECT repeat('x', ${VALUE_BYTES})`)],
    [
      'a named statement',
      Buffer.concat([
        parse('large', `SELECT repeat('x', ${VALUE_BYTES})`),
        bind('', 'large'),
        describing('P', ''),
        execute(''),
        sync(),
      ]),
    ],
  ])(`with a value of ${VALUE_BYTES} bytes out by %s, read slowly`, options, async (_, request) => {
    using client = await BulkClient.connect(pooler.port, login);
    const growth = await growthIn(async () => {
      client.stopAfter(0);
      await client.send(request);
      await readSlowly(client, VALUE_BYTES);
    });
    expect(client.received.get('D')).toBe(VALUE_BYTES + 6);
    expect(growth).toBeLessThan(GROWTH);
  });

  test.each(['', 'large'])(`with a value of ${VALUE_BYTES} bytes in, statement %j`, options, async (name) => {
    using client = await BulkClient.connect(pooler.port, login, '4');
    const growth = await growthIn(async () => {
      await client.send(parse(name, "SELECT repeat('4', octet_length($1::bytea) / 1048576)"));
      const head = Buffer.concat([Buffer.from('\0'), Buffer.from(`${name}\0`), int16(1), int16(1), int16(1)]);
      const length = 4 + head.length + 4 + VALUE_BYTES + 2;
      await client.send(Buffer.concat([Buffer.from('B'), int32(length), head, int32(VALUE_BYTES)]));
      await client.sendFilling(VALUE_BYTES);
      await client.send(Buffer.concat([int16(0), execute(''), sync()]));
      await client.ready(2, DEADLINE_MS);
    });
    expect(client.received.get('D')).toBe(6 + Math.floor(VALUE_BYTES / MIB));
    expect(growth).toBeLessThan(GROWTH);
  });

  test(`with COPY of ${COPY_BYTES} bytes out, read slowly`, options, async () => {
    using client = await BulkClient.connect(pooler.port, login);
    const rows = COPY_BYTES / ROW_BYTES;
    const growth = await growthIn(async () => {
      client.stopAfter(0);
      const text = `repeat('x', ${ROW_BYTES - 1})`;
      await client.send(query(`COPY (SELECT ${text} FROM generate_series(1, ${rows})) TO STDOUT`));
      await readSlowly(client, COPY_BYTES);
    });
    expect(client.received.get('d')).toBe(COPY_BYTES);
    expect(growth).toBeLessThan(GROWTH);
  });

  test(`with COPY of ${COPY_BYTES} bytes in`, options, async () => {
    using client = await BulkClient.connect(pooler.port, login);
    const row = message('d', Buffer.from(`${'x'.repeat(ROW_BYTES - 1)}\n`));
    const some = Buffer.concat(new Array<Buffer>(16).fill(row));
    const growth = await growthIn(async () => {
      await client.send(query('BEGIN; CREATE TEMP TABLE sink (line text) ON COMMIT DROP'));
      await client.ready(2);
      // Rows are read and counted, and not kept.
      await client.send(query('COPY sink FROM STDIN WHERE length(line) <> 65535'));
      for (let sent = 0; sent < COPY_BYTES; sent += 16 * ROW_BYTES) await client.send(some);
      await client.send(Buffer.concat([frontend.copyDone(), query('ROLLBACK')]));
      await client.ready(4, DEADLINE_MS);
    });
    expect(growth).toBeLessThan(GROWTH);
  });
});
