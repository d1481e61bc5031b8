import { execFile, type ExecFileOptionsWithStringEncoding } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { canReach, type RunUser } from './run-user.ts';

const execFileAsync = promisify(execFile);

/** The environment of PostgreSQL's programs: none of the `PG…` variables, messages in English. */
export function postgresEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C' };
}

/** A new folder for temporary files that `user` (null: we ourselves) owns and can reach. */
export function makeFolder(user: RunUser | null, prefix: string): string {
  const usual = realpathSync(tmpdir());
  const folder = mkdtempSync(join(user === null || canReach(usual, user) ? usual : '/tmp', prefix));
  if (user !== null) {
    // Unix sockets stand in it, for whoever may connect; the data below keeps others out by itself.
    chmodSync(folder, 0o755);
    chownSync(folder, user.uid, user.gid);
  }
  return folder;
}

/** Writes a file that only `user` can read. */
export function writePrivate(path: string, text: string, user: RunUser | null): void {
  writeFileSync(path, text, { mode: 0o600 });
  if (user !== null) chownSync(path, user.uid, user.gid);
}

/** Runs `initdb` (0.5 s): UTF-8, C locale, password login by SCRAM for the superuser, nothing synced. */
export async function initializeData(options: {
  binDir: string;
  dataDir: string;
  user: RunUser | null;
  superuser: string;
  password: string;
}): Promise<void> {
  const passwordFile = `${options.dataDir}.password`;
  writePrivate(passwordFile, `${options.password}\n`, options.user);
  try {
    await runAs(options.user, join(options.binDir, 'initdb'), [
      `--pgdata=${options.dataDir}`,
      `--username=${options.superuser}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--no-locale',
      '--no-sync',
    ]);
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

/** Runs statements, of one line each, on data that no server runs on. Rejects when one of them fails. */
export async function runSingleUser(options: {
  binDir: string;
  dataDir: string;
  user: RunUser | null;
  statements: readonly string[];
}): Promise<void> {
  const args = ['--single', '-D', options.dataDir, '-F', 'postgres'];
  const running = execFileAsync(join(options.binDir, 'postgres'), args, runOptions(options.user));
  running.child.stdin?.end(`${options.statements.join('\n')}\n`);
  const { stderr } = await running;
  // A failed statement is only told, it does not show in the exit code.
  if (stderr.includes('ERROR:')) throw new Error(`PostgreSQL in single-user mode: ${stderr.trim()}`);
}

/** Copies a data folder that no server runs on; ten times as fast as `initdb`. */
export async function copyData(from: string, to: string, user: RunUser | null): Promise<void> {
  mkdirSync(to, { mode: 0o700 });
  if (user !== null) chownSync(to, user.uid, user.gid);
  await runAs(user, 'cp', ['-Rp', `${from}/.`, to]);
}

/** What `program --version` prints, such as `postgres (PostgreSQL) 18.4`. */
export async function versionOf(program: string, user: RunUser | null): Promise<string> {
  return (await runAs(user, program, ['--version'])).trim();
}

async function runAs(user: RunUser | null, command: string, args: readonly string[]): Promise<string> {
  return (await execFileAsync(command, args, runOptions(user))).stdout;
}

function runOptions(user: RunUser | null): ExecFileOptionsWithStringEncoding {
  return { cwd: '/', env: postgresEnvironment(), encoding: 'utf8', ...(user ?? {}) };
}
