import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../bench/programs.ts';
import { connectTo } from './postgres.ts';
import { waitFor, within } from './wait-for.ts';

/** Where a load goes. */
export interface LoadTarget {
  /** An address, or the folder of a unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** How it went until it was stopped. */
export interface LoadEnd {
  readonly transactions: number;
  /** Anything that did not go well, in the program's words. */
  readonly errors: readonly string[];
}

/** Something that connects, runs one statement and leaves, over and over, until it is stopped. */
export interface SteadyLoad {
  /** How many transactions so far. */
  readonly count: number;
  stop(): Promise<LoadEnd>;
}

/** Connections of node-postgres, in this process. */
export function startOwnLoad(target: LoadTarget, clients: number): SteadyLoad {
  const errors: string[] = [];
  let count = 0;
  let isStopped = false;
  const one = async (): Promise<void> => {
    while (!isStopped) {
      try {
        const client = await connectTo({ ...target } as Parameters<typeof connectTo>[0]);
        await client.query('SELECT 1');
        await client.end();
        count++;
      } catch (error) {
        errors.push(String(error));
      }
    }
  };
  const running = Promise.all(Array.from({ length: clients }, one));
  return {
    get count() {
      return count;
    },
    async stop() {
      isStopped = true;
      await within(running, 'the end of the load', 30_000);
      return { transactions: count, errors };
    },
  };
}

/** pgbench with a connection for each transaction (`-C`); null, with the reason told, when it is not installed. */
export function startPgbench(target: LoadTarget, clients: number): SteadyLoad | null {
  const program = findProgram('pgbench');
  if (program === null) {
    process.stderr.write('pgbench is not installed: connections of node-postgres alone make the load\n');
    return null;
  }
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-load-'));
  const script = join(folder, 'script.sql');
  writeFileSync(script, 'SELECT 1;\n');
  const { host, port, user, password } = target;
  const child = spawn(
    program,
    [
      ...['-h', host, '-p', String(port), '-U', user, '-n', '-C', '-f', script],
      ...['-c', String(clients), '-T', '3600', '-P', '1', 'postgres'],
    ],
    { env: { ...process.env, PGPASSWORD: password, LC_ALL: 'C' }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<{ code: number | null; signal: string | null }>((settle) => {
    child.once('close', (code, signal) => settle({ code, signal }));
  });
  const done = () =>
    [...stderr.matchAll(/^progress: [\d.]+ s, ([\d.]+) tps/gm)].reduce(
      (sum, [, tps]) => sum + Math.round(Number(tps)),
      0,
    );
  return {
    get count() {
      return done();
    },
    async stop() {
      child.kill('SIGTERM');
      const { code, signal } = await within(ended, 'the end of pgbench');
      rmSync(folder, { recursive: true, force: true });
      const errors = stderr
        .split('\n')
        .filter((line) => line !== '' && (!line.startsWith('progress: ') || !line.includes(' 0 failed')))
        .filter((line) => !/^pgbench( \(|: pghost|: nclients)/.test(line));
      // It ends by our signal alone.
      if (signal !== 'SIGTERM') errors.push(`pgbench ended by itself (${code ?? signal})`);
      return { transactions: done(), errors };
    },
  };
}

/** Waits until the load has got so many more through: it has not come to a stop. */
export async function progress(load: SteadyLoad, more = 1): Promise<void> {
  const before = load.count;
  await waitFor(() => load.count >= before + more, { what: `${more} more transactions`, deadlineMs: 30_000 });
}
