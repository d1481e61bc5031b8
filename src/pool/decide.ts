import type { PoolLimits } from './limits.ts';

/** The pool's decisions as pure functions: snapshot and `nowMs` in, action and reason out. */

/** What {@link decideRelease} looks at. */
export interface ReleaseView {
  readonly ageMs: number;
  /** Since the last close for `server_lifetime` in this pool. */
  readonly sinceLifetimeCloseMs: number;
  readonly isClean: boolean;
  readonly closeNeeded: boolean;
  readonly paused: boolean;
  readonly cancelsInFlight: number;
  readonly needsResync: boolean;
  /** Nothing is left to be run: a new login, or the reset or check query has been answered. */
  readonly isTested: boolean;
}

export type ReleaseDecision =
  | { readonly action: 'close'; readonly reason: string }
  | { readonly action: 'wait-for-cancels' }
  | { readonly action: 'test'; readonly sql: string; readonly purpose: 'reset' | 'resync' }
  | { readonly action: 'used' }
  | { readonly action: 'idle' };

/** Where a server connection goes that a client has let go of. Order of the checks: contract, §5.2. */
export function decideRelease(view: ReleaseView, limits: PoolLimits): ReleaseDecision {
  if (!view.isClean) return { action: 'close', reason: 'client disconnected with queries in progress' };
  // Not after a test: a lifetime of 0 would close connections that have passed their check and served nobody.
  if (!view.isTested && isLifetimeOver(view.ageMs, view.sinceLifetimeCloseMs, limits)) {
    return { action: 'close', reason: 'server lifetime over' };
  }
  if (view.closeNeeded) return { action: 'close', reason: 'close_needed' };
  if (view.cancelsInFlight > 0) return { action: 'wait-for-cancels' };
  if (view.paused) return { action: 'close', reason: 'pause mode' };
  if (!view.isTested) {
    if (view.needsResync) return { action: 'test', sql: '', purpose: 'resync' };
    const resets = limits.poolMode === 'session' || limits.serverResetQueryAlways;
    if (resets && limits.serverResetQuery !== null) {
      return { action: 'test', sql: limits.serverResetQuery, purpose: 'reset' };
    }
    if (limits.serverCheckDelayMs === 0 && limits.serverCheckQuery !== null) return { action: 'used' };
  }
  return { action: 'idle' };
}

/**
 * `server_lifetime`: within one pool two such closes are spaced at least lifetime/pool_size apart, so that a
 * pool filled at once does not empty at once. A lifetime of 0 means: use once.
 */
export function isLifetimeOver(ageMs: number, sinceLifetimeCloseMs: number, limits: PoolLimits): boolean {
  if (limits.serverLifetimeMs === 0) return true;
  if (ageMs < limits.serverLifetimeMs) return false;
  const spacingMs = limits.poolSize > 0 ? limits.serverLifetimeMs / limits.poolSize : 0;
  return sinceLifetimeCloseMs >= spacingMs;
}

/** What {@link decideLaunch} looks at. */
export interface LaunchView {
  readonly paused: boolean;
  readonly loginsInProgress: number;
  /** How many there may be; see {@link loginsAtOnce}. */
  readonly loginsAllowed: number;
  /** Since the last failed connect or login; null when the last one succeeded. */
  readonly sinceFailureMs: number | null;
  /** Server connections of the pool that hold a slot, closing ones too. */
  readonly slotsTaken: number;
  /** How long the first client has been waiting; null when none waits. */
  readonly firstWaitMs: number | null;
}

export type LaunchDecision =
  | { readonly action: 'launch'; readonly poolLimit: number; readonly isReserve: boolean }
  | { readonly action: 'wait'; readonly reason: WaitReason };

/** Why no connection is opened now. */
export type WaitReason = 'paused' | 'login in progress' | 'login retry' | 'pool is full';

/** A pool's logins under way at most: PostgreSQL forks for each. */
const MAX_LOGINS_AT_ONCE = 8;

/** `server_login_retry = 0` means the next sweep: an attempt that fails at once must not be repeated at once. */
const SHORTEST_RETRY_MS = 100;

/**
 * How many logins a pool may have under way after so many have succeeded since one failed, or since none was under way:
 * one, for a wrong password shall cost one attempt and not pool_size of them, and one more with each success. So they
 * double each time that all of them succeed. Of several event loops each has its share of the most, one at least.
 */
export function loginsAtOnce(successes: number, loops: number): number {
  const most = Math.max(1, Math.floor(MAX_LOGINS_AT_ONCE / loops));
  return Math.min(most, 1 + successes);
}

