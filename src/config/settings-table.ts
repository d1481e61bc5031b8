/**
 * Every setting there is, once. Parsing, `SHOW CONFIG`, the checks at load and README's table all come from
 * here. Source: PgBouncer's settings of the same names; the rows of {@link ownSettingsTable} are pgweir's.
 *
 * `later` marks settings without effect so far (see `inert` in `setting-rows.ts`), `restart` those that RELOAD
 * leaves alone.
 */
import { bool, int, items, names, oneOf, type SettingRow, text, time } from './setting-rows.ts';

const listening = {
  logfile: text('', 'File that log lines are appended to; reopened on RELOAD. Empty: none.'),
  pidfile: text('', 'File that holds the process id while the pooler runs.', { restart: true }),
  listen_addr: items('', 'TCP addresses to listen on, separated by commas; * means all. Empty: no TCP.', {
    restart: true,
  }),
  listen_port: int('6432', 'TCP port, also part of the unix socket file name.', {
    restart: true,
    max: 65535,
  }),
  unix_socket_dir: text('/tmp', 'Folder of the unix socket; a leading @ means the abstract namespace.', {
    restart: true,
  }),
  unix_socket_mode: int('0777', 'File mode of the unix socket.', { restart: true, max: 0o7777 }),
  unix_socket_group: text('', 'Group name or id that owns the unix socket.', { restart: true }),
  user: text(null, 'System user to switch to at start; -u wins.', { restart: true }),
  peer_id: int('0', 'Identity of this process among its peers; 0 turns peering off.', { max: 65535 }),
  listen_backlog: int('128', 'Length of the queue of TCP connections not accepted yet.', { restart: true }),
  so_reuseport: bool('0', 'Let several processes listen on the same TCP port.', { restart: true }),
  conffile: text(
    null,
    'Configuration file that the next RELOAD reads; the one of the command line by default.',
  ),
  job_name: text('pgbouncer', 'Name as a Windows service.', { restart: true, later: 'pgbouncer' }),
  disable_pqexec: bool('0', 'Refuse simple queries from clients.', { restart: true }),
  application_name_add_host: bool('0', "Append the client's address to its application_name at login."),
  login_notify_message: text('', 'Notice sent to every client at login. Empty: none.'),
} as const;

const pooling = {
  pool_mode: oneOf(
    ['session', 'transaction', 'statement'],
    'session',
    'Server goes back to the pool after each session, transaction or statement.',
  ),
  max_client_conn: int('100', 'Client connections allowed in all.'),
  default_pool_size: int('20', 'Server connections per pool, that is per database and user; 0: no limit.'),
  min_pool_size: int('0', 'Server connections that a pool in use is kept filled up to.'),
  reserve_pool_size: int('0', 'Extra server connections for a pool whose clients wait too long.'),
  reserve_pool_timeout: time('5', 'Wait after which a client may use the reserve; 0: never.'),
  max_db_connections: int('0', 'Server connections per database; 0: no limit.'),
  max_db_client_connections: int('0', 'Client connections per database; 0: no limit.'),
  max_user_connections: int('0', 'Server connections per user; 0: no limit.'),
  max_user_client_connections: int('0', 'Client connections per user; 0: no limit.'),
  server_round_robin: bool('0', 'Reuse the server idle for longest first; otherwise the one used last.'),
  max_prepared_statements: int('200', 'Prepared statements tracked per server outside session mode; 0: off.'),
  autodb_idle_timeout: time('3600', 'Time after which an unused database made from * is forgotten.'),
  pool_idle_timeout: time('0', 'Time after which a pool without connections is forgotten; 0: never.'),
} as const;

/** `auth_query` where nobody has said another. Source: PgBouncer `auth_query`. */
export const DEFAULT_AUTH_QUERY =
  'SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END' +
  ' FROM pg_authid WHERE rolname=$1 AND rolcanlogin';

const authentication = {
  auth_type: oneOf(
    ['any', 'trust', 'plain', 'md5', 'scram-sha-256', 'cert', 'hba', 'ldap'],
    'md5',
    'How clients prove who they are: any, trust, plain, md5, scram-sha-256, cert, hba, ldap.',
  ),
  auth_file: text(null, 'File of users and their secrets.'),
  auth_hba_file: text('', 'Host-based rules, for auth_type hba.'),
  auth_ident_file: text(null, 'User name maps for auth_hba_file.'),
  auth_user: text(null, 'User that looks up users who are not in auth_file.'),
  auth_query: text(DEFAULT_AUTH_QUERY, 'Query that auth_user runs for the secret of a user.'),
  auth_dbname: text(null, "Database that auth_query runs on; by default the client's."),
  auth_ldap_options: text(null, 'Options for auth_type ldap.'),
  // Above this the derivation is refused: every login with a plaintext secret would fail.
  scram_iterations: int('4096', 'Iterations of SCRAM secrets made from plaintext.', {
    min: 1,
    max: 1_000_000,
  }),
  admin_users: names('', 'Users who may run every console command.'),
  stats_users: names('', 'Users who may run SHOW on the console.'),
} as const;

