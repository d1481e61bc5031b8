import type { SharedSection } from '../base/shared-section.ts';
import type { GrantKind } from './budget.ts';
import type { KeyHash } from './budget-keys.ts';
import { FIXED_SLOTS, type Layout, SLOT_WORDS } from './shared-memory.ts';

/** No slot. */
export const NONE = -1;

// Words of a slot: index of the next one in its chain or among free ones, plus 1; 4 of hash; the rest by name.
const NEXT = 0;
const HASH = 1;
const TOTAL = 5;
/** Bits of owners that were refused here and have not been rung since: 2 words each. */
const REFUSED = 6;
/** Bits of owners that write this pool's waits. */
const PINNED = 8;
/** How many of a pool's servers are set aside. */
const ASIDE = 10;

/** Heads of free slots, and slots that were ever used, after the words that grant records have there. */
const FREE_SLOT = 6;
const USED_SLOTS = 7;

/** The slots of everything of a kind. */
const ALL: Readonly<Record<GrantKind, number>> = {
  server: 0,
  client: 1,
  login: 2,
  cancel: 3,
  leaving: 4,
  derivation: 5,
  'unix login': 6,
  'unix cancel': 7,
  'unix leaving': 8,
};

/**
 * How many there are of something, by key: a hash table in shared memory with a chain for each bucket. A slot stays
 * where it is for as long as anything counts there or an owner has pinned it, so its index can be kept. All that changes
 * it happens in sections, and so do all look-ups but {@link totalNow}.
 */
export class SharedCounts {
  readonly #section: SharedSection;
  readonly #layout: Layout;
  readonly #words: Int32Array;

  constructor(section: SharedSection, layout: Layout) {
    this.#section = section;
    this.#layout = layout;
    this.#words = layout.words;
  }

  /** The slot of everything of a kind. */
  static all(kind: GrantKind): number {
    return ALL[kind];
  }

