import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Child, type Children, complaint } from './children.ts';
import { libpqEnvironment, settleMs, type Load, type LoadJob, type LoadResult, type Target } from './load.ts';
import { firstTransactionMs, readPgbenchLog } from './pgbench-log.ts';
import type { Program } from './programs.ts';

/** What a run may take around its window, to connect all clients and at the end: a pooler that hangs must not hang us. */
const aroundSeconds = 40;

/** What pgbench may take to end its clients' last transactions. */
const endMs = 15_000;

/** How often its log is looked at for a first transaction. */
const pollMs = 10;

function connectionArgs(target: Target): string[] {
  return ['-h', target.host, '-p', String(target.port), '-U', target.user, target.database];
}

/**
 * What pgbench is to do. One thread: with few cores a second one takes its time from the pooler. But a thread of pgbench
 * does nothing else while one of its clients connects: where each transaction has its connection, each client has a thread.
 */
export function loadArgs({ workload, clients, seconds }: Pick<LoadJob, 'workload' | 'clients' | 'seconds'>) {
  const { script, protocol, reconnects } = workload;
  const threads = reconnects ? clients : 1;
  const args = ['-n', '--log', '-b', script, '-M', protocol, ...(reconnects ? ['-C'] : [])];
  // Its time limit counts from its start, however long its clients take to connect: we end it ourselves.
  return [...args, '-c', String(clients), '-j', String(threads), '-T', String(seconds + 2 * aroundSeconds)];
}

/** pgbench's complaint in one line, without the program's own prefix and banner. */
export function pgbenchReason(output: string): string {
  return complaint(output.replace(/^pgbench \(.*$/gm, '')).replace(/^pgbench: (error: )?/, '');
}

/** Drives the load with pgbench, which clocks every transaction into a log in `directory`. */
export function pgbenchLoad(pgbench: Program, directory: string, children: Children): Load {
  const run = async (job: LoadJob): Promise<LoadResult> => {
    const { reconnects } = job.workload;
    const args = [...loadArgs(job), `--log-prefix=${path.join(directory, 'transactions')}`];
    args.push(...connectionArgs(job.target));
    const env = libpqEnvironment(job.target);
    const child = await children.start(pgbench.path, args, { cwd: directory, env });
    const timer = setTimeout(() => void child.stop('SIGKILL', 1000), (job.seconds + aroundSeconds) * 1000);
    try {
      // An early end is a failure; no use in waiting for the window to pass. With a connection for each transaction
      // there is nothing ahead of the first one.
      const firstMs = reconnects ? Date.now() : await firstTransaction(directory, child);
      await Promise.race([delay(Math.max(0, firstMs + settleMs - Date.now())), child.ended]);
      await Promise.race([job.beforeWindow?.(), child.ended]);
      const startMs = Date.now();
      job.onWindowStart();
      await Promise.race([delay(job.seconds * 1000), child.ended]);
      const stopMs = Date.now();
      job.onWindowEnd();
      // As its own timer does: clients end with their transaction, and the log is whole.
      const end = await child.stop('SIGALRM', endMs);
      if (end.signal !== null)
        throw new Error(`pgbench did not finish in time: ${pgbenchReason(end.output)}`);
      if (end.code !== 0 || /aborted/.test(end.output)) throw new Error(pgbenchReason(end.output));
      return readPgbenchLog(takeLogs(directory), startMs, stopMs, reconnects);
    } finally {
      clearTimeout(timer);
      takeLogs(directory);
    }
  };
  return {
    version: pgbench.version,
    prepareData: async (target, scale) => {
      const args = ['-i', '-q', '-s', String(scale), ...connectionArgs(target)];
      await children.run(pgbench.path, args, 60_000 + scale * 5000, { env: libpqEnvironment(target) });
    },
    run,
  };
}

function logFiles(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.startsWith('transactions.'))
    .map((name) => path.join(directory, name));
}

/**
 * Waits for the first transaction, until which the clients connect, and gives its beginning in Unix time, in ms. Lines
 * come into the log by the block, so it may be over for some time. Where pgbench ends without one: now.
 */
async function firstTransaction(directory: string, pgbench: Child): Promise<number> {
  let isOver = false;
  void pgbench.ended.then(() => {
    isOver = true;
  });
  while (!isOver) {
    const file = logFiles(directory).find((each) => statSync(each).size > 0);
    const begun = file === undefined ? null : firstTransactionMs(readFileSync(file, 'latin1'));
    if (begun !== null) return begun;
    await delay(pollMs);
  }
  return Date.now();
}

/** Reads and removes the logs of the last run. */
function takeLogs(directory: string): string {
  const texts = logFiles(directory).map((file) => {
    const text = readFileSync(file, 'latin1');
    rmSync(file);
    return text;
  });
  return texts.join('');
}
