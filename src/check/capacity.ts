import type { Config } from '../config/config.ts';
import type { DatabaseEntry } from '../config/databases.ts';
import { poolLimits } from '../config/effective.ts';
import { entriesOf } from './entries.ts';
import { asksDirectory, namedUsers } from './known-users.ts';
import { isPublic } from './networks.ts';

/** Users of whom the files say nothing: an auth_query, a directory or certificates decide who they are. */
export const ANY_USER = '(any user)';

/** There has to be one, for anybody to get in. */
const SOME_USER = '(some user)';

/** Server connections that one database entry can come to. Infinity: not bounded. */
export interface EntryCapacity {
  readonly name: string;
  /** As the server calls the database. */
  readonly dbname: string;
  /** Pool users. */
  readonly users: readonly string[];
  readonly connections: number;
}

/** Server connections that all entries with the same database on the server can come to. */
export interface DatabaseCapacity {
  /** Of the entries. */
  readonly names: readonly string[];
  readonly connections: number;
}

/** What one process can ask of one PostgreSQL. */
export interface ServerCapacity {
  /** `host:port`, or the unix socket's folder; of several ways to the same one the first. */
  readonly server: string;
  readonly host: string;
  readonly port: number;
  readonly entries: readonly EntryCapacity[];
  /** By pool user, over all entries. */
  readonly byUser: ReadonlyMap<string, number>;
  /** By database, as the server calls it. */
  readonly byDatabase: ReadonlyMap<string, DatabaseCapacity>;
  /** At most so many connections of all entries together. */
  readonly connections: number;
}

/**
 * How many server connections a configuration can come to, for each server; pools fill up when clients come. Of the names
 * that `*` is for, one is counted: there has to be one, for anybody to come by it.
 */
export function capacityOf(config: Config): ServerCapacity[] {
  const groups = new Map<
    string,
    { server: string; host: string; port: number; entries: Set<DatabaseEntry> }
  >();
  for (const entry of entriesOf(config)) {
    // A list of hosts may all of a sudden be one host.
    const hosts = entry.hosts.length === 0 ? [config.settings.unix_socket_dir] : entry.hosts;
    for (const host of hosts) {
      const { port } = entry;
      const isSocket = host.startsWith('/') || host.startsWith('@');
      const server = isSocket ? `${host} port ${port}` : `${host}:${port}`;
      // One machine has one server on a port, whichever way it is reached.
      const key = isSocket || !isPublic(host) ? `:${port}` : server;
      const group = groups.get(key) ?? { server, host, port, entries: new Set() };
      group.entries.add(entry);
      groups.set(key, group);
    }
  }
  return [...groups.values()].map(({ server, host, port, entries }) => ({
    server,
    host,
    port,
    entries: [...entries].map((entry) => entryCapacity(config, entry)),
    ...connectionsOf(config, [...entries]),
    byDatabase: databasesOf(config, [...entries]),
  }));
}

function entryCapacity(config: Config, entry: DatabaseEntry): EntryCapacity {
  const users = poolUsers(config, entry);
  const sum = users.reduce((all, user) => all + poolCapacity(config, entry, user), 0);
  return {
    name: entry.name,
    dbname: entry.dbname,
    users,
    connections: Math.min(sum, databaseLimit(config, entry)),
  };
}

function databasesOf(config: Config, entries: readonly DatabaseEntry[]): Map<string, DatabaseCapacity> {
  return new Map(
    [...Map.groupBy(entries, ({ dbname }) => dbname)].map(([dbname, same]) => [
      dbname,
      { names: same.map(({ name }) => name), connections: connectionsOf(config, same).connections },
    ]),
  );
}

/** Whichever of the limits by database and by user is the narrower one. */
function connectionsOf(
  config: Config,
  entries: readonly DatabaseEntry[],
): Pick<ServerCapacity, 'byUser' | 'connections'> {
  const byDatabase = entries.reduce((all, entry) => all + entryCapacity(config, entry).connections, 0);
  const byUser = new Map<string, number>();
  for (const entry of entries) {
    const most = databaseLimit(config, entry);
    for (const user of poolUsers(config, entry)) {
      byUser.set(user, (byUser.get(user) ?? 0) + Math.min(most, poolCapacity(config, entry, user)));
    }
  }
  for (const [user, connections] of byUser) {
    if (user !== ANY_USER) byUser.set(user, Math.min(connections, userLimit(config, user)));
  }
  const sum = [...byUser.values()].reduce((all, each) => all + each, 0);
  return { byUser, connections: Math.min(byDatabase, sum) };
}

function poolCapacity(config: Config, entry: DatabaseEntry, user: string): number {
  // Each of them has a pool of its own.
  if (user === ANY_USER) return Number.POSITIVE_INFINITY;
  const { poolSize, reservePoolSize, reservePoolTimeoutMs } = poolLimits(config, entry, user);
  const most = userLimit(config, user);
  if (poolSize === 0) return most;
  return Math.min(most, poolSize + (reservePoolTimeoutMs > 0 ? reservePoolSize : 0));
}

function userLimit(config: Config, user: string): number {
  const limit = config.users.get(user)?.maxUserConnections ?? config.settings.max_user_connections;
  return limit === 0 ? Number.POSITIVE_INFINITY : limit;
}

function databaseLimit(config: Config, entry: DatabaseEntry): number {
  const limit = entry.maxDbConnections ?? config.settings.max_db_connections;
  return limit === 0 ? Number.POSITIVE_INFINITY : limit;
}

/** As whom clients of an entry can act on the server. */
export function poolUsers(config: Config, entry: DatabaseEntry): readonly string[] {
  if (entry.user !== null) return [entry.user];
  const { settings } = config;
  const known = namedUsers(config);
  const isOpen = (entry.authUser ?? settings.auth_user ?? '') !== '' || asksDirectory(config);
  if (isOpen) return [...known, ANY_USER];
  return known.length === 0 ? [SOME_USER] : known;
}
