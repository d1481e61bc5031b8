import type { Logger } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { autoDatabase, type DatabaseEntry, MAX_DATABASE_NAME_BYTES } from '../config/databases.ts';

/** One database as the process keeps it: its entry and what operators did to it. */
export interface DatabaseState {
  entry: DatabaseEntry;
  /** Made from `*` on demand. */
  isAuto: boolean;
  paused: boolean;
  disabled: boolean;
  /** Auto databases: monotonic ms since when nobody uses it; 0 while somebody does. */
  unusedSinceMs: number;
}

/** The configured databases and those that `*` has made. */
export class Databases {
  readonly #log: Logger;
  readonly #states = new Map<string, DatabaseState>();
  #config: Config;

  constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
    for (const entry of config.databases.values()) this.#add(entry, false);
  }

  get(name: string): DatabaseState | null {
    return this.#states.get(name) ?? null;
  }

  /**
   * The entry that {@link resolve} would give, without keeping one: for clients that have not proved who they are,
   * who could else fill the memory with names.
   */
  entryFor(name: string): DatabaseEntry | null {
    return this.#states.get(name)?.entry ?? this.#autoEntry(name);
  }

  /** As {@link get}, and makes one from `*` where there is none of that name. */
  resolve(name: string): DatabaseState | null {
    const found = this.#states.get(name);
    if (found !== undefined) return found;
    const entry = this.#autoEntry(name);
    if (entry === null) return null;
    this.#log.log('LOG', `registered new auto-database: ${name}`);
    return this.#add(entry, true);
  }

  /** By name. */
  all(): DatabaseState[] {
    return [...this.#states.values()].sort((a, b) => (a.entry.name < b.entry.name ? -1 : 1));
  }

  remove(name: string): void {
    if (!this.#states.delete(name)) return;
    this.#log.log(
      'WARNING',
      `dropping database '${name}' as it does not exist anymore or inactive auto-database`,
    );
  }

  /** A new configuration is in force: entries are replaced, what operators did to the databases stays. */
  update(config: Config): void {
    this.#config = config;
    for (const [name, state] of this.#states) {
      const entry = config.databases.get(name) ?? (state.isAuto ? this.#autoEntry(name) : null);
      if (entry === null) {
        this.remove(name);
      } else {
        state.entry = entry;
        state.isAuto = !config.databases.has(name);
      }
    }
    for (const [name, entry] of config.databases) if (!this.#states.has(name)) this.#add(entry, false);
  }

  #autoEntry(name: string): DatabaseEntry | null {
    if (this.#config.autoDatabase === null || Buffer.byteLength(name) > MAX_DATABASE_NAME_BYTES) return null;
    try {
      return autoDatabase(this.#config, name);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.#log.log('ERROR', error.message);
      return null;
    }
  }

  #add(entry: DatabaseEntry, isAuto: boolean): DatabaseState {
    const state: DatabaseState = { entry, isAuto, paused: false, disabled: false, unusedSinceMs: 0 };
    this.#states.set(entry.name, state);
    return state;
  }
}
