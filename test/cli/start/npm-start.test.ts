import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../../src/cli/start/postgres.ts';
import { writePoolerConfig } from '../../support/pooler-config.ts';
import { connectTo, sharedPostgres } from '../../support/postgres.ts';
import { isAlive } from '../../support/processes.ts';
import { waitFor, within } from '../../support/wait-for.ts';

const root = resolve(import.meta.dirname, '../../..');

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  output(): string;
  /** What Ctrl-C in a terminal does: everyone in the foreground process group gets it. */
  interrupt(): void;
}

/** `npm start` as a shell runs it, in a process group of its own; the user stands in `cwd`. */
function npmStart(
  args: readonly string[],
  { env = {}, cwd = root }: { env?: Readonly<Record<string, string>>; cwd?: string } = {},
): Started {
  const child = spawn('npm', ['--prefix', root, 'start', ...args], {
    cwd,
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid ?? 0), 'SIGKILL');
  });
  return {
    child,
    ended: new Promise((settle) => child.once('close', (code, signal) => settle({ code, signal }))),
    output: () => text,
    interrupt: () => process.kill(-(child.pid ?? 0), 'SIGINT'),
  };
}

/** A process and all that came from it. */
function tree(rootPid: number): number[] {
  const rows = execFileSync('ps', ['-e', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  const found = [rootPid];
  for (const pid of found) {
    for (const [child, parent] of rows) {
      if (parent === pid && child !== undefined && !found.includes(child)) found.push(child);
    }
  }
  return found;
}

/** The first line to paste, without quotes. */
function pasted(output: string): string {
  return /psql "(.*dbname=postgres)"/.exec(output)?.[1] ?? '';
}

function asConfig(line: string): pg.ClientConfig {
  const { host, port, user, password, dbname } = Object.fromEntries(
    line.split(' ').map((pair) => pair.split('=')),
  );
  return { host, port: Number(port), user, password, database: dbname };
}

test('npm start serves a new PostgreSQL as it prints; Ctrl-C ends everything', async () => {
  const port = await freePort();
  const started = npmStart([], { env: { PGWEIR_PORT: String(port) } });
  await waitFor(() => started.output().includes('Ctrl-C') || started.child.exitCode !== null, {
    deadlineMs: 60_000,
    what: 'the starter to be up',
  });
  const line = pasted(started.output());
  expect(started.output()).toContain(`pgweir in transaction mode on 127.0.0.1:${port}`);
  expect(line).toContain(`port=${port} `);

  const [first, second] = [new pg.Client(asConfig(line)), new pg.Client(asConfig(line))];
  const clients = [first, second];
  for (const client of clients) await client.connect();
  await first.query('CREATE TABLE kept AS SELECT 42 AS n');
  expect((await second.query('SELECT n FROM kept')).rows).toEqual([{ n: 42 }]);
  // Transaction mode: two clients that take turns need one server connection.
  const pids = [];
  for (const client of clients)
    pids.push((await client.query('SELECT pg_backend_pid() AS pid')).rows[0]?.['pid']);
  expect(pids[0]).toBe(pids[1]);
  const { rows } = await first.query("SELECT current_setting('data_directory') AS dir");
  const dataDir = String(rows[0]?.['dir']);
  for (const client of clients) await client.end();
  const console = new pg.Client({ ...asConfig(line), database: 'pgbouncer' });
  await console.connect();
  expect((await console.query('SHOW POOLS')).rows).toHaveLength(2);
  await console.end();
  if (await hasPsql()) {
    const { stdout } = await promisify(execFile)('psql', [
      '-X',
      '-A',
      '-t',
      line,
      '-c',
      'SELECT n FROM kept',
    ]);
    expect(stdout.trim()).toBe('42');
  }

  const processes = tree(started.child.pid ?? 0);
  // npm, the starter, two supervisors, the pooler, PostgreSQL and its workers.
  expect(processes.length).toBeGreaterThan(6);
  expect(existsSync(dataDir)).toBe(true);
  started.interrupt();
  expect((await within(started.ended, 'the end of npm start', 30_000)).code).toBe(0);
  await waitFor(() => processes.every((pid) => !isAlive(pid)), { what: 'the end of all its processes' });
  expect(existsSync(dataDir)).toBe(false);
  expect(started.output()).toContain('got SIGINT');
  expect(started.output()).not.toMatch(/npm (ERR|error)/);
  await expect(connectTo({ ...sharedPostgres(), port })).rejects.toThrow('ECONNREFUSED');
}, 120_000);

test('npm start -- my.ini runs the pooler alone on that file, until Ctrl-C', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-ns-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const port = await freePort();
  writePoolerConfig(folder, sharedPostgres(), { settings: { listen_port: port } });
  // Relative paths mean where the user stands, though npm runs the program elsewhere.
  const started = npmStart(['--', 'pgbouncer.ini'], { cwd: folder });
  await waitFor(() => started.output().includes('process up') || started.child.exitCode !== null, {
    deadlineMs: 30_000,
    what: 'the pooler to be up',
  });
  const client = await connectTo({ ...sharedPostgres(), port });
  const { rows } = await client.query("SELECT current_setting('port') AS port");
  expect(rows).toEqual([{ port: String(sharedPostgres().port) }]);
  await client.end();
  const processes = tree(started.child.pid ?? 0);
  started.interrupt();
  expect((await within(started.ended, 'the end of npm start', 30_000)).code).toBe(0);
  await waitFor(() => processes.every((pid) => !isAlive(pid)), { what: 'the end of all its processes' });
  expect(started.output()).not.toContain('starting PostgreSQL');
});

test('npm start -- wrong.ini says what is wrong and ends with 1', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-ns-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'wrong.ini'), '[pgbouncer]\nlisten_port = many\n');
  const started = npmStart(['--', join(folder, 'wrong.ini')]);
  expect((await within(started.ended, 'the end of npm start', 30_000)).code).toBe(1);
  expect(started.output()).toMatch(/wrong\.ini:2: listen_port: expected an integer/);
});

/** Debian's package postgresql-client; without it the reason is told. */
async function hasPsql(): Promise<boolean> {
  try {
    await promisify(execFile)('psql', ['--version']);
    return true;
  } catch {
    process.stderr.write('psql is not installed: its line was not pasted\n');
    return false;
  }
}
