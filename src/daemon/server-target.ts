import type { Config } from '../config/config.ts';
import type { DatabaseEntry } from '../config/databases.ts';
import type { LoginCredentials } from '../auth/credentials.ts';
import type { ServerTarget } from '../server/target.ts';

/** Where PostgreSQL puts its socket when nobody says otherwise; used when `unix_socket_dir` is empty. */
const DEFAULT_SOCKET_DIR = '/tmp';

/** Where a pool's connections go, by the configuration in force. */
export function serverTarget(
  config: Config,
  entry: DatabaseEntry,
  user: string,
  credentials: LoginCredentials,
): ServerTarget {
  const { settings } = config;
  const parameters: (readonly [string, string])[] = [];
  const add = (name: string, value: string | null) => {
    if (value !== null) parameters.push([name, value]);
  };
  add('client_encoding', entry.clientEncoding);
  add('datestyle', entry.datestyle);
  add('timezone', entry.timezone);
  add('application_name', entry.applicationName);
  return {
    hosts: entry.hosts.length > 0 ? entry.hosts : [settings.unix_socket_dir || DEFAULT_SOCKET_DIR],
    port: entry.port,
    loadBalanceHosts: entry.loadBalanceHosts,
    database: entry.dbname,
    user,
    credentials,
    parameters,
    connectQuery: entry.connectQuery,
  };
}
