import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** How many files a process may open, by the text of its `/proc/PID/limits`; null where it doesn't say. */
export function openFilesLimit(limits: string): number | null {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  if (soft === undefined) return null;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}

function ourLimit(): number | null {
  try {
    return openFilesLimit(readFileSync('/proc/self/limits', 'utf8'));
  } catch {
    return null;
  }
}

/**
 * Sees to it that we, and what we start from now on, may open `needed` files: by `prlimit`, where we may not yet. Node
 * itself goes up to the hard limit when it starts.
 *
 * Errors: throws with the limit that there is when that is not enough.
 */
export function allowOpenFiles(needed: number): void {
  const before = ourLimit();
  if (before === null || before >= needed) return;
  try {
    const args = ['--pid', String(process.pid), `--nofile=${needed}:${needed}`];
    execFileSync('prlimit', args, { stdio: 'ignore' });
  } catch {
    // Not installed, or not allowed: what counts is the limit.
  }
  const limit = ourLimit();
  if (limit !== null && limit < needed)
    throw new Error(`takes ${needed} open files, and ${limit} are allowed (ulimit -Hn)`);
}
