import type { YieldScope } from './budget.ts';
import type { PoolServer } from './peers.ts';

/** Longer than from one sweep to the next, in which whoever still waits asks again. */
const CLAIM_MS = 500;

/** Clients of a pool that wait themselves give way to those of another one that have waited so much longer. */
const AHEAD_MS = 1000;

/** A login costs as much as many transactions: a server makes room once used for so long, and twice as long as that took. */
const TENURE_MS = 200;

/** The pool whose clients wait for room. */
export interface Claimant {
  /** Key of the pool. */
  readonly key: string;
  /** From when on others are to make room for who waits here, monotonic ms; null: for nobody now. */
  readonly dueFromMs: number | null;
  /** A server is closed for it. */
  met?(): void;
}

/** A pool in which a server comes to rest. */
export interface YieldingPool {
  readonly key: string;
  readonly database: string;
  readonly user: string;
  readonly clients: { readonly oldestWaitStartMs: number; readonly isDedicatedFirst: boolean };
  readonly moves: { readonly areWanted: boolean };
  readonly nowMs: number;
}

interface Claims {
  /** Until when each counts. */
  readonly untilMs: Map<Claimant, number>;
  /** None is due before. */
  firstMs: number;
  /** When one was met last. */
  takenMs: number;
}

/**
 * Pools whose clients wait, in this event loop or another one, because `max_db_connections` or `max_user_connections` is reached, and
 * for which nothing at rest could be closed: the next server that comes to rest within the limit makes room. Each
 * eviction costs a login, so that a pool whose own clients wait gives a server away only to those that have waited far
 * longer.
 */
export class YieldClaims {
  readonly #databases = new Map<string, Claims>();
  readonly #users = new Map<string, Claims>();
  #prunedMs = 0;
  /** Counts servers that have come to rest, are on their way out, or otherwise in another state than linked. */
  moves = 0;

  /** Limits within which something is claimed. */
  get size(): number {
    return this.#databases.size + this.#users.size;
  }

  add({ kind, name }: YieldScope, claimant: Claimant, nowMs: number): void {
    this.#prune(nowMs);
    const { dueFromMs } = claimant;
    if (dueFromMs === null) return;
    const scopes = kind === 'database' ? this.#databases : this.#users;
    let claims = scopes.get(name);
    if (claims === undefined) {
      claims = { untilMs: new Map(), firstMs: dueFromMs, takenMs: 0 };
      scopes.set(name, claims);
    }
    claims.untilMs.set(claimant, nowMs + CLAIM_MS);
    claims.firstMs = Math.min(claims.firstMs, dueFromMs);
  }

  /** Whether a server of `pool` that comes to rest now is to be closed; one claim has been met then. */
  take(pool: YieldingPool, server: Pick<PoolServer, 'connectMs' | 'readyMs'>): boolean {
    if (this.size === 0) return false;
    const { nowMs } = pool;
    this.#prune(nowMs);
    const tenureMs = Math.max(TENURE_MS, 2 * (server.readyMs - server.connectMs));
    if (nowMs - server.readyMs < tenureMs || pool.moves.areWanted) return false;
    return (
      take(this.#databases.get(pool.database), pool, nowMs) || take(this.#users.get(pool.user), pool, nowMs)
    );
  }

  /** What has not been claimed again is over. */
  #prune(nowMs: number): void {
    if (nowMs - this.#prunedMs < CLAIM_MS) return;
    this.#prunedMs = nowMs;
    for (const scopes of [this.#databases, this.#users]) {
      for (const [name, { untilMs }] of scopes) {
        for (const [claimant, endMs] of untilMs) if (endMs <= nowMs) untilMs.delete(claimant);
        if (untilMs.size === 0) scopes.delete(name);
      }
    }
  }
}

/** With many that wait, most servers come to rest where no claim is due: that is told without going through them. */
function take(claims: Claims | undefined, pool: YieldingPool, nowMs: number): boolean {
  if (claims === undefined) return false;
  const { oldestWaitStartMs, isDedicatedFirst } = pool.clients;
  const limitMs = oldestWaitStartMs === 0 ? nowMs : Math.min(nowMs, oldestWaitStartMs - AHEAD_MS);
  if (claims.firstMs > (isDedicatedFirst ? nowMs : limitMs)) return false;
  // Those who have waited longest would drain the pool of the others, and these theirs afterwards.
  if (oldestWaitStartMs !== 0 && nowMs - claims.takenMs < TENURE_MS) return false;
  claims.firstMs = Infinity;
  let chosen: Claimant | null = null;
  let chosenMs = Infinity;
  for (const [claimant, endMs] of claims.untilMs) {
    const dueFromMs = endMs <= nowMs ? null : claimant.dueFromMs;
    if (dueFromMs === null) {
      claims.untilMs.delete(claimant);
      continue;
    }
    claims.firstMs = Math.min(claims.firstMs, dueFromMs);
    // Its own clients are no others, but for one that wants a connection to itself.
    const isDue = claimant.key === pool.key ? isDedicatedFirst && dueFromMs <= nowMs : dueFromMs <= limitMs;
    if (!isDue || dueFromMs >= chosenMs) continue;
    chosen = claimant;
    chosenMs = dueFromMs;
  }
  if (chosen === null) return false;
  claims.takenMs = nowMs;
  chosen.met?.();
  return claims.untilMs.delete(chosen);
}
