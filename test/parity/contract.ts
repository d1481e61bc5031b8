import {
  absent,
  better,
  command,
  entryKey,
  option,
  type Row,
  same,
  setting,
  show,
  signal,
  onceTaken,
  onceEffective,
} from './verdict.ts';

/** A part of the contract. */
export interface Part {
  readonly title: string;
  readonly rows: readonly Row[];
}

const words = (text: string): string[] => text.trim().split(/\s+/);

/** Settings in the groups of the contract, written down apart from the settings table. */
export const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  '1.1 Generic and listening': words(`
    logfile pidfile listen_addr listen_port unix_socket_dir unix_socket_mode unix_socket_group user peer_id
    listen_backlog so_reuseport conffile job_name disable_pqexec application_name_add_host login_notify_message`),
  '1.2 Pooling limits': words(`
    pool_mode max_client_conn default_pool_size min_pool_size reserve_pool_size reserve_pool_timeout
    max_db_connections max_db_client_connections max_user_connections max_user_client_connections
    server_round_robin max_prepared_statements autodb_idle_timeout pool_idle_timeout`),
  '1.3 Authentication': words(`
    auth_type auth_file auth_hba_file auth_ident_file auth_user auth_query auth_dbname auth_ldap_options
    scram_iterations admin_users stats_users`),
  '1.4 Logging': words(`
    syslog syslog_ident syslog_facility log_connections log_disconnections log_pooler_errors log_stats
    stats_period verbose`),
  '1.5 Server connections': words(`
    server_reset_query server_reset_query_always server_check_delay server_check_query server_fast_close
    server_lifetime server_idle_timeout server_connect_timeout server_login_retry`),
  '1.6 Timeouts': words(`
    client_login_timeout client_idle_timeout query_wait_timeout query_wait_notify cancel_wait_timeout query_timeout
    idle_transaction_timeout transaction_timeout suspend_timeout`),
  '1.7 TLS': words(`
    client_tls_sslmode client_tls_key_file client_tls_cert_file client_tls_ca_file client_tls_protocols
    client_tls_ciphers client_tls13_ciphers client_tls_dheparams client_tls_ecdhcurve server_tls_sslmode
    server_tls_ca_file server_tls_key_file server_tls_cert_file server_tls_protocols server_tls_ciphers
    server_tls13_ciphers`),
  '1.8 DNS, network, misc': words(`
    dns_max_ttl dns_nxdomain_ttl dns_zone_check_period resolv_conf pkt_buf max_packet_size sbuf_loopcnt
    tcp_defer_accept tcp_socket_buffer tcp_keepalive tcp_keepidle tcp_keepintvl tcp_keepcnt tcp_user_timeout
    track_extra_parameters ignore_startup_parameters`),
};

const loading: Part = {
  title: '1.0 Values and loading',
  rows: [
    same('file and key grammar, sections, `%include`'),
    better('defaults', 'a second `[pgbouncer]` header adds to the first instead of resetting it'),
    same('keys without default keep their value when they are removed'),
    better('integers and booleans', 'what overflows or means nothing is an error'),
    same('times, keywords, lists'),
    better(
      'a load that fails',
      'changes nothing at all; the error names file, line, key and what was expected',
    ),
    better('`SET` of what only a restart changes', 'fails instead of seeming to work'),
  ],
};

/** A key as it is written, whether or not it has effect yet. */
const databaseKey = (pair: string, row?: (what: string) => Row): Row => {
  const what = `\`${pair.split('=')[0]}\``;
  return entryKey('databases', pair, row?.(what) ?? same(what));
};
const userKey = (pair: string, row?: (what: string) => Row): Row => {
  const what = `\`${pair.split('=')[0]}\``;
  return entryKey('users', pair, row?.(what) ?? same(what));
};

