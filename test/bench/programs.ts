import { spawnSync } from 'node:child_process';
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

/**
 * Asks a program, or a script given its `interpreter`, for its version; some say it on stderr. Errors: throws when it
 * cannot be run.
 */
export function withVersion(file: string, interpreter?: string): Program {
  const [program, args] = interpreter === undefined ? [file, []] : [interpreter, [file]];
  const { error, status, stdout, stderr } = spawnSync(program, [...args, '--version'], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (error !== undefined) throw error;
  const said = (stdout || stderr).trim();
  if (status !== 0) throw new Error(`${file} --version ended with ${status}: ${said}`);
  return { path: file, version: said.split('\n')[0] ?? '' };
}

/** `withVersion` of the program named, or `null` when it isn't installed. */
export function findVersioned(name: string): Program | null {
  const file = findProgram(name);
  return file === null ? null : withVersion(file);
}

/**
 * The program that the environment variable names, or the one of that name that is installed.
 *
 * Errors: throws with the reason when there is none, or when it cannot be run.
 */
export function findNamed(name: string, variable: string): Program {
  const given = process.env[variable];
  const program = given === undefined || given === '' ? findVersioned(name) : withVersion(given);
  if (program === null) throw new Error(`not in PATH, and ${variable} is not set`);
  return program;
}
