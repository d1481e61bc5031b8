import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { findPostgresBinaries, reachableBinaries } from './postgres-binaries.ts';
import {
  copyData,
  initializeData,
  makeFolder,
  postgresEnvironment,
  runSingleUser,
  versionOf,
  writePrivate,
} from './postgres-folder.ts';
import { postgresRunUser, type RunUser } from './run-user.ts';
import { type Run, Supervised } from './supervised.ts';

/** What a PostgreSQL of one's own may be given. */
export interface PostgresOptions {
  /** Lines of `postgresql.conf`, by name. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Lines of `pg_hba.conf` ahead of the last two, which ask everyone for SCRAM. */
  readonly hba?: readonly string[];
  /** TCP port on 127.0.0.1; a free one by default, kept by `restart`. */
  readonly port?: number;
  /** Name of the superuser. Default `postgres`. */
  readonly superuser?: string;
  /** Its password; a random one by default. With a template, that of the template. */
  readonly password?: string;
  /** Folder of `postgres` and `initdb`, which the user that runs it must reach. Default: found. */
  readonly binDir?: string;
  /** A data folder to copy in place of a run of `initdb`. */
  readonly templateDir?: string;
  /** Statements of one line each to run on new data, before the template is taken. */
  readonly initialSql?: readonly string[];
  /** Also keep a pristine copy of the data folder, as a template for others. */
  readonly keepTemplate?: boolean;
}

/** Where a PostgreSQL is and how to log in: plain data. */
export interface PostgresAddress {
  /** Always a loopback address. */
  readonly host: string;
  readonly port: number;
  /** Folder of the unix socket `.s.PGSQL.<port>`. */
  readonly socketDir: string;
  /** The superuser. */
  readonly user: string;
  readonly password: string;
  /** The server's log, from its first start on. */
  readonly logPath: string;
  /** Such as `postgres (PostgreSQL) 18.4`. */
  readonly version: string;
  /** Folder of the programs in use. */
  readonly binDir: string;
}

/** `fast` ends all sessions and shuts down, `immediate` ends as in a crash and recovers at the next start. */
export type StopMode = 'fast' | 'immediate';

const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 20_000;
const POLL_MS = 10;
const PORT_ATTEMPTS = 5;

/**
 * A PostgreSQL of our own with temporary data, in a session of its own: Ctrl-C does not reach it, and it ends
 * when we do. Runs as an unprivileged user when we are root. Whoever starts it disposes of it.
 */
export class Postgres implements AsyncDisposable {
  readonly dataDir: string;
  /** The pristine data folder, if it was asked for. */
  readonly templateDir: string | null;
  readonly #user: RunUser | null;
  readonly #fixedPort: number;
  readonly #supervised: Supervised;
  readonly #facts: Omit<PostgresAddress, 'port'>;
  #port = 0;
  #run: Run | null = null;

  private constructor(
    folder: string,
    user: RunUser | null,
    supervised: Supervised,
    facts: Omit<PostgresAddress, 'port'>,
    options: PostgresOptions,
  ) {
    this.dataDir = join(folder, 'data');
    this.templateDir = options.keepTemplate === true ? join(folder, 'template') : null;
    this.#user = user;
    this.#fixedPort = options.port ?? 0;
    this.#supervised = supervised;
    this.#facts = facts;
  }

  /** Makes the data folder and starts the server. Rejects with the end of its log when it does not start. */
  static async start(options: PostgresOptions = {}): Promise<Postgres> {
    const user = postgresRunUser();
    const found = options.binDir ?? findPostgresBinaries();
    const folder = makeFolder(user, 'pgweir-pg-');
    // First of all, so that the folder goes away whatever happens to us from here on.
    const supervised = await Supervised.open({ folder });
    try {
      const binDir = reachableBinaries(found, user, join(folder, 'postgresql'));
      const facts = {
        host: '127.0.0.1',
        socketDir: folder,
        user: options.superuser ?? 'postgres',
        password: options.password ?? randomBytes(12).toString('base64url'),
        logPath: join(folder, 'postgresql.log'),
        version: await versionOf(join(binDir, 'postgres'), user),
        binDir,
      };
      const postgres = new Postgres(folder, user, supervised, facts, options);
      await postgres.#makeData(options);
      await postgres.start();
      return postgres;
    } catch (error) {
      await supervised.close();
      throw error;
    }
  }

