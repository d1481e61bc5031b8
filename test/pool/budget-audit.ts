import type { BudgetView } from '../../src/pool/budget-view.ts';
import { RECORD_KINDS } from '../../src/pool/grant-records.ts';
import { NONE } from '../../src/pool/shared-counts.ts';
import { FIXED_SLOTS, RECORD_WORDS, SLOT_WORDS, type SharedMemory } from '../../src/pool/shared-memory.ts';

/** What is wrong inside of a shared budget: totals, owners' parts, records and links told against each other. */
export function audit({ layout, counts, records }: BudgetView): string[] {
  const wrong: string[] = [];
  const { words } = layout;
  const expected = new Map<string, number>();
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
    const isPinned = words[at + SLOT_WORDS - 2] !== 0 || words[at + SLOT_WORDS - 1] !== 0;
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
