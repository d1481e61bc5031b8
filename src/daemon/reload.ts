import type { Config } from '../config/config.ts';
import { diffConfig, needsRecycling } from '../config/diff.ts';
import type { DatabaseEntry } from '../config/databases.ts';
import { poolLimits } from '../config/effective.ts';
import type { PoolerState } from './context.ts';
import { killPool } from './control.ts';

/**
 * Puts another configuration in force, after RELOAD or SET: limits at once, server connections that now lead to
 * the wrong place are recycled, clients of removed databases are told so. Source: contract, §2.2, §5.7.
 */
export function applyConfig(state: PoolerState, next: Config): void {
  const diff = diffConfig(state.config, next);
  const entriesBefore = new Map<string, DatabaseEntry>();
  for (const database of state.databases.all()) entriesBefore.set(database.entry.name, database.entry);
  state.replaceConfig(next);
  state.databases.update(next);
  for (const pool of state.pools.all()) {
    const entry = state.databases.get(pool.database)?.entry;
    if (entry === undefined) {
      killPool(state, pool, 'database removed');
      continue;
    }
    pool.limits = poolLimits(next, entry, pool.user);
    if (diff.forcedUserChanged.includes(pool.database) && entry.user !== null && entry.user !== pool.user) {
      // Its clients were let in to act as the old user; that is over.
      killPool(state, pool, 'database configuration changed');
      continue;
    }
    const before = entriesBefore.get(pool.database);
    if (before !== undefined && needsRecycling(before, entry)) pool.markAllCloseNeeded(true);
    else pool.service();
  }
  openForcedPools(state);
}

/** Pools of databases with a forced user fill to min_pool_size without any client, so they have to exist. */
export function openForcedPools(state: PoolerState): void {
  for (const { entry } of state.databases.all()) {
    if (entry.user === null) continue;
    if (poolLimits(state.config, entry, entry.user).minPoolSize === 0) continue;
    state.openPool(entry.name, entry.user, { secretText: null, scramKeys: null });
  }
}
