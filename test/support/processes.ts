import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * Whether a process of this id runs, as ourselves or as root. One that has ended and that its parent has not asked about
 * yet does not: in a container that may take its first process a second.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // Behind the name, which stands in parentheses.
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** The process group of a running process. */
export function groupOf(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'pgid=', '-p', String(pid)], { encoding: 'utf8' }));
}
