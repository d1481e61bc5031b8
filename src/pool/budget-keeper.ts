import type { GrantKind } from './budget.ts';
import { BudgetKeys } from './budget-keys.ts';
import type { Custody } from './custody.ts';
import { RECORD_KINDS } from './grant-records.ts';
import { NONE, SharedCounts } from './shared-counts.ts';
import { type BudgetView, countOf, viewOf } from './budget-view.ts';
import type { SharedMemory } from './shared-memory.ts';

/** How long the thread that must see others end waits at a time for a lock that may be a dead one's. */
const PATIENCE_MS = 2;

/** Records or slots that are looked at under the lock at a time. */
const STRETCH = 512;

/** A server connection that a dead thread has left behind. */
export interface Orphan extends Custody {
  /** Its grant's. */
  readonly id: number;
  readonly record: number;
}

/** What the keeper asks of its thread. */
export interface KeeperParts {
  /** Has that owner's thread call `rung()`. */
  ring(owner: number): void;
  closeDescriptor(fd: number): void;
}

/**
 * The main thread's part in a shared budget, of which it is no owner: takes back what dead threads held. It waits for no
 * lock for long: whoever has it may be dead, and the news of that on its way to this thread.
 */
export class BudgetKeeper {
  readonly #view: BudgetView;
  readonly #keys = new BudgetKeys();
  readonly #parts: KeeperParts;
  /** The column of grants that owners have left. */
  readonly #column: number;
  readonly #rings = new Set<number>();

  constructor(memory: SharedMemory, parts: KeeperParts, view?: BudgetView) {
    this.#column = memory.sizes.owners;
    this.#view = view ?? viewOf(memory, this.#column);
    this.#parts = parts;
  }

  /**
   * The owner's thread has ended: its lock is free again at once. Then its clients' grants and places come back, and those of
   * servers that never got as far as custody; the others become the keeper's, and are the answer, with those on their
   * way to it or from it: each is still counted until {@link release}. Afterwards another thread may join in its place.
   */
  async reclaim(owner: number): Promise<Orphan[]> {
    const { section, owners, counts, records } = this.#view;
    section.recover(owner + 1);
    await this.#soon(() => owners.beginLeave(owner));
    const orphans: Orphan[] = [];
    for (const kind of RECORD_KINDS) {
      const { begin, end } = records.range(kind);
      await this.#each(begin, end, (record) => {
        const orphan = this.#inherit(record, owner);
        if (orphan !== null) orphans.push(orphan);
      });
    }
    const { waits, sizes } = this.#view.layout;
    await this.#each(0, counts.used, (slot) => {
      waits[slot * sizes.owners + owner] = 0;
      counts.forget(slot, owner);
    });
    await this.#soon(() => owners.endLeave(owner));
    // Who was refused may have been about to be rung by the dead thread.
    for (const other of owners.present) this.#rings.add(other);
    this.#ringAll();
    return orphans;
  }

  /** What threads have left, dead ones or not, and is not released yet. */
  orphans(): Orphan[] {
    const { records } = this.#view;
    const { begin, end } = records.range('server');
    const all = Array.from({ length: end - begin }, (_, i) => this.#orphan(begin + i));
    return all.filter((orphan) => orphan !== null);
  }

  /** PostgreSQL's end of an orphan is gone: closes the descriptor, then gives the grant back. Once; more is ignored. */
  async release({ id }: Orphan): Promise<void> {
    const { records, custody } = this.#view;
    const fd = await this.#soon(() => {
      const record = records.find(id, this.#column);
      return record === NONE ? NONE : custody.take(record);
    });
    if (fd === NONE) return;
    this.#parts.closeDescriptor(fd);
    await this.#soon(() => {
      const record = records.find(id, this.#column);
      if (record !== NONE) records.remove(record, this.#ring);
    });
    this.#ringAll();
  }

  count(kind: GrantKind, scope: { database?: string; user?: string } = {}): number {
    return countOf(this.#view, this.#keys, kind, scope);
  }

  /** How many of a kind an owner holds. */
  held(kind: GrantKind, owner: number): number {
    return this.#view.counts.held(SharedCounts.all(kind), owner);
  }

  /** What an owner has published of itself; `number`: one of `OWNER_NUMBERS`. */
  published(owner: number, number: number): number {
    return this.#view.owners.published(owner, number);
  }

  #inherit(record: number, owner: number): Orphan | null {
    const { records, custody } = this.#view;
    // What it has given may never have been sent.
    if (!records.isHeldBy(record, owner) && !records.isGivenBy(record, owner)) return null;
    if (records.kindOf(record) !== 'server' || !custody.has(record)) {
      records.remove(record, this.#ring);
      return null;
    }
    records.setAside(record);
    records.move(record, this.#column);
    return this.#orphan(record);
  }

  #orphan(record: number): Orphan | null {
    const { records, custody } = this.#view;
    if (!records.isHeldBy(record, this.#column)) return null;
    const left = custody.read(record);
    return left === null ? null : { ...left, id: records.idOf(record), record };
  }

  /** Each of them as a whole or not at all; the lock is let go in between from time to time. */
  async #each(begin: number, end: number, visit: (index: number) => void): Promise<void> {
    for (let from = begin; from < end; from += STRETCH) {
      await this.#soon(() => {
        for (let index = from; index < Math.min(from + STRETCH, end); index++) {
          visit(index);
          this.#view.section.commit();
        }
      });
    }
  }

  /** Does it under the lock, as soon as that is to be had. */
  async #soon<T>(work: () => T): Promise<T> {
    for (;;) {
      const done = this.#view.section.tryRun(() => ({ result: work() }), PATIENCE_MS);
      if (done !== null) return done.result;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  readonly #ring = (owner: number): void => void this.#rings.add(owner);

  #ringAll(): void {
    for (const owner of this.#rings) if (this.#view.owners.isThere(owner)) this.#parts.ring(owner);
    this.#rings.clear();
  }
}