const databases: Part = {
  title: '2.1–2.3 Databases and connection strings',
  rows: [
    same('grammar of connection strings'),
    better('numbers in them that are none', 'are warned about'),
    databaseKey('dbname=a'),
    databaseKey('host=a,b'),
    databaseKey('port=1'),
    databaseKey('user=a'),
    databaseKey('password=a'),
    databaseKey('auth_user=a', (what) => onceEffective('auth_user', same(what))),
    databaseKey('auth_query=a', (what) => onceEffective('auth_query', same(what))),
    databaseKey('auth_dbname=a', (what) => onceEffective('auth_dbname', same(what))),
    databaseKey('pool_size=1'),
    databaseKey('min_pool_size=1'),
    databaseKey('reserve_pool_size=1'),
    databaseKey('reserve_pool=1'),
    databaseKey('max_db_connections=1'),
    databaseKey('max_db_client_connections=1'),
    databaseKey('server_lifetime=1'),
    databaseKey('query_wait_timeout=1'),
    databaseKey('pool_mode=session'),
    databaseKey('load_balance_hosts=disable', (what) =>
      better(what, 'a host that cannot be reached is passed over in the same attempt (#872)'),
    ),
    databaseKey('connect_query=a', (what) =>
      better(what, 'what it sets of tracked parameters is what clients begin with'),
    ),
    databaseKey('client_encoding=a'),
    databaseKey('datestyle=a'),
    databaseKey('timezone=a'),
    databaseKey('application_name=a'),
    same('name `pgbouncer` is reserved'),
    same('RELOAD recycles servers of changed entries, removed ones lose their clients'),
    better('`user=` removed or changed by RELOAD', 'takes effect (#355)'),
    better('`*`', 'a change recycles what leads elsewhere only'),
  ],
};

const users: Part = {
  title: '2.4–2.5 Users and peers',
  rows: [
    userKey('pool_mode=session'),
    userKey('pool_size=1'),
    userKey('reserve_pool_size=1'),
    userKey('max_user_connections=1'),
    userKey('query_timeout=1'),
    userKey('idle_transaction_timeout=1'),
    userKey('transaction_timeout=1'),
    userKey('max_user_client_connections=1'),
    userKey('client_idle_timeout=1', (what) =>
      better(what, 'works without a global value, and for that user alone'),
    ),
    userKey('query_wait_timeout=1', (what) => better(what, 'works without a global value')),
    better('entries removed by RELOAD', 'lose their settings (#1594)'),
    entryKey('peers', 'host=a', onceEffective('peer_id', same('`[peers]`: `host`'))),
    entryKey('peers', 'port=1', onceEffective('peer_id', same('`[peers]`: `port`'))),
    entryKey('peers', 'pool_size=1', onceEffective('peer_id', same('`[peers]`: `pool_size`'))),
  ],
};

/** Who counts as known, and what PostgreSQL is told, method by method. */
const credentials: Part = {
  title: '2.6–2.7 Credentials',
  rows: [
    same('`auth_file`: quoting, comments, md5, SCRAM and plain secrets'),
    better('`auth_file` that cannot be read', 'fails RELOAD instead of locking everyone out'),
    onceEffective('auth_user', better('`auth_query`', 'on a connection of its own that no client touches')),
    onceTaken('auth_type', 'any', same('any')),
    onceTaken('auth_type', 'trust', same('trust')),
    onceTaken('auth_type', 'plain', same('plain')),
    onceTaken('auth_type', 'md5', same('md5, SCRAM where the secret is one')),
    onceTaken(
      'auth_type',
      'scram-sha-256',
      better('scram-sha-256', 'with channel binding (`-PLUS`) over TLS'),
    ),
    onceTaken('auth_type', 'cert', same('cert')),
    onceTaken('auth_type', 'hba', same('peer, reject, password (HBA)')),
    onceTaken('auth_type', 'ldap', better('ldap', 'beside the event loop')),
    absent(
      'pam',
      'refused at start: Node has no maintained library for it ([decision 10](decisions/0010-auth.md))',
    ),
    better('mock authentication', 'constant time; the salt of a plain secret is that of an unknown user'),
    better('server side: trust, cleartext, MD5, SCRAM-SHA-256', 'stored hashes are not sent in the clear'),
    onceTaken('server_tls_sslmode', 'require', same('server side: client certificates')),
    same('SCRAM pass-through'),
  ],
};

const hba: Part = {
  title: '2.8 HBA and ident files',
  rows: ['types', 'databases', 'users', 'addresses', 'methods', 'options', 'ident maps', 'LDAP options'].map(
    (what) => onceTaken('auth_type', 'hba', same(what)),
  ),
};
const hbaRefusal = onceTaken(
  'auth_type',
  'hba',
  better('a line that cannot be parsed', 'refuses the file instead of being left out'),
);

