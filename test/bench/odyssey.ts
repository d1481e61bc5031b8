import path from 'node:path';
import { postgresRunUser } from '../../src/cli/start/run-user.ts';
import type { Pooler, PoolerSetup } from './pooler.ts';
import { findNamed } from './programs.ts';
import { asksPassword } from './workloads.ts';

/**
 * Odyssey's configuration, as near to the others' as it goes: one worker, as they have one event loop; prepared
 * statements followed, for which it wants no DISCARD between transactions.
 */
export function odysseyConfiguration(setup: PoolerSetup): string {
  const { server, door } = setup;
  const tls =
    door === 'tls'
      ? `  tls "require"\n  tls_cert_file "${setup.certFile}"\n  tls_key_file "${setup.keyFile}"\n`
      : '  tls "disable"\n';
  const login = asksPassword(door)
    ? `    authentication "scram-sha-256"\n    password "${setup.secret}"\n`
    : '    authentication "none"\n';
  return `daemonize no
log_to_stdout yes
log_config no
log_debug no
log_session no
log_query no
log_stats no
workers 1
resolvers 1
nodelay yes
client_max ${setup.maxClients + 50}
locks_dir "${setup.folder}"

listen {
  host "127.0.0.1"
  port ${setup.listenPort}
  backlog 1024
${tls}}

storage "postgres" {
  type "remote"
  host "${server.host}"
  port ${server.port}
  tls "disable"
}

database "${server.database}" {
  user "${setup.role}" {
${login}    storage "postgres"
    pool "transaction"
    pool_size ${setup.poolSize}
    pool_timeout 0
    pool_ttl 0
    pool_discard no
    pool_reserve_prepared_statement yes
    pool_cancel yes
    pool_rollback yes
  }
}
`;
}

/** Odyssey: `odyssey FILE`. */
export const odyssey: Pooler = {
  facts:
    'pool "transaction", pool_size as the others; workers 1; pool_reserve_prepared_statement; no pool_discard',
  sharesServers: true,
  find: () => ({
    program: findNamed('odyssey', 'PGWEIR_BENCH_ODYSSEY'),
    args: [],
    runAs: postgresRunUser() ?? {},
    env: {},
  }),
  configure: (setup) => ({
    files: { 'odyssey.conf': odysseyConfiguration(setup) },
    args: [path.join(setup.folder, 'odyssey.conf')],
  }),
};
