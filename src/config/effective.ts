/**
 * Which value counts where several could: `[users]` over `[databases]` over `[pgbouncer]`. Pure functions from
 * a configuration to plain numbers; milliseconds, and 0 is off or no limit unless a field says otherwise.
 */
import type { Config } from './config.ts';
import type { DatabaseEntry, PoolMode } from './databases.ts';

/** What governs one pool and its server connections. Source: PgBouncer's settings of the same names. */
export interface PoolLimits {
  readonly poolMode: PoolMode;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  /** 0: the reserve is never used. */
  readonly reservePoolTimeoutMs: number;
  readonly maxDbConnections: number;
  readonly maxUserConnections: number;
  /** Not a switch: 0 closes each connection after one use. */
  readonly serverLifetimeMs: number;
  readonly serverIdleTimeoutMs: number;
  readonly serverConnectTimeoutMs: number;
  /** 0: the next attempt may follow at once. */
  readonly serverLoginRetryMs: number;
  /** Not a switch: 0 checks before every reuse. Checks are off when `serverCheckQuery` is null. */
  readonly serverCheckDelayMs: number;
  /** Null: no checks; an empty text: the empty query. */
  readonly serverCheckQuery: string | null;
  /** Null: none. */
  readonly serverResetQuery: string | null;
  readonly serverResetQueryAlways: boolean;
  readonly serverRoundRobin: boolean;
  readonly serverFastClose: boolean;
  readonly queryTimeoutMs: number;
  readonly idleTransactionTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  readonly cancelWaitTimeoutMs: number;
  readonly poolIdleTimeoutMs: number;
  /** Prepared statements kept per server outside session mode; 0: requests pass as they are. */
  readonly maxPreparedStatements: number;
  /** Not a switch: 0 sends the CancelRequest at once. */
  readonly serverCloseTimeoutMs: number;
  /** Not a switch: 0 gives the slot up at once. */
  readonly serverCancelTimeoutMs: number;
}

/** What governs one client. Source: PgBouncer's settings of the same names. */
export interface ClientLimits {
  readonly clientIdleTimeoutMs: number;
  readonly queryWaitTimeoutMs: number;
  readonly queryWaitNotifySec: number;
  /** For a query that still waits: the global value alone. */
  readonly queryTimeoutMs: number;
  readonly clientLoginTimeoutMs: number;
  readonly maxClientConn: number;
  readonly maxDbClientConnections: number;
  readonly maxUserClientConnections: number;
}

/** The limits of the pool of a database and the user that it logs in to PostgreSQL as. */
export function poolLimits(config: Config, db: DatabaseEntry, poolUser: string): PoolLimits {
  const { settings, own } = config;
  const user = config.users.get(poolUser);
  return {
    poolMode: user?.poolMode ?? db.poolMode ?? settings.pool_mode,
    poolSize: user?.poolSize ?? db.poolSize ?? settings.default_pool_size,
    minPoolSize: db.minPoolSize ?? settings.min_pool_size,
    reservePoolSize: user?.reservePoolSize ?? db.reservePoolSize ?? settings.reserve_pool_size,
    reservePoolTimeoutMs: ms(settings.reserve_pool_timeout),
    maxDbConnections: db.maxDbConnections ?? settings.max_db_connections,
    maxUserConnections: user?.maxUserConnections ?? settings.max_user_connections,
    serverLifetimeMs: ms(db.serverLifetime ?? settings.server_lifetime),
    serverIdleTimeoutMs: ms(settings.server_idle_timeout),
    serverConnectTimeoutMs: ms(settings.server_connect_timeout),
    serverLoginRetryMs: ms(settings.server_login_retry),
    serverCheckDelayMs: ms(settings.server_check_delay),
    serverCheckQuery: checkQuery(settings.server_check_query),
    serverResetQuery: settings.server_reset_query === '' ? null : settings.server_reset_query,
    serverResetQueryAlways: settings.server_reset_query_always,
    serverRoundRobin: settings.server_round_robin,
    serverFastClose: settings.server_fast_close,
    queryTimeoutMs: ms(user?.queryTimeout ?? settings.query_timeout),
    idleTransactionTimeoutMs: ms(user?.idleTransactionTimeout ?? settings.idle_transaction_timeout),
    transactionTimeoutMs: ms(user?.transactionTimeout ?? settings.transaction_timeout),
    cancelWaitTimeoutMs: ms(settings.cancel_wait_timeout),
    poolIdleTimeoutMs: ms(settings.pool_idle_timeout),
    maxPreparedStatements: settings.max_prepared_statements,
    serverCloseTimeoutMs: ms(own.server_close_timeout),
    serverCancelTimeoutMs: ms(own.server_cancel_timeout),
  };
}

/** The limits of a client of a database, by the user that it has logged in as. */
export function clientLimits(
  config: Config,
  db: Pick<DatabaseEntry, 'queryWaitTimeout' | 'maxDbClientConnections'>,
  loginUser: string,
): ClientLimits {
  const { settings } = config;
  const user = config.users.get(loginUser);
  return {
    clientIdleTimeoutMs: ms(user?.clientIdleTimeout ?? settings.client_idle_timeout),
    queryWaitTimeoutMs: ms(user?.queryWaitTimeout ?? db.queryWaitTimeout ?? settings.query_wait_timeout),
    queryWaitNotifySec: settings.query_wait_notify,
    queryTimeoutMs: ms(settings.query_timeout),
    clientLoginTimeoutMs: ms(settings.client_login_timeout),
    maxClientConn: settings.max_client_conn,
    maxDbClientConnections: db.maxDbClientConnections ?? settings.max_db_client_connections,
    maxUserClientConnections: user?.maxUserClientConnections ?? settings.max_user_client_connections,
  };
}

function checkQuery(text: string): string | null {
  if (text === '') return null;
  return text === '<empty>' ? '' : text;
}

function ms(seconds: number): number {
  return seconds * 1000;
}

/**
 * How many connections there may be that have not logged in yet, by TCP; 0 = any number. Who fits into `max_client_conn`
 * has room for all its clients to log in at once, from one address, unless other limits are set.
 */
export function doorLimits(config: Config): { total: number; perAddress: number } {
  const { max_login_conn, max_login_conn_per_address } = config.own;
  const total = max_login_conn < 0 ? usualLogins(config) : max_login_conn;
  return { total, perAddress: max_login_conn_per_address < 0 ? total : max_login_conn_per_address };
}

/**
 * The same by unix sockets. What is set low for the network must not refuse all that programs of this machine begin at
 * once, and one system user may well be all there is.
 */
export function unixDoorLimits(config: Config): { total: number; perAddress: number } {
  const totals = [doorLimits(config).total, usualLogins(config)];
  return { total: totals.includes(0) ? 0 : Math.max(...totals), perAddress: 0 };
}

function usualLogins({ settings }: Config): number {
  return settings.max_client_conn === 0 ? 0 : Math.max(settings.max_client_conn, 100);
}
