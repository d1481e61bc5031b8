import {
  type Budget,
  type BudgetOwner,
  type ClientAsk,
  type Grant,
  type GrantKind,
  isMade,
  isWaitedFor,
  NO_MEANS,
  type PlaceAsk,
  type PlaceRefusal,
  type Refusal,
  type RoomClaim,
  type ServerAsk,
  type ServerMeans,
  type YieldScope,
} from './budget.ts';
import { BudgetKeys, type KeyHash } from './budget-keys.ts';
import {
  type BudgetView,
  countOf,
  hasUsableElsewhere,
  isOnItsWay,
  nextHolder,
  viewOf,
} from './budget-view.ts';
import { GrantCustody } from './grant-custody.ts';
import { recordKindOf } from './grant-records.ts';
import { NONE, SharedCounts } from './shared-counts.ts';
import { Rings } from './rings.ts';
import { RoomForOthers, type YieldRequest } from './room-for-others.ts';
import type { SharedMemory } from './shared-memory.ts';
import { markOf, ownerName } from './shared-owners.ts';
import { SharedWaits, type SomeOwners } from './shared-waits.ts';

/** How one thread reaches the others, and the system. None of it is called under the lock. */
export interface SharedBudgetParts {
  /** Has that owner's thread call `rung()`. */
  ring(owner: number): void;
  /** Has that owner's thread call `yieldAsked(request)`. */
  askYield(owner: number, request: YieldRequest): void;
  /** Has that owner's thread call `handed(grant)`. */
  hand(owner: number, grant: Grant): void;
  /** Another descriptor for what `fd` stands for; null when that fails. */
  duplicate(fd: number): number | null;
  closeDescriptor(fd: number): void;
  /** A server was refused because others have all that there may be, perhaps of the same pool in other threads. */
  refused?(database: string, user: string): void;
  /** A server connection has become the keeper's: it is to look for it. */
  leftBehind?(): void;
  /** A refusal because the shared memory is full, the first of several. */
  full(what: string): void;
}

/**
 * The budget of several event loops, as one of their threads has it: everything is in shared memory. Asking checks all
 * limits and counts in one section, so the limits hold exactly at every moment; a thread that dies in one leaves no
 * trace of it. A refused owner is remembered where it was refused, and rung once something is given back there.
 */