/** Whether a pool that lacks an idle server may ask the budget for a new one, and up to which size. */
export function decideLaunch(view: LaunchView, limits: PoolLimits): LaunchDecision {
  if (view.paused) return { action: 'wait', reason: 'paused' };
  if (view.loginsInProgress >= view.loginsAllowed) return { action: 'wait', reason: 'login in progress' };
  const retryMs = Math.max(limits.serverLoginRetryMs, SHORTEST_RETRY_MS);
  if (view.sinceFailureMs !== null && view.sinceFailureMs < retryMs) {
    return { action: 'wait', reason: 'login retry' };
  }
  const size = limits.poolSize;
  if (size === 0 || view.slotsTaken < size) return { action: 'launch', poolLimit: size, isReserve: false };
  const mayReserve =
    limits.reservePoolSize > 0 &&
    limits.reservePoolTimeoutMs > 0 &&
    view.firstWaitMs !== null &&
    view.firstWaitMs >= limits.reservePoolTimeoutMs;
  if (mayReserve && view.slotsTaken < size + limits.reservePoolSize) {
    return { action: 'launch', poolLimit: size + limits.reservePoolSize, isReserve: true };
  }
  return { action: 'wait', reason: 'pool is full' };
}

/** What {@link isBelowMinimum} looks at. */
export interface MinimumView {
  /** Usable servers and those in login. */
  readonly connected: number;
  readonly clientCount: number;
  readonly isForcedUser: boolean;
}

/** `min_pool_size`: whether one more connection is to be opened without anybody waiting for it. */
export function isBelowMinimum(view: MinimumView, limits: PoolLimits): boolean {
  if (view.connected >= limits.minPoolSize || view.connected >= limits.poolSize) return false;
  return view.clientCount > 0 || view.isForcedUser;
}

/** What {@link decideActiveTimeout} looks at: a linked server. Starts are 0 when nothing is open. */
export interface ActiveView {
  readonly nowMs: number;
  readonly queryStartMs: number;
  readonly xactStartMs: number;
  readonly isIdleInTransaction: boolean;
  readonly lastServerBytesMs: number;
}

/** The text that closes a linked pair for taking too long, or null. */
export function decideActiveTimeout(view: ActiveView, limits: PoolLimits): string | null {
  if (
    limits.queryTimeoutMs > 0 &&
    view.queryStartMs > 0 &&
    view.nowMs - view.queryStartMs > limits.queryTimeoutMs
  ) {
    return 'query timeout';
  }
  if (
    limits.idleTransactionTimeoutMs > 0 &&
    view.isIdleInTransaction &&
    view.nowMs - view.lastServerBytesMs > limits.idleTransactionTimeoutMs
  ) {
    return 'idle transaction timeout';
  }
  if (
    limits.transactionTimeoutMs > 0 &&
    view.xactStartMs > 0 &&
    view.nowMs - view.xactStartMs > limits.transactionTimeoutMs
  ) {
    return 'transaction timeout';
  }
  return null;
}

/** What {@link decideRest} looks at: a server that no client uses. */
export interface RestView {
  readonly state: 'idle' | 'used';
  readonly restMs: number;
  readonly ageMs: number;
  readonly sinceLifetimeCloseMs: number;
  readonly closeNeeded: boolean;
  readonly paused: boolean;
  /** Servers that can serve somebody, now or later, over all event loops. */
  readonly usableServers: number;
}

export type RestDecision =
  | { readonly action: 'keep' }
  | { readonly action: 'used' }
  /** `least`: unless no more than so many are usable by now. */
  | { readonly action: 'close'; readonly reason: string; readonly least: number };

/** What the sweep does with an idle or used server. */
export function decideRest(view: RestView, limits: PoolLimits): RestDecision {
  if (view.paused) return { action: 'close', reason: 'pause mode', least: 0 };
  if (view.closeNeeded) return { action: 'close', reason: 'database configuration changed', least: 0 };
  const bound = limits.poolSize === 0 ? 0 : limits.poolSize + limits.reservePoolSize;
  if (bound > 0 && view.usableServers > bound) {
    return { action: 'close', reason: 'too many servers in the pool', least: bound };
  }
  if (
    limits.serverIdleTimeoutMs > 0 &&
    view.restMs > limits.serverIdleTimeoutMs &&
    (limits.minPoolSize === 0 || view.usableServers > limits.minPoolSize)
  ) {
    return { action: 'close', reason: 'server idle timeout', least: limits.minPoolSize };
  }
  // A lifetime of 0 means "use once": that is for the release to end, not for a server nobody used yet.
  if (limits.serverLifetimeMs > 0 && isLifetimeOver(view.ageMs, view.sinceLifetimeCloseMs, limits)) {
    return { action: 'close', reason: 'server lifetime over', least: 0 };
  }
  if (view.state === 'idle' && limits.serverCheckQuery !== null && view.restMs > limits.serverCheckDelayMs) {
    return { action: 'used' };
  }
  return { action: 'keep' };
}
