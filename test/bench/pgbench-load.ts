import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Children } from './children.ts';
import { settleMs, type Load, type LoadJob, type LoadResult, type Target } from './load.ts';
import { readPgbenchLog } from './pgbench-log.ts';
import type { Program } from './programs.ts';

/** What pgbench may take beyond its own time limit before it is ended: a pooler that hangs must not hang us. */
const overtimeMs = 15_000;

function connectionArgs(target: Target): string[] {
  return ['-h', target.host, '-p', String(target.port), '-U', target.user, target.database];
}

/** pgbench's complaint in one line: its first error, without the program's own prefix and banner. */
export function pgbenchReason(output: string): string {
  const lines = output.split('\n').map((line) => line.trim());
  const said = lines.filter((line) => line !== '' && !line.startsWith('pgbench ('));
  const first = said.find((line) => /error|fatal/i.test(line)) ?? said[0];
  return (first ?? 'it said nothing').replace(/^pgbench: (error: )?/, '');
}

/**
 * Drives the load with pgbench, which clocks every transaction into a log in `directory`. One pgbench thread: with
 * few cores a second one takes its time from the pooler.
 */
export function pgbenchLoad(pgbench: Program, directory: string, children: Children): Load {
  const run = async (job: LoadJob): Promise<LoadResult> => {
    const logPrefix = path.join(directory, 'transactions');
    const args = ['-n', '-S', '-M', job.workload.protocol, ...(job.workload.reconnects ? ['-C'] : [])];
    // The timer of -T starts when all clients are connected, so the run outlasts settle time and window.
    args.push('-c', String(job.clients), '-j', '1', '-T', String(job.seconds + 1));
    args.push('--log', `--log-prefix=${logPrefix}`, ...connectionArgs(job.target));
    const child = await children.start(pgbench.path, args, { cwd: directory });
    const timer = setTimeout(() => void child.stop('SIGKILL', 1000), (job.seconds + 1) * 1000 + overtimeMs);
    try {
      // An early end is a failure; no use in waiting for the window to pass.
      await Promise.race([delay(settleMs), child.ended]);
      const startMs = Date.now();
      job.onWindowStart();
      await Promise.race([delay(job.seconds * 1000), child.ended]);
      const endMs = Date.now();
      job.onWindowEnd();
      const end = await child.ended;
      if (end.signal !== null)
        throw new Error(`pgbench did not finish in time: ${pgbenchReason(end.output)}`);
      if (end.code !== 0 || /aborted/.test(end.output)) throw new Error(pgbenchReason(end.output));
      return readPgbenchLog(takeLogs(directory), startMs, endMs, job.workload.reconnects);
    } finally {
      clearTimeout(timer);
      takeLogs(directory);
    }
  };
  return {
    version: pgbench.version,
    prepareData: async (target, scale) => {
      const args = ['-i', '-q', '-s', String(scale), ...connectionArgs(target)];
      await children.run(pgbench.path, args, 60_000 + scale * 5000);
    },
    run,
  };
}

/** Reads and removes the logs of the last run. */
function takeLogs(directory: string): string {
  const files = readdirSync(directory).filter((name) => name.startsWith('transactions.'));
  const texts = files.map((name) => {
    const file = path.join(directory, name);
    const text = readFileSync(file, 'latin1');
    rmSync(file);
    return text;
  });
  return texts.join('');
}