export class SharedBudget implements Budget {
  readonly name: string;
  /** Descriptors of this owner's server connections. */
  readonly custody: GrantCustody;
  readonly #me: number;
  readonly #view: BudgetView;
  readonly #keys: BudgetKeys;
  readonly #waits: SharedWaits;
  readonly #parts: SharedBudgetParts;
  #callbacks: BudgetOwner | null = null;
  isWaking = false;
  readonly #rings: Rings;
  /** Room that another thread has made for clients here, until the first of them has asked. */
  #spare: Grant | null = null;
  #isFull = false;
  readonly #room = new RoomForOthers({
    waitOf: (key, owner) => this.waitOf(key, owner),
    isHeldBy: (owner, id) => this.#view.records.find(id, owner) !== NONE,
    meet: (owner, mark, askedMs) => this.#view.owners.meet(owner, mark, askedMs),
    isMet: (owner, mark, askedMs) => this.#view.owners.isMet(owner, mark, askedMs),
  });

  /** `owner`: index, from 0; its name is `ownerName(owner)`. */
  constructor(
    memory: SharedMemory,
    owner: number,
    parts: SharedBudgetParts,
    seams: { view?: BudgetView; keys?: BudgetKeys; pinnedPools?: number } = {},
  ) {
    this.name = ownerName(owner);
    this.#me = owner;
    this.#view = seams.view ?? viewOf(memory, owner);
    this.#keys = seams.keys ?? new BudgetKeys();
    this.#parts = parts;
    this.#rings = new Rings(owner, memory.sizes.owners, (other) => parts.ring(other));
    this.custody = new GrantCustody(this.#view, owner, parts);
    const noRoom = (): void => this.#full('pools');
    this.#waits = new SharedWaits({ ...this.#view, keys: this.#keys }, owner, noRoom, seams.pinnedPools);
  }

  /** Once; throws when another thread has this place, or a dead one whose grants have not been reclaimed. */
  join(owner: string, callbacks: BudgetOwner): void {
    this.#assertMine(owner);
    this.#view.section.run(() => this.#view.owners.join(this.#me));
    this.#callbacks = callbacks;
  }

  askServer(ask: ServerAsk): Grant | Refusal {
    this.#assertMine(ask.owner);
    const { database, user, pool } = this.#keys.of('server', ask.database, ask.user);
    const answer = this.#ask<Refusal>(
      'server',
      ask,
      [
        ['pool', pool, ask.poolLimit],
        ['database', database, ask.databaseLimit],
        ['user', user, ask.userLimit],
      ],
      { ...NO_MEANS, ...ask },
    );
    if (typeof answer === 'string') this.#parts.refused?.(ask.database, ask.user);
    return answer;
  }

  askClient(ask: ClientAsk): Grant | Refusal {
    this.#assertMine(ask.owner);
    const { database, user, pool } = this.#keys.of('client', ask.database, ask.user);
    return this.#ask<Refusal>(
      'client',
      ask,
      [
        ['total', null, ask.totalLimit],
        ['database', database, ask.databaseLimit],
        ['user', user, ask.userLimit],
        ['pool', pool, 0],
      ],
      { ...NO_MEANS, held: ask.held ?? null },
    );
  }

  askPlace(ask: PlaceAsk): Grant | PlaceRefusal {
    this.#assertMine(ask.owner);
    const scope = { database: '', user: ask.key };
    return this.#ask<PlaceRefusal>(ask.kind, scope, [
      ['key', this.#keys.user(ask.kind, ask.key), ask.keyLimit],
      ['total', null, ask.totalLimit],
    ]);
  }

  /**
   * Also lets the descriptor in custody go. What is not this owner's is ignored; what was promised to another one becomes that
   * one's. True when another thread is about to be rung, which was refused before.
   */
  giveBack(grant: Grant): boolean {
    const { section, records, custody, owners } = this.#view;
    const record = records.find(grant.id, this.#me);
    // What is promised is on its way out; what was held, or not opened, is none of that.
    const taker = record !== NONE && records.isAside(record) ? this.#room.takerOf(grant) : NONE;
    let fd = NONE;
    const outcome = section.run(() => {
      if (record === NONE) return 'not mine';
      if (grant.kind === 'server') fd = custody.take(record);
      if (taker === NONE || !owners.isThere(taker)) records.remove(record, this.#rings.note);
      // On its way: it is the keeper's when this thread dies before it says so.
      else records.give(record, taker);
      return records.isHeldBy(record, taker) ? 'handed' : 'back';
    });
    if (outcome === 'handed') this.#parts.hand(taker, { ...grant, owner: ownerName(taker) });
    if (fd !== NONE) this.#parts.closeDescriptor(fd);
    if (outcome === 'back' && grant.kind === 'server') this.#wake();
    else if (this.#rings.areThere) queueMicrotask(() => this.#rings.ringAll());
    return this.#rings.areThere;
  }

  /** Another thread has made room for clients here: its grant comes back as the first of them asks, with nobody in between. */
  handed(grant: Grant): void {
    this.isWaking = false;
    this.#spare = grant;
    try {
      this.#callbacks?.onFreed();
    } finally {
      this.#view.section.run(() => this.#returnSpare(grant));
    }
    this.#rings.ringAll();
  }

  /** In a section. Once; it may be the keeper's by now. */
  #returnSpare(grant: Grant): void {
    this.#spare = null;
    const { records } = this.#view;
    const record = records.find(grant.id, this.#me);
    if (record !== NONE) records.remove(record, this.#rings.note);
  }

  /** A server of the pool is closed so that another owner can open one. */
  promise(owner: number, key: string): void {
    this.#room.promise(owner, key);
  }

  serving(database: string, user: string): number {
    return this.#view.counts.servingNow(this.#keys.of('server', database, user).pool);
  }

  setAside(grant: Grant, least = 0): boolean {
    const { section, records } = this.#view;
    return section.run(() => {
      const record = records.find(grant.id, this.#me);
      if (record === NONE || records.isAside(record)) return true;
      if (records.serving(record) <= least) return false;
      records.setAside(record);
      return true;
    });
  }

  requestYield(scope: YieldScope, claim: RoomClaim | null): boolean {
    if (isMade(this.#callbacks?.yieldServer(scope))) return true;
    if (claim === null) return false;
    const mark = markOf(this.#keys.ofScope(scope));
    this.#passOn({ scope, asker: this.#me, mark, claim });
    return false;
  }

  /** Another thread wants room: it is made here, or the next thread that holds some is asked. */
  yieldAsked(request: YieldRequest): void {
    if (this.#callbacks === null || this.#room.asked(request, this.#callbacks)) this.#passOn(request);
  }

  publishWait(owner: string, key: string, waitStartMs: number, hasRest: boolean): void {
    this.#assertMine(owner);
    this.#waits.publish(key, waitStartMs, hasRest);
  }

  /** Since when, by the clock that all threads share, a client of the pool waits in that thread; 0 = none does. */
  waitOf(key: string, owner: number): number {
    return this.#waits.of(key, owner);
  }

  /** In which thread but this one, and but `except`, a client of the pool has waited longest; -1: in none. */
  longestWaiterElsewhere(key: string, except?: SomeOwners): number {
    return this.#waits.longestWaiter(key, except);
  }

  /** Whether a server connection of the pool rests in that thread. */
  restsIn(owner: number, key: string): boolean {
    return this.#waits.hasRest(key, owner);
  }

  /** Whether another owner has a server of the pool whose login is over, and that is not on its way out. */
  hasUsableElsewhere(database: string, user: string): boolean {
    return hasUsableElsewhere(this.#view, this.#keys.of('server', database, user).pool, this.#me);
  }

  count(kind: GrantKind, scope: { database?: string; user?: string } = {}): number {
    return countOf(this.#view, this.#keys, kind, scope);
  }

  /** Something that this owner was refused for has been given back in another thread. */
  rung(): void {
    this.#wake();
  }

  /**
   * The grant, and what is in custody with it, becomes another owner's in one step: no count changes meanwhile. It is on
   * its way until that one calls {@link arrived}; when one of the two dies before that, it is the keeper's. Null, and
   * nothing has changed: it is no longer this owner's, nothing is in custody, or `to` isn't there.
   */
  transfer(grant: Grant, to: number): Grant | null {
    const { section, records, custody, owners } = this.#view;
    const isMoved = section.run(() => {
      const record = records.find(grant.id, this.#me);
      if (record === NONE || !custody.has(record) || !owners.isThere(to)) return false;
      records.give(record, to);
      return true;
    });
    return isMoved ? { ...grant, owner: ownerName(to) } : null;
  }

  /**
   * A server connection has reached this owner, which it was given. False: it is this one's no more, for the other one
   * has died, or it was given to a thread that has died in this one's place. The keeper has it then.
   */
  arrived(grant: Grant): boolean {
    const { section, records } = this.#view;
    return section.run(() => {
      const record = records.find(grant.id, this.#me);
      if (record === NONE || records.giverOf(record) === NONE) return false;
      records.arrive(record);
      return true;
    });
  }

  /** Whether a server connection that {@link transfer} gave away has not arrived, nor been given back meanwhile. */
  isOnItsWay({ id }: Grant): boolean {
    return isOnItsWay(this.#view, id);
  }

  /** Nobody here would see the connection's end: the keeper ends it by what is in custody, and then the grant comes back. */
  leaveBehind(grant: Grant): void {
    const { section, records, custody, layout } = this.#view;
    const isKept = section.run(() => {
      const record = records.find(grant.id, this.#me);
      if (record === NONE || !custody.has(record)) return false;
      records.setAside(record);
      records.move(record, layout.sizes.owners);
      return true;
    });
    if (isKept) this.#parts.leftBehind?.();
    else this.giveBack(grant);
  }

  /** One allocator for all threads numbers clients and servers; from 1. */
  nextId(): number {
    return Number(Atomics.add(this.#view.layout.longs, this.#view.layout.ids, 1n)) + 1;
  }

  /** `number`: one of `OWNER_NUMBERS`. */
  publishNumber(number: number, value: number): void {
    this.#view.owners.publish(this.#me, number, value);
  }

  /** `limits`: under what it counts beside `all` (null), and how many there may be; the first that is reached says no. */
  #ask<R extends string>(
    kind: GrantKind,
    { database, user }: { database: string; user: string },
    limits: readonly (readonly [R, KeyHash | null, number])[],
    { servingLimit, isAside, held }: ServerMeans = NO_MEANS,
  ): Grant | R | 'total' {
    const { section, counts, records } = this.#view;
    const recordKind = recordKindOf(kind);
    let isFull = false;
    const answer = section.run((): number | R | 'total' => {
      const spare = this.#spare;
      const isFor = kind === 'server' && (spare?.database === database || spare?.user === user);
      if (spare !== null && isFor) this.#returnSpare(spare);
      const own = held === null ? NONE : records.find(held.id, this.#me);
      for (const [refusal, key, limit] of limits) {
        if (limit <= 0) continue;
        const slot = key === null ? SharedCounts.all(kind) : counts.find(key);
        if (counts.total(slot) - (own !== NONE && records.countsIn(own, slot) ? 1 : 0) < limit) continue;
        return this.#refuse(kind, slot, refusal);
      }
      const [[refusal, first] = ['total', null]] = limits;
      // Nobody waits for this, so nobody is rung for it.
      if (servingLimit > 0 && first !== null && counts.serving(counts.find(first)) >= servingLimit)
        return refusal;
      if (held?.kind === 'server') return held.id;
      const keys = limits.flatMap(([, key]) => (key === null ? [] : [key]));
      const missing = keys.filter((key) => counts.find(key) === NONE).length;
      if ((own === NONE && !records.hasRoom(recordKind)) || (missing > 0 && counts.room < missing)) {
        isFull = true;
        return this.#refuse(kind, SharedCounts.all(kind), 'total');
      }
      const slots = keys.map((key) => counts.obtain(key));
      if (held !== null && own !== NONE) {
        records.recount(own, kind, slots);
        return held.id;
      }
      const id = records.add(kind, this.#me, slots);
      if (isAside) records.setAside(records.find(id, this.#me));
      return id;
    });
    if (typeof answer === 'string') {
      if (isFull) this.#full(`${recordKind}s`);
      return answer;
    }
    this.#isFull = false;
    if (held?.id === answer && held.user === user) return held;
    return { id: answer, kind, owner: this.name, database, user };
  }

  #refuse<R extends string>(kind: GrantKind, slot: number, refusal: R): R {
    if (isWaitedFor(kind)) this.#view.counts.markRefused(slot, this.#me);
    return refusal;
  }

  #full(what: string): void {
    if (!this.#isFull) this.#parts.full(what);
    this.#isFull = true;
  }

  /** Each thread with connections in the scope is asked at most once, until one has something to close. */
  #passOn(request: YieldRequest): void {
    const owner = nextHolder(this.#view, this.#keys.ofScope(request.scope), this.#me, request.asker);
    if (owner !== NONE) this.#parts.askYield(owner, request);
  }

  /** Once for any number of grants that come back in the same turn of the event loop; never from inside of an ask. */
  #wake(): void {
    if (this.isWaking) return;
    this.isWaking = true;
    queueMicrotask(() => {
      this.isWaking = false;
      this.#rings.ringAll();
      this.#callbacks?.onFreed();
    });
  }

  #assertMine(owner: string): void {
    if (owner !== this.name) throw new Error(`${owner} is not of this thread, which is ${this.name}`);
  }
}
