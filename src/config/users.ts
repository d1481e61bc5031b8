import { ConfigError, type SourcePosition } from './config-error.ts';
import { type ConnectPair, EntryNumbers, parseConnectString, shownKey } from './connect-string.ts';
import { type PoolMode, poolModes } from './databases.ts';
import { listOf } from './setting-values.ts';

/** Longest user name, in bytes. Source: PgBouncer's fixed limits. */
export const MAX_USER_NAME_BYTES = 127;

/**
 * One entry of `[users]`; plain data. Null means inherit. The last three count for the user that a client logs
 * in as, the others for the user that its pool logs in to PostgreSQL as. Units: seconds.
 * Source: PgBouncer `[users]`.
 */
export interface UserEntry {
  readonly name: string;
  readonly poolMode: PoolMode | null;
  readonly poolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly maxUserConnections: number | null;
  readonly queryTimeout: number | null;
  readonly idleTransactionTimeout: number | null;
  readonly transactionTimeout: number | null;
  readonly maxUserClientConnections: number | null;
  readonly clientIdleTimeout: number | null;
  /** 0 is no limit, unlike null. */
  readonly queryWaitTimeout: number | null;
}

type Draft = { -readonly [K in keyof UserEntry]: UserEntry[K] };
type Field = (entry: Draft, pair: ConnectPair, numbers: EntryNumbers) => void;

const fields: Readonly<Record<string, Field>> = {
  pool_size: (entry, pair, numbers) => void (entry.poolSize = numbers.atLeast(pair, 0)),
  reserve_pool_size: (entry, pair, numbers) => void (entry.reservePoolSize = numbers.atLeast(pair, 0)),
  max_user_connections: (entry, pair, numbers) => void (entry.maxUserConnections = numbers.atLeast(pair, 1)),
  query_timeout: (entry, pair, numbers) => void (entry.queryTimeout = numbers.atLeast(pair, 1)),
  idle_transaction_timeout: (entry, pair, numbers) =>
    void (entry.idleTransactionTimeout = numbers.atLeast(pair, 1)),
  transaction_timeout: (entry, pair, numbers) => void (entry.transactionTimeout = numbers.atLeast(pair, 1)),
  max_user_client_connections: (entry, pair, numbers) =>
    void (entry.maxUserClientConnections = numbers.atLeast(pair, 1)),
  client_idle_timeout: (entry, pair, numbers) => void (entry.clientIdleTimeout = numbers.atLeast(pair, 1)),
  query_wait_timeout: (entry, pair, numbers) => void (entry.queryWaitTimeout = numbers.atLeast(pair, 0)),
};

/**
 * Reads one entry. `warn` gets what is accepted but odd. Throws {@link ConfigError} for a name of more than
 * {@link MAX_USER_NAME_BYTES}, an unknown key or a pool mode that is none.
 */
export function parseUser(
  name: string,
  text: string,
  at: SourcePosition,
  warn: (warning: string) => void,
): UserEntry {
  if (Buffer.byteLength(name) > MAX_USER_NAME_BYTES) {
    throw new ConfigError(at, name, `a user name of at most ${MAX_USER_NAME_BYTES} bytes`);
  }
  const entry: Draft = {
    name,
    poolMode: null,
    poolSize: null,
    reservePoolSize: null,
    maxUserConnections: null,
    queryTimeout: null,
    idleTransactionTimeout: null,
    transactionTimeout: null,
    maxUserClientConnections: null,
    clientIdleTimeout: null,
    queryWaitTimeout: null,
  };
  const numbers = new EntryNumbers(name, at, warn);
  for (const pair of parseConnectString(text, name, at)) {
    if (pair.key === 'pool_mode') {
      entry.poolMode = poolModes.find((mode) => mode === pair.value.toLowerCase()) ?? null;
      if (entry.poolMode === null) throw new ConfigError(at, name, `${listOf(poolModes)} for pool_mode`);
      continue;
    }
    const field = Object.hasOwn(fields, pair.key) ? fields[pair.key] : undefined;
    if (field === undefined)
      throw new ConfigError(at, name, `only keys of [users], found ${shownKey(pair.key)}`);
    field(entry, pair, numbers);
  }
  return entry;
}
