/**
 * What the pool layer needs to know of the configuration, resolved for one pool (database entry + pool user).
 * Replaced as a whole on RELOAD. 0 means off or unlimited everywhere, `Ms` is milliseconds.
 */
export interface PoolLimits {
  readonly poolMode: 'session' | 'transaction' | 'statement';
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  readonly reservePoolTimeoutMs: number;
  readonly maxDbConnections: number;
  readonly maxUserConnections: number;
  readonly serverLifetimeMs: number;
  readonly serverIdleTimeoutMs: number;
  readonly serverConnectTimeoutMs: number;
  readonly serverLoginRetryMs: number;
  readonly serverCheckDelayMs: number;
  /** null = checks are off; '' = the empty query. */
  readonly serverCheckQuery: string | null;
  /** null = no reset query. */
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
  /** After Terminate, how long a server may take to go before its query is cancelled. */
  readonly serverCloseTimeoutMs: number;
  /** After that cancel, how long before the slot is given up. */
  readonly serverCancelTimeoutMs: number;
}
