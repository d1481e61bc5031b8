import {
  type Budget,
  type BudgetOwner,
  poolKey,
  type RoomClaim,
  type YieldAnswer,
  type YieldScope,
} from './budget.ts';
import type { PoolContext, PoolIdentity } from './context.ts';
import type { PoolLimits } from './limits.ts';
import type { PoolServer } from './peers.ts';
import { Pool } from './pool.ts';
import { type Claimant, YieldClaims } from './yield-claims.ts';

/** All pools of one event loop, by (database, pool user). */
export class Pools implements BudgetOwner {
  readonly #context: PoolContext;
  readonly #pools = new Map<string, Pool>();
  /** Where nothing rested when last looked at, and nothing has come to rest since: many pools ask in a row. */
  readonly #empty = new Set<string>();
  #emptyAt = 0;

  constructor(context: Omit<PoolContext, 'claims'>) {
    this.#context = { ...context, claims: new YieldClaims() };
    context.budget.join(context.owner, this);
  }

  get budget(): Budget {
    return this.#context.budget;
  }

  find(database: string, user: string): Pool | null {
    return this.#pools.get(poolKey(database, user)) ?? null;
  }

  /** The pool, made with `limits` if it isn't there. */
  open(identity: PoolIdentity, limits: PoolLimits): Pool {
    const key = poolKey(identity.database, identity.user);
    const found = this.#pools.get(key);
    if (found !== undefined) return found;
    const pool = new Pool(this.#context, identity, limits);
    this.#pools.set(key, pool);
    this.#context.news?.joined(pool);
    return pool;
  }

  /** Forgets a pool that has neither clients nor servers; its counters go with it. */
  remove(pool: Pool): void {
    pool.launcher.letGo();
    this.#pools.delete(pool.key);
    this.#context.exchange?.forget(pool);
  }

  /** All pools, or those of one database, by database and user name. */
  all(database?: string): Pool[] {
    const chosen = [...this.#pools.values()].filter(
      (pool) => database === undefined || pool.database === database,
    );
    return chosen.sort((a, b) => compare(a.database, b.database) || compare(a.user, b.user));
  }

  /** Capacity came back: pools try again, the one with the longest wait first. */
  onFreed(): void {
    for (const pool of this.#pools.values()) pool.launcher.freed();
    const waiting = [...this.#pools.values()].filter((pool) => pool.clients.isWaiting);
    waiting.sort((a, b) => a.clients.oldestWaitStartMs - b.clients.oldestWaitStartMs);
    for (const pool of waiting) {
      try {
        pool.service();
      } catch (error) {
        // Called from a microtask: nobody above would catch it, and one pool's bug must not keep it from the rest.
        this.#context.log.log(
          'ERROR',
          `internal error: ${error instanceof Error ? error.stack : String(error)}`,
        );
      }
    }
  }

  yieldServer(scope: YieldScope, claim?: RoomClaim): YieldAnswer {
    const nowMs = this.#context.clock.nowMs();
    const { moves } = this.#context.claims;
    if (this.#emptyAt !== moves) this.#empty.clear();
    this.#emptyAt = moves;
    const key = `${scope.kind} ${scope.name}`;
    if (this.#empty.has(key)) return 'nothing';
    let chosen: { pool: Pool; server: PoolServer } | null = null;
    for (const pool of this.#pools.values()) {
      if ((scope.kind === 'database' ? pool.database : pool.user) !== scope.name) continue;
      // It goes to them as it is, once they have waited for as long as that takes: see WorkerExchange.
      const isTheirs = claim?.takesOwn === true && claim.key === pool.key && pool.servers.idle.length > 0;
      if (isTheirs && pool.moves.mayServeOthers) return 'goes';
      // One connection on its way out is enough: its slot comes back soon.
      if (pool.servers.isClosingSoon(nowMs)) return 'soon';
      const server = pool.servers.mostIdle();
      if (server !== null && (chosen === null || server.stateSinceMs < chosen.server.stateSinceMs)) {
        chosen = { pool, server };
      }
    }
    if (chosen === null) {
      this.#empty.add(key);
      return 'nothing';
    }
    chosen.pool.closeServer(chosen.server, 'evicted');
    return 'closes';
  }

  claimed(scope: YieldScope, claimant: Claimant): void {
    this.#context.claims.add(scope, claimant, this.#context.clock.nowMs());
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
