import type { DatabaseEntry } from '../config/databases.ts';
import { needsRecycling } from '../config/diff.ts';
import { poolLimits } from '../config/effective.ts';
import { poolKey } from '../pool/budget.ts';
import type { LoginNews, PoolIdentity, WelcomeData } from '../pool/context.ts';
import type { LoginFailure } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import type { Pools } from '../pool/pools.ts';
import type { SharedBudget } from '../pool/shared-budget.ts';
import type { PoolerState } from './context.ts';

/** What is known of so many pools, those of which something was heard last. */
const MAX_POOLS = 1000;

/** A welcome of more characters than this is its own thread's alone. PostgreSQL's has some 500. */
const MAX_WELCOME = 16_384;

/** A pool, in all threads. */
export interface PoolName {
  readonly database: string;
  readonly user: string;
}

/** A login that has failed. */
interface Failure {
  readonly failure: LoginFailure;
  /** On the clock that all threads share. */
  readonly atMs: number;
}

/** What one thread knows of a pool's logins to servers, for the others. Plain data. */
export interface LoginReport extends PoolIdentity {
  /** What servers report; null: this says nothing of it. */
  readonly welcome: WelcomeData | null;
  /** Of the last attempt; null: it has succeeded. */
  readonly failure: Failure | null;
}

/** What is known of a pool. */
interface Known extends PoolIdentity {
  welcome: WelcomeData | null;
  failure: Failure | null;
  /** By which entry of the configuration. */
  entry: DatabaseEntry;
  /** There is one of its name. */
  isConfigured: boolean;
  /** Since when no thread has a client or server of the pool, and of its database; 0 = one has. */
  unusedSinceMs: number;
  databaseUnusedSinceMs: number;
}

/** What the board has of its thread. */
export interface BoardHost {
  readonly budget: Pick<SharedBudget, 'count' | 'hasUsableElsewhere'>;
  state(): Pick<PoolerState, 'clock' | 'config' | 'databases' | 'isSuspended'> & {
    readonly pools: Pick<Pools, 'find'>;
  };
  /** Has all other threads `hear`. */
  tell(report: LoginReport): void;
  /** Asks the others for a server of theirs. */
  lacks(database: string, user: string): void;
}

/**
 * What servers report at login, and why the last login has failed, of all pools that any thread has: what one thread
 * learns serves the clients of all, as with one event loop. What a client is told comes from the database, user and host
 * that its pool has now: it is dropped when the configuration leads elsewhere, by KILL, and when no thread has had a use
 * for the pool for as long as one loop keeps it. Each thread has a board of its own, which has changed at the same
 * commands and configurations when it hears of something.
 */
export class LoginBoard implements LoginNews {
  readonly #host: BoardHost;
  readonly #known = new Map<string, Known>();

  constructor(host: BoardHost) {
    this.#host = host;
  }

