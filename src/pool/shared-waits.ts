import type { SharedSection } from '../base/shared-section.ts';
import type { BudgetKeys } from './budget-keys.ts';
import { NONE, type SharedCounts } from './shared-counts.ts';
import type { Layout } from './shared-memory.ts';

/** By their numbers. */
export type SomeOwners = Pick<ReadonlySet<number>, 'has'>;

const NOBODY: SomeOwners = new Set();

/** Nobody waits, and servers of the pool rest there: see {@link cellOf}. */
const RESTING = Number.NEGATIVE_INFINITY;

/** Pools whose slots an owner keeps pinned without being asked to wait there. */
const PINNED_POOLS = 1024;

/**
 * Since when the oldest client of each pool waits, for each owner, and whether servers of the pool rest there: a number in
 * shared memory that its owner alone writes and all others read, without the lock. The owner pins the pool's slot before, so
 * that it is no other's meanwhile; pins where nobody waits, and nothing rests, go once there are many.
 */
export class SharedWaits {
  readonly #section: SharedSection;
  readonly #counts: SharedCounts;
  readonly #keys: BudgetKeys;
  readonly #owner: number;
  readonly #owners: number;
  readonly #waits: Float64Array;
  readonly #noRoom: () => void;
  /** By pool: index of its first number in `#waits`. */
  readonly #pinned = new Map<string, number>();
  readonly #fewestPinned: number;
  #mostPinned: number;

  constructor(
    parts: { section: SharedSection; layout: Layout; counts: SharedCounts; keys: BudgetKeys },
    owner: number,
    noRoom: () => void,
    pinnedPools = PINNED_POOLS,
  ) {
    this.#section = parts.section;
    this.#counts = parts.counts;
    this.#keys = parts.keys;
    this.#owner = owner;
    this.#owners = parts.layout.sizes.owners;
    this.#waits = parts.layout.waits;
    this.#noRoom = noRoom;
    this.#fewestPinned = pinnedPools;
    this.#mostPinned = pinnedPools;
  }

  publish(pool: string, waitStartMs: number, hasRest: boolean): void {
    const cell = cellOf(waitStartMs, hasRest);
    let at = this.#pinned.get(pool);
    if (at === undefined) {
      if (cell === 0) return;
      at = this.#pin(pool);
      if (at === NONE) return;
    }
    this.#waits[at + this.#owner] = cell;
  }

  /** The start of the longest wait that the owner has in the pool; 0 = nobody waits there. */
  of(pool: string, owner: number): number {
    return startOf(this.#cell(pool, owner));
  }

  /** Whether a server of the pool rests with that owner. */
  hasRest(pool: string, owner: number): boolean {
    return this.#cell(pool, owner) < 0;
  }

  /** Which other owner has the longest wait in the pool, `except` left out; -1: nobody waits. */
  longestWaiter(pool: string, except: SomeOwners = NOBODY): number {
    const at = this.#pinned.get(pool) ?? this.#pin(pool);
    if (at === NONE) return -1;
    let oldest = -1;
    let oldestStart = 0;
    for (let owner = 0; owner < this.#owners; owner++) {
      const start = startOf(this.#waits[at + owner] as number);
      if (start === 0 || owner === this.#owner || except.has(owner)) continue;
      if (oldest >= 0 && start >= oldestStart) continue;
      oldest = owner;
      oldestStart = start;
    }
    return oldest;
  }

  #cell(pool: string, owner: number): number {
    const at = this.#pinned.get(pool) ?? this.#pin(pool);
    return at === NONE ? 0 : (this.#waits[at + owner] as number);
  }

  #pin(pool: string): number {
    if (this.#pinned.size >= this.#mostPinned) {
      this.#unpinIdle();
      // Where so many wait, looking for those who don't at each new pool would cost more than their slots.
      this.#mostPinned = Math.max(this.#fewestPinned, 2 * this.#pinned.size);
    }
    const key = this.#keys.pool('server', pool);
    const slot = this.#section.run(() => {
      if (this.#counts.find(key) === NONE && this.#counts.room < 1) return NONE;
      const obtained = this.#counts.obtain(key);
      this.#counts.pin(obtained, this.#owner);
      return obtained;
    });
    if (slot === NONE) {
      this.#noRoom();
      return NONE;
    }
    const at = slot * this.#owners;
    this.#pinned.set(pool, at);
    return at;
  }

  #unpinIdle(): void {
    this.#section.run(() => {
      for (const [pool, at] of this.#pinned) {
        if (this.#waits[at + this.#owner] !== 0) continue;
        this.#counts.unpin(at / this.#owners, this.#owner);
        this.#section.commit();
        this.#pinned.delete(pool);
      }
    });
  }
}

/** Negative where servers rest. */
function cellOf(waitStartMs: number, hasRest: boolean): number {
  if (!hasRest) return waitStartMs;
  return waitStartMs === 0 ? RESTING : -waitStartMs;
}

function startOf(cell: number): number {
  return cell === RESTING ? 0 : Math.abs(cell);
}
