import { existsSync } from 'node:fs';
import type pg from 'pg';
import { ADMIN_DATABASE } from '../../src/admin/access.ts';
import type { StopMode } from '../../src/cli/start/postgres.ts';
import { connectConsole, runOn } from './console.ts';
import type { RunningLoad } from './load-running.ts';
import { DATABASE, ROLES, type LoadStage } from './load-stage.ts';
import type { Section } from './pooler-config.ts';
import { isAlive } from './processes.ts';
import { connectTo } from './postgres.ts';
import type { Random } from './random.ts';
import { secureConfig } from './tpcb.ts';
import { waitFor } from './wait-for.ts';

/** Settings that RELOAD changes, each with values of which none makes anybody fail. */
const CHANGES: Readonly<Record<string, readonly (number | string)[]>> = {
  default_pool_size: [2, 3, 5, 8],
  min_pool_size: [0, 2],
  reserve_pool_size: [0, 1],
  reserve_pool_timeout: [0.1, 5],
  max_db_connections: [0, 6],
  server_round_robin: [0, 1],
  server_lifetime: [0.5, 3600],
  server_idle_timeout: [0.5, 600],
  server_check_delay: [0, 30],
  server_reset_query_always: [0, 1],
  max_prepared_statements: [2, 200],
  query_wait_notify: [0, 5],
  client_tls_protocols: ['secure', 'tlsv1.3'],
  server_tls_protocols: ['secure', 'tlsv1.2'],
  client_tls_ciphers: ['default', 'HIGH'],
};

async function transactionOf(client: pg.Client): Promise<string> {
  return (await client.query<{ id: string }>('SELECT pg_current_xact_id()::text AS id')).rows[0]?.id ?? '';
}

/** What an operator does to the processes of a {@link LoadStage} while a load runs; each waits until it is done. */
export class Operations {
  readonly #stage: LoadStage;
  readonly #load: RunningLoad;
  readonly #random: Random;
  /** Settings that are other than the stage's. */
  #changes: Section = {};
  #users: Readonly<Record<string, string>> = {};
  #reloads = 0;
  /** What has been done, with what it was drawn to be. */
  readonly journal: string[] = [];

  constructor(stage: LoadStage, load: RunningLoad, random: Random) {
    this.#stage = stage;
    this.#load = load;
    this.#random = random;
  }

  /** RELOAD of both, by the console or by the signal, with a few settings changed, a user added or taken away. */
  async reload(): Promise<void> {
    const random = this.#random;
    const changes: Record<string, number | string> = {};
    for (let i = 0; i < 3; i++) {
      const name = random.pick(Object.keys(CHANGES));
      changes[name] = random.pick(CHANGES[name] ?? []);
    }
    this.#changes = changes;
    this.#users = random.below(2) === 0 ? {} : { late: 'only now' };
    await this.#reloaded();
  }

