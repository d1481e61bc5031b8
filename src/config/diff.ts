import type { Config } from './config.ts';
import type { DatabaseEntry } from './databases.ts';

/**
 * What a RELOAD has to do to databases and their connections; plain data, names sorted as in the files.
 */
export interface ConfigDiff {
  /** Entries that are gone: their clients are told `database removed`. */
  readonly removed: readonly string[];
  readonly added: readonly string[];
  /** Entries whose server connections lead to the wrong place now: close_needed, welcome cache dropped. */
  readonly recycled: readonly string[];
  /** Those of `recycled` whose forced user came, went or changed, so that their pools are other pools now. */
  readonly forcedUserChanged: readonly string[];
  /** `*` changed: databases made from it are parsed again and their server connections recycled. */
  readonly autoChanged: boolean;
  /** Settings, ours too, whose text differs. */
  readonly changedSettings: readonly string[];
  readonly userlistChanged: boolean;
  readonly removedPeers: readonly number[];
}

// Passwords, sizes and session parameters are missing on purpose: connections made with the old ones still serve.
const recycling = [
  'dbname',
  'host',
  'port',
  'user',
  'connectQuery',
  'authDbname',
  'authQuery',
  'loadBalanceHosts',
] as const satisfies readonly (keyof DatabaseEntry)[];

/** Whether connections made for `old` must not serve `next`. Source: PgBouncer, RELOAD of `[databases]`. */
export function needsRecycling(old: DatabaseEntry, next: DatabaseEntry): boolean {
  return recycling.some((field) => old[field] !== next[field]);
}

/** Compares the configuration in force with the one that RELOAD has just read. */
export function diffConfig(old: Config, next: Config): ConfigDiff {
  const recycled: string[] = [];
  const forcedUserChanged: string[] = [];
  for (const [name, entry] of next.databases) {
    const before = old.databases.get(name);
    if (before === undefined) continue;
    if (needsRecycling(before, entry)) recycled.push(name);
    if (before.user !== entry.user) forcedUserChanged.push(name);
  }
  const settingNames = new Set([...old.texts.keys(), ...next.texts.keys()]);
  return {
    removed: [...old.databases.keys()].filter((name) => !next.databases.has(name)),
    added: [...next.databases.keys()].filter((name) => !old.databases.has(name)),
    recycled,
    forcedUserChanged,
    autoChanged: old.autoDatabase !== next.autoDatabase,
    changedSettings: [...settingNames].filter((name) => old.texts.get(name) !== next.texts.get(name)),
    userlistChanged: !sameMap(old.userlist, next.userlist),
    removedPeers: [...old.peers.keys()].filter((id) => !next.peers.has(id)),
  };
}

function sameMap(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
