import { ConfigError, type SourcePosition } from './config-error.ts';
import { type ConnectPair, EntryNumbers, parseConnectString, shownKey } from './connect-string.ts';
import { listOf } from './setting-values.ts';

/** When a server connection goes back to its pool. Source: PgBouncer `pool_mode`. */
export const poolModes = ['session', 'transaction', 'statement'] as const;
export type PoolMode = (typeof poolModes)[number];

const balanceModes = ['round-robin', 'disable'] as const;

/** Longest database name, in bytes. Source: PostgreSQL's NAMEDATALEN, PgBouncer's fixed limits. */
export const MAX_DATABASE_NAME_BYTES = 63;

/**
 * One entry of `[databases]`; plain data. Null means: not said here, so inherit or leave out. `host` is as
 * written, `hosts` its parts (empty: the unix socket folder); `user` is the forced user. Units: seconds.
 * Source: PgBouncer `[databases]`.
 */
export interface DatabaseEntry {
  readonly name: string;
  readonly dbname: string;
  readonly host: string | null;
  readonly hosts: readonly string[];
  readonly port: number;
  readonly user: string | null;
  readonly password: string | null;
  readonly poolSize: number | null;
  readonly minPoolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly maxDbConnections: number | null;
  readonly maxDbClientConnections: number | null;
  readonly serverLifetime: number | null;
  /** 0 is no limit, unlike null. */
  readonly queryWaitTimeout: number | null;
  readonly poolMode: PoolMode | null;
  readonly loadBalanceHosts: (typeof balanceModes)[number];
  readonly connectQuery: string | null;
  readonly clientEncoding: string | null;
  readonly datestyle: string | null;
  readonly timezone: string | null;
  readonly applicationName: string | null;
  readonly authUser: string | null;
  readonly authQuery: string | null;
  readonly authDbname: string | null;
}

type Draft = { -readonly [K in keyof DatabaseEntry]: DatabaseEntry[K] };
type Field = (entry: Draft, pair: ConnectPair, numbers: EntryNumbers) => void | { readonly expected: string };

const fields: Readonly<Record<string, Field>> = {
  dbname: (entry, { value }) => void (entry.dbname = value),
  host: (entry, { value }) => {
    entry.host = value;
    entry.hosts = value.split(',');
    return entry.hosts.includes('') ? { expected: 'hosts with one comma between them' } : undefined;
  },
  port: (entry, pair, numbers) => {
    entry.port = numbers.read(pair);
    return entry.port < 1 || entry.port > 65535 ? { expected: 'a port from 1 to 65535' } : undefined;
  },
  user: (entry, { value }) => void (entry.user = value),
  password: (entry, { value }) => void (entry.password = value),
  auth_user: (entry, { value }) => void (entry.authUser = value),
  auth_query: (entry, { value }) => void (entry.authQuery = value),
  auth_dbname: (entry, { value }) => void (entry.authDbname = value),
  pool_size: (entry, pair, numbers) => void (entry.poolSize = numbers.atLeast(pair, 0)),
  min_pool_size: (entry, pair, numbers) => void (entry.minPoolSize = numbers.atLeast(pair, 0)),
  reserve_pool_size: (entry, pair, numbers) => void (entry.reservePoolSize = numbers.atLeast(pair, 0)),
  reserve_pool: (entry, pair, numbers) => void (entry.reservePoolSize = numbers.atLeast(pair, 0)),
  max_db_connections: (entry, pair, numbers) => void (entry.maxDbConnections = numbers.atLeast(pair, 1)),
  max_db_client_connections: (entry, pair, numbers) =>
    void (entry.maxDbClientConnections = numbers.atLeast(pair, 1)),
  server_lifetime: (entry, pair, numbers) => void (entry.serverLifetime = numbers.atLeast(pair, 1)),
  query_wait_timeout: (entry, pair, numbers) => void (entry.queryWaitTimeout = numbers.atLeast(pair, 0)),
  pool_mode: (entry, { value }) => {
    entry.poolMode = poolModes.find((mode) => mode === value.toLowerCase()) ?? null;
    return entry.poolMode === null ? { expected: listOf(poolModes) } : undefined;
  },
  load_balance_hosts: (entry, { value }) => {
    const mode = balanceModes.find((known) => known === value.toLowerCase());
    if (mode === undefined) return { expected: listOf(balanceModes) };
    entry.loadBalanceHosts = mode;
    return undefined;
  },
  connect_query: (entry, { value }) => void (entry.connectQuery = value),
  client_encoding: (entry, { value }) => void (entry.clientEncoding = value),
  datestyle: (entry, { value }) => void (entry.datestyle = value),
  timezone: (entry, { value }) => void (entry.timezone = value),
  application_name: (entry, { value }) => void (entry.applicationName = value),
};

/**
 * Reads one entry. `warn` gets what is accepted but odd. Throws {@link ConfigError} for the reserved name
 * `pgbouncer`, a name of more than {@link MAX_DATABASE_NAME_BYTES}, an unknown key or a value out of range.
 */
export function parseDatabase(
  name: string,
  text: string,
  at: SourcePosition,
  warn: (warning: string) => void,
): DatabaseEntry {
  if (name === 'pgbouncer') {
    throw new ConfigError(at, name, 'a database other than pgbouncer, which is reserved for the console');
  }
  if (Buffer.byteLength(name) > MAX_DATABASE_NAME_BYTES) {
    throw new ConfigError(at, name, `a database name of at most ${MAX_DATABASE_NAME_BYTES} bytes`);
  }
  const entry = emptyEntry(name);
  const numbers = new EntryNumbers(name, at, warn);
  for (const pair of parseConnectString(text, name, at)) {
    const field = Object.hasOwn(fields, pair.key) ? fields[pair.key] : undefined;
    if (field === undefined)
      throw new ConfigError(at, name, `only keys of [databases], found ${shownKey(pair.key)}`);
    const problem = field(entry, pair, numbers);
    if (problem !== undefined) throw new ConfigError(at, name, `${problem.expected} for ${pair.key}`);
  }
  return entry;
}

/**
 * The entry that `*` makes for a database that has none of its own; its `dbname` is that name unless `*` says
 * otherwise. Throws {@link ConfigError} when there is no `*` or its text, which is checked only here, is wrong:
 * for the client both are "no such database".
 */
export function autoDatabase(
  config: {
    readonly autoDatabase: string | null;
    readonly autoDatabaseAt: SourcePosition | null;
    readonly path: string;
  },
  name: string,
): DatabaseEntry {
  const at = config.autoDatabaseAt ?? { file: config.path, line: 0 };
  if (config.autoDatabase === null) throw new ConfigError(at, name, 'a database of [databases]');
  return parseDatabase(name, config.autoDatabase, at, () => {});
}

function emptyEntry(name: string): Draft {
  return {
    name,
    dbname: name,
    host: null,
    hosts: [],
    port: 5432,
    user: null,
    password: null,
    poolSize: null,
    minPoolSize: null,
    reservePoolSize: null,
    maxDbConnections: null,
    maxDbClientConnections: null,
    serverLifetime: null,
    queryWaitTimeout: null,
    poolMode: null,
    loadBalanceHosts: 'round-robin',
    connectQuery: null,
    clientEncoding: null,
    datestyle: null,
    timezone: null,
    applicationName: null,
    authUser: null,
    authQuery: null,
    authDbname: null,
  };
}