  /** Where it is now. */
  get address(): PostgresAddress {
    return { ...this.#facts, port: this.#port };
  }

  get port(): number {
    return this.#port;
  }

  /** The postmaster's process id, or null when it does not run. */
  get pid(): number | null {
    return this.#run?.pid ?? null;
  }

  /** The whole server log so far. */
  log(): string {
    return readFileSync(this.#facts.logPath, 'utf8');
  }

  /** Settles when the server that runs now has ended, whoever ended it. */
  async ended(): Promise<void> {
    await this.#run?.ended;
  }

  /** Starts it again after `stop`, or after its end by other means. */
  async start(): Promise<void> {
    const deadline = performance.now() + START_DEADLINE_MS;
    for (let attempt = 1; ; attempt++) {
      const port = this.#fixedPort !== 0 ? this.#fixedPort : this.#port !== 0 ? this.#port : await freePort();
      const logBefore = attempt === 1 && this.#port === 0 ? 0 : this.log().length;
      if (await this.#startOn(port)) {
        this.#port = port;
        return;
      }
      const log = this.log().slice(logBefore);
      // Of one that was killed the sessions go a moment after it.
      if (log.includes('pre-existing shared memory block') && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        continue;
      }
      // Somebody took the port between our choice and PostgreSQL's bind.
      const again = log.includes('Address already in use') && this.#fixedPort === 0 && this.#port === 0;
      if (!again || attempt === PORT_ATTEMPTS) {
        throw new Error(`PostgreSQL did not start:\n${log.trimEnd().split('\n').slice(-10).join('\n')}`);
      }
    }
  }

  /** Stops the server and waits for its end; the data stays. */
  async stop(mode: StopMode = 'fast'): Promise<void> {
    const run = this.#run;
    if (run === null) return;
    this.#supervised.signal(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    const deadline = setTimeout(() => this.#supervised.signal('SIGQUIT'), STOP_DEADLINE_MS);
    await run.ended;
    clearTimeout(deadline);
  }

  /** Stops and starts on the same port. */
  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Stops the server and removes everything of it, the log too. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('immediate');
    await this.#supervised.close();
  }

  async #makeData(options: PostgresOptions): Promise<void> {
    const { binDir, user: superuser, password, socketDir } = this.#facts;
    if (options.templateDir !== undefined) {
      await copyData(options.templateDir, this.dataDir, this.#user);
    } else {
      await initializeData({ binDir, dataDir: this.dataDir, user: this.#user, superuser, password });
    }
    if (options.initialSql !== undefined) {
      const statements = options.initialSql;
      await runSingleUser({ binDir, dataDir: this.dataDir, user: this.#user, statements });
    }
    if (this.templateDir !== null) await copyData(this.dataDir, this.templateDir, this.#user);
    const settings = {
      listen_addresses: this.#facts.host,
      unix_socket_directories: socketDir,
      log_line_prefix: '%m [%p] %q%u@%d ',
      ...options.settings,
    };
    const lines = Object.entries(settings).map(
      ([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'`,
    );
    writePrivate(join(this.dataDir, 'postgresql.conf'), `${lines.join('\n')}\n`, this.#user);
    const hba = [
      ...(options.hba ?? []),
      'local all all scram-sha-256',
      'host all all 127.0.0.1/32 scram-sha-256',
    ];
    writePrivate(join(this.dataDir, 'pg_hba.conf'), `${hba.join('\n')}\n`, this.#user);
  }

  /** True when the server takes connections, false when it ended instead. */
  async #startOn(port: number): Promise<boolean> {
    const run = await this.#supervised.run({
      command: join(this.#facts.binDir, 'postgres'),
      args: ['-D', this.dataDir, '-p', String(port)],
      env: postgresEnvironment(),
      cwd: '/',
      user: this.#user,
      logPath: this.#facts.logPath,
    });
    this.#run = run;
    let ended = false;
    void run.ended.then(() => {
      ended = true;
      if (this.#run === run) this.#run = null;
    });
    const deadline = performance.now() + START_DEADLINE_MS;
    while (!ended && !this.#isReady(run.pid)) {
      if (performance.now() > deadline) throw new Error('PostgreSQL took longer than a minute to start');
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return !ended;
  }

  /** The postmaster writes its state into the last line of `postmaster.pid`, as `pg_ctl` reads it. */
  #isReady(pid: number): boolean {
    try {
      const lines = readFileSync(join(this.dataDir, 'postmaster.pid'), 'utf8').split('\n');
      return Number(lines[0]) === pid && lines[7]?.trim() === 'ready';
    } catch {
      return false;
    }
  }
}

/** A TCP port on 127.0.0.1 that nobody listens on at the moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
