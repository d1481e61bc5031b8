import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type pg from 'pg';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import type { Logger } from '../../src/base/log.ts';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createPooler, type PoolerOptions, type RunningPooler } from '../../src/daemon/pooler.ts';
import { createThreadedPooler } from '../../src/daemon/threads.ts';
import type { PoolerState } from '../../src/daemon/context.ts';
import type { LookupAll } from '../../src/net/dns-cache.ts';
import { type Native, openNative } from '../../src/net/native.ts';
import type { GrantKind } from '../../src/pool/budget.ts';
import { type PoolerConfig, workersOfTests, writePoolerConfig } from './pooler-config.ts';
import { connectTo, sharedPostgres } from './postgres.ts';
import { waitFor, within } from './wait-for.ts';

/** How a pooler for a test is started. */
export interface TestPoolerOptions extends PoolerConfig {
  /** The PostgreSQL in front of which it stands; default: the run's shared one. */
  readonly postgres?: PostgresAddress;
  /** In-process only; default: the real clock. */
  readonly clock?: Clock;
  /** In-process only; default: the system is asked. */
  readonly lookup?: LookupAll;
  /** In-process only; default: the system's, where there are any. */
  readonly native?: Native;
  /** In-process only: why one event loop serves here where the run's poolers have several threads. */
  readonly oneLoop?: string;
}

/** What tests reach in a pooler that runs in their process. */
export interface InnerPooler extends Omit<RunningPooler, 'stop'> {
  /** Of one event loop; throws where there are several. */
  readonly state: PoolerState;
  /** Those that are counted, over all event loops. */
  count(kind: GrantKind): number;
  reload(): void | Promise<void>;
  stop(): void | Promise<void>;
}

/** What a pooler in this process and one of its own have in common. */
abstract class TestPooler implements AsyncDisposable {
  readonly postgres: PostgresAddress;
  /** The temporary folder of its files and of its unix socket; goes away with it. */
  readonly folder: string = mkdtempSync(join(tmpdir(), 'pgweir-t-'));
  readonly iniPath: string;
  #config: PoolerConfig;

  constructor(options: TestPoolerOptions) {
    this.postgres = options.postgres ?? sharedPostgres();
    this.#config = options;
    this.iniPath = writePoolerConfig(this.folder, this.postgres, options);
  }

  /** The TCP port on 127.0.0.1; also the number in the unix socket's name. */
  abstract get port(): number;

  abstract stop(): Promise<void>;

  /** Folder of its unix socket, as libpq and pg take it for a host. */
  get socketDir(): string {
    return this.folder;
  }

  /** The unix socket itself. */
  get socketPath(): string {
    return join(this.folder, `.s.PGSQL.${this.port}`);
  }

  /** Where clients go: PostgreSQL's address with the pooler's port and socket in place of its own. */
  get address(): PostgresAddress {
    return { ...this.postgres, host: '127.0.0.1', port: this.port, socketDir: this.folder };
  }

  /** A connected client through the pooler: the superuser on database `postgres` unless `config` says otherwise. */
  client(config: pg.ClientConfig = {}): Promise<pg.Client> {
    return connectTo(this.address, config);
  }

  /** A connected client of the console. */
  admin(config: pg.ClientConfig = {}): Promise<pg.Client> {
    return this.client({ database: 'pgbouncer', ...config });
  }

  /** One command on a console connection of its own; gives the rows. */
  async show(command: string): Promise<Record<string, string | number | null>[]> {
    const admin = await this.admin();
    try {
      return (await admin.query<Record<string, string | number | null>>(command)).rows;
    } finally {
      await admin.end();
    }
  }

