import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Child, Children } from './children.ts';
import { processTreeOf } from './process-cost.ts';
import { findProgram } from './programs.ts';

const attachDeadlineMs = 5000;
const pollMs = 10;

/**
 * Reads the summary of `strace -c`: how often each system call was made, by name.
 *
 * Source: strace(1), `-c`: columns `% time`, `seconds`, `usecs/call`, `calls`, `errors` (may be empty), `syscall`.
 */
export function readStraceSummary(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    const row = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?([a-z]\w*)\s*$/i.exec(line);
    if (row?.[1] === undefined || row[2] === undefined || row[2] === 'total') continue;
    found.set(row[2], (found.get(row[2]) ?? 0) + Number(row[1]));
  }
  return found;
}

/** A count of system calls that is under way. */
export interface CallCount {
  /** Ends it; gives all calls since it began. Errors: rejects with what strace said. */
  end(): Promise<number>;
}

/**
 * Begins to count the system calls of a process and all below it; resolves once they are watched.
 *
 * Errors: rejects where strace is missing or may not.
 */
export async function countCalls(children: Children, pid: number, parent: string): Promise<CallCount> {
  const program = findProgram('strace');
  if (program === null) throw new Error('takes strace, which is not in PATH');
  const folder = mkdtempSync(path.join(parent, 'strace-'));
  const summary = path.join(folder, 'summary');
  const processes = [...processTreeOf(pid)];
  const args = ['-c', '-f', '-o', summary, ...processes.flatMap((each) => ['-p', String(each)])];
  const strace = await children.start(program, args);
  await attached(strace, processes.length);
  return {
    end: async () => {
      // It lets go of them, and writes its summary.
      const { output } = await strace.stop('SIGINT', 5000);
      try {
        const calls = [...readStraceSummary(readFileSync(summary, 'utf8')).values()];
        if (calls.length === 0) throw new Error(`strace counted nothing: ${output.trim()}`);
        return calls.reduce((sum, count) => sum + count, 0);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}

async function attached(strace: Child, processes: number): Promise<void> {
  let isOver = false;
  void strace.ended.then(() => {
    isOver = true;
  });
  const deadline = performance.now() + attachDeadlineMs;
  while (strace.output().split(/^\S*strace: Process \d+ attached/m).length - 1 < processes) {
    if (isOver || performance.now() > deadline) {
      if (!isOver) await strace.stop('SIGINT', 2000);
      throw new Error(`strace could not watch it: ${strace.output().trim()}`);
    }
    await delay(pollMs);
  }
}
