import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BulkClient } from '../support/bulk-client.ts';
import { frontend } from '../support/peer-messages.ts';
import { INSPECTED } from '../support/inspector.ts';
import { ProcessMemory } from '../support/process-memory.ts';
import { type SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { byEffort } from '../support/effort.ts';

const MIB = 1024 * 1024;
/** With `npm run test:full` near the longest text of a statement that is taken, 64 MiB. */
const LARGE = byEffort({ wide: 16, full: 60 }) * MIB;
/** What may be left: no buffer as large as the message, nor an eighth of it. */
const LEFT = LARGE / 8;
const role = 'large_app';
const login = { user: role, database: 'postgres' };
const { bind, execute, parse, query, sync } = frontend;
const isLinux = process.platform === 'linux';
if (!isLinux) console.info('the memory of a process is told by /proc, which only Linux has: not measured');

let pooler: SpawnedPooler;
let memory: ProcessMemory;

beforeAll(async () => {
  if (!isLinux) return;
  await createRole(sharedPostgres(), { name: role, auth: 'trust' });
  pooler = await spawnPooler({
    nodeArgs: [INSPECTED],
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { [role]: '' },
  });
  memory = await ProcessMemory.of(pooler.pid, () => pooler.stderr);
  using client = await BulkClient.connect(pooler.port, login);
  await client.send(Buffer.concat([parse('small', 'SELECT 1'), bind('', 'small'), execute(''), sync()]));
  await client.ready(2);
});
afterAll(async () => {
  memory?.[Symbol.dispose]();
  await pooler?.[Symbol.asyncDispose]();
});

/** How many bytes more there are on the heap and beside it behind `work` than ahead of it. */
async function left(work: () => Promise<void>): Promise<number> {
  const before = await memory.use();
  await work();
  const after = await memory.use();
  const bytes = after.heapBytes + after.externalBytes - before.heapBytes - before.externalBytes;
  console.info(`${(bytes / MIB).toFixed(2)} MiB left`);
  return bytes;
}

const comment = `/* ${'x'.repeat(LARGE)} */`;

describe.skipIf(!isLinux)('a large message leaves no memory taken', () => {
  test.each([
    ['a Query', [query(`SELECT 1 ${comment}`)]],
    ['a Query with a name in it', [query(`PREPARE a AS SELECT 1; DEALLOCATE a ${comment}`)]],
    ['a Parse without a name', [parse('', `SELECT 1 ${comment}`), bind('', ''), execute(''), sync()]],
    ['a row', [query(`SELECT repeat('x', ${LARGE})`)]],
  ])('%s, while its client is still there', async (_, messages) => {
    using client = await BulkClient.connect(pooler.port, login);
    const bytes = await left(async () => {
      await client.send(Buffer.concat(messages));
      await client.ready(2, 25_000);
    });
    expect(bytes).toBeLessThan(LEFT);
  });

  test('a result that its client does not read, once it has', async () => {
    using client = await BulkClient.connect(pooler.port, login);
    const bytes = await left(async () => {
      client.stopAfter(0);
      await client.send(query(`SELECT repeat('x', ${LARGE})`));
      await client.stopped(25_000);
      client.goOn();
      await client.ready(2, 25_000);
    });
    expect(bytes).toBeLessThan(LEFT);
  });

  test('requests that wait for a server', async () => {
    using holder = await BulkClient.connect(pooler.port, login);
    await holder.send(query('BEGIN'));
    await holder.ready(2);
    using client = await BulkClient.connect(pooler.port, login);
    const bytes = await left(async () => {
      const sent = client.send(
        Buffer.concat([parse('', `SELECT 1 ${comment}`), bind('', ''), execute(''), sync()]),
      );
      await holder.send(query('COMMIT'));
      await holder.ready(3);
      await sent;
      await client.ready(2, 25_000);
    });
    expect(bytes).toBeLessThan(LEFT);
  });

  test('a named statement, when its client and the server are gone', async () => {
    const bytes = await left(async () => {
      using client = await BulkClient.connect(pooler.port, login);
      await client.send(Buffer.concat([parse('large', `SELECT 1 ${comment}`), sync()]));
      await client.ready(2, 25_000);
      await pooler.show('RECONNECT');
      await client.send(query('SELECT 1'));
      await client.ready(3);
    });
    expect(bytes).toBeLessThan(LEFT);
  });
});
