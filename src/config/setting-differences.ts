import type { SettingName } from './settings-table.ts';

/**
 * What operators of PgBouncer have to know of a setting: how it differs here, in a sentence that follows its name.
 * docs/differences.md tells more. Settings that behave the same, and ours, are not in it.
 */
const differences: Readonly<Partial<Record<SettingName, string>>> = {
  server_reset_query: 'a server connection on which it fails is closed rather than handed on',
  server_check_query: 'SET takes effect at once',
  stats_period: 'RELOAD changes it',
  max_client_conn: 'administrators on the console and connections that have sent nothing yet are not counted',
  default_pool_size: "a connection that is closed counts until PostgreSQL's process is gone",
  min_pool_size: 'rests while its database is paused',
  reserve_pool_timeout: 'counts from when a client begins to wait',
  max_prepared_statements: 'PREPARE, EXECUTE and DEALLOCATE as SQL work, too; stale plans are repaired',
  disable_pqexec: 'leaves the console usable',
  ignore_startup_parameters: 'what PostgreSQL knows need not be ignored: it follows the client',
  track_extra_parameters: "parameters that PostgreSQL doesn't report follow their clients, too",
  cancel_wait_timeout: 'a server whose cancel may still be under way then is closed',
  server_login_retry: '0 means at the next sweep',
  client_login_timeout:
    "where a login waits for a server, the error's DETAIL says what the server connections were doing",
  query_wait_timeout: "the error's DETAIL says what the server connections were doing",
  server_lifetime: '0 for one database inherits, as there',
  autodb_idle_timeout: 'does not forget a disabled database',
  auth_query:
    'runs on connections of its own, the default one with schemas named, and its answers serve for auth_query_cache_time',
  auth_hba_file: 'a line that makes no sense refuses the file',
  auth_ident_file: 'a line that makes no sense refuses the file',
  max_user_client_connections: 'counts clients that have proved who they are',
  scram_iterations: 'at most 1,000,000; a change is for everybody at once',
  job_name: 'of Windows services, which there are none of',
  resolv_conf: "look-ups go by the system's own resolver",
  dns_zone_check_period: 'needs a resolver of its own',
  client_tls_sslmode: 'without client_tls_ca_file, allow, prefer and require ask clients for no certificate',
  server_tls_ca_file: "where it is empty, the system's authorities are read once",
  pkt_buf: 'buffers have the size that is needed',
  sbuf_loopcnt: 'connections take turns by the event loop',
};

/** Null: it behaves the same. */
export function settingDifference(name: string): string | null {
  return (differences as Readonly<Record<string, string | undefined>>)[name] ?? null;
}
