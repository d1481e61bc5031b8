import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Grant } from '../pool/budget.ts';
import { poolKey } from '../pool/budget.ts';
import type { PoolIdentity, ServerExchange } from '../pool/context.ts';
import { askInMs, decideMove, IDLE_WAIT_MS, SPACING_MS } from '../pool/decide-move.ts';
import type { PoolLimits } from '../pool/limits.ts';
import type { MovedServer } from '../pool/moved-server.ts';
import type { Pool } from '../pool/pool.ts';
import type { Pools } from '../pool/pools.ts';
import type { SharedBudget } from '../pool/shared-budget.ts';
import { OWNER_NUMBERS } from '../pool/shared-owners.ts';
import type { SomeOwners } from '../pool/shared-waits.ts';
import type { PoolName } from './login-board.ts';

/** Longest time between two questions to other threads for servers of one pool. */
const MAX_ASK_MS = 100;

/** A login is a new process for PostgreSQL: so long a pool waits before it closes another server for one elsewhere. */
const REOPEN_SPACING_MS = 200;

/** And so long, while the same client still waits longest in a thread: one that hangs opens none. */
const SAME_WAITER_MS = 2000;

const NONE = new Map<number, Grant>();

/** See `MovedParts`. */
const NO_DESCRIPTOR = -1;

/** What the exchange has of its thread. */
export interface ExchangeHost {
  readonly clock: Clock;
  readonly log: Logger;
  readonly budget: SharedBudget;
  pools(): Pick<Pools, 'find'>;
  /** The pool of a server from elsewhere. */
  poolOf(identity: PoolIdentity, limits: PoolLimits): Pool;
  /** The other threads, by their numbers in the budget. */
  readonly others: readonly number[];
  /** Gives a server to that thread, whose grant it is by now; its descriptor is the one in custody. */
  give(owner: number, moved: MovedServer): void;
  closeDescriptor(fd: number): void;
  /** Asks that thread for a server of the pool that rests there. `mayClose`: or to close one that cannot come as it is. */
  askFor(owner: number, pool: PoolName, mayClose: boolean): void;
}

/** What is remembered of a pool. */
interface PoolMoves {
  /** When servers were given away within the last second. */
  givenMs: number[];
  /** Those that have not arrived, by the thread that they were given to. One that hangs takes none up. */
  readonly onTheWay: Map<number, Grant>;
  /** When one was closed for another thread. */
  closedMs: number;
  /** By thread: when one was closed for it, and since when its client had been waiting. */
  readonly closedFor: Map<number, { readonly sinceMs: number; readonly closedMs: number }>;
  timer: NodeJS.Timeout | null;
  /** After how long that asks. */
  askMs: number;
  /** Whether a server that rests here is wanted elsewhere by now. */
  look: NodeJS.Timeout | null;
}

/**
 * Idle servers that go to threads where clients have waited for longer, and the questions for them: see
 * docs/decisions/0014-moving-servers.md.
 */
export class WorkerExchange implements ServerExchange<Pool> {
  readonly #host: ExchangeHost;
  readonly #pools = new Map<string, PoolMoves>();
  readonly #counts = { sent: 0, received: 0, reopened: 0 };
  #era = 0;

  constructor(host: ExchangeHost) {
    this.#host = host;
  }

  era(): number {
    return this.#era;
  }

  /** What is heard now is of this era; see `Workforce`. What is repeated for one that has just begun may be older. */
  enter(era: number): void {
    this.#era = Math.max(this.#era, era);
  }

