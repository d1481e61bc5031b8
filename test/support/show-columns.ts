const OID = { t: 25, i: 23, q: 20, n: 1700, b: 17 };

/** `type: names` per line becomes `name:oid` per column. */
function columns(...groups: readonly (readonly [keyof typeof OID, string])[]): string[] {
  return groups.flatMap(([type, names]) => names.split(' ').map((name) => `${name}:${OID[type]}`));
}

const SOCKET = columns(
  ['t', 'type user database replication state addr'],
  ['i', 'port'],
  ['t', 'local_addr'],
  ['i', 'local_port'],
  ['t', 'connect_time request_time'],
  ['i', 'wait wait_us close_needed'],
  ['t', 'ptr link'],
  ['i', 'remote_pid'],
  ['t', 'tls application_name'],
  ['i', 'prepared_statements id'],
);

const SOCKET_WITH_BUFFER = [
  ...SOCKET,
  ...columns(['i', 'recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail']),
];

/**
 * The columns of every SHOW, `name:oid` in order, as PgBouncer has them (contract, §4.4); deliberately without the code
 * under test.
 */
export const SHOW_COLUMNS: Readonly<Record<string, readonly string[]>> = {
  STATS: columns(
    ['t', 'database'],
    ['n', 'total_server_assignment_count total_xact_count total_query_count total_received total_sent'],
    ['n', 'total_xact_time total_query_time total_wait_time total_client_parse_count'],
    ['n', 'total_server_parse_count total_bind_count total_client_login_count'],
    ['n', 'avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time'],
    ['n', 'avg_query_time avg_wait_time avg_client_parse_count avg_server_parse_count avg_bind_count'],
    ['n', 'avg_client_login_count'],
  ),
  STATS_TOTALS: columns(
    ['t', 'database'],
    ['n', 'server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time'],
    ['n', 'wait_time client_parse_count server_parse_count bind_count client_login_count'],
  ),
  STATS_AVERAGES: columns(
    ['t', 'database'],
    ['n', 'server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time'],
    ['n', 'wait_time avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count'],
  ),
  TOTALS: columns(['t', 'name'], ['n', 'value']),
  CLIENTS: SOCKET,
  SERVERS: SOCKET,
  SOCKETS: SOCKET_WITH_BUFFER,
  ACTIVE_SOCKETS: SOCKET_WITH_BUFFER,
  POOLS: columns(
    ['t', 'database user'],
    ['i', 'cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel'],
    ['i', 'sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us'],
    ['t', 'pool_mode load_balance_hosts'],
  ),
  PEER_POOLS: columns(['i', 'peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login']),
  PEERS: columns(['i', 'peer_id'], ['t', 'host'], ['i', 'port pool_size']),
  DATABASES: columns(
    ['t', 'name host'],
    ['i', 'port'],
    ['t', 'database force_user'],
    ['i', 'pool_size min_pool_size reserve_pool_size server_lifetime'],
    ['t', 'pool_mode load_balance_hosts'],
    ['i', 'max_connections current_connections max_client_connections current_client_connections'],
    ['i', 'paused disabled'],
  ),
  USERS: columns(
    ['t', 'name pool_size reserve_pool_size pool_mode'],
    ['i', 'max_user_connections current_connections max_user_client_connections'],
    ['i', 'current_client_connections'],
  ),
  LISTS: columns(['t', 'list'], ['i', 'items']),
  CONFIG: columns(['t', 'key value default changeable']),
  MEM: columns(['t', 'name'], ['i', 'size used free memtotal']),
  DNS_HOSTS: columns(['t', 'hostname'], ['q', 'ttl'], ['t', 'addrs']),
  DNS_ZONES: columns(['t', 'zonename'], ['q', 'serial'], ['i', 'count']),
  FDS: columns(
    ['i', 'fd'],
    ['t', 'task user database addr'],
    ['i', 'port'],
    ['q', 'cancel'],
    ['i', 'link'],
    ['t', 'client_encoding std_strings datestyle timezone password'],
    ['b', 'scram_client_key scram_server_key'],
  ),
  STATE: columns(['t', 'key value']),
  VERSION: columns(['t', 'version']),
};

/** Of those that are ours alone. */
export const OWN_SHOW_COLUMNS: Readonly<Record<string, readonly string[]>> = {
  WORKERS: columns(
    ['i', 'worker'],
    ['t', 'state start_time'],
    ['i', 'clients servers'],
    ['q', 'cpu_ms total_sent total_received total_reopened avg_sent avg_received avg_reopened'],
  ),
};
