import { chownSync, mkdtempSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, type Postgres } from '../../src/cli/start/postgres.ts';
import type { Certificate } from '../support/certificates.ts';
import { scramSecret } from '../support/scram-secret.ts';
import { untilAnswering } from './answering.ts';
import type { Child, Children } from './children.ts';
import { benchPassword, clusterTarget, makeRole, refusals } from './cluster.ts';
import { pgbouncer, pgweir, variant, workers } from './ini-poolers.ts';
import type { Target } from './load.ts';
import { odyssey } from './odyssey.ts';
import { allowOpenFiles } from './open-files.ts';
import { pgpool } from './pgpool.ts';
import type { Pooler, PoolerCommand } from './pooler.ts';
import { relay } from './relay.ts';
import { asksPassword, type Door, scramIterations } from './workloads.ts';

/**
 * What is compared, by the name that `--systems` takes, in the order of the report. `variant` is pgweir with other
 * settings or another program, `workers` with two event loops, `direct` is PostgreSQL itself, `relay` a floor for what
 * Node's streams cost.
 */
export const systemNames = [
  'pgbouncer',
  'pgweir',
  'workers',
  'variant',
  'odyssey',
  'pgpool',
  'direct',
  'relay',
] as const;

export type SystemName = (typeof systemNames)[number];

/** How they call themselves. */
export const systemTitles: Readonly<Record<SystemName, string>> = {
  pgbouncer: 'PgBouncer',
  pgweir: 'pgweir',
  workers: 'pgweir, 2 workers',
  variant: 'pgweir, variant',
  odyssey: 'Odyssey',
  pgpool: 'Pgpool-II',
  direct: 'PostgreSQL directly',
  relay: 'bare relay on streams',
};

/** Beside clients: server connections, listeners, files of its own and of what is loaded. */
const spareFiles = 250;

const startDeadlineMs = 20_000;

/** A system that answers at one of its doors, ready to be loaded. */
export interface RunningSystem {
  readonly name: SystemName;
  readonly target: Target;
  /** The pooler; `null` for PostgreSQL itself, whose processes are its connections. */
  readonly child: Child | null;
}

/** A system that takes part. */
export interface Entrant {
  readonly name: SystemName;
  readonly version: string;
  readonly facts: string;
}

/** One that does not, and why. */
export interface Absentee {
  readonly name: SystemName;
  readonly reason: string;
}

/** What all poolers get. */
export interface SystemSettings {
  readonly poolSize: number;
  /** Of the variant. */
  readonly variantSettings: readonly string[];
  /** Clients at a time, by door. */
  readonly maxClients: Readonly<Record<Door, number>>;
}

interface Role {
  readonly name: string;
  readonly secret: string;
}

/**
 * The systems of one benchmark. A pooler has a process for each door, started when it is first asked for; each has
 * a role of its own on PostgreSQL, which may have as many connections as the pool, so that a pooler which
 * opens more is refused, and the log tells.
 */
export class Systems {
  readonly entrants: Entrant[] = [];
  readonly absentees: Absentee[] = [];
  /** Configuration of the pooler behind each door that was opened, without our folder's name. */
  readonly configurations: Record<string, string> = {};
  readonly #commands = new Map<SystemName, { pooler: Pooler; command: PoolerCommand }>();
  readonly #open = new Map<string, Promise<RunningSystem>>();
  /** Roles made so far, by system and door. */
  readonly #roles = new Map<string, number>();
  readonly #limited = new Set<{ readonly system: SystemName; readonly role: string }>();
  readonly #children: Children;
  readonly #cluster: Postgres;
  readonly #parent: string;
  readonly #certificate: Certificate;
  readonly #settings: SystemSettings;

  constructor(
    children: Children,
    cluster: Postgres,
    parent: string,
    certificate: Certificate,
    settings: SystemSettings,
  ) {
    this.#children = children;
    this.#cluster = cluster;
    this.#parent = parent;
    this.#certificate = certificate;
    this.#settings = settings;
  }

