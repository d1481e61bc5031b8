import { chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort, type Postgres } from '../../src/cli/start/postgres.ts';
import { postgresRunUser } from '../../src/cli/start/run-user.ts';
import { untilAnswering } from './answering.ts';
import type { Child, Children, RunAs } from './children.ts';
import { benchRole, clusterTarget } from './cluster.ts';
import type { Target } from './load.ts';
import { findVersioned, withVersion, type Program } from './programs.ts';

/** What is compared, by the name that `--systems` takes. */
export const systemNames = ['direct', 'pgbouncer', 'pgweir'] as const;

export type SystemName = (typeof systemNames)[number];

/** A system that answers, ready to be loaded. */
export interface RunningSystem {
  readonly name: SystemName;
  readonly version: string;
  readonly target: Target;
  /** The pooler; `null` for PostgreSQL itself, whose processes are its connections. */
  readonly child: Child | null;
}

/** What takes part, and why the rest does not. */
export interface LineUp {
  readonly systems: RunningSystem[];
  readonly leftOut: { readonly name: SystemName; readonly reason: string }[];
}

export interface SystemSettings {
  readonly poolSize: number;
  readonly maxClients: number;
}

/**
 * The configuration that both poolers get. Connection logging is off: with a connection for each transaction it
 * would be most of the work. No TLS, no unix socket.
 */
function configuration(
  server: Target,
  listenPort: number,
  userlist: string,
  settings: SystemSettings,
): string {
  const { host, port } = server;
  return `[databases]
${benchRole} = host=${host} port=${port} dbname=${benchRole}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listenPort}
unix_socket_dir =
auth_type = trust
auth_file = ${userlist}
pool_mode = transaction
default_pool_size = ${settings.poolSize}
max_client_conn = ${settings.maxClients + 50}
log_connections = 0
log_disconnections = 0
log_stats = 0
`;
}

interface PoolerCommand {
  readonly program: Program;
  /** Arguments before the configuration file. */
  readonly args: readonly string[];
  readonly runAs: RunAs;
  readonly env: Readonly<Record<string, string>>;
}

/** PgBouncer refuses root, as PostgreSQL does. */
function pgbouncerCommand(): PoolerCommand {
  const given = process.env['PGWEIR_BENCH_PGBOUNCER'];
  const program = given === undefined ? findVersioned('pgbouncer') : withVersion(given);
  if (program === null) throw new Error('not in PATH and PGWEIR_BENCH_PGBOUNCER not set');
  return { program, args: [], runAs: postgresRunUser() ?? {}, env: {} };
}

/** This checkout's pooler, from its sources: a build in `dist/` may be older than they are. */
function pgweirCommand(): PoolerCommand {
  const root = path.resolve(import.meta.dirname, '../..');
  const file = process.env['PGWEIR_BENCH_PGWEIR'] ?? path.join(root, 'src/cli/bin.ts');
  if (!existsSync(file)) throw new Error(`there is no ${file}`);
  // Under our own account, root or not: it must read this checkout, which another account may not reach.
  const env = { PGWEIR_ALLOW_ROOT: '1' };
  const script = /\.[jt]s$/.test(file);
  const { version } = withVersion(file, script ? process.execPath : undefined);
  return {
    program: { path: script ? process.execPath : file, version },
    args: script ? [file] : [],
    runAs: {},
    env,
  };
}

/**
 * Starts one system in a folder of its own below `parent` and waits until it answers.
 *
 * Errors: rejects with the reason why it cannot take part.
 */
export async function startSystem(
  children: Children,
  name: SystemName,
  cluster: Postgres,
  parent: string,
  settings: SystemSettings,
): Promise<RunningSystem> {
  const server = clusterTarget(cluster);
  if (name === 'direct') return { name, version: cluster.address.version, target: server, child: null };
  const command = name === 'pgbouncer' ? pgbouncerCommand() : pgweirCommand();
  const folder = path.join(parent, name);
  mkdirSync(folder);
  const { uid, gid } = command.runAs;
  if (uid !== undefined && gid !== undefined) chownSync(folder, uid, gid);
  const userlist = path.join(folder, 'userlist.txt');
  writeFileSync(userlist, `"${benchRole}" ""\n`);
  const port = await freePort();
  const file = path.join(folder, 'pgbouncer.ini');
  writeFileSync(file, configuration(server, port, userlist, settings));
  const child = await children.start(command.program.path, [...command.args, file], {
    runAs: command.runAs,
    env: command.env,
    cwd: folder,
  });
  const target = { ...server, port };
  try {
    await untilAnswering(target, child, 20_000);
  } catch (error) {
    await child.stop('SIGQUIT', 3000);
    throw error;
  }
  return { name, version: command.program.version, target, child };
}