const processPart: Part = {
  title: '3 Process',
  rows: [
    option(['-d', 'a.ini'], better('`-d`', 'returns when the pooler listens, with its verdict')),
    option(['-q', 'a.ini'], same('`-q`')),
    option(['-v', 'a.ini'], same('`-v`')),
    option(['-u', 'nobody', 'a.ini'], same('`-u`')),
    option(['-R', 'a.ini'], better('`-R`', 'the old process drains: TLS, transactions and parameters go on')),
    absent('passing of sockets in `-R`', 'Node cannot take over an open connection from another process'),
    option(['-V'], same('`-V`')),
    option(['-h'], same('`-h`')),
    signal('SIGHUP', same('SIGHUP')),
    signal('SIGTERM', same('SIGTERM')),
    signal('SIGINT', same('SIGINT')),
    signal('SIGQUIT', same('SIGQUIT')),
    signal('SIGUSR1', same('SIGUSR1')),
    signal('SIGUSR2', same('SIGUSR2')),
    same('SIGPIPE'),
    same('checks at start and their order'),
    better('refuses to run as root', 'unless `PGWEIR_ALLOW_ROOT` is 1, for containers'),
    better('pidfile', 'one with our own process id is stale; removed only while it is ours'),
    better('unix socket', 'removed at exit only while it is ours'),
    better('a failing accept', 'a warning comes before descriptors run out'),
    better(
      '`SHUTDOWN` modes',
      'queued clients are refused at once; what the last client has left running is cancelled',
    ),
    better('rolling restart with `so_reuseport`', 'no connection that the kernel has accepted is lost'),
    better('systemd: notify, socket activation, journal', 'a watchdog, too'),
    same('environment: nothing expands in the configuration'),
  ],
};

/** Words of the console that change something, written down apart from the table of commands. */
export const COMMANDS: readonly string[] = words(
  'reload pause suspend resume disable enable reconnect kill kill_client wait_close shutdown',
);

const consolePart: Part = {
  title: '4.1–4.2 Console: access, protocol and grammar',
  rows: [
    same('who enters: own uid on the unix socket, `admin_users`, `stats_users`, `auth_type = any`'),
    better('read-only users', 'one table says who may run what; what is not in it nobody may'),
    same('parameters at login'),
    better('protocol', 'the extended query protocol, too, with results in binary'),
    better('grammar', 'comments, and several statements that change nothing'),
    same('limits on the length of words and values'),
    better('errors', 'not cut; a DETAIL where a reason is known'),
    better('what drivers ask', 'more settings, BEGIN and COMMIT, constants, types'),
    same('`SELECT x` for `SHOW x`'),
    same('RowDescription'),
  ],
};

const commandRow = (word: string): Row => {
  const what = `\`${word.toUpperCase()}\``;
  const text: Readonly<Record<string, string>> = {
    reload: 'all or nothing; the reason stands in the DETAIL',
    pause: "answers when PostgreSQL's processes are gone; an error if it is ended before",
    suspend: 'consoles and cancel requests go on, new connections wait instead of hanging in the backlog',
    wait_close: 'is over once it is answered',
    shutdown: 'WAIT_FOR_SERVERS refuses queued clients at once',
  };
  return command(word, text[word] === undefined ? same(what) : better(what, text[word]));
};

const showText: Readonly<Record<string, (what: string) => Row>> = {
  SERVERS: (what) => better(what, 'a state `closing` for those that PostgreSQL has not ended yet'),
  FDS: (what) => better(what, 'no password, cancel key or SCRAM key'),
  MEM: (what) => better(what, 'what is in use; there are no slab caches'),
  PEERS: (what) => onceEffective('peer_id', same(what)),
  PEER_POOLS: (what) => onceEffective('peer_id', same(what)),
  DNS_HOSTS: (what) => onceEffective('dns_max_ttl', same(what)),
  CONFIG: (what) => better(what, 'ours come last'),
};

/** Every SHOW that makes a table, written down apart from the table of them. */
export const SHOWS: readonly string[] = words(`
  STATS STATS_TOTALS STATS_AVERAGES TOTALS CLIENTS SERVERS SOCKETS ACTIVE_SOCKETS POOLS PEER_POOLS PEERS DATABASES USERS
  LISTS CONFIG MEM DNS_HOSTS DNS_ZONES FDS STATE VERSION`);

/** Every row of the contract, §1 to §4. */
export const contract: readonly Part[] = [
  loading,
  ...Object.entries(SETTINGS).map(([title, names]): Part => ({ title, rows: names.map(setting) })),
  databases,
  users,
  credentials,
  { ...hba, rows: [...hba.rows, hbaRefusal] },
  processPart,
  consolePart,
  {
    title: '4.3 Commands',
    rows: [
      same('`SHOW HELP`'),
      better('`SET`', 'logged without its value; settings that take effect later are named'),
      ...COMMANDS.map(commandRow),
      same('cancel requests end a global PAUSE or SUSPEND'),
    ],
  },
  {
    title: '4.4 SHOW, column by column',
    rows: [
      ...SHOWS.map((name) => show(name, (showText[name] ?? same)(`\`SHOW ${name}\``))),
      absent('passing of sockets in `SHOW FDS`', 'Node cannot give an open connection to another process'),
    ],
  },
];