  wants(pool: Pool): boolean {
    const { budget, clock } = this.#host;
    const owner = budget.longestWaiterElsewhere(pool.key, this.#served(pool.key));
    const sinceMs = owner < 0 ? 0 : budget.waitOf(pool.key, owner);
    if (sinceMs === 0) return false;
    const nowMs = clock.nowMs();
    const own = pool.waits.sinceMs;
    const given = this.#given(pool.key, nowMs);
    const decision = decideMove({
      waitMs: own === 0 ? null : nowMs - own,
      otherWaitMs: nowMs - sinceMs,
      sinceMoveMs: nowMs - (given.at(-1) ?? Number.NEGATIVE_INFINITY),
      movesLastSecond: given.length,
    });
    return decision.action === 'move';
  }

  stays(pool: Pool): void {
    // Those whose server is on its way, or whose thread hangs, may soon want another one, too.
    if (this.#host.budget.longestWaiterElsewhere(pool.key) >= 0) this.#lookAgain(pool);
  }

  /** Who waits elsewhere asks more and more rarely, while others go before it: what rests here is not to rest for as long. */
  #lookAgain(pool: Pool): void {
    const moves = this.#movesOf(pool.key);
    if (moves.look !== null) return;
    moves.look = setTimeout(() => {
      moves.look = null;
      try {
        if (pool.servers.idle.length > 0) pool.moves.offer();
      } catch (error) {
        const why = error instanceof Error ? error.stack : String(error);
        this.#host.log.log('ERROR', `internal error: ${why}`);
      }
    }, SPACING_MS);
    moves.look.unref();
  }

  /** The threads that have yet to take up a server of the pool which they were given, and get no other before. */
  #late(key: string): ReadonlyMap<number, Grant> {
    const onTheWay = this.#pools.get(key)?.onTheWay ?? NONE;
    for (const [owner, grant] of onTheWay) if (!this.#host.budget.isOnItsWay(grant)) onTheWay.delete(owner);
    return onTheWay;
  }

  /** Those, and the ones for whose client a server was closed that it may be logging in for. */
  #served(key: string): SomeOwners {
    const { budget, clock } = this.#host;
    const late = this.#late(key);
    const closedFor = this.#pools.get(key)?.closedFor;
    if (closedFor === undefined || closedFor.size === 0) return late;
    const nowMs = clock.nowMs();
    for (const [owner, { sinceMs, closedMs }] of closedFor) {
      const isOver = nowMs - closedMs >= SAME_WAITER_MS || budget.waitOf(key, owner) !== sinceMs;
      if (isOver) closedFor.delete(owner);
    }
    return { has: (owner) => late.has(owner) || closedFor.has(owner) };
  }

  mayReopen(pool: Pool): boolean {
    const { budget, clock } = this.#host;
    const moves = this.#movesOf(pool.key);
    const nowMs = clock.nowMs();
    if (nowMs - moves.closedMs < REOPEN_SPACING_MS) return false;
    const owner = budget.longestWaiterElsewhere(pool.key, this.#served(pool.key));
    if (owner < 0) return false;
    moves.closedFor.set(owner, { sinceMs: budget.waitOf(pool.key, owner), closedMs: nowMs });
    moves.closedMs = nowMs;
    budget.promise(owner, pool.key);
    this.#count('reopened');
    return true;
  }

  send(pool: Pool, moved: MovedServer): void {
    const { budget, clock, give, closeDescriptor } = this.#host;
    const owner = budget.longestWaiterElsewhere(pool.key, this.#served(pool.key));
    // Also where nobody takes it: to come to rest here it asks again whether it is wanted elsewhere.
    const moves = this.#movesOf(pool.key);
    this.#given(pool.key, clock.nowMs()).push(clock.nowMs());
    const grant = owner < 0 ? null : budget.transfer(moved.grant, owner);
    if (grant === null) {
      // Nobody is there any more who could have it.
      this.#adopt(pool, moved, moved.grant);
      return;
    }
    moves.onTheWay.set(owner, grant);
    this.#count('sent');
    // Whatever becomes of the two threads, the one in custody is left.
    closeDescriptor(moved.parts.fd);
    give(owner, { ...moved, grant, parts: { ...moved.parts, fd: NO_DESCRIPTOR } });
    this.#lookAgain(pool);
  }

  forget({ key }: Pool): void {
    const moves = this.#pools.get(key);
    // A thread that hangs must not get another one when the pool is there again.
    if (moves === undefined || this.#late(key).size > 0) return;
    cancel(moves);
    this.#pools.delete(key);
  }

  /** A server has come from another thread; perhaps for one that has died, or after its giver has. */
  received(moved: MovedServer): void {
    const { budget, log } = this.#host;
    const { grant, identity } = moved;
    if (!budget.arrived(grant)) return;
    this.#count('received');
    const fd = budget.custody.duplicateOf(grant);
    if (fd === null) {
      log.log('ERROR', `${identity.database}/${identity.user}: no descriptor is left for a server`);
      budget.leaveBehind(grant);
      return;
    }
    this.#adopt(
      this.#host.poolOf(identity, moved.limits),
      { ...moved, parts: { ...moved.parts, fd } },
      grant,
    );
  }

  #count(what: 'sent' | 'received' | 'reopened'): void {
    this.#host.budget.publishNumber(OWNER_NUMBERS[what], ++this.#counts[what]);
  }

  /** The descriptor is gone, one way or the other. */
  #adopt(pool: Pool, moved: MovedServer, grant: Grant): void {
    try {
      pool.moves.adopt(moved, grant);
    } catch (error) {
      const { budget, log } = this.#host;
      log.log('ERROR', `${pool.database}/${pool.user}: cannot take a server over: ${String(error)}`);
      budget.leaveBehind(grant);
    }
  }

