import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** The fields that matter of one `/proc/PID/stat` line; `ticks` is user + system, own and of reaped children. */
export interface StatLine {
  readonly pid: number;
  readonly parentPid: number;
  readonly ticks: number;
}

/** Reads a `/proc/PID/stat` line. The second field may itself hold spaces and `)`, so fields count from the last. */
export function parseStat(line: string): StatLine {
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return {
    pid: Number.parseInt(line, 10),
    parentPid: field(4),
    ticks: field(14) + field(15) + field(16) + field(17),
  };
}

/** The process IDs of `root` and of all its descendants. */
export function processTree(root: number, processes: readonly StatLine[]): Set<number> {
  const tree = new Set([root]);
  // A child's ID may be below its parent's after a wrap-around, so go on until nothing is added.
  for (let sizeBefore = 0; sizeBefore !== tree.size; ) {
    sizeBefore = tree.size;
    for (const { pid, parentPid } of processes) if (tree.has(parentPid)) tree.add(pid);
  }
  return tree;
}

let ticksPerSecond = 0;

function microsecondsPerTick(): number {
  ticksPerSecond ||= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return 1e6 / ticksPerSecond;
}

/** A `/proc` file's text, or `null` when the process ended while we looked. */
function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return null;
  }
}

function allProcesses(): StatLine[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProc(Number(name), 'stat'))
    .filter((line) => line !== null)
    .map(parseStat);
}

/** The process IDs of `rootPid` and all below it, as far as there is a `/proc`. */
export function processTreeOf(rootPid: number): Set<number> {
  return new Set([rootPid, ...(treeOf(rootPid) ?? []).map(({ pid }) => pid)]);
}

/** The processes of the tree below `rootPid`; null when there is no `/proc` or the process is gone. */
function treeOf(rootPid: number): StatLine[] | null {
  if (readProc(rootPid, 'stat') === null) return null;
  const processes = allProcesses();
  const tree = processTree(rootPid, processes);
  return processes.filter(({ pid }) => tree.has(pid));
}

/**
 * User and system time of the process tree below `rootPid` since its start, in µs, ended and reaped children included;
 * from the operating system (resolution: one tick, usually 10 ms). `null` when there is no `/proc` or the process is
 * gone.
 */
export function processCpuUs(rootPid: number): number | null {
  const tree = treeOf(rootPid);
  if (tree === null) return null;
  return tree.reduce((sum, { ticks }) => sum + ticks, 0) * microsecondsPerTick();
}

/**
 * User and system time of a process's threads whose names begin with `prefix`, by their ID, in µs: resolution as above.
 * Empty where there is no `/proc`, or nothing of that name.
 */
export function threadCpuUs(pid: number, prefix: string): Map<string, number> {
  const found = new Map<string, number>();
  const threads = readProc(pid, 'stat') === null ? [] : readdirSync(`/proc/${pid}/task`);
  for (const thread of threads) {
    const line = readProc(pid, `task/${thread}/stat`);
    if (line?.slice(line.indexOf('(') + 1).startsWith(prefix) === true)
      found.set(thread, parseStat(line).ticks * microsecondsPerTick());
  }
  return found;
}

/** A line `name: 123 kB` of a `/proc` file, in bytes; null: there is none. */
function kilobytes(text: string | null, name: string): number | null {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text ?? '')?.[1];
  return found === undefined ? null : Number(found) * 1024;
}

/**
 * Resident memory of the process tree below `rootPid` now, in bytes. Of several processes each has its part of what
 * they share, where we may see that; otherwise all of it. `null` as for {@link processCpuUs}.
 */
export function processMemory(rootPid: number): number | null {
  const tree = treeOf(rootPid);
  if (tree === null) return null;
  let sum = 0;
  for (const { pid } of tree) {
    const part = tree.length > 1 ? kilobytes(readProc(pid, 'smaps_rollup'), 'Pss') : null;
    sum += part ?? kilobytes(readProc(pid, 'status'), 'VmRSS') ?? 0;
  }
  return sum;
}