const logging = {
  syslog: bool('0', 'Log to syslog, too; DEBUG lines stay away from it.'),
  syslog_ident: text('pgbouncer', "Name in syslog and in systemd's journal."),
  syslog_facility: text(
    'daemon',
    'Facility in syslog: auth, authpriv, daemon, user, local0 to local7. Any other means daemon.',
  ),
  log_connections: bool('1', 'Log each login attempt.'),
  log_disconnections: bool('1', 'Log each closed connection and why.'),
  log_pooler_errors: bool('1', 'Log each error that the pooler sends to a client.'),
  log_stats: bool('1', 'Log a line of statistics every stats_period.'),
  stats_period: int('60', 'Seconds between statistics, over which averages are made.', { min: 1 }),
  verbose: int(null, 'How much more than usual to log: 0, 1 or 2.'),
} as const;

const servers = {
  server_reset_query: text(
    'DISCARD ALL',
    'Query after a client leaves a server in session mode. Empty: none.',
  ),
  server_reset_query_always: bool('0', 'Run server_reset_query in the other modes too.'),
  server_check_delay: time('30', 'Idle time after which a server is checked before reuse; 0: always.'),
  server_check_query: text('<empty>', 'Query of that check; <empty> sends an empty one. Empty: no check.'),
  server_fast_close: bool(
    '0',
    'Cut obsolete servers out of a transaction in session mode instead of waiting.',
  ),
  server_lifetime: time('3600', 'Age at which a server is closed once it is free; 0: after one use.'),
  server_idle_timeout: time('600', 'Idle time after which a server is closed; 0: never.'),
  server_connect_timeout: time(
    '15',
    'Time that connecting and logging in to a server may take; 0: no limit.',
  ),
  server_login_retry: time('15', 'Time before the next attempt after a failed connect or login.'),
} as const;

const timeouts = {
  client_login_timeout: time('60', 'Time that a login may take; 0: no limit.'),
  client_idle_timeout: time('0', 'Time that a client without a server may be idle; 0: no limit.'),
  query_wait_timeout: time('120', 'Time that a query may wait for a server; 0: no limit.'),
  query_wait_notify: int('5', 'Seconds of waiting after which the client gets a notice; 0: none.'),
  cancel_wait_timeout: time('10', 'Time that a cancel request may wait for a connection; 0: no limit.'),
  query_timeout: time('0', 'Time that a query may run; 0: no limit.'),
  idle_transaction_timeout: time('0', 'Time that a client may be idle in a transaction; 0: no limit.'),
  transaction_timeout: time('0', 'Time that a transaction may take; 0: no limit.'),
  suspend_timeout: time('10', 'Time that SUSPEND waits for a connection to be flushed; 0: no limit.'),
} as const;

const tlsModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

const tls = {
  client_tls_sslmode: oneOf(
    tlsModes,
    'disable',
    'TLS for clients: disable, allow or prefer (optional), require, or verify-full: with a certificate.',
  ),
  client_tls_key_file: text('', 'Private key shown to clients.'),
  client_tls_cert_file: text('', 'Certificate shown to clients.'),
  client_tls_ca_file: text('', 'Certificates that sign those of clients, who are then asked for one.'),
  client_tls_protocols: text('secure', 'TLS versions allowed towards clients.'),
  client_tls_ciphers: text('default', 'Ciphers up to TLS 1.2 towards clients.'),
  client_tls13_ciphers: text(null, 'Cipher suites of TLS 1.3 towards clients.'),
  client_tls_dheparams: text('auto', 'Parameters of the DHE key exchange: auto or none.'),
  client_tls_ecdhcurve: text('auto', 'Curve of the ECDH key exchange: auto, or names as OpenSSL has them.'),
  server_tls_sslmode: oneOf(
    tlsModes,
    'prefer',
    'TLS for servers: disable, allow or prefer (where they have it), require, verify-ca, verify-full.',
  ),
  server_tls_ca_file: text('', 'Certificates that sign those of servers. Empty: those of the system.'),
  server_tls_key_file: text('', 'Private key shown to servers.'),
  server_tls_cert_file: text('', 'Certificate shown to servers.'),
  server_tls_protocols: text('secure', 'TLS versions allowed towards servers.'),
  server_tls_ciphers: text('default', 'Ciphers up to TLS 1.2 towards servers.'),
  server_tls13_ciphers: text(null, 'Cipher suites of TLS 1.3 towards servers.'),
} as const;

// Linux refuses greater ones.
const MAX_KEEP_SEC = 32_767;
const MAX_KEEP_COUNT = 127;