  /** Slots that were ever in use: those below may be in use now. */
  get used(): number {
    return FIXED_SLOTS + Atomics.load(this.#words, this.#layout.free + USED_SLOTS);
  }

  find(key: KeyHash): number {
    const words = this.#words;
    // Without the lock this may follow links that change meanwhile, so it counts its steps.
    let left = this.#layout.slots;
    for (let link = Atomics.load(words, this.#bucket(key)); link !== 0 && left > 0; left--) {
      const at = this.#at(link - 1);
      if (this.#isKey(at, key)) return link - 1;
      link = Atomics.load(words, at + NEXT);
    }
    return NONE;
  }

  total(slot: number): number {
    return slot === NONE ? 0 : Atomics.load(this.#words, this.#at(slot) + TOTAL);
  }

  /** Those of the total that are not set aside. */
  serving(slot: number): number {
    return slot === NONE ? 0 : this.total(slot) - Atomics.load(this.#words, this.#at(slot) + ASIDE);
  }

  /** As {@link serving}, without the lock. */
  servingNow(key: KeyHash): number {
    const look = (): number => this.serving(this.find(key));
    return this.#section.read(look) ?? look();
  }

  /** One more of those in the slot is set aside, or (`by` = -1) one that was is about to go. */
  setAside(slot: number, by: 1 | -1): void {
    this.#section.add(this.#at(slot) + ASIDE, by);
  }

  /** The total of a key without the lock; it has been true at some moment meanwhile. */
  totalNow(key: KeyHash): number {
    const look = (): number => this.total(this.find(key));
    return this.#section.read(look) ?? look();
  }

  /** How many of them one column holds: an owner's, or that of the dead. */
  held(slot: number, column: number): number {
    return slot === NONE ? 0 : Atomics.load(this.#words, this.#at(slot) + SLOT_WORDS + column);
  }

  /** As {@link held}, without the lock. */
  heldNow(key: KeyHash, column: number): number {
    const look = (): number => this.held(this.find(key), column);
    return this.#section.read(look) ?? look();
  }

  /** How many more keys there is room for. */
  get room(): number {
    const { free, slots } = this.#layout;
    const hasFree = this.#words[free + FREE_SLOT] !== 0;
    // Exactly how many are free nobody asks: three are needed at most, and a walk that short is cheap.
    let count = slots - this.used;
    for (
      let link = hasFree ? (this.#words[free + FREE_SLOT] as number) : 0;
      link !== 0 && count < 3;
      count++
    ) {
      link = this.#words[this.#at(link - 1) + NEXT] as number;
    }
    return count;
  }

  /** The slot of a key, made when there is none. There must be room. */
  obtain(key: KeyHash): number {
    const found = this.find(key);
    if (found !== NONE) return found;
    const section = this.#section;
    const { free, slots } = this.#layout;
    section.changeLinks();
    const freed = this.#words[free + FREE_SLOT] as number;
    let slot = freed - 1;
    if (freed !== 0) {
      section.write(free + FREE_SLOT, this.#words[this.#at(slot) + NEXT] as number);
    } else {
      slot = this.used;
      if (slot >= slots) throw new RangeError('no room for another key');
      section.add(free + USED_SLOTS, 1);
    }
    const at = this.#at(slot);
    for (let word = 0; word < 4; word++) section.write(at + HASH + word, key[word] as number);
    const bucket = this.#bucket(key);
    section.write(at + NEXT, this.#words[bucket] as number);
    section.write(bucket, slot + 1);
    section.changeLinks();
    return slot;
  }

  /** Counts one more or, `by` = -1, one fewer; the slot goes when it was the last reason for it. */
  count(slot: number, column: number, by: 1 | -1): void {
    const at = this.#at(slot);
    this.#section.add(at + SLOT_WORDS + column, by);
    this.#section.add(at + TOTAL, by);
    if (by < 0) this.#dropUnused(slot);
  }

  /** One of them changes hands; the total stays. */
  move(slot: number, from: number, to: number): void {
    const at = this.#at(slot) + SLOT_WORDS;
    this.#section.add(at + from, -1);
    this.#section.add(at + to, 1);
  }

  /** An owner wants to be rung when something is given back here. */
  markRefused(slot: number, owner: number): void {
    this.#setBit(this.#at(slot) + REFUSED, owner, true);
  }

  /** Tells each owner that was refused here, once. */
  takeRefused(slot: number, ring: (owner: number) => void): void {
    const at = this.#at(slot) + REFUSED;
    for (const word of [0, 1]) {
      let bits = this.#words[at + word] as number;
      if (bits === 0) continue;
      this.#section.write(at + word, 0);
      for (; bits !== 0; bits &= bits - 1) ring(32 * word + 31 - Math.clz32(bits & -bits));
    }
  }

  /** The owner writes waits here: the slot stays. */
  pin(slot: number, owner: number): void {
    this.#setBit(this.#at(slot) + PINNED, owner, true);
  }

  unpin(slot: number, owner: number): void {
    this.#setBit(this.#at(slot) + PINNED, owner, false);
    this.#dropUnused(slot);
  }

  /** Nothing of a dead owner's is left in the slot but what it has counted. */
  forget(slot: number, owner: number): void {
    const at = this.#at(slot);
    this.#setBit(at + REFUSED, owner, false);
    if (this.#hasBit(at + PINNED, owner)) this.unpin(slot, owner);
  }

  #dropUnused(slot: number): void {
    const words = this.#words;
    const at = this.#at(slot);
    if (slot < FIXED_SLOTS || words[at + TOTAL] !== 0) return;
    if (words[at + PINNED] !== 0 || words[at + PINNED + 1] !== 0) return;
    const section = this.#section;
    section.changeLinks();
    let link = this.#bucket(words.subarray(at + HASH, at + HASH + 4));
    // The word that leads to it: the bucket, or a slot's `next`, which is its first word.
    while (words[link] !== slot + 1) link = this.#at((words[link] as number) - 1);
    section.write(link, words[at + NEXT] as number);
    for (const word of [0, 1]) if (words[at + REFUSED + word] !== 0) section.write(at + REFUSED + word, 0);
    const { free } = this.#layout;
    section.write(at + NEXT, words[free + FREE_SLOT] as number);
    section.write(free + FREE_SLOT, slot + 1);
    section.changeLinks();
  }

  #setBit(at: number, owner: number, on: boolean): void {
    const word = at + (owner >>> 5);
    const bit = 1 << (owner & 31);
    const was = this.#words[word] as number;
    const is = on ? was | bit : was & ~bit;
    if (is !== was) this.#section.write(word, is);
  }

  #hasBit(at: number, owner: number): boolean {
    return ((this.#words[at + (owner >>> 5)] as number) & (1 << (owner & 31))) !== 0;
  }

  #isKey(at: number, key: KeyHash): boolean {
    const words = this.#words;
    for (let word = 0; word < 4; word++) {
      if (Atomics.load(words, at + HASH + word) !== key[word]) return false;
    }
    return true;
  }

  #bucket(key: KeyHash): number {
    return this.#layout.buckets + ((key[0] as number) & (this.#layout.bucketCount - 1));
  }

  #at(slot: number): number {
    return this.#layout.slotsAt + slot * this.#layout.slotStride;
  }
}
