import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { autoDatabase, type DatabaseEntry } from '../config/databases.ts';

/** Stands for the names that clients ask for and `*` is for. No database of a server is called that. */
export const ANY_DATABASE = '*';

/** The entries of `[databases]`; `*` is one of them, unless it makes no sense, of which a start warns. */
export function entriesOf(config: Config): DatabaseEntry[] {
  const own = [...config.databases.values()];
  if (config.autoDatabase === null) return own;
  try {
    return [...own, autoDatabase(config, ANY_DATABASE)];
  } catch (error) {
    if (error instanceof ConfigError) return own;
    throw error;
  }
}
