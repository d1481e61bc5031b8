import type { BudgetView } from '../../src/pool/budget-view.ts';
import { RECORD_KINDS } from '../../src/pool/grant-records.ts';
import { NONE } from '../../src/pool/shared-counts.ts';
import { FIXED_SLOTS, RECORD_WORDS, type SharedMemory } from '../../src/pool/shared-memory.ts';

/** Word of a record, and of a slot. */
const ASIDE = 9;
const PINNED = 8;

/** What is wrong inside of a shared budget: totals, owners' parts, records and links told against each other. */
export function audit({ layout, counts, records }: BudgetView): string[] {
  const wrong: string[] = [];
  const { words } = layout;
  const expected = new Map<string, number>();
  const aside = new Map<number, number>();
  const expect = (slot: number, column: number): void => {
    const key = `${slot} ${column}`;
    expected.set(key, (expected.get(key) ?? 0) + 1);
  };
  for (const kind of RECORD_KINDS) {
    const { begin, end } = records.range(kind);
    for (let record = begin; record < end; record++) {
      const at = layout.records + record * RECORD_WORDS;
      if (words[at] === 0) continue;
      const column = words[at + 1] as number;
      if (words[at + ASIDE] !== 0) {
        if (kind !== 'server') wrong.push(`record ${record}: a ${kind} is set aside`);
        const pool = words[at + 3] as number;
        aside.set(pool, (aside.get(pool) ?? 0) + 1);
      }
      if (records.giverOf(record) !== NONE) {
        if (kind !== 'server') wrong.push(`record ${record} is on its way`);
        if (column === layout.sizes.owners) wrong.push(`record ${record} is on its way to the keeper`);
      }
      for (let i = 0; i < 4; i++) {
        const slot = words[at + 3 + i] as number;
        if (slot !== NONE) expect(slot, column);
      }
    }
  }
  const linked = linkedSlots(layout.buckets, layout, wrong);
  for (let slot = 0; slot < counts.used; slot++) {
    let sum = 0;
    for (let column = 0; column < layout.columns; column++) {
      const held = counts.held(slot, column);
      sum += held;
      const told = expected.get(`${slot} ${column}`) ?? 0;
      if (held !== told) wrong.push(`slot ${slot}: ${held} for owner ${column}, records say ${told}`);
    }
    if (sum !== counts.total(slot)) wrong.push(`slot ${slot}: total ${counts.total(slot)}, parts ${sum}`);
    const at = layout.slotsAt + slot * layout.slotStride;
    const isPinned = words[at + PINNED] !== 0 || words[at + PINNED + 1] !== 0;
    const atRest = counts.total(slot) - counts.serving(slot);
    if (atRest !== (aside.get(slot) ?? 0)) wrong.push(`slot ${slot}: ${atRest} set aside`);
    const isUsed = sum > 0 || isPinned;
    if (slot >= FIXED_SLOTS && isUsed !== linked.has(slot)) {
      wrong.push(
        `slot ${slot}: ${isUsed ? 'used' : 'not used'}, ${linked.has(slot) ? 'linked' : 'not linked'}`,
      );
    }
  }
  return wrong;
}

function linkedSlots(buckets: number, layout: BudgetView['layout'], wrong: string[]): Set<number> {
  const linked = new Set<number>();
  for (let bucket = 0; bucket < layout.bucketCount; bucket++) {
    let link = layout.words[buckets + bucket] as number;
    for (; link !== 0; link = layout.words[layout.slotsAt + (link - 1) * layout.slotStride] as number) {
      if (linked.has(link - 1)) {
        wrong.push(`slot ${link - 1} is linked twice`);
        break;
      }
      linked.add(link - 1);
    }
  }
  return linked;
}

/** The memory as it is now. */
export function copyOf({ buffer, sizes }: SharedMemory): SharedMemory {
  return { buffer: buffer.slice(0), sizes };
}
