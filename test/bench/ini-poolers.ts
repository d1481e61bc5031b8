import { existsSync } from 'node:fs';
import path from 'node:path';
import { postgresRunUser } from '../../src/cli/start/run-user.ts';
import type { Pooler, PoolerCommand, PoolerSetup } from './pooler.ts';
import { findNamed, withVersion } from './programs.ts';
import { asksPassword } from './workloads.ts';

/**
 * The configuration that PgBouncer and pgweir get, the same for both. Connection logging is off: with a connection
 * for each transaction it would be most of the work. No unix socket, no TLS to the server.
 */
export function iniOf(setup: PoolerSetup): string {
  const { server, door, folder } = setup;
  const tls =
    door === 'tls'
      ? [
          'client_tls_sslmode = require',
          `client_tls_cert_file = ${setup.certFile}`,
          `client_tls_key_file = ${setup.keyFile}`,
        ]
      : ['client_tls_sslmode = disable'];
  return [
    '[databases]',
    `${server.database} = host=${server.host} port=${server.port} dbname=${server.database}`,
    '',
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${setup.listenPort}`,
    'unix_socket_dir =',
    `auth_type = ${asksPassword(door) ? 'scram-sha-256' : 'trust'}`,
    `auth_file = ${path.join(folder, 'userlist.txt')}`,
    ...tls,
    'server_tls_sslmode = disable',
    'pool_mode = transaction',
    `default_pool_size = ${setup.poolSize}`,
    `max_client_conn = ${setup.maxClients + 50}`,
    'log_connections = 0',
    'log_disconnections = 0',
    'log_stats = 0',
    '',
  ].join('\n');
}

function iniFiles(setup: PoolerSetup, more = '') {
  const secret = asksPassword(setup.door) ? setup.secret : '';
  return {
    files: { 'pgbouncer.ini': iniOf(setup) + more, 'userlist.txt': `"${setup.role}" "${secret}"\n` },
    args: [path.join(setup.folder, 'pgbouncer.ini')],
  };
}

const facts =
  'transaction mode; auth_type trust, or scram-sha-256 with the SCRAM secret in auth_file; the same ini for both';

/** PgBouncer refuses root, as PostgreSQL does. */
export const pgbouncer: Pooler = {
  facts,
  sharesServers: true,
  find: () => ({
    program: findNamed('pgbouncer', 'PGWEIR_BENCH_PGBOUNCER'),
    args: [],
    runAs: postgresRunUser() ?? {},
    env: {},
  }),
  configure: (setup) => iniFiles(setup),
};

/** Its program or script: named by the first of these variables that is set; else this checkout's. */
function pgweirFile(variables: readonly string[]): string {
  const given = variables
    .map((name) => process.env[name])
    .find((value) => value !== undefined && value !== '');
  // From its sources: a build in `dist/` may be older than they are.
  return path.resolve(given ?? path.join(import.meta.dirname, '../../src/cli/bin.ts'));
}

/** The folder of pgweir's program. */
export function pgweirFolder(): string {
  return path.dirname(pgweirFile(['PGWEIR_BENCH_PGWEIR']));
}

function findPgweir(variables: readonly string[]): PoolerCommand {
  const file = pgweirFile(variables);
  if (!existsSync(file)) throw new Error(`there is no ${file}`);
  const script = /\.[jt]s$/.test(file);
  const { version } = withVersion(file, script ? process.execPath : undefined);
  // Ahead of its own version it names the PgBouncer whose place it takes.
  const own = /\((pgweir [^)]+)\)/.exec(version)?.[1] ?? version;
  return {
    program: { path: script ? process.execPath : file, version: own },
    args: script ? [file] : [],
    // Under our own account, root or not: it must read this checkout, which another account may not reach.
    runAs: {},
    env: { PGWEIR_ALLOW_ROOT: '1' },
  };
}

/** This checkout's pooler, or that of `PGWEIR_BENCH_PGWEIR`. */
export const pgweir: Pooler = {
  facts,
  sharesServers: true,
  find: () => findPgweir(['PGWEIR_BENCH_PGWEIR']),
  configure: (setup) => iniFiles(setup),
};

/** pgweir once more, on two cores. */
export const workers: Pooler = {
  facts: 'as pgweir, and workers = 2',
  sharesServers: true,
  find: () => findPgweir(['PGWEIR_BENCH_PGWEIR']),
  configure: (setup) => iniFiles(setup, ';pgweir workers = 2\n'),
};

/**
 * pgweir once more, to compare it with itself: that of `PGWEIR_BENCH_VARIANT` if that is set, with `settings` in its own
 * section, whose lines PgBouncer takes for comments.
 */
export function variant(settings: readonly string[]): Pooler {
  const lines = settings.map((line) => `;pgweir ${line}\n`).join('');
  return {
    facts: `as pgweir${settings.length === 0 ? ', but another program' : `, and ${settings.join(', ')}`}`,
    sharesServers: true,
    find: () => findPgweir(['PGWEIR_BENCH_VARIANT', 'PGWEIR_BENCH_PGWEIR']),
    configure: (setup) => iniFiles(setup, lines),
  };
}
