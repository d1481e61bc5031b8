import { isAlive } from './processes.ts';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { freePort } from '../../src/cli/start/postgres.ts';
import { type PoolerConfig, writePoolerConfig } from './pooler-config.ts';
import { sharedPostgres } from './postgres.ts';
import { waitFor, within } from './wait-for.ts';

/** How a run of the program ended. */
export interface ProgramRun {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** Over our own environment; undefined: not there. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What is run; default: the program from its sources. */
  readonly command?: readonly string[];
  readonly cwd?: string;
  /** What to run before it, which then runs it: `unshare`, say. */
  readonly wrapper?: readonly string[];
  /** What it finds open behind its standard error, from 3 on. */
  readonly fds?: readonly number[];
}

const bin = resolve(import.meta.dirname, '../../src/cli/bin.ts');

/** The program while it runs; disposing of it kills it. */
export class Program implements AsyncDisposable {
  readonly ended: Promise<ProgramRun>;
  stdout = '';
  stderr = '';
  readonly #child;

  /** Starts it with these arguments. Root is not allowed unless the environment says so. */
  constructor(args: readonly string[], options: ProgramOptions = {}) {
    const [command, ...rest] = [
      ...(options.wrapper ?? []),
      ...(options.command ?? [process.execPath, bin]),
      ...args,
    ];
    const child = spawn(command as string, rest, {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe', ...(options.fds ?? [])],
    });
    this.#child = child;
    const [, stdout, stderr] = child.stdio as unknown as [null, Readable, Readable];
    stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((settle) => {
      child.once('error', ({ message }) => settle({ code: null, signal: null, stdout: '', stderr: message }));
      child.once('close', (code, signal) =>
        settle({ code, signal, stdout: this.stdout, stderr: this.stderr }),
      );
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the program did not start');
    return this.#child.pid;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Waits until its log says this; rejects with the log when it ends instead. */
  async says(text: string): Promise<void> {
    let run: ProgramRun | null = null;
    void this.ended.then((end) => {
      run = end;
    });
    await waitFor(() => this.stderr.includes(text) || run !== null, { what: text, deadlineMs: 20_000 });
    if (!this.stderr.includes(text)) throw new Error(`it ended without "${text}":\n${this.stderr}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await within(this.ended, 'the end of the program');
  }
}

/** Runs the program to its end. Root is not allowed unless the environment says so. */
export async function runProgram(
  args: readonly string[],
  options: ProgramOptions & { readonly deadlineMs?: number } = {},
): Promise<ProgramRun> {
  await using program = new Program(args, options);
  const [name = 'pgweir'] = options.command ?? [];
  return await within(program.ended, `the end of ${name} ${args.join(' ')}`, options.deadlineMs ?? 20_000);
}

/** Root is needed to run as somebody else, and allowed in tests that are about something else. */
export const allowRoot = { PGWEIR_ALLOW_ROOT: '1' };

/** A folder with a configuration, a pidfile and a log of a pooler that runs in the background. */
export class DaemonHome implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'pgweir-d-'));
  readonly pidfile = join(this.folder, 'pooler.pid');
  readonly logfile = join(this.folder, 'pooler.log');
  readonly port: number;
  readonly iniPath = join(this.folder, 'pgbouncer.ini');
  readonly #postgres: PostgresAddress;
  readonly #seen = new Set<number>();

  private constructor(port: number, postgres: PostgresAddress) {
    this.port = port;
    this.#postgres = postgres;
  }

  /** In front of `postgres`; default: the run's. Everybody may enter the folder: the pooler may run as somebody else. */
  static async make(
    config: PoolerConfig = {},
    postgres = sharedPostgres() as PostgresAddress,
  ): Promise<DaemonHome> {
    const home = new DaemonHome(Number(config.settings?.['listen_port'] ?? (await freePort())), postgres);
    home.configure(config);
    chmodSync(home.folder, 0o777);
    return home;
  }

  /** Writes the files anew. */
  configure(config: PoolerConfig): void {
    const { pidfile, logfile, port } = this;
    const settings = { listen_port: port, pidfile, logfile, ...config.settings };
    writePoolerConfig(this.folder, this.#postgres, { ...config, settings });
  }

  /** Makes the folder and all that is in it this user's; takes root. */
  giveTo(user: string): void {
    execFileSync('chown', ['-R', user, this.folder]);
  }

  get address(): PostgresAddress {
    return { ...this.#postgres, host: '127.0.0.1', port: this.port, socketDir: this.folder };
  }

  get socketPath(): string {
    return join(this.folder, `.s.PGSQL.${this.port}`);
  }

  get log(): string {
    return existsSync(this.logfile) ? readFileSync(this.logfile, 'utf8') : '';
  }

  /** What the pidfile holds; null when there is none. */
  get pid(): number | null {
    let text: string;
    try {
      text = readFileSync(this.pidfile, 'utf8');
    } catch {
      // It may go at any moment.
      return null;
    }
    const pid = Number(text);
    this.#seen.add(pid);
    return pid;
  }

  /** Starts a pooler in the background; resolves when it listens, rejects with what it said when it does not. */
  async start(...options: readonly string[]): Promise<void> {
    const { code, stderr } = await runProgram(['-d', ...options, this.iniPath], { env: allowRoot });
    if (code !== 0 || stderr !== '') throw new Error(`it did not start (${code}):\n${stderr}`);
    // Notes it.
    void this.pid;
  }

  /** Has a new one take over by `-R`; gives the process ids of before and after. */
  async takeOver(): Promise<[before: number, after: number]> {
    const before = this.pid as number;
    await this.start('-R');
    const after = this.pid as number;
    if (after === before) throw new Error('the pidfile names the old process');
    return [before, after];
  }

  /** Sends a signal to whoever the pidfile names. */
  signal(name: NodeJS.Signals): number {
    const { pid } = this;
    if (pid === null) throw new Error(`no pidfile; the log:\n${this.log}`);
    process.kill(pid, name);
    return pid;
  }

  /** Every process that the pidfile has named while somebody looked. */
  get pids(): readonly number[] {
    return [...this.#seen];
  }

  /** Ends every one of {@link pids}. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.pid !== null) this.#seen.add(this.pid);
    for (const pid of this.#seen) {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      await waitFor(() => !isAlive(pid), { what: `the end of ${pid}` });
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
