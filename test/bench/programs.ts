import { execFileSync } from 'node:child_process';
import { accessSync, constants, readdirSync, realpathSync } from 'node:fs';
import path from 'node:path';

/** An installed program, and the first line of its `--version`. */
export interface Program {
  readonly path: string;
  readonly version: string;
}

/** Where Debian and Ubuntu put each major version of PostgreSQL, outside PATH. */
const versionedRoot = '/usr/lib/postgresql';

function versionedFolders(): string[] {
  let majors: string[];
  try {
    majors = readdirSync(versionedRoot);
  } catch {
    return [];
  }
  return majors.sort((a, b) => Number(b) - Number(a)).map((major) => path.join(versionedRoot, major, 'bin'));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Finds a program in PostgreSQL's versioned folders, newest first, then in PATH. Debian's `pg_wrapper` scripts are
 * passed over: they choose a version by clusters that aren't ours.
 */
export function findProgram(name: string): string | null {
  const folders = [...versionedFolders(), ...(process.env['PATH'] ?? '').split(path.delimiter)];
  for (const folder of folders) {
    const file = path.join(folder, name);
    if (!isExecutable(file)) continue;
    const target = realpathSync(file);
    if (path.basename(target) !== 'pg_wrapper') return target;
  }
  return null;
}

/** Asks a program, or a script given its `interpreter`, for its version. Errors: throws when it cannot be run. */
export function withVersion(file: string, interpreter?: string): Program {
  const [program, args] = interpreter === undefined ? [file, []] : [interpreter, [file]];
  const output = execFileSync(program, [...args, '--version'], {
    encoding: 'utf8',
    timeout: 10_000,
    stdio: 'pipe',
  });
  return { path: file, version: output.split('\n')[0]?.trim() ?? '' };
}

/** `withVersion` of the program named, or `null` when it isn't installed. */
export function findVersioned(name: string): Program | null {
  const file = findProgram(name);
  return file === null ? null : withVersion(file);
}
