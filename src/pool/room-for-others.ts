import { type BudgetOwner, type Grant, poolKey, type RoomClaim, type YieldScope } from './budget.ts';
import { NONE } from './shared-counts.ts';
import type { Claimant } from './yield-claims.ts';

/** An owner wants room within `scope` for clients of a pool; plain data. */
export interface YieldRequest {
  readonly scope: YieldScope;
  /** Index of the owner that asks. */
  readonly asker: number;
  /** What stands for the limit where times are kept by limit: another one may have the same. */
  readonly mark: number;
  readonly claim: RoomClaim;
}

/** Claims of clients that wait no more are looked for when there are twice as many as there were behind the last look. */
const FEW_CLAIMS = 64;

/** What there is of the budget. */
interface RoomParts {
  /** Since when a client of the pool waits in an owner; 0 = none does. */
  waitOf(key: string, owner: number): number;
  /** Whether the owner has that grant. */
  isHeldBy(owner: number, id: number): boolean;
  /** What the owner has asked for by then, of that mark, is being made; all that share the budget know it. */
  meet(owner: number, mark: number, askedMs: number): void;
  /** Whether that is so of what it has asked for at that time. */
  isMet(owner: number, mark: number, askedMs: number): boolean;
}

/** A server connection is on its way out for somebody. */
interface Promised {
  readonly owner: number;
  /** Key of the pool whose clients wait there. */
  readonly key: string;
  /** Whether it may be this one. */
  covers(grant: Grant): boolean;
}

/**
 * Within limits over several pools: what clients of other event loops claim here, and who gets the room that is made for
 * them. Whoever makes room is the first to know of it, and others that wait come before those it is for, by chance.
 */
export class RoomForOthers {
  readonly #parts: RoomParts;
  /** By who asks, for what. Asking again renews a claim. */
  readonly #claims = new Map<string, ForeignClaim>();
  #mostClaims = FEW_CLAIMS;
  /** By who gets it and by limit. */
  readonly #promised = new Map<string, Promised>();
  /** The last grant that each owner got. */
  readonly #handed = new Map<number, number>();

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /** Closes a connection here, or claims the next one that comes to rest. True: somebody else is to be asked as well. */
  asked(request: YieldRequest, here: BudgetOwner): boolean {
    const { scope, claim } = request;
    const answer = here.yieldServer(scope, claim);
    if (answer === 'goes') return false;
    if (answer === 'closes') this.meet(request);
    // What is on its way out for somebody else is perhaps not left over.
    else if (claim.dueFromMs !== null) here.claimed?.(scope, this.#claimant(request));
    return answer === 'nothing';
  }

  /** A server connection is closed so that they have room. */
  meet(request: YieldRequest): void {
    const { scope, asker, mark, claim } = request;
    this.#parts.meet(asker, mark, claim.askedMs);
    const covers = ({ database, user }: Grant): boolean =>
      scope.name === (scope.kind === 'database' ? database : user);
    this.#promised.set(nameOf(request), { owner: asker, key: claim.key, covers });
  }

  /** A server of a pool is closed for clients of the same one. */
  promise(owner: number, key: string): void {
    const covers = ({ database, user }: Grant): boolean => poolKey(database, user) === key;
    this.#promised.set(`${owner} pool ${key}`, { owner, key, covers });
  }

  /**
   * Which owner gets the grant of a server connection that is gone, to give it back there and ask anew; NONE: nobody. One
   * that hangs keeps one at most of each that closes some.
   */
  takerOf(grant: Grant): number {
    for (const [name, { owner, key, covers }] of this.#promised) {
      if (!covers(grant)) continue;
      this.#promised.delete(name);
      const last = this.#handed.get(owner);
      if (last !== undefined && this.#parts.isHeldBy(owner, last)) continue;
      if (this.#parts.waitOf(key, owner) === 0) continue;
      this.#handed.set(owner, grant.id);
      return owner;
    }
    return NONE;
  }

  /** Whether they wait still, and nothing is closed for that owner within the limit since they have asked. */
  isOpen({ asker, mark, claim }: YieldRequest): boolean {
    return this.#parts.waitOf(claim.key, asker) !== 0 && !this.#parts.isMet(asker, mark, claim.askedMs);
  }

  /** What stands for those who ask among the claims of this event loop. */
  #claimant(request: YieldRequest): Claimant {
    const { key, takesOwn } = request.claim;
    const name = `${nameOf(request)}\0${key}\0${takesOwn}`;
    let claimant = this.#claims.get(name);
    if (claimant === undefined) {
      this.#dropOver();
      claimant = new ForeignClaim(this, request);
      this.#claims.set(name, claimant);
    }
    claimant.request = request;
    return claimant;
  }

  #dropOver(): void {
    if (this.#claims.size < this.#mostClaims) return;
    for (const [name, { dueFromMs }] of this.#claims) if (dueFromMs === null) this.#claims.delete(name);
    this.#mostClaims = Math.max(FEW_CLAIMS, 2 * this.#claims.size);
  }
}

class ForeignClaim implements Claimant {
  readonly key: string;
  request: YieldRequest;
  readonly #room: RoomForOthers;

  constructor(room: RoomForOthers, request: YieldRequest) {
    // Who can use no server of that pool that rests has it closed as anybody's.
    this.key = request.claim.takesOwn ? request.claim.key : '';
    this.request = request;
    this.#room = room;
  }

  get dueFromMs(): number | null {
    return this.#room.isOpen(this.request) ? this.request.claim.dueFromMs : null;
  }

  met(): void {
    this.#room.meet(this.request);
  }
}

function nameOf({ scope, asker }: YieldRequest): string {
  return `${asker} ${scope.kind} ${scope.name}`;
}