  /** Another thread lacks a server of this pool. */
  askedFor({ database, user }: PoolName, mayClose: boolean): void {
    this.#host.pools().find(database, user)?.moves.offer(mayClose);
  }

  /** Somebody waits, and none may be opened, or one that is under way takes its time: others may have idle ones. */
  refused(database: string, user: string): void {
    const key = poolKey(database, user);
    const moves = this.#movesOf(key);
    if (moves.timer !== null) {
      // Who waits alone has not been asked for yet, however long others have been before.
      const isAlone = (this.#host.pools().find(database, user)?.clients.waiting.length ?? 0) <= 1;
      if (moves.askMs <= IDLE_WAIT_MS || !isAlone) return;
      clearTimeout(moves.timer);
    }
    this.#askLater(moves, key, database, user, askInMs(0, Number.POSITIVE_INFINITY));
  }

  /** No more servers go, or are asked for. */
  stop(): void {
    for (const moves of this.#pools.values()) cancel(moves);
    this.#pools.clear();
  }

  #askLater(moves: PoolMoves, key: string, database: string, user: string, delayMs: number): void {
    moves.askMs = delayMs;
    moves.timer = setTimeout(() => {
      moves.timer = null;
      const pool = this.#host.pools().find(database, user);
      if (pool === null || !pool.clients.isWaiting) {
        const nowMs = this.#host.clock.nowMs();
        const isOver = nowMs - moves.closedMs > SAME_WAITER_MS && moves.look === null;
        if (isOver && this.#given(key, nowMs).length === 0 && this.#late(key).size === 0)
          this.#pools.delete(key);
        return;
      }
      // Where a login or a test is under way for all who wait, what is closed elsewhere would be one less.
      const mayClose = pool.launcher.wouldOpen;
      for (const owner of this.#host.others) {
        // One that comes to rest later sees for itself that somebody waits here.
        if (this.#host.budget.restsIn(owner, key)) this.#host.askFor(owner, { database, user }, mayClose);
      }
      this.#askLater(moves, key, database, user, Math.min(2 * delayMs, MAX_ASK_MS));
    }, delayMs);
    moves.timer.unref();
  }

  #given(key: string, nowMs: number): number[] {
    const { givenMs } = this.#movesOf(key);
    while (givenMs[0] !== undefined && nowMs - givenMs[0] > 1000) givenMs.shift();
    return givenMs;
  }

  #movesOf(key: string): PoolMoves {
    let moves = this.#pools.get(key);
    if (moves === undefined) {
      moves = {
        ...{ givenMs: [], onTheWay: new Map<number, Grant>(), timer: null, askMs: 0, look: null },
        ...{ closedMs: Number.NEGATIVE_INFINITY, closedFor: new Map<number, never>() },
      };
      this.#pools.set(key, moves);
    }
    return moves;
  }
}

function cancel({ timer, look }: PoolMoves): void {
  if (timer !== null) clearTimeout(timer);
  if (look !== null) clearTimeout(look);
}
