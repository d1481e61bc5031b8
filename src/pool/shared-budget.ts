import type {
  Budget,
  BudgetOwner,
  ClientAsk,
  Grant,
  GrantKind,
  PlaceAsk,
  PlaceRefusal,
  Refusal,
  ServerAsk,
  YieldScope,
} from './budget.ts';
import { BudgetKeys, type KeyHash } from './budget-keys.ts';
import { type BudgetView, countOf, hasUsableElsewhere, isOnItsWay, viewOf } from './budget-view.ts';
import { recordKindOf } from './grant-records.ts';
import { NONE, SharedCounts } from './shared-counts.ts';
import type { SharedMemory } from './shared-memory.ts';
import { ownerName } from './shared-owners.ts';
import { SharedWaits, type SomeOwners } from './shared-waits.ts';

/** An owner wants a server connection closed within `scope`; plain data. */
export interface YieldRequest {
  readonly scope: YieldScope;
  /** Index of the owner that asks. */
  readonly asker: number;
}

/** How one thread reaches the others, and the system. None of it is called under the lock. */
export interface SharedBudgetParts {
  /** Has that owner's thread call `rung()`. */
  ring(owner: number): void;
  /** Has that owner's thread call `yieldAsked(request)`. */
  askYield(owner: number, request: YieldRequest): void;
  /** Another descriptor for what `fd` stands for; null when that fails. */
  duplicate(fd: number): number | null;
  closeDescriptor(fd: number): void;
  /** A server was refused because its pool has all that it may have, perhaps in other threads. */
  poolFull?(database: string, user: string): void;
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
  readonly #me: number;
  readonly #view: BudgetView;
  readonly #keys: BudgetKeys;
  readonly #waits: SharedWaits;
  readonly #parts: SharedBudgetParts;
  #callbacks: BudgetOwner | null = null;
  #wakeQueued = false;
  readonly #rings = new Set<number>();
  #isFull = false;

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
    const { servingLimit = 0, isAside = false } = ask;
    const answer = this.#ask<Refusal>(
      'server',
      ask,
      [
        ['pool', pool, ask.poolLimit],
        ['database', database, ask.databaseLimit],
        ['user', user, ask.userLimit],
      ],
      { servingLimit, isAside },
    );
    if (answer === 'pool') this.#parts.poolFull?.(ask.database, ask.user);
    return answer;
  }

  askClient(ask: ClientAsk): Grant | Refusal {
    this.#assertMine(ask.owner);
    const { database, user, pool } = this.#keys.of('client', ask.database, ask.user);
    return this.#ask<Refusal>('client', ask, [
      ['total', null, ask.totalLimit],
      ['database', database, ask.databaseLimit],
      ['user', user, ask.userLimit],
      ['pool', pool, 0],
    ]);
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
   * Also lets a server connection's descriptor go that is in custody. What is not this owner's is ignored. True when
   * another thread is about to be rung, which was refused before.
   */
  giveBack(grant: Grant): boolean {
    const { section, records, custody } = this.#view;
    let fd = NONE;
    const isBack = section.run(() => {
      const record = records.find(grant.id, this.#me);
      if (record === NONE) return false;
      if (grant.kind === 'server') fd = custody.take(record);
      records.remove(record, this.#ring);
      return true;
    });
    if (fd !== NONE) this.#parts.closeDescriptor(fd);
    if (isBack && isWaitedFor(grant.kind)) this.#wake();
    return this.#rings.size > 0;
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

  requestYield(scope: YieldScope): boolean {
    if (this.#callbacks?.yieldServer(scope) === true) return true;
    this.#passOn({ scope, asker: this.#me });
    return false;
  }

  /** Another thread wants room: closes a connection here, or asks the next thread that holds some. */
  yieldAsked(request: YieldRequest): void {
    if (this.#callbacks?.yieldServer(request.scope) !== true) this.#passOn(request);
  }

  publishWait(owner: string, key: string, waitStartMs: number): void {
    this.#assertMine(owner);
    this.#waits.publish(key, waitStartMs);
  }

  /** Since when, by the clock that all threads share, a client of the pool waits in that thread; 0 = none does. */
  waitOf(key: string, owner: number): number {
    return this.#waits.of(key, owner);
  }

  /** In which thread but this one, and but `except`, a client of the pool has waited longest; -1: in none. */
  longestWaiterElsewhere(key: string, except?: SomeOwners): number {
    return this.#waits.longestWaiter(key, except);
  }

  /** Server connections of a pool that an owner has. */
  heldBy(owner: number, key: string): number {
    return this.#view.counts.heldNow(this.#keys.pool('server', key), owner);
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

  /** One more descriptor of a connection in custody, the caller's to close; null when there is none to be had. */
  duplicateOf({ id }: Grant): number | null {
    const { records, custody } = this.#view;
    const record = records.find(id, this.#me);
    const kept = record === NONE ? null : custody.read(record);
    return kept === null ? null : this.#parts.duplicate(kept.fd);
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

  /**
   * Takes a duplicate of a server connection's descriptor into custody, in place of what is there: before a byte is sent.
   * A thread that dies on the way leaves at most one descriptor open that nobody knows of, of a connection that has
   * not begun its login: PostgreSQL closes it after `authentication_timeout`. False: there is none to be had, or the grant
   * is not this owner's.
   */
  takeCustody(grant: Grant, fd: number): boolean {
    const { section, records, custody } = this.#view;
    const copy = this.#parts.duplicate(fd);
    if (copy === null) return false;
    const before = section.run(() => {
      const record = records.find(grant.id, this.#me);
      return record === NONE ? copy : custody.put(record, copy);
    });
    if (before !== NONE) this.#parts.closeDescriptor(before);
    return before !== copy;
  }

  /** What a CancelRequest for the connection takes, or nothing: at the end of its login. */
  setBackendKey(grant: Grant, backendKey: Uint8Array, tlsHost: string | null): void {
    const record = this.#view.records.find(grant.id, this.#me);
    if (record !== NONE) this.#view.custody.setKey(record, backendKey, tlsHost);
  }

  /**
   * The connection is gone, the grant is kept, for another attempt: the duplicate is closed. Nothing happens while it is
   * on its way here: what is gone is then what this owner had of it before.
   */
  endCustody(grant: Grant): void {
    const { section, records, custody } = this.#view;
    const fd = section.run(() => {
      const record = records.find(grant.id, this.#me);
      return record === NONE || records.giverOf(record) !== NONE ? NONE : custody.take(record);
    });
    if (fd !== NONE) this.#parts.closeDescriptor(fd);
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
    { servingLimit, isAside } = { servingLimit: 0, isAside: false },
  ): Grant | R | 'total' {
    const { section, counts, records } = this.#view;
    const recordKind = recordKindOf(kind);
    let isFull = false;
    const answer = section.run((): number | R | 'total' => {
      for (const [refusal, key, limit] of limits) {
        if (limit <= 0) continue;
        const slot = key === null ? SharedCounts.all(kind) : counts.find(key);
        if (counts.total(slot) < limit) continue;
        return this.#refuse(kind, slot, refusal);
      }
      const [[refusal, first] = ['total', null]] = limits;
      // Nobody waits for this, so nobody is rung for it.
      if (servingLimit > 0 && first !== null && counts.serving(counts.find(first)) >= servingLimit)
        return refusal;
      const keys = limits.flatMap(([, key]) => (key === null ? [] : [key]));
      const missing = keys.filter((key) => counts.find(key) === NONE).length;
      if (!records.hasRoom(recordKind) || (missing > 0 && counts.room < missing)) {
        isFull = true;
        return this.#refuse(kind, SharedCounts.all(kind), 'total');
      }
      const slots = keys.map((key) => counts.obtain(key));
      const id = records.add(kind, this.#me, slots);
      if (isAside) records.setAside(records.find(id, this.#me));
      return id;
    });
    if (typeof answer === 'string') {
      if (isFull) this.#full(`${recordKind}s`);
      return answer;
    }
    this.#isFull = false;
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
    const key = this.#scopeKey(request.scope);
    const { counts, layout } = this.#view;
    const { owners } = layout.sizes;
    for (let step = 1; step < owners; step++) {
      const owner = (this.#me + step) % owners;
      if (owner === request.asker) return;
      if (counts.heldNow(key, owner) === 0) continue;
      this.#parts.askYield(owner, request);
      return;
    }
  }

  #scopeKey({ kind, name }: YieldScope): KeyHash {
    return kind === 'database' ? this.#keys.database('server', name) : this.#keys.user('server', name);
  }

  /** Under the lock: remembers whom to ring. */
  readonly #ring = (owner: number): void => {
    if (owner !== this.#me) this.#rings.add(owner);
  };

  /** Once for any number of grants that come back in the same turn of the event loop; never from inside of an ask. */
  #wake(): void {
    if (this.#wakeQueued) return;
    this.#wakeQueued = true;
    queueMicrotask(() => {
      this.#wakeQueued = false;
      const rings = [...this.#rings];
      this.#rings.clear();
      for (const owner of rings) this.#parts.ring(owner);
      this.#callbacks?.onFreed();
    });
  }

  #assertMine(owner: string): void {
    if (owner !== this.name) throw new Error(`${owner} is not of this thread, which is ${this.name}`);
  }
}

/** Who is refused one waits until one comes back; others are sent away. */
function isWaitedFor(kind: GrantKind): boolean {
  return kind === 'server' || kind === 'derivation';
}
