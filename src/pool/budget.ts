import type { Claimant } from './yield-claims.ts';

/**
 * Permission to hold something scarce: a server connection or a place for a client. Everything that opens a
 * server connection or admits a client asks here first, so that one budget can span threads. Answers are
 * synchronous; what a refused asker waits for is told by `onFreed`.
 */

/**
 * What there is a bounded number of beside server connections and clients: connections that have not logged in, carry a
 * CancelRequest, or have been closed before they logged in; keys that are being derived from passwords.
 */
export type PlaceKind = VisitKind | `unix ${VisitKind}` | 'derivation';

/** Of connections by TCP; those by unix sockets are counted by themselves. */
export type VisitKind = 'login' | 'cancel' | 'leaving';

/** What a grant is for. */
export type GrantKind = 'server' | 'client' | PlaceKind;

/** A permission in use. Plain data: it can cross threads, and a dead owner's grants can be found and reclaimed. */
export interface Grant {
  readonly id: number;
  readonly kind: GrantKind;
  /** Which event loop holds it. */
  readonly owner: string;
  /** Empty for a place. */
  readonly database: string;
  /** Server: the pool user. Client: the login user. Place: whose it is, as {@link PlaceAsk.key}. */
  readonly user: string;
}

/** A limit of 0 means unlimited. */
export interface ServerAsk {
  readonly owner: string;
  readonly database: string;
  readonly user: string;
  readonly poolLimit: number;
  readonly databaseLimit: number;
  readonly userLimit: number;
  /** Also refused (`pool`) where as many serve the pool; default: 0. */
  readonly servingLimit?: number;
  /** It is set aside from the beginning, for it is for one client alone; default: false. */
  readonly isAside?: boolean;
  /** A place of this pool that counts already: the answer, where there is room for it; default: null. */
  readonly held?: Grant | null;
}

/** What there is beside limits when a server connection is asked for. */
export type ServerMeans = Required<Pick<ServerAsk, 'servingLimit' | 'isAside' | 'held'>>;

export const NO_MEANS: ServerMeans = { servingLimit: 0, isAside: false, held: null };

export interface ClientAsk {
  readonly owner: string;
  readonly database: string;
  readonly user: string;
  readonly totalLimit: number;
  readonly databaseLimit: number;
  readonly userLimit: number;
  /**
   * A client's place that counts already, and becomes this one where there is room: in between it is nobody's. Refused, it
   * stays what it was; default: null.
   */
  readonly held?: Grant | null;
}

/** Of a place. Limits of 0, again, mean unlimited. */
export interface PlaceAsk {
  readonly owner: string;
  readonly kind: PlaceKind;
  /** Whose places count together: an address; may be empty. */
  readonly key: string;
  readonly totalLimit: number;
  readonly keyLimit: number;
}

/** Which limit said no. */
export type Refusal = 'pool' | 'total' | 'database' | 'user';
export type PlaceRefusal = 'key' | 'total';

/** Where a connection has to be given up to make room. */
export interface YieldScope {
  readonly kind: 'database' | 'user';
  readonly name: string;
}

/** Whose clients wait for room within a {@link YieldScope}; plain data. */
export interface RoomClaim {
  /** Key of their pool. */
  readonly key: string;
  /** From when on servers that come to rest are to make room for them, monotonic ms; null: no such one is. */
  readonly dueFromMs: number | null;
  /** When that is said, monotonic ms: what is closed for an owner meets all that it has asked for before. */
  readonly askedMs: number;
  /** They are served by any server of their pool, so that none that rests is closed for them: it goes there. */
  readonly takesOwn: boolean;
}

/**
 * What comes of asking for room: a close has begun; one is on its way out anyhow; a server goes there as it is; nothing
 * rests.
 */
export type YieldAnswer = 'closes' | 'soon' | 'goes' | 'nothing';

/** Whether there will be room soon. */
export function isMade(answer: YieldAnswer | undefined): boolean {
  return answer === 'closes' || answer === 'soon';
}

/** One event loop, as the budget calls it back. */
export interface BudgetOwner {
  /** Something was freed that an earlier ask may have been refused for. Called outside of any ask. */
  onFreed(): void;
  /**
   * Gives up the most idle server connection within `scope`, if there is one. The grant comes back later, when the
   * server's end is gone. `claim`: whose clients it is for, where they wait in another event loop.
   */
  yieldServer(scope: YieldScope, claim?: RoomClaim): YieldAnswer;
  /** Nothing rests here: the next server that comes to rest is to make room, as for clients that wait here. */
  claimed?(scope: YieldScope, claimant: Claimant): void;
}