  joined(pool: Pool): void {
    const known = this.#known.get(pool.key);
    if (known === undefined) return;
    if (this.#isCurrent(known)) putInto(pool, known);
    else this.#known.delete(pool.key);
  }

  succeeded(pool: PoolIdentity & { readonly welcome: WelcomeData | null }, welcome: WelcomeData): void {
    const known = this.#obtain(pool);
    if (known === null) return;
    const isTold = pool.welcome !== null && known.welcome !== null && isSame(known.welcome, welcome);
    if (isTold && known.failure === null) return;
    known.welcome = sizeOf(welcome) > MAX_WELCOME ? null : welcome;
    known.failure = null;
    this.#host.tell(reportOf(known));
  }

  failed(pool: PoolIdentity, failure: LoginFailure, atMs: number): void {
    const known = this.#obtain(pool);
    if (known === null) return;
    known.failure = { failure, atMs };
    this.#host.tell({ ...reportOf(known), welcome: null });
  }

  hasUsable({ database, user }: PoolIdentity): boolean {
    return this.#host.budget.hasUsableElsewhere(database, user);
  }

  lacks({ database, user }: PoolIdentity): void {
    this.#host.lacks(database, user);
  }

  /** Another thread knows something, as of the commands and the configuration that have been heard last here. */
  hear(report: LoginReport): void {
    const known = this.#obtain(report);
    if (known === null) return;
    if (report.welcome !== null) known.welcome = report.welcome;
    known.failure = report.failure;
    const pool = this.#host.state().pools.find(report.database, report.user);
    if (pool !== null) putInto(pool, report);
  }

  /** The others may not have got what is known of a pool (null: of any). */
  tellAgain(of: PoolName | null): void {
    if (of === null) {
      for (const known of this.#known.values()) this.#host.tell(reportOf(known));
      return;
    }
    const known = this.#known.get(poolKey(of.database, of.user));
    if (known !== undefined) this.#host.tell(reportOf(known));
  }

  /** Another configuration is in force. */
  applied(): void {
    for (const [key, known] of this.#known) if (!this.#isCurrent(known)) this.#known.delete(key);
  }

  /** KILL of a database; null: of all. */
  forget(database: string | null): void {
    for (const [key, known] of this.#known) {
      if (database === null || known.database === database) this.#known.delete(key);
    }
  }

  /** Forgets pools that no thread uses, as one loop would: `pool_idle_timeout`, `autodb_idle_timeout`. */
  sweep(): void {
    const { clock, config, databases, isSuspended } = this.#host.state();
    if (isSuspended) return;
    const { budget } = this.#host;
    const nowMs = clock.nowMs();
    for (const [key, known] of this.#known) {
      const { database, user, isForcedUser, entry } = known;
      const count = (scope: { database: string; user?: string }): number =>
        budget.count('client', isForcedUser ? { database } : scope) + budget.count('server', scope);
      known.unusedSinceMs = unusedSince(known.unusedSinceMs, count({ database, user }), nowMs);
      known.databaseUnusedSinceMs = unusedSince(known.databaseUnusedSinceMs, count({ database }), nowMs);
      const state = databases.get(database);
      const isHalted = state !== null && (state.paused || state.disabled);
      const { poolIdleTimeoutMs, minPoolSize } = poolLimits(config, entry, user);
      const isKept = isHalted || (isForcedUser && minPoolSize > 0);
      const autoMs = config.databases.has(database) ? 0 : config.settings.autodb_idle_timeout * 1000;
      if (!isKept && isOver(known.unusedSinceMs, poolIdleTimeoutMs, nowMs)) this.#known.delete(key);
      else if (!isHalted && isOver(known.databaseUnusedSinceMs, autoMs, nowMs)) this.#known.delete(key);
    }
  }

  /** What is known of a pool, now the last of which something was heard; null: there is no such database. */
  #obtain({ database, user, isForcedUser }: PoolIdentity): Known | null {
    const key = poolKey(database, user);
    const found = this.#known.get(key);
    this.#known.delete(key);
    const { databases, config } = this.#host.state();
    const entry = databases.entryFor(database);
    if (entry === null) return null;
    const known = found ?? {
      ...{ database, user, isForcedUser, welcome: null, failure: null },
      ...{ entry, isConfigured: config.databases.has(database), unusedSinceMs: 0, databaseUnusedSinceMs: 0 },
    };
    this.#known.set(key, known);
    if (this.#known.size > MAX_POOLS) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    return known;
  }

  /** Whether it is what the configuration in force leads to; see `applyConfig`. */
  #isCurrent(known: Known): boolean {
    const { databases, config } = this.#host.state();
    const isConfigured = config.databases.has(known.database);
    const entry = databases.entryFor(known.database);
    if (entry === null || (known.isConfigured && !isConfigured)) return false;
    if (needsRecycling(known.entry, entry)) return false;
    known.entry = entry;
    known.isConfigured = isConfigured;
    return true;
  }
}

/** The pool here hears what another thread has, and serves whoever it can. */
function putInto(pool: Pool, { welcome, failure }: Pick<LoginReport, 'welcome' | 'failure'>): void {
  if (failure === null) pool.launcher.hearSuccess();
  if (welcome !== null) pool.introduce(welcome);
  if (failure !== null) pool.launcher.hearFailure(failure.failure, failure.atMs);
  pool.service();
}

function reportOf({ database, user, isForcedUser, welcome, failure }: Known): LoginReport {
  return { database, user, isForcedUser, welcome, failure };
}

function isSame(a: WelcomeData, b: WelcomeData): boolean {
  return a.length === b.length && a.every(([name, value], i) => name === b[i]?.[0] && value === b[i]?.[1]);
}

function sizeOf(welcome: WelcomeData): number {
  return welcome.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
}

function unusedSince(sinceMs: number, uses: number, nowMs: number): number {
  if (uses > 0) return 0;
  return sinceMs === 0 ? nowMs : sinceMs;
}

function isOver(sinceMs: number, timeoutMs: number, nowMs: number): boolean {
  return timeoutMs > 0 && sinceMs > 0 && nowMs - sinceMs > timeoutMs;
}