const network = {
  dns_max_ttl: time('15', 'Time that a looked-up address is kept.'),
  dns_nxdomain_ttl: time('15', 'Time that a failed look-up is kept.'),
  dns_zone_check_period: time('0', 'Time between checks of zone serials; 0: none.', { later: '0' }),
  resolv_conf: text('', 'Another resolv.conf.', { restart: true, later: '' }),
  pkt_buf: int('4096', 'Buffer size in bytes.', { restart: true, later: '4096' }),
  max_packet_size: int('2147483647', 'Largest message allowed, in bytes.', { max: 2 ** 32 - 1 }),
  sbuf_loopcnt: int('5', 'Buffer fills per connection before the next one has its turn.', { later: '5' }),
  tcp_defer_accept: int('1', 'Wake up for a new connection only when it has sent something; not 0: yes.'),
  tcp_socket_buffer: int(
    '0',
    "Bytes of the kernel's buffers of a new connection, each way; 0: as the system has it.",
  ),
  tcp_keepalive: bool('1', 'Have the kernel probe new connections when they are idle.'),
  tcp_keepidle: int('0', 'Seconds of silence before the first probe; 0: as the system has it.', {
    max: MAX_KEEP_SEC,
  }),
  tcp_keepintvl: int('0', 'Seconds between probes; 0: as the system has it.', { max: MAX_KEEP_SEC }),
  tcp_keepcnt: int('0', 'Unanswered probes that end a connection; 0: as the system has it.', {
    max: MAX_KEEP_COUNT,
  }),
  tcp_user_timeout: int('0', 'Milliseconds that sent data may stay unconfirmed; 0: as the system has it.'),
  track_extra_parameters: items('IntervalStyle', 'More server parameters to keep per client.', {
    restart: true,
  }),
  ignore_startup_parameters: names(
    '',
    'Startup parameters to accept without effect instead of refusing them.',
  ),
} as const;

/** All settings of `[pgbouncer]`, by their name in the file. */
export const settingsTable = {
  ...listening,
  ...pooling,
  ...authentication,
  ...logging,
  ...servers,
  ...timeouts,
  ...tls,
  ...network,
} as const;

/** Our own settings: section `[pgweir]`, or lines `;pgweir key = value`, which PgBouncer takes for comments. */
export const ownSettingsTable = {
  log_format: oneOf(
    ['pgbouncer', 'json'],
    'pgbouncer',
    "Log lines as PgBouncer's, or as JSON. Syslog and the journal get the message alone.",
  ),
  syslog_socket: text(
    '/dev/log',
    'Unix socket that syslog listens on; a leading @ means the abstract namespace.',
  ),
  workers: text(
    '1',
    'Threads that serve clients, under one limit: a number up to 64, or auto for one per core.',
    {
      restart: true,
    },
  ),
  server_close_timeout: time(
    '1',
    'Time for PostgreSQL to close a connection, or end a query left behind, before more is done.',
  ),
  server_cancel_timeout: time('5', 'Further time before the place of such a connection is given to another.'),
  server_max_protocol_version: oneOf(
    ['3.0', '3.2'],
    '3.2',
    'Protocol that servers are asked for; those that cannot get 3.0.',
  ),
  max_login_conn: int(
    '-1',
    'Connections not logged in by TCP; 0: no limit; -1: max_client_conn, at least 100, as always by unix.',
    {
      min: -1,
    },
  ),
  max_login_conn_per_address: int(
    '-1',
    'The same per address (/64 of IPv6); 0: no limit; -1: as max_login_conn.',
    {
      min: -1,
    },
  ),
  auth_query_cache_time: time(
    '2',
    'Time that an answer to auth_query may serve further logins; a failed one asks anew. 0: none.',
  ),
} as const;

/** The settings in the groups that README shows them in. */
export const settingGroups: readonly {
  readonly title: string;
  readonly rows: Readonly<Record<string, SettingRow>>;
}[] = [
  { title: 'Process and listening', rows: listening },
  { title: 'Pools and limits', rows: pooling },
  { title: 'Authentication', rows: authentication },
  { title: 'Logging', rows: logging },
  { title: 'Server connections', rows: servers },
  { title: 'Timeouts', rows: timeouts },
  { title: 'TLS', rows: tls },
  { title: 'DNS and network', rows: network },
  { title: 'pgweir only', rows: ownSettingsTable },
];

export type SettingName = keyof typeof settingsTable;
export type OwnSettingName = keyof typeof ownSettingsTable;

/** The row of a setting, ours or PgBouncer's; null for a name that is none. */
export function settingRow(name: string): SettingRow | null {
  if (Object.hasOwn(settingsTable, name)) return settingsTable[name as SettingName];
  if (Object.hasOwn(ownSettingsTable, name)) return ownSettingsTable[name as OwnSettingName];
  return null;
}