  /** Looks for the programs of `names`; what isn't there is among the absentees from then on. */
  find(names: readonly SystemName[]): void {
    const { variantSettings } = this.#settings;
    const poolers = { pgbouncer, pgweir, workers, variant: variant(variantSettings), odyssey, pgpool, relay };
    for (const name of names) {
      if (name === 'direct') {
        const facts = 'a server process for each client';
        this.entrants.push({ name, version: this.#cluster.address.version, facts });
        continue;
      }
      const pooler = poolers[name];
      try {
        const command = pooler.find();
        this.#commands.set(name, { pooler, command });
        this.entrants.push({ name, version: command.program.version, facts: pooler.facts });
      } catch (error) {
        this.absentees.push({ name, reason: error instanceof Error ? error.message : String(error) });
      }
    }
  }

  /** The system at its door, which stays open for the next load. Errors: rejects with the reason why it isn't. */
  open(name: SystemName, door: Door): Promise<RunningSystem> {
    const key = `${name} ${door}`;
    const opened = this.#open.get(key) ?? this.openAnother(name, door, this.#settings.maxClients[door]);
    this.#open.set(key, opened);
    // Who asks next is told again; nobody has to have asked by then.
    opened.catch(() => {});
    return opened;
  }

  /** Another process of its own, for so many clients; the caller stops it. Errors: as {@link open}. */
  async openAnother(name: SystemName, door: Door, clients: number): Promise<RunningSystem> {
    const found = this.#commands.get(name);
    const role = await this.#role(name, door, found?.pooler.sharesServers === true);
    const server = clusterTarget(this.#cluster);
    const target = {
      ...server,
      user: role.name,
      password: asksPassword(door) ? benchPassword : '',
      tls: door === 'tls',
    };
    if (found === undefined) {
      await untilAnswering(target, null, startDeadlineMs);
      return { name, target, child: null };
    }
    allowOpenFiles(clients + spareFiles);
    const { pooler, command } = found;
    const { uid, gid } = command.runAs;
    const folder = mkdtempSync(path.join(this.#parent, `${name}-${door}-`));
    const own = (file: string): void => {
      if (uid !== undefined && gid !== undefined) chownSync(file, uid, gid);
    };
    own(folder);
    const port = await freePort();
    const { files, args } = pooler.configure({
      server,
      listenPort: port,
      door,
      role: role.name,
      secret: role.secret,
      password: benchPassword,
      poolSize: this.#settings.poolSize,
      maxClients: clients,
      certFile: path.join(folder, 'server.crt'),
      keyFile: path.join(folder, 'server.key'),
      folder,
    });
    const { certPem, keyPem } = this.#certificate;
    for (const [file, text] of Object.entries({ ...files, 'server.crt': certPem, 'server.key': keyPem })) {
      writeFileSync(path.join(folder, file), text, { mode: 0o600 });
      own(path.join(folder, file));
    }
    const [configuration = ''] = Object.values(files);
    this.configurations[`${name} ${door}`] ??= configuration
      .replaceAll(`${folder}/`, '')
      .replaceAll(folder, '.');
    const child = await this.#children.start(command.program.path, [...command.args, ...args], {
      runAs: command.runAs,
      env: command.env,
      cwd: folder,
    });
    try {
      await untilAnswering({ ...target, port }, child, startDeadlineMs);
    } catch (error) {
      await child.stop('SIGQUIT', 3000);
      throw error;
    }
    return { name, target: { ...target, port }, child };
  }

  /** By system: how often PostgreSQL refused one of its roles for having more connections than the pool. */
  refusals(): Partial<Record<SystemName, number>> {
    const log = this.#cluster.log();
    const found: Partial<Record<SystemName, number>> = {};
    for (const { system, role } of this.#limited) found[system] = (found[system] ?? 0) + refusals(log, role);
    return found;
  }

  /** A role for one process: another one may still be closing its connections. */
  async #role(system: SystemName, door: Door, isLimited: boolean): Promise<Role> {
    const key = `${system}_${door}`;
    const number = (this.#roles.get(key) ?? 0) + 1;
    this.#roles.set(key, number);
    const name = number === 1 ? key : `${key}_${number}`;
    if (isLimited) this.#limited.add({ system, role: name });
    const secret = scramSecret(benchPassword, scramIterations(door));
    await makeRole(this.#cluster, name, secret, isLimited ? this.#settings.poolSize : -1);
    return { name, secret };
  }
}
