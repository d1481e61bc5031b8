import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import Cursor from 'pg-cursor';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VERSION_LINE } from '../../src/daemon/version.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type DebianDriver, debianDrivers, probe } from '../drivers/programs.ts';

/** Drivers of other tests ask the console here, over whichever protocol they speak. */
let pooler: LocalPooler;
let folder: string;

beforeAll(async () => {
  pooler = await startPooler();
  folder = mkdtempSync(join(tmpdir(), 'pgweir-console-'));
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await pooler[Symbol.asyncDispose]();
});

const here = (name: string) => join(import.meta.dirname, '../drivers/console', name);
const url = (scheme: string) => `${scheme}://${sharedPostgres().user}@127.0.0.1:${pooler.port}/pgbouncer`;

/** Runs a program that prints one JSON line, bounded; without settings of libpq from the environment. */
async function answerOf(file: string, ...args: readonly string[]): Promise<Record<string, unknown>> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG')));
  const { stdout } = await promisify(execFile)(file, args, { env, timeout: 90_000 });
  return JSON.parse(stdout);
}

/** A test with a driver from Debian's packages; where it is not installed the reason is printed. */
function testWith(driver: DebianDriver, title: string, work: () => Promise<void>): void {
  const found = probe(driver);
  if (found.version === null)
    process.stderr.write(`${driver.name} does not ask the console: ${found.missing}\n`);
  test.skipIf(found.version === null)(`${driver.name} ${title}`, { timeout: 120_000 }, work);
}

const LISTS = 14;

testWith(debianDrivers.psycopg, 'prepares, takes binary, pipelines, and rolls back what failed', async () => {
  const { lists, binary, ...rest } = await answerOf(
    '/usr/bin/python3',
    '-B',
    here('ask_psycopg.py'),
    url('postgresql'),
  );
  expect(lists).toHaveLength(LISTS);
  expect(binary).toEqual(lists);
  expect(rest).toEqual({
    isWhole: true,
    error: '08P01',
    state: 'INERROR',
    pipelined: ['active', 'active', 'active'],
    version: VERSION_LINE,
  });
});

testWith(debianDrivers.asyncpg, 'takes all results in binary, and resets its connection', async () => {
  const target = ['127.0.0.1', String(pooler.port), sharedPostgres().user];
  const answer = await answerOf('/usr/bin/python3', '-B', here('ask_asyncpg.py'), ...target);
  expect(answer).toMatchObject({
    state: ['active', 'paused', 'suspended'],
    version: VERSION_LINE,
    status: 'RELOAD',
  });
  expect(answer['lists']).toHaveLength(LISTS);
});

testWith(debianDrivers.sqlalchemy, 'finds out what it talks to, and asks', async () => {
  const target = url('postgresql+psycopg2');
  const answer = await answerOf('/usr/bin/python3', '-B', here('ask_sqlalchemy.py'), target);
  expect(answer).toMatchObject({ version: VERSION_LINE });
  expect(answer['lists']).toHaveLength(LISTS);
});

testWith(
  debianDrivers.pgjdbc,
  'keeps statements, fetches in pieces, and rolls back what failed',
  async () => {
    const jdbc = `jdbc:postgresql://127.0.0.1:${pooler.port}/pgbouncer`;
    const jar = '/usr/share/java/postgresql.jar';
    const answer = await answerOf('java', '-cp', jar, here('AskPgjdbc.java'), jdbc, sharedPostgres().user);
    expect(answer).toEqual({
      clients: 1,
      isValid: true,
      isolation: 2,
      keys: 'active paused suspended',
      state: '08P01',
      version: VERSION_LINE,
    });
  },
);

testWith(debianDrivers['lib-pq'], 'pings, prepares and begins', async () => {
  const program = join(folder, 'ask_lib_pq');
  const go = [
    'GO111MODULE=off',
    'GOPATH=/usr/share/gocode',
    'go',
    'build',
    '-o',
    program,
    here('ask_lib_pq.go'),
  ];
  await promisify(execFile)('env', go);
  const answer = await answerOf(program, `${url('postgres')}?sslmode=disable`);
  expect(answer).toMatchObject({ one: 1, version: VERSION_LINE, lists: { used_clients: 1 } });
});

describe('pg', () => {
  test('prepares, takes binary, and reads by a cursor', async () => {
    const client = await pooler.admin();
    const text = await client.query({ text: 'SHOW LISTS', values: [] });
    expect(text.rows).toHaveLength(LISTS);
    for (let round = 0; round < 2; round++) {
      const named = await client.query({ name: 'lists', text: 'SHOW LISTS' });
      expect(named.rows).toEqual(text.rows);
    }
    const binary = await client.query({ text: 'SHOW LISTS', values: [], binary: true } as pg.QueryConfig);
    expect(binary.rows.map(({ items }) => items)).toEqual(text.rows.map(({ items }) => items));
    await client.query('BEGIN');
    const cursor = client.query(new Cursor('SHOW STATE'));
    expect(await cursor.read(2)).toHaveLength(2);
    expect(await cursor.read(2)).toHaveLength(1);
    await cursor.close();
    await client.query('COMMIT');
    await expect(client.query({ text: 'SHOW STATE', values: ['x'] })).rejects.toMatchObject({
      code: '08P01',
    });
    expect((await client.query('SHOW VERSION')).rows).toEqual([{ version: VERSION_LINE }]);
    await client.end();
  });
});

describe('postgres', () => {
  test('asks for types first, prepares, and describes', async () => {
    const sql = postgres(url('postgres'), { max: 1, onnotice: () => {} });
    for (let round = 0; round < 2; round++) expect(await sql`SHOW LISTS`).toHaveLength(LISTS);
    expect((await sql`SHOW STATE`.describe()).columns.map(({ name }) => name)).toEqual(['key', 'value']);
    await expect(sql`SHOW nothing`).rejects.toMatchObject({ code: '08P01' });
    expect(await sql.begin(async (tx) => (await tx`SHOW VERSION`)[0])).toEqual({ version: VERSION_LINE });
    await sql.end();
  });
});
