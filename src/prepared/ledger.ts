import { RareMap } from '../base/rare.ts';

/**
 * What a request on its way will have changed once the server has done it. A change is made when the request is
 * sent, ahead of its answer, and taken back when it fails or is skipped: requests behind it are built on it.
 */
export interface Change {
  /** The server has done it. */
  settle(): void;
  /** It failed or was skipped. */
  undo(): void;
}

/** An earlier stretch of requests has to be answered before this can be told. */
export const UNSETTLED = -1;
export type Unsettled = typeof UNSETTLED;

/** A change of what stands under one key. */
export interface LedgerChange extends Change {
  /** It failed, and so that what was there before is gone, too. */
  lose(): void;
}

interface PendingChange<K, V> extends LedgerChange {
  readonly key: K;
  /** A failing request skips the rest of its own stretch, to the Sync. */
  readonly segment: number;
  /** What it goes back to when it is undone; held by the change. */
  before: V | null;
}

/** Counts who has need of a value. */
export interface Holder<V> {
  /** One more. */
  keep(value: V): void;
  release(value: V): void;
}

/**
 * Values by key, with changes that are on their way. Every value is held for as long as it stands here or a change may
 * bring it back.
 */
export class Ledger<K, V> {
  readonly #holder: Holder<V>;
  readonly #values = new RareMap<K, V>();
  /** Changes not answered yet, by key, oldest first. */
  readonly #pending = new RareMap<K, PendingChange<K, V>[]>();

  constructor(holder: Holder<V>) {
    this.#holder = holder;
  }

  /** Values, those on their way included. */
  get size(): number {
    return this.#values.size;
  }

  get hasPending(): boolean {
    return this.#pending.size > 0;
  }

  /** In the order in which they were set (or {@link touch}ed). */
  entries(): MapIterator<[K, V]> {
    return this.#values.entries();
  }

  holds(key: K): boolean {
    return this.#values.has(key);
  }

  isPending(key: K): boolean {
    return this.#pending.has(key);
  }

  /** All values that stand here or may come back. */
  *held(): Generator<V> {
    yield* this.#values.values();
    for (const changes of this.#pending.values())
      for (const { before } of changes) if (before !== null) yield before;
  }

  /** What stands under `key` if all that is on its way is done. */
  newest(key: K): V | null {
    return this.#values.get(key) ?? null;
  }

  /** What requests of stretch `segment` find under `key`; UNSETTLED: that hangs on an earlier stretch. */
  get(key: K, segment: number): V | null | Unsettled {
    if (this.#pending.size > 0 && this.#hasOther(key, segment)) return UNSETTLED;
    return this.#values.get(key) ?? null;
  }

  /**
   * As {@link get}, for requests that are skipped where a change of their own stretch fails: once there is one, nothing
   * earlier matters to them.
   */
  getBehind(key: K, segment: number): V | null | Unsettled {
    const isOwn = this.#pending.size > 0 && this.#pending.get(key)?.at(-1)?.segment === segment;
    return isOwn ? this.newest(key) : this.get(key, segment);
  }

  /** It is the last in order from now on. */
  touch(key: K): void {
    const value = this.#values.get(key);
    if (value === undefined) return;
    this.#values.delete(key);
    this.#values.set(key, value);
  }

  /** Puts `value` (null: nothing) under `key`. */
  set(key: K, value: V | null, segment: number): LedgerChange {
    const before = this.#values.get(key) ?? null;
    this.#put(key, value);
    if (value !== null) this.#holder.keep(value);
    const change: PendingChange<K, V> = {
      key,
      segment,
      before,
      settle: () => this.#settled(change),
      undo: () => this.#undone(change),
      lose: () => {
        this.#dropBefore(change);
        this.#undone(change);
      },
    };
    const others = this.#pending.get(key);
    if (others === undefined) this.#pending.set(key, [change]);
    else others.push(change);
    return change;
  }

  /** All is gone but what is still on its way. */
  clear(): void {
    for (const [first] of this.#pending.values()) if (first !== undefined) this.#dropBefore(first);
    for (const [key, value] of this.#values) {
      if (this.#pending.has(key)) continue;
      this.#values.delete(key);
      this.#holder.release(value);
    }
  }

  /** The owner is gone: what is still on its way changes nothing any more. */
  end(): void {
    for (const changes of this.#pending.values()) for (const change of changes) this.#dropBefore(change);
    this.#pending.clear();
    for (const value of this.#values.values()) this.#holder.release(value);
    this.#values.clear();
  }

  #hasOther(key: K, segment: number): boolean {
    return this.#pending.get(key)?.some((change) => change.segment !== segment) === true;
  }

  #settled(change: PendingChange<K, V>): void {
    if (this.#take(change)) this.#dropBefore(change);
  }

  #undone(change: PendingChange<K, V>): void {
    const { key, before } = change;
    const later = this.#laterThan(change);
    if (!this.#take(change)) return;
    // What it had set: a later change goes back to what this one would have.
    const mine = later === null ? (this.#values.get(key) ?? null) : later.before;
    if (later === null) this.#put(key, before);
    else later.before = before;
    if (mine !== null) this.#holder.release(mine);
  }

  #laterThan(change: PendingChange<K, V>): PendingChange<K, V> | null {
    const changes = this.#pending.get(change.key);
    return changes?.[changes.indexOf(change) + 1] ?? null;
  }

  /** Takes it out of the pending ones; false: it was over before. */
  #take(change: PendingChange<K, V>): boolean {
    const changes = this.#pending.get(change.key);
    const at = changes?.indexOf(change) ?? -1;
    if (changes === undefined || at < 0) return false;
    changes.splice(at, 1);
    if (changes.length === 0) this.#pending.delete(change.key);
    return true;
  }

  #dropBefore(change: PendingChange<K, V>): void {
    if (change.before !== null) this.#holder.release(change.before);
    change.before = null;
  }

  #put(key: K, value: V | null): void {
    if (value === null) this.#values.delete(key);
    else this.#values.set(key, value);
  }
}
