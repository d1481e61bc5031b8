import type { Pool } from '../pool/pool.ts';
import { sweepPool } from '../pool/sweep.ts';
import type { PoolerState } from './context.ts';
import type { Logins } from './logins.ts';
import type { StatsWindows } from './snapshots.ts';

/** How often the sweep runs, as PgBouncer's: three times a second. */
export const SWEEP_INTERVAL_MS = 333;

/**
 * One sweep over everything that has a time limit: client connections, pools, databases made from `*`, the
 * statistics' period. All of the process's timeouts are kept here, by comparing start times with now.
 */
export class Janitor {
  readonly #state: PoolerState;
  readonly #windows: StatsWindows;
  readonly #logins: Logins;
  readonly #onPeriod: () => void;
  #periodStartMs: number;

  /** `onPeriod` is called when a period of statistics is over. */
  constructor(state: PoolerState, windows: StatsWindows, logins: Logins, onPeriod: () => void) {
    this.#state = state;
    this.#logins = logins;
    this.#windows = windows;
    this.#onPeriod = onPeriod;
    this.#periodStartMs = state.clock.nowMs();
  }

  sweep(): void {
    const nowMs = this.#state.clock.nowMs();
    // Each by itself: a bug that shows in one place must not keep the sweep from the others.
    for (const connection of this.#state.connections) this.#state.guard(() => connection.sweep(nowMs));
    for (const pool of this.#state.pools.all()) this.#state.guard(() => this.#sweepPool(pool, nowMs));
    this.#state.guard(() => this.#state.peers.sweep(nowMs));
    this.#state.guard(() => this.#state.door.lines.sweep(nowMs));
    this.#state.guard(() => this.#logins.sweep());
    this.#state.guard(() => this.#freePools(nowMs));
    this.#state.guard(() => this.#freeDatabases(nowMs));
    this.#state.guard(() => this.#turnStats(nowMs));
  }

  /** What strangers make up is tried for their look-ups alone. */
  #sweepPool(pool: Pool, nowMs: number): void {
    sweepPool(pool, nowMs, !this.#state.databases.isUnproven(pool.database));
  }

  /** Pools that KILL has emptied, and those unused for `pool_idle_timeout`. */
  #freePools(nowMs: number): void {
    const state = this.#state;
    for (const pool of state.pools.all()) {
      if (pool.emptySinceMs === 0) continue;
      const { poolIdleTimeoutMs, minPoolSize } = pool.limits;
      const isKept = pool.isForcedUser && minPoolSize > 0;
      const isIdle =
        poolIdleTimeoutMs > 0 && !isKept && nowMs - pool.emptySinceMs > poolIdleTimeoutMs && !pool.paused;
      if (isIdle || state.doomedPools.has(pool)) state.dropPool(pool);
    }
  }

  /**
   * `autodb_idle_timeout`: databases made from `*` that nobody uses go, with their pools. One that no server has let
   * us into goes as soon as the next attempt would be due, and at once if a login alone has asked for it: else anybody
   * could fill the memory with names.
   */
  #freeDatabases(nowMs: number): void {
    const state = this.#state;
    const { autodb_idle_timeout, server_login_retry } = state.config.settings;
    const timeoutMs = autodb_idle_timeout * 1000;
    const isKnown = new Set<string>();
    const isBusy = new Set<string>();
    for (const pool of state.pools.all()) {
      if (pool.welcome !== null) isKnown.add(pool.database);
      if (pool.emptySinceMs === 0) isBusy.add(pool.database);
    }
    const isGone = new Set<string>();
    for (const database of state.databases.all()) {
      // What an operator has said about it would be forgotten with it.
      if (!database.isAuto || database.paused || database.disabled) continue;
      const { name } = database.entry;
      const isUsed =
        isBusy.has(name) ||
        state.budget.count('client', { database: name }) + state.budget.count('server', { database: name }) >
          0;
      if (isUsed) database.unusedSinceMs = 0;
      else if (database.isProbed) isGone.add(name);
      else if (database.unusedSinceMs === 0) database.unusedSinceMs = nowMs;
      else {
        const unusedMs = nowMs - database.unusedSinceMs;
        const isIdle = timeoutMs > 0 && unusedMs > timeoutMs;
        const isDud = !isKnown.has(name) && unusedMs > server_login_retry * 1000;
        if (isIdle || isDud) isGone.add(name);
      }
    }
    // One walk, however many go at once.
    for (const pool of state.pools.all()) if (isGone.has(pool.database)) state.dropPool(pool);
    for (const name of isGone) state.databases.remove(name);
  }

  #turnStats(nowMs: number): void {
    const state = this.#state;
    const { stats_period } = state.config.settings;
    if (nowMs - this.#periodStartMs < stats_period * 1000) return;
    this.#periodStartMs = nowMs;
    this.#windows.turn(nowMs, [state.consoleStats, ...state.pools.all().map((pool) => pool.stats)]);
    this.#onPeriod();
  }
}
