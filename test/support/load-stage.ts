import { readdirSync, readFileSync } from 'node:fs';
import { freePort, type Postgres, type PostgresAddress } from '../../src/cli/start/postgres.ts';
import { ADMIN_DATABASE } from '../../src/admin/access.ts';
import { type Row, runAlone } from './console.ts';
import { LoadCertificates } from './load-certificates.ts';
import type { Section } from './pooler-config.ts';
import { withClient } from './postgres.ts';
import { isAlive } from './processes.ts';
import { DaemonHome } from './program.ts';
import { createDatabase, createRole } from './roles.ts';
import { scramSecret } from './scram-secret.ts';
import { connectEncrypted, showCertificate, startTlsPostgres } from './tls.ts';
import { type Ledger, ledgerQuery, tpcbTables } from './tpcb.ts';
import { waitFor } from './wait-for.ts';

export const DATABASE = 'load';
/** Whose transactions are those of the ledger, and whose are of other kinds: two pools. */
export const ROLES = ['load_bench', 'load_session'] as const;
export const PASSWORD = 'under load';

/**
 * Two poolers on one port that are peers, and a PostgreSQL behind them, all by TLS with certificates of one authority and
 * by SCRAM with the secrets that PostgreSQL has. They run in the background, as programs.
 */
export class LoadStage implements AsyncDisposable {
  readonly certificates = new LoadCertificates();
  readonly #closing = new AsyncDisposableStack();
  #postgres: Postgres | null = null;
  #homes: readonly DaemonHome[] = [];
  #secrets: Readonly<Record<string, string>> = {};

  static async start(): Promise<LoadStage> {
    const stage = new LoadStage();
    try {
      await stage.#start();
      return stage;
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
  }

  get postgres(): Postgres {
    if (this.#postgres === null) throw new Error('PostgreSQL has not started');
    return this.#postgres;
  }

  get homes(): readonly DaemonHome[] {
    return this.#homes;
  }

  get port(): number {
    return this.#homes[0]?.port ?? 0;
  }

  /** Where clients go: the kernel chooses the process. */
  get address(): PostgresAddress {
    return { ...this.postgres.address, port: this.port };
  }

  /** How clients log in. */
  get secure(): { password: string; caFile: string } {
    return { password: PASSWORD, caFile: this.certificates.caFile };
  }

  async #start(): Promise<void> {
    const closing = this.#closing;
    closing.use(this.certificates);
    const { certificates } = this;
    const roles = ROLES.join(',');
    this.#postgres = closing.use(
      await startTlsPostgres(certificates.of('server'), certificates.caPem, [
        `hostssl all ${roles} 127.0.0.1/32 scram-sha-256 clientcert=verify-ca`,
        `hostnossl all ${roles} 127.0.0.1/32 reject`,
      ]),
    );
    const { address } = this.#postgres;
    // The poolers log in by what their clients prove. Few iterations: it is not the passwords that are to be tested.
    const password = scramSecret(PASSWORD, 64);
    for (const name of ROLES) await createRole(address, { name, auth: 'scram', password });
    this.#secrets = Object.fromEntries(ROLES.map((name) => [name, password]));
    await createDatabase(address, DATABASE);
    await this.ask(tpcbTables);
    await this.ask(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${ROLES.join(', ')}`);
    const port = await freePort();
    const homes: DaemonHome[] = [];
    for (let i = 0; i < 2; i++) {
      homes.push(closing.use(await DaemonHome.make({ settings: { listen_port: port } }, address)));
    }
    this.#homes = homes;
    this.configure({});
    for (const home of homes) await home.start();
  }

  /** Writes both configurations anew, with other settings than the usual ones, and further users. */
  configure(changes: Section, users: Readonly<Record<string, string>> = {}): void {
    const { certificates, port } = this;
    const [own, shown] = [certificates.of('own'), certificates.of('pooler')];
    const { host, port: serverPort } = this.postgres.address;
    for (const [index, home] of this.#homes.entries()) {
      home.configure({
        databases: { [DATABASE]: `host=${host} port=${serverPort}` },
        peers: Object.fromEntries(
          this.#homes.map(({ folder }, i) => [i + 1, `host=${folder} port=${port}`] as const),
        ),
        userlist: { ...this.#secrets, ...users },
        settings: {
          listen_port: port,
          so_reuseport: 1,
          peer_id: index + 1,
          pool_mode: 'transaction',
          default_pool_size: 4,
          max_client_conn: 300,
          auth_type: 'scram-sha-256',
          client_tls_sslmode: 'require',
          client_tls_cert_file: shown.certFile,
          client_tls_key_file: shown.keyFile,
          client_tls_ca_file: certificates.caFile,
          server_tls_sslmode: 'verify-full',
          server_tls_ca_file: certificates.caFile,
          server_tls_cert_file: own.certFile,
          server_tls_key_file: own.keyFile,
          // After a restart of PostgreSQL.
          server_login_retry: 0.3,
          log_connections: 0,
          log_disconnections: 0,
          ...changes,
        },
      });
    }
  }

  /** A command on each console; throws unless all are answered by their tag. */
  async command(command: string, homes = this.#homes): Promise<void> {
    await Promise.all(
      homes.map(async (home) => {
        const answer = await this.answer(home, command);
        const tag = command.split(' ', 1)[0] as string;
        if (answer !== tag) throw new Error(`${command} was answered by ${answer}\n${home.log.slice(-2000)}`);
      }),
    );
  }

  answer(home: DaemonHome, command: string): Promise<string> {
    return runAlone(home.socketPath, ADMIN_DATABASE, command);
  }

  /** SHOW … of one process. */
  async show(home: DaemonHome, what: string): Promise<Row[]> {
    return withClient(
      { ...home.address, host: home.folder },
      async (client) => (await client.query<Row>(`SHOW ${what}`)).rows,
      { user: ADMIN_DATABASE, database: ADMIN_DATABASE, password: '' },
    );
  }

  /** What the poolers and PostgreSQL say of themselves, for whoever has to find out why nothing goes on. */
  async state(): Promise<string> {
    const homes = this.#homes.map(async (home) => {
      const shown = await Promise.all(
        ['POOLS', 'SERVERS', 'CLIENTS'].map(async (what) =>
          [what, ...(await this.show(home, what)).map((row) => JSON.stringify(row))].join('\n'),
        ),
      );
      return [...shown, home.log.slice(-3000)].join('\n');
    });
    const sessions = this.ask<object>(
      'SELECT pid, usename, application_name, state, wait_event_type, wait_event, xact_start, query FROM pg_stat_activity',
    ).then((rows) => rows.map((row) => JSON.stringify(row)).join('\n'));
    const parts = await Promise.allSettled([...homes, sessions]);
    return parts.map((part) => (part.status === 'fulfilled' ? part.value : String(part.reason))).join('\n\n');
  }

  /** Asks PostgreSQL itself. */
  async ask<T extends object>(sql: string): Promise<T[]> {
    return withClient(this.postgres.address, async (client) => (await client.query<T>(sql)).rows, {
      database: DATABASE,
    });
  }

  async ledger(): Promise<Ledger> {
    return (await this.ask<Ledger>(ledgerQuery))[0] as Ledger;
  }

  /** Process ids of the sessions that the poolers have in PostgreSQL, ordered. */
  async backends(): Promise<number[]> {
    const names = ROLES.map((name) => `'${name}'`).join(', ');
    const rows = await this.ask<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE usename IN (${names}) ORDER BY pid`,
    );
    return rows.map(({ pid }) => pid);
  }

