import { execFileSync } from 'node:child_process';
import { arch, availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';

/** Where a run took place, and what it was of. Plain data, part of the JSON. */
export interface Machine {
  readonly processor: string | null;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Operating system, kernel and architecture. */
  readonly system: string;
  readonly node: string;
  readonly openssl: string;
}

/** What git knows of a program's sources; null where they are none of git's. */
export interface Checkout {
  readonly commit: string;
  /** It differs from the commit. */
  readonly isChanged: boolean;
}

export function machine(): Machine {
  return {
    processor: cpus()[0]?.model ?? null,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${type()} ${release()} ${arch()}`,
    node: process.version,
    openssl: process.versions.openssl,
  };
}

/** Processes that wanted a core on average over the last minute: others who share the machine. */
export function loadAverage(): number {
  return loadavg()[0] ?? 0;
}

/** The checkout that a folder is in. */
export function checkout(folder: string): Checkout | null {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' }).trim();
  try {
    return { commit: git('rev-parse', 'HEAD'), isChanged: git('status', '--porcelain') !== '' };
  } catch {
    return null;
  }
}