  /** RELOAD of a file that is wrong: it is refused, and the old one stays. */
  async reloadInVain(): Promise<void> {
    const stage = this.#stage;
    stage.configure({ default_pool_size: 1, pool_mode: 'none' });
    for (const home of stage.homes) {
      const answer = await stage.answer(home, 'RELOAD');
      if (!answer.startsWith('ERROR')) throw new Error(`RELOAD was answered by ${answer}`);
    }
    stage.configure(this.#changes, this.#users);
    await this.#load.turn();
  }

  /** Back to the stage's settings. */
  async settle(): Promise<void> {
    this.#changes = {};
    this.#users = {};
    await this.#reloaded();
  }

  async #reloaded(): Promise<void> {
    const stage = this.#stage;
    // By this one is known which file is in force.
    const mark = 60 + (++this.#reloads % 1000);
    this.journal.push(`RELOAD with ${JSON.stringify(this.#changes)}`);
    stage.configure({ ...this.#changes, client_login_timeout: mark }, this.#users);
    if (this.#random.below(2) === 0) await stage.command('RELOAD');
    else for (const home of stage.homes) home.signal('SIGHUP');
    for (const home of stage.homes) {
      await waitFor(
        async () =>
          (await stage.show(home, 'CONFIG')).some(
            ({ key, value }) => key === 'client_login_timeout' && value === String(mark),
          ),
        { what: `a RELOAD with ${JSON.stringify(this.#changes)}` },
      );
    }
    await this.#load.turn();
  }

  /** Another certificate for everybody who shows one. */
  async renewCertificates(): Promise<void> {
    const { certificates } = this.#stage;
    certificates.renew('own');
    certificates.renew('pooler');
    await this.#reloaded();
    const shown = await this.#stage.shownToClients();
    const newest = certificates.of('pooler').der.toString('hex');
    if (shown.size !== 1 || !shown.has(newest)) throw new Error('an old certificate is still shown');
    certificates.renew('server');
    await this.#stage.showServerCertificate();
    await this.#load.turn();
  }

  /** Another authority: first everybody trusts it, too, then it signs, then the old one is trusted no more. */
  async changeAuthority(): Promise<void> {
    const { certificates } = this.#stage;
    certificates.addAuthority();
    await this.#stage.showServerCertificate();
    await this.#reloaded();
    await this.renewCertificates();
    certificates.forgetAuthorities();
    await this.#stage.showServerCertificate();
    await this.#reloaded();
  }

  /** PAUSE of both, of all or of the one database, by command or signal; `work` is done when nobody is connected. */
  async pause(work: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    const stage = this.#stage;
    // Those whose place has been taken are paused by nobody.
    await stage.oldEnded();
    const way = this.#random.pick(['all', 'database', 'signal']);
    this.journal.push(`PAUSE (${way})`);
    if (way === 'signal') for (const home of stage.homes) home.signal('SIGUSR1');
    else await stage.command(way === 'all' ? 'PAUSE' : `PAUSE ${DATABASE}`);
    const none = async () => (await stage.backends()).length === 0;
    if (way === 'signal') await waitFor(none, { what: 'PAUSE to be complete', deadlineMs: 30_000 });
    else if (!(await none())) throw new Error('PAUSE has been answered, and somebody is still connected');
    await waitFor(async () => (await this.#waiting()) > 0, { what: 'clients to wait' });
    await work();
    if (way === 'signal') for (const home of stage.homes) home.signal('SIGUSR2');
    else await stage.command(way === 'all' ? 'RESUME' : `RESUME ${DATABASE}`);
    await this.#load.turn();
  }

  /** What a PAUSE is for: PostgreSQL is stopped and started, and clients wait. */
  async restartServerInPause(): Promise<void> {
    await this.pause(() => this.#stage.postgres.restart('fast'));
  }

  async #waiting(): Promise<number> {
    let waiting = 0;
    for (const home of this.#stage.homes) {
      for (const row of await this.#stage.show(home, 'POOLS')) waiting += Number(row['cl_waiting']);
    }
    return waiting;
  }

  async suspend(): Promise<void> {
    this.journal.push('SUSPEND');
    const { homes } = this.#stage;
    const consoles = await Promise.all(
      homes.map(({ socketPath }) => connectConsole(socketPath, ADMIN_DATABASE)),
    );
    for (const command of ['SUSPEND', 'RESUME']) {
      for (const answer of await Promise.all(consoles.map((each) => runOn(each, command)))) {
        if (answer !== command) throw new Error(`${command} was answered by ${answer}`);
      }
    }
    for (const each of consoles) await each.close();
    await this.#load.turn();
  }

  /** RECONNECT of both: every server connection that there was is replaced. */
  async reconnect(): Promise<void> {
    const stage = this.#stage;
    await stage.oldEnded();
    this.journal.push('RECONNECT');
    const before = new Set(await stage.backends());
    await stage.command(this.#random.below(2) === 0 ? 'RECONNECT' : `RECONNECT ${DATABASE}`);
    await stage.command('WAIT_CLOSE');
    await waitFor(async () => !(await stage.backends()).some((pid) => before.has(pid)), {
      what: 'the end of all connections from before RECONNECT',
    });
    await this.#load.turn();
  }

  /** One of the two ends when its clients have left, and another one is started in its place. */
  async restart(): Promise<void> {
    const home = this.#random.pick(this.#stage.homes);
    const pid = home.pid as number;
    this.journal.push(`restart of ${pid}`);
    if (this.#random.below(2) === 0) home.signal('SIGTERM');
    else await this.#stage.command('SHUTDOWN WAIT_FOR_CLIENTS', [home]);
    await waitFor(() => !isAlive(pid), {
      what: 'the end of a process that waits for clients',
      deadlineMs: 60_000,
    });
    if (existsSync(home.pidfile) || existsSync(home.socketPath)) throw new Error('it has left files behind');
    await home.start();
    await this.#load.turn();
  }

  /** Another one takes the place of one of the two, which goes on until its clients have left. */
  async handOver(): Promise<void> {
    const [before, after] = await this.#random.pick(this.#stage.homes).takeOver();
    this.journal.push(`${after} took over from ${before}`);
    await this.#load.turn();
  }

  /** A client whose transaction stays open, whatever becomes of its process; see {@link letGo}. */
  async hold(): Promise<void> {
    const stage = this.#stage;
    const client = await connectTo(stage.address, {
      ...secureConfig(stage.secure),
      user: ROLES[1],
      database: DATABASE,
    });
    const name = `held ${this.#held.length}`;
    await client.query('BEGIN');
    await client.query(`SET LOCAL application_name = '${name}'`);
    this.#held.push({ client, name, id: await transactionOf(client) });
  }

  /** Those that were held commit and leave; throws when one isn't in the transaction that it began. */
  async letGo(): Promise<void> {
    for (const { client, name, id } of this.#held.splice(0)) {
      const { rows } = await client.query<{ application_name: string }>('SHOW application_name');
      if (rows[0]?.application_name !== name || (await transactionOf(client)) !== id) {
        throw new Error(`the transaction of ${name} is another one`);
      }
      await client.query('COMMIT');
      await client.end();
    }
  }

  readonly #held: { readonly client: pg.Client; readonly name: string; readonly id: string }[] = [];

  /** One of those that no client notices. */
  anySilent(): Promise<void> {
    switch (this.#random.below(8)) {
      case 0:
        return this.reload();
      case 1:
        return this.renewCertificates();
      case 2:
        return this.pause();
      case 3:
        return this.suspend();
      case 4:
        return this.reconnect();
      case 5:
        return this.restartServerInPause();
      case 6:
        return this.restart();
      default:
        return this.handOver();
    }
  }

  async disable(): Promise<void> {
    const stage = this.#stage;
    await stage.command(`DISABLE ${DATABASE}`);
    await this.#load.turn();
    await stage.command(`ENABLE ${DATABASE}`);
    await this.#load.recovered();
  }

  /** Some clients of each are ended. */
  async killClients(): Promise<void> {
    const stage = this.#stage;
    for (const home of stage.homes) {
      const clients = (await stage.show(home, 'CLIENTS')).filter(({ database }) => database === DATABASE);
      for (const { id } of clients.slice(0, 3)) {
        const answer = await stage.answer(home, `KILL_CLIENT ${id}`);
        // It may have left by itself.
        if (answer !== 'KILL_CLIENT' && !/not found/.test(answer)) throw new Error(answer);
      }
    }
    await this.#load.recovered();
  }

  /** The database is killed on both, which pauses it, and resumed. */
  async kill(): Promise<void> {
    await this.#stage.command(`KILL ${DATABASE}`);
    await this.#stage.command(`RESUME ${DATABASE}`);
    await this.#load.recovered();
  }

  async restartServer(mode: StopMode): Promise<void> {
    await this.#stage.postgres.restart(mode);
    await this.#load.recovered();
  }

  /** PostgreSQL ends all sessions of the poolers. */
  async terminateBackends(): Promise<void> {
    const pids = await this.#stage.backends();
    await this.#stage.ask(
      `SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[${pids.join(',')}]::int[]) AS pid`,
    );
    await this.#load.recovered();
  }
}
