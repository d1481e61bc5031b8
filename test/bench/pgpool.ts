import path from 'node:path';
import { postgresRunUser } from '../../src/cli/start/run-user.ts';
import type { Pooler, PoolerSetup } from './pooler.ts';
import { findNamed } from './programs.ts';
import { asksPassword } from './workloads.ts';

/**
 * Pgpool-II's configuration: one PostgreSQL (`raw`), nothing balanced, cached or checked. It has a process for each
 * client, which keeps a server connection of its own: it cannot share 20 among more clients.
 */
export function pgpoolConfiguration(setup: PoolerSetup): string {
  const { server, door, folder } = setup;
  const tls =
    door === 'tls'
      ? [`ssl = on`, `ssl_cert = '${setup.certFile}'`, `ssl_key = '${setup.keyFile}'`]
      : ['ssl = off'];
  // With SCRAM it wants the password itself, to log in to the server by it where that is asked for.
  const login = asksPassword(door)
    ? ['enable_pool_hba = on', "pool_passwd = 'pool_passwd'"]
    : ['enable_pool_hba = off', "pool_passwd = ''"];
  return [
    "backend_clustering_mode = 'raw'",
    "listen_addresses = '127.0.0.1'",
    `port = ${setup.listenPort}`,
    "pcp_listen_addresses = ''",
    // Only the name of a socket: it must not be that of the other one.
    `pcp_port = ${setup.listenPort - 1}`,
    `socket_dir = '${folder}'`,
    `unix_socket_directories = '${folder}'`,
    `pcp_socket_dir = '${folder}'`,
    `wd_ipc_socket_dir = '${folder}'`,
    `logdir = '${folder}'`,
    `pid_file_name = '${folder}/pgpool.pid'`,
    `backend_hostname0 = '${server.host}'`,
    `backend_port0 = ${server.port}`,
    'backend_weight0 = 1',
    "backend_flag0 = 'DISALLOW_TO_FAILOVER'",
    `num_init_children = ${setup.maxClients + 10}`,
    'max_pool = 1',
    'child_life_time = 0',
    'child_max_connections = 0',
    'connection_life_time = 0',
    'client_idle_limit = 0',
    'connection_cache = on',
    'load_balance_mode = off',
    'memory_cache_enabled = off',
    'health_check_period = 0',
    'sr_check_period = 0',
    'use_watchdog = off',
    'log_connections = off',
    ...tls,
    ...login,
    '',
  ].join('\n');
}

/** Pgpool-II: `pgpool -n`, in the foreground. */
export const pgpool: Pooler = {
  facts:
    'clustering mode raw, connection cache, no balancing; a process and a server connection for each client, so ' +
    'the pool size does not bind it',
  sharesServers: false,
  find: () => ({
    program: findNamed('pgpool', 'PGWEIR_BENCH_PGPOOL'),
    args: ['-n'],
    runAs: postgresRunUser() ?? {},
    env: {},
  }),
  configure: (setup) => {
    const file = (name: string) => path.join(setup.folder, name);
    return {
      files: {
        'pgpool.conf': pgpoolConfiguration(setup),
        'pool_hba.conf': 'host all all 127.0.0.1/32 scram-sha-256\n',
        pool_passwd: `${setup.role}:TEXT${setup.password}\n`,
        'pcp.conf': '',
      },
      args: ['-f', file('pgpool.conf'), '-a', file('pool_hba.conf'), '-F', file('pcp.conf')],
    };
  },
};
