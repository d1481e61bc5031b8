import type { Logger } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { needsRecycling } from '../config/diff.ts';
import type { DatabaseEntry } from '../config/databases.ts';
import { poolLimits } from '../config/effective.ts';
import { ConfigError } from '../config/config-error.ts';
import type { PoolLimits } from '../pool/limits.ts';
import type { Pool } from '../pool/pool.ts';
import { ServerConnection } from '../server/connection.ts';
import type { PreparedTls, TlsContexts } from '../tls/contexts.ts';
import { TlsSettingError } from '../tls/setting-error.ts';
import type { PoolerState } from './context.ts';
import { killPool } from './control.ts';
import { forgetNames } from './dns.ts';

/**
 * Puts another configuration in force, after RELOAD or SET: limits at once, server connections that now lead to
 * the wrong place are recycled, clients of removed databases are told so. Source: contract, §2.2, §5.7.
 */
export function applyConfig(state: PoolerState, next: Config): void {
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
    const limitsBefore = pool.limits;
    pool.limits = poolLimits(next, entry, pool.user);
    const before = entriesBefore.get(pool.database) ?? entry;
    if (before.user !== entry.user && servesAnother(pool, entry)) {
      // Its clients were let in to act as the old user; that is over.
      pool.isForcedUser = entry.user !== null;
      killPool(state, pool, 'database configuration changed');
      continue;
    }
    if (needsRecycling(before, entry)) {
      pool.isForcedUser = entry.user !== null;
      pool.markAllCloseNeeded(true);
    }
    changeMode(pool, limitsBefore);
    pool.service();
  }
  state.peers.update(next);
  forgetNames(state);
  openForcedPools(state);
}

/**
 * Of session mode servers in use have what their clients have left there, and of a time without prepared statements they have
 * all names that clients gave: neither is for whoever is served by the next transaction.
 */
function changeMode(pool: Pool, before: PoolLimits): void {
  const { poolMode, maxPreparedStatements } = pool.limits;
  if (poolMode === 'session') return;
  if (before.poolMode !== 'session') {
    if (before.maxPreparedStatements === 0 && maxPreparedStatements > 0) renounce(pool);
    return;
  }
  renounce(pool);
  // Those between two transactions would keep their servers for as long as they say nothing.
  for (const server of [...pool.servers.active]) {
    if (server instanceof ServerConnection && server.state === 'active') server.releaseWhenDone();
  }
}

/** What clients have left on servers nobody else is to find there. Those at rest, too: not each was reset. */
function renounce(pool: Pool): void {
  const { active, tested, being_canceled, idle, used } = pool.servers;
  for (const server of [...active, ...tested, ...being_canceled]) server.closeNeeded = true;
  for (const server of [...idle, ...used]) pool.closeServer(server, 'database configuration changed');
}

/** Whether clients of the pool would act as another user, were they to log in now that `user=` has changed. */
function servesAnother(pool: Pool, entry: DatabaseEntry): boolean {
  return entry.user === null ? pool.isForcedUser : entry.user !== pool.user;
}

/** Pools of databases with a forced user fill to min_pool_size without any client, so they have to exist. */
export function openForcedPools(state: PoolerState): void {
  for (const { entry, isProbed } of state.databases.all()) {
    if (entry.user === null || isProbed) continue;
    if (poolLimits(state.config, entry, entry.user).minPoolSize === 0) continue;
    state.openPool(entry.name, entry.user, { secretText: null, scramKeys: null });
  }
}

/** TLS by another configuration, ready to be put in force. Throws ConfigError, which names the setting. */
export function prepareTls(tls: TlsContexts, config: Config): PreparedTls {
  try {
    return tls.prepare(config.settings);
  } catch (cause) {
    if (!(cause instanceof TlsSettingError)) throw cause;
    throw new ConfigError({ file: config.path, line: 0 }, cause.setting, cause.expected, { cause });
  }
}

/** TLS after SET of `key`, if that concerns it; what the console is to be told where it cannot be had, which is logged. */
export function prepareTlsForSet(
  tls: TlsContexts,
  next: Config,
  key: string,
  log: Logger,
): { readonly tls: PreparedTls | null; readonly notice: string | null } {
  if (!/^(client|server)_tls/.test(key)) return { tls: null, notice: null };
  try {
    return { tls: prepareTls(tls, next), notice: null };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    log.log('ERROR', error.message);
    return { tls: null, notice: 'TLS settings could not be applied, still using old configuration' };
  }
}

/** Puts TLS in force; server connections that other rules were in force for are recycled. Source: contract, §1.7. */
export function applyTls(state: PoolerState, prepared: PreparedTls): void {
  for (const warning of prepared.warnings) state.log.log('WARNING', warning);
  state.tls.use(prepared);
  if (!prepared.isServerChanged) return;
  // They lead to the same servers: logins need not wait for a slot, which long transactions may hold.
  for (const pool of state.pools.all()) pool.markAllCloseNeeded(false);
}