  /** PostgreSQL shows its newest certificate and trusts whom everybody trusts. */
  async showServerCertificate(): Promise<void> {
    await showCertificate(this.postgres, this.certificates.of('server'), this.certificates.caPem);
  }

  /** The certificates that are shown to a few clients, as DER in hexadecimal, each once. */
  async shownToClients(): Promise<Set<string>> {
    const shown = new Set<string>();
    for (let i = 0; i < 8; i++) {
      const { peer, socket } = await connectEncrypted(this.port);
      shown.add(socket.getPeerX509Certificate()?.raw.toString('hex') ?? '');
      await peer.close();
    }
    return shown;
  }

  /** Lines above LOG that the poolers have written, behind what they had at the last call. */
  complaints(): string[] {
    return this.#homes.flatMap((home, index) => {
      const log = readFileSync(home.logfile, 'utf8');
      const from = this.#read[index] ?? 0;
      this.#read[index] = log.length;
      return log
        .slice(from)
        .split('\n')
        .filter((line) => / (WARNING|ERROR|FATAL) /.test(line));
    });
  }

  readonly #read: number[] = [];

  /** Process ids that are not to be there any more: all that there were but the present ones. */
  async oldEnded(): Promise<void> {
    for (const home of this.#homes) {
      const now = home.pid;
      for (const pid of home.pids) {
        if (pid === now) continue;
        await waitFor(() => !isAlive(pid), { what: `the end of the old process ${pid}`, deadlineMs: 30_000 });
      }
    }
  }

  /** Names in a pooler's folder. */
  files(home: DaemonHome): string[] {
    return readdirSync(home.folder).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#closing.disposeAsync();
  }
}
