import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findPostgresBinaries } from '../../../src/cli/start/postgres-binaries.ts';
import type { Postgres } from '../../../src/cli/start/postgres.ts';
import { connectTo, sharedPostgres, startPostgres, withClient } from '../../support/postgres.ts';
import { groupOf, isAlive } from '../../support/processes.ts';
import { createRole, type RoleAuth } from '../../support/roles.ts';
import { waitFor } from '../../support/wait-for.ts';

let postgres: Postgres;

beforeAll(async () => {
  postgres = await startPostgres({ settings: { max_connections: 17 } });
});

afterAll(() => postgres[Symbol.asyncDispose]());

test('a server of its own takes connections over TCP and its unix socket, with the settings asked for', async () => {
  const show = 'SHOW max_connections';
  for (const host of [postgres.address.host, postgres.address.socketDir]) {
    const result = await withClient(postgres.address, (client) => client.query(show), { host });
    expect(result.rows).toEqual([{ max_connections: '17' }]);
  }
});

test.each(['fast', 'immediate'] as const)('data and port outlive a restart in mode %s', async (mode) => {
  const { pid, port } = postgres;
  await withClient(postgres.address, (client) => client.query(`CREATE TABLE kept_${mode} AS SELECT 7 AS n`));
  await postgres.restart(mode);
  expect(postgres.pid).not.toBe(pid);
  expect(postgres.port).toBe(port);
  const result = await withClient(postgres.address, (client) => client.query(`SELECT n FROM kept_${mode}`));
  expect(result.rows).toEqual([{ n: 7 }]);
});

test('a stopped server refuses connections and starts again', async () => {
  await postgres.stop();
  expect(postgres.pid).toBe(null);
  await expect(connectTo(postgres.address)).rejects.toThrow('ECONNREFUSED');
  await postgres.start();
  await withClient(postgres.address, (client) => client.query('SELECT 1'));
});

test('a server that is killed from outside is noticed and starts again', async () => {
  const { pid } = postgres;
  const ended = postgres.ended();
  process.kill(pid ?? 0, 'SIGKILL');
  await ended;
  expect(postgres.pid).toBe(null);
  await postgres.start();
  await withClient(postgres.address, (client) => client.query('SELECT 1'));
});

test('a server that was killed starts again when the last of its sessions is gone', async () => {
  const client = await connectTo(postgres.address);
  client.on('error', () => {});
  const backend = Number((await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid);
  const before = postgres.log().length;
  process.kill(backend, 'SIGSTOP');
  try {
    const ended = postgres.ended();
    process.kill(postgres.pid ?? 0, 'SIGKILL');
    await ended;
    const started = postgres.start();
    await waitFor(() => postgres.log().slice(before).includes('pre-existing shared memory block'));
    process.kill(backend, 'SIGCONT');
    await started;
  } finally {
    if (isAlive(backend)) process.kill(backend, 'SIGCONT');
  }
  await withClient(postgres.address, (other) => other.query('SELECT 1'));
});

test('a server that does not start says why', async () => {
  await expect(startPostgres({ settings: { max_connections: 'many' } })).rejects.toThrow('max_connections');
});

test('a fixed port that is taken is an error, not another port', async () => {
  await expect(startPostgres({ port: sharedPostgres().port })).rejects.toThrow('Address already in use');
});

test('PostgreSQL runs in another process group than its owner', () => {
  expect(groupOf(postgres.pid ?? 0)).toBeGreaterThan(0);
  expect(groupOf(postgres.pid ?? 0)).not.toBe(groupOf(process.pid));
});

test('PostgreSQL ends and its files go when its owner is killed', async () => {
  const { binDir, templateDir } = sharedPostgres();
  const module = join(import.meta.dirname, '../../../src/cli/start/postgres.ts');
  const script = `
    import { Postgres } from ${JSON.stringify(module)};
    const postgres = await Postgres.start(${JSON.stringify({ binDir, templateDir, password: 'unused' })});
    process.stdout.write(postgres.pid + ' ' + postgres.dataDir + '\\n');`;
  const owner = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  owner.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const line = await waitFor(() => output.includes('\n') && output.trim(), { deadlineMs: 60_000 });
  const [pid = '', dataDir = ''] = line.split(' ');
  expect(isAlive(Number(pid))).toBe(true);
  owner.kill('SIGKILL');
  await waitFor(() => !isAlive(Number(pid)), { what: 'the end of PostgreSQL' });
  await waitFor(() => !existsSync(dirname(dataDir)), { what: 'the removal of its folder' });
});

test.each<[RoleAuth, RegExp]>([
  ['trust', /^SCRAM-SHA-256\$/],
  ['password', /^SCRAM-SHA-256\$/],
  ['md5', /^md5[0-9a-f]{32}$/],
  ['scram', /^SCRAM-SHA-256\$/],
])('a role of kind %s logs in as its kind asks', async (auth, stored) => {
  const user = `kind_${auth}`;
  expect(await createRole(postgres.address, { name: user, auth, password: 'right' })).toMatch(stored);
  await withClient(postgres.address, (client) => client.query('SELECT 1'), { user, password: 'right' });
  const wrong = connectTo(postgres.address, { user, password: 'wrong' });
  if (auth === 'trust') await (await wrong).end();
  else await expect(wrong).rejects.toThrow('password authentication failed');
});

test('the folder of installed binaries is checked before it is used', () => {
  const { binDir } = sharedPostgres();
  expect(findPostgresBinaries({ PGWEIR_TEST_PG_BIN: binDir })).toBe(binDir);
  expect(() => findPostgresBinaries({ PGWEIR_TEST_PG_BIN: '/nowhere' })).toThrow(
    'PGWEIR_TEST_PG_BIN=/nowhere holds no program postgres',
  );
  expect(existsSync(join(findPostgresBinaries({}), 'postgres'))).toBe(true);
});
