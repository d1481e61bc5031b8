import { SharedSection } from '../base/shared-section.ts';
import { type GrantKind, poolKey } from './budget.ts';
import type { BudgetKeys, KeyHash } from './budget-keys.ts';
import { CustodyWords } from './custody.ts';
import { GrantRecords } from './grant-records.ts';
import { NONE, SharedCounts } from './shared-counts.ts';
import { Layout, type SharedMemory } from './shared-memory.ts';
import { SharedOwners } from './shared-owners.ts';

/** What is in the shared memory, as one thread sees it. */
export interface BudgetView {
  readonly layout: Layout;
  readonly section: SharedSection;
  readonly counts: SharedCounts;
  readonly records: GrantRecords;
  readonly custody: CustodyWords;
  readonly owners: SharedOwners;
}

/** `column`: the owner's index, or the number of owners for who looks after what dead ones have left. */
export function viewOf(memory: SharedMemory, column: number, makeSection = openSection): BudgetView {
  const layout = new Layout(memory);
  const section = makeSection(layout, column + 1);
  const counts = new SharedCounts(section, layout);
  return {
    layout,
    section,
    counts,
    records: new GrantRecords(section, layout, counts),
    custody: new CustodyWords(section, layout),
    owners: new SharedOwners(section, layout),
  };
}

function openSection(layout: Layout, me: number): SharedSection {
  return new SharedSection(layout.words, layout.section, me);
}

/** Clients or servers in use, without the lock. */
export function countOf(
  { counts }: BudgetView,
  keys: BudgetKeys,
  kind: GrantKind,
  { database, user }: { database?: string; user?: string },
): number {
  if (database !== undefined && user !== undefined) {
    return counts.totalNow(keys.pool(kind, poolKey(database, user)));
  }
  if (database !== undefined) return counts.totalNow(keys.database(kind, database));
  if (user !== undefined) return counts.totalNow(keys.user(kind, user));
  return counts.total(SharedCounts.all(kind));
}

/**
 * Whether an owner beside `column` has a server of the pool whose login is over, and that is not on its way out. Without
 * the lock, and not for each query: it goes through all records.
 */
export function hasUsableElsewhere(
  { section, counts, custody, records }: BudgetView,
  pool: KeyHash,
  column: number,
): boolean {
  const look = (): number => counts.find(pool);
  const slot = section.read(look) ?? look();
  if (slot === NONE || counts.serving(slot) === 0) return false;
  for (const record of records.servingElsewhere(slot, column)) if (custody.isLoggedIn(record)) return true;
  return false;
}

/** Whether a server connection has been given to another owner, and has neither arrived nor been given back. */
export function isOnItsWay({ section, records }: BudgetView, id: number): boolean {
  const look = (): boolean => {
    const record = records.findAnyones(id);
    return record !== NONE && records.giverOf(record) !== NONE;
  };
  return section.read(look) ?? look();
}

/** The next owner behind `column` and before `end`, in a circle, that holds something of a key's; NONE: there is none. */
export function nextHolder(
  { counts, layout }: BudgetView,
  key: KeyHash,
  column: number,
  end: number,
): number {
  const { owners } = layout.sizes;
  for (let step = 1; step < owners; step++) {
    const owner = (column + step) % owners;
    if (owner === end) return NONE;
    if (counts.heldNow(key, owner) > 0) return owner;
  }
  return NONE;
}
