import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** What a process and everything below it has cost so far. */
export interface ProcessCost {
  /** User and system time since the start, in µs, ended and reaped children included. */
  readonly cpuUs: number;
  /** Resident memory now, in bytes. */
  readonly residentBytes: number;
}

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
  return readProc(rootPid, 'stat') === null ? new Set([rootPid]) : processTree(rootPid, allProcesses());
}

/**
 * CPU time and memory of the process tree below `rootPid`, from the operating system (resolution: one tick, usually
 * 10 ms). `null` when there is no `/proc` or the process is gone.
 */
export function processCost(rootPid: number): ProcessCost | null {
  if (readProc(rootPid, 'stat') === null) return null;
  const processes = allProcesses();
  const tree = processTree(rootPid, processes);
  let ticks = 0;
  let residentBytes = 0;
  for (const stat of processes) {
    if (!tree.has(stat.pid)) continue;
    ticks += stat.ticks;
    const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readProc(stat.pid, 'status') ?? '');
    residentBytes += Number(resident?.[1] ?? 0) * 1024;
  }
  return { cpuUs: ticks * microsecondsPerTick(), residentBytes };
}
