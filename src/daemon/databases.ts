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
  /** Made from `*` for a look-up by somebody unknown alone, which has found out nothing so far. */
  isProbed: boolean;
}

/** The configured databases and those that `*` has made. */
export class Databases {
  readonly #log: Logger;
  readonly #states = new Map<string, DatabaseState>();
  #config: Config;
  /** The text of `*` is wrong, and that has been said. */
  #isWrong = false;

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
    const state = this.probe(name);
    if (state?.isProbed === true) {
      state.isProbed = false;
      this.#log.log('LOG', `registered new auto-database: ${name}`);
    }
    return state;
  }

  /** As {@link resolve}, for a look-up: strangers make names up, and there need not be such a database. */
  probe(name: string): DatabaseState | null {
    const found = this.#states.get(name);
    if (found !== undefined) return found;
    const entry = this.#autoEntry(name);
    return entry === null ? null : this.#add(entry, true);
  }

  /** `*` stands for it, and nobody has been let in by that yet. */
  isUnproven(name: string): boolean {
    return this.#states.get(name)?.isProbed ?? true;
  }

  /** By name. */
  all(): DatabaseState[] {
    return [...this.#states.values()].sort((a, b) => (a.entry.name < b.entry.name ? -1 : 1));
  }

  remove(name: string): void {
    const state = this.#states.get(name);
    if (state === undefined) return;
    this.#states.delete(name);
    if (state.isProbed) return;
    this.#log.log(
      'WARNING',
      `dropping database '${name}' as it does not exist anymore or inactive auto-database`,
    );
  }

  /** A new configuration is in force: entries are replaced, what operators did to the databases stays. */
  update(config: Config): void {
    this.#config = config;
    this.#isWrong = false;
    for (const [name, state] of this.#states) {
      const entry = config.databases.get(name) ?? (state.isAuto ? this.#autoEntry(name) : null);
      if (entry === null) {
        this.remove(name);
      } else {
        state.entry = entry;
        state.isAuto = !config.databases.has(name);
        state.isProbed &&= state.isAuto;
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
      // Whoever names a database that isn't there comes here: one line will do for all.
      if (!this.#isWrong) this.#log.log('ERROR', error.message);
      this.#isWrong = true;
      return null;
    }
  }

  #add(entry: DatabaseEntry, isAuto: boolean): DatabaseState {
    const state: DatabaseState = {
      ...{ entry, isAuto, isProbed: isAuto },
      ...{ paused: false, disabled: false, unusedSinceMs: 0 },
    };
    this.#states.set(entry.name, state);
    return state;
  }
}