export interface Budget {
  join(owner: string, callbacks: BudgetOwner): void;
  askServer(ask: ServerAsk): Grant | Refusal;
  askClient(ask: ClientAsk): Grant | Refusal;
  askPlace(ask: PlaceAsk): Grant | PlaceRefusal;
  giveBack(grant: Grant): void;
  /** Something has been given back, and those who wait have not been told: what there is may be theirs. */
  readonly isWaking: boolean;
  /** Servers of a pool that serve its clients or are to: all but those set aside. */
  serving(database: string, user: string): number;
  /**
   * A server connection does not serve its pool any more: it is on its way out, and counts for limits alone until it is
   * given back. False, and it goes on serving: no more than `least` do. True as well when it was set aside already.
   */
  setAside(grant: Grant, least?: number): boolean;
  /**
   * Asks owners to make room within `scope`: true when one of them has begun to; of other threads nobody knows yet. `claim`:
   * for whom; null: other threads have just been asked for that, and are not again.
   */
  requestYield(scope: YieldScope, claim: RoomClaim | null): boolean;
  /**
   * A pool's oldest waiter since `waitStartMs`, or 0 when nobody waits; capacity goes to the longest wait. `hasRest`:
   * servers of it rest, which other event loops may ask for.
   */
  publishWait(owner: string, poolKey: string, waitStartMs: number, hasRest: boolean): void;
  /** Clients (or servers) in use: all, of a database, of a user. Places: all, of a key (as `user`). */
  count(kind: GrantKind, scope?: { database?: string; user?: string }): number;
}

/** Who is refused one waits until one comes back; others are sent away. */
export function isWaitedFor(kind: GrantKind): boolean {
  return kind === 'server' || kind === 'derivation';
}

/** Key of a pool: names cannot contain a zero byte. */
export function poolKey(database: string, user: string): string {
  return `${database}\0${user}`;
}

/** How many grants of one kind there are: by the names themselves, for text that is put together costs more than this. */
class Counts {
  all = 0;
  readonly #databases = new Map<string, number>();
  readonly #users = new Map<string, number>();
  /** By database, then by user. */
  readonly #pools = new Map<string, Map<string, number>>();

  ofDatabase(name: string): number {
    return this.#databases.get(name) ?? 0;
  }

  ofUser(name: string): number {
    return this.#users.get(name) ?? 0;
  }

  ofPool(database: string, user: string): number {
    return this.#pools.get(database)?.get(user) ?? 0;
  }