  /** Writes the files anew: each part of `config` replaces the one from before as a whole, settings are added. */
  configure(config: PoolerConfig): void {
    const settings = { ...this.#config.settings, ...config.settings };
    this.#config = { ...this.#config, ...config, settings };
    writePoolerConfig(this.folder, this.postgres, this.#config);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A pooler inside the test's process. */
export class LocalPooler extends TestPooler {
  /** Its log, as `LEVEL text`, DEBUG included. */
  readonly lines: string[] = [];
  /** Whether it has ended by itself, after a SHUTDOWN. */
  hasExited = false;
  #pooler: InnerPooler | null = null;

  /** Starts it; whoever does so disposes of it. */
  static async start(options: TestPoolerOptions): Promise<LocalPooler> {
    const local = new LocalPooler(options);
    const log: Logger = {
      enabled: (level) => level !== 'NOISE',
      log: (level, text) => void local.lines.push(`${level} ${text}`),
    };
    try {
      const config = loadConfig(local.iniPath, null);
      for (const warning of config.warnings) log.log('WARNING', warning);
      local.#pooler = await startInner(
        {
          config,
          clock: options.clock ?? new SystemClock(),
          log,
          native: options.native ?? openNative(),
          ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
          onExit: () => {
            local.hasExited = true;
          },
        },
        whyOneLoop(options),
      );
      return local;
    } catch (error) {
      await local[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pooler(): InnerPooler {
    if (this.#pooler === null) throw new Error('the pooler has not started');
    return this.#pooler;
  }

  get port(): number {
    return this.pooler.addresses[0]?.port ?? 0;
  }

  /** Configures as said, then RELOAD; rejects with ConfigError. One event loop has done so when this returns. */
  async reload(config: PoolerConfig = {}): Promise<void> {
    this.configure(config);
    await this.pooler.reload();
  }

  async stop(): Promise<void> {
    await this.#pooler?.stop();
  }
}

/** Why a pooler is not of several threads, in a run of such; null: it is. */
function whyOneLoop({ clock, lookup, native, oneLoop }: TestPoolerOptions): string | null {
  if (clock !== undefined) return 'the test steps its clock';
  if (lookup !== undefined) return 'the test answers its questions for addresses';
  if (native !== undefined) return 'the test plays its native calls';
  return oneLoop ?? null;
}

/** With as many threads as the run asks for, unless there is a reason. */
async function startInner(options: PoolerOptions, whyOne: string | null): Promise<InnerPooler> {
  const count = workersOfTests();
  if (count > 1 && whyOne !== null) console.warn(`one event loop, not ${count} threads: ${whyOne}`);
  if (count === 1 || whyOne !== null) {
    const pooler = await createPooler(options);
    return { ...pooler, count: (kind) => pooler.state.budget.count(kind) };
  }
  const pooler = await createThreadedPooler(options, count);
  const { workforce, keeper } = pooler;
  return {
    ...pooler,
    get state(): never {
      throw new Error('each thread has a state of its own: give the reason for `oneLoop`');
    },
    count: (kind) => keeper.count(kind),
    async stop() {
      const { threads } = workforce;
      pooler.stop();
      // The process goes on, so what is in custody has to be let go of.
      await Promise.all(threads.map((thread) => thread.terminate()));
      // All at once: each may have died with the lock that the others wait for.
      await Promise.all(Array.from({ length: count }, (_, owner) => keeper.reclaim(owner)));
      for (const orphan of keeper.orphans()) await keeper.release(orphan);
    },
  };
}

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How a pooler of its own is started. */
export interface SpawnOptions extends TestPoolerOptions {
  /** Options before the configuration file's name. */
  readonly args?: readonly string[];
  /** Options of Node itself, such as `--expose-gc`. */
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What the command begins with, such as one that enters a namespace. Its console is reached by its unix socket then. */
  readonly within?: readonly string[];
}

/** A pooler in a process of its own, from the sources: for signals, exit codes, memory. */
export class SpawnedPooler extends TestPooler {
  readonly ended: Promise<ProcessEnd>;
  /** What it wrote so far. */
  stdout = '';
  stderr = '';
  readonly #child;
  readonly #isElsewhere: boolean;

  private constructor(options: SpawnOptions) {
    super(options);
    const bin = resolve(import.meta.dirname, '../../src/cli/bin.ts');
    const { nodeArgs = [], args = [], within: entered = [] } = options;
    this.#isElsewhere = entered.length > 0;
    const [file = '', ...rest] = [...entered, process.execPath, ...nodeArgs, bin, ...args, this.iniPath];
    this.#child = spawn(file, rest, {
      env: { ...process.env, PGWEIR_ALLOW_ROOT: '1', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((settle) => {
      this.#child.once('close', (code, signal) => settle({ code, signal }));
    });
  }

  /** Starts the process without waiting for anything: it may be about to refuse its configuration. */
  static launch(options: SpawnOptions): SpawnedPooler {
    return new SpawnedPooler(options);
  }

  /** Starts the process and waits until it is up; rejects with its log when it ends instead. */
  static async start(options: SpawnOptions): Promise<SpawnedPooler> {
    const pooler = new SpawnedPooler(options);
    try {
      await waitFor(() => pooler.stderr.includes('process up') || !pooler.isRunning, {
        what: 'the line "process up"',
        deadlineMs: 40_000,
      });
      if (!pooler.isRunning) throw new Error(`the pooler did not start:\n${pooler.stderr}`);
      return pooler;
    } catch (error) {
      await pooler[Symbol.asyncDispose]();
      throw error;
    }
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the process did not start');
    return this.#child.pid;
  }

  get port(): number {
    const port = /listening on [\d.]+:(\d+)/.exec(this.stderr)?.[1];
    if (port === undefined) throw new Error(`no TCP port in its log:\n${this.stderr}`);
    return Number(port);
  }

  override get address(): PostgresAddress {
    return this.#isElsewhere ? { ...super.address, host: this.folder } : super.address;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Ends it at once, if it still runs, and waits for that. */
  async stop(): Promise<void> {
    if (this.isRunning) this.#child.kill('SIGKILL');
    await within(this.ended, 'the end of the pooler');
  }
}

/** A pooler in this process. The caller disposes of it: `await using`, or in afterAll. */
export function startPooler(options: TestPoolerOptions = {}): Promise<LocalPooler> {
  return LocalPooler.start(options);
}

/** A pooler in a process of its own that is up. The caller disposes of it: `await using`, or in afterAll. */
export function spawnPooler(options: SpawnOptions = {}): Promise<SpawnedPooler> {
  return SpawnedPooler.start(options);
}