  add({ kind, database, user }: Grant, change: 1 | -1): void {
    this.all += change;
    addTo(this.#users, user, change);
    if (kind !== 'server' && kind !== 'client') return;
    addTo(this.#databases, database, change);
    let ofUsers = this.#pools.get(database);
    if (ofUsers === undefined) {
      ofUsers = new Map();
      this.#pools.set(database, ofUsers);
    }
    addTo(ofUsers, user, change);
    if (ofUsers.size === 0) this.#pools.delete(database);
  }
}

function addTo(counts: Map<string, number>, name: string, change: number): void {
  const count = (counts.get(name) ?? 0) + change;
  if (count > 0) counts.set(name, count);
  else counts.delete(name);
}

function isFull(count: number, limit: number): boolean {
  return limit > 0 && count >= limit;
}

/** The budget of a single event loop: plain counters. */
export class LocalBudget implements Budget {
  readonly #owners = new Map<string, BudgetOwner>();
  readonly #grants = new Map<number, Grant>();
  readonly #counts: Readonly<Record<GrantKind, Counts>> = {
    server: new Counts(),
    client: new Counts(),
    login: new Counts(),
    cancel: new Counts(),
    leaving: new Counts(),
    'unix login': new Counts(),
    'unix cancel': new Counts(),
    'unix leaving': new Counts(),
    derivation: new Counts(),
  };
  /** Grants that are set aside, and how many there are of them. */
  readonly #aside = new Set<number>();
  readonly #asideCounts = new Counts();
  /** Per owner: its pools' oldest waits. */
  readonly #waits = new Map<string, Map<string, number>>();
  #nextId = 1;
  #isWaking = false;

  get isWaking(): boolean {
    return this.#isWaking;
  }

  join(owner: string, callbacks: BudgetOwner): void {
    this.#owners.set(owner, callbacks);
  }

  askServer(ask: ServerAsk): Grant | Refusal {
    const { server } = this.#counts;
    const own = ask.held == null ? 0 : 1;
    if (isFull(server.ofPool(ask.database, ask.user) - own, ask.poolLimit)) return 'pool';
    if (isFull(server.ofDatabase(ask.database) - own, ask.databaseLimit)) return 'database';
    if (isFull(server.ofUser(ask.user) - own, ask.userLimit)) return 'user';
    if (isFull(this.serving(ask.database, ask.user) - own, ask.servingLimit ?? 0)) return 'pool';
    if (ask.held != null) return ask.held;
    const grant = this.#grant('server', ask.owner, ask.database, ask.user);
    if (ask.isAside === true) this.setAside(grant);
    return grant;
  }

  askClient(ask: ClientAsk): Grant | Refusal {
    const { client } = this.#counts;
    const held = this.#grants.get(ask.held?.id ?? 0) ?? null;
    if (isFull(client.all - (held === null ? 0 : 1), ask.totalLimit)) return 'total';
    const own = { database: held?.database === ask.database ? 1 : 0, user: held?.user === ask.user ? 1 : 0 };
    if (isFull(client.ofDatabase(ask.database) - own.database, ask.databaseLimit)) return 'database';
    if (isFull(client.ofUser(ask.user) - own.user, ask.userLimit)) return 'user';
    if (held !== null) this.giveBack(held);
    return this.#grant('client', ask.owner, ask.database, ask.user);
  }

  askPlace({ owner, kind, key, totalLimit, keyLimit }: PlaceAsk): Grant | PlaceRefusal {
    const counts = this.#counts[kind];
    if (isFull(counts.ofUser(key), keyLimit)) return 'key';
    if (isFull(counts.all, totalLimit)) return 'total';
    return this.#grant(kind, owner, '', key);
  }

  giveBack(grant: Grant): void {
    if (!this.#grants.delete(grant.id)) return;
    this.#counts[grant.kind].add(grant, -1);
    if (this.#aside.delete(grant.id)) this.#asideCounts.add(grant, -1);
    if (grant.kind === 'server') this.#wake();
  }

  serving(database: string, user: string): number {
    return this.#counts.server.ofPool(database, user) - this.#asideCounts.ofPool(database, user);
  }

  setAside(grant: Grant, least = 0): boolean {
    const { id, database, user } = grant;
    if (!this.#grants.has(id) || this.#aside.has(id)) return true;
    if (this.serving(database, user) <= least) return false;
    this.#aside.add(id);
    this.#asideCounts.add(grant, 1);
    return true;
  }

  requestYield(scope: YieldScope): boolean {
    for (const owner of this.#owners.values()) if (isMade(owner.yieldServer(scope))) return true;
    return false;
  }

  publishWait(owner: string, key: string, waitStartMs: number): void {
    let waits = this.#waits.get(owner);
    if (waits === undefined) {
      waits = new Map();
      this.#waits.set(owner, waits);
    }
    if (waitStartMs === 0) waits.delete(key);
    else waits.set(key, waitStartMs);
  }

  count(kind: GrantKind, scope: { database?: string; user?: string } = {}): number {
    const { database, user } = scope;
    const counts = this.#counts[kind];
    if (database !== undefined && user !== undefined) return counts.ofPool(database, user);
    if (database !== undefined) return counts.ofDatabase(database);
    return user === undefined ? counts.all : counts.ofUser(user);
  }

  #grant(kind: GrantKind, owner: string, database: string, user: string): Grant {
    const grant: Grant = { id: this.#nextId++, kind, owner, database, user };
    this.#grants.set(grant.id, grant);
    this.#counts[kind].add(grant, 1);
    return grant;
  }

  /**
   * One wake-up for any number of grants that come back in the same turn of the event loop; the owner with the
   * longest wait hears of it first.
   */
  #wake(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    queueMicrotask(() => {
      this.#isWaking = false;
      const names = [...this.#owners.keys()].sort((a, b) => this.#oldestWait(a) - this.#oldestWait(b));
      for (const name of names) this.#owners.get(name)?.onFreed();
    });
  }

  #oldestWait(owner: string): number {
    let oldest = Number.MAX_VALUE;
    for (const waitStartMs of this.#waits.get(owner)?.values() ?? []) oldest = Math.min(oldest, waitStartMs);
    return oldest;
  }
}
