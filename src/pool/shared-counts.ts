import { createHash } from 'node:crypto';
import type { SharedLayout } from './shared-layout.ts';

/** What a slot of the table is. */
const EMPTY = 0;
const USED = 1;
/** It was used: whoever looks for a key looks on behind it. */
const DELETED = 2;

const HASH_WORDS = 4;
/** Words of a slot ahead of its cells: the hash, what it is. */
const STATE = HASH_WORDS;
const HEAD = 8;

/** So many keys' hashes are remembered. */
const MAX_HASHES = 20_000;

/**
 * How many grants there are for each key, in shared memory: a table of open addressing by a hash of the key's text (names
 * come from the network: no weak one will do), in which each slot has a cell for every column, which is its thread's alone
 * to write. So it is sound at every instruction: what a thread that dies leaves half done stands in its own column.
 * Everything but {@link total} wants the lock to be held.
 */
export class SharedCounts {
  readonly #layout: SharedLayout;
  readonly #words: Int32Array;
  readonly #hashes = new Map<string, Int32Array>();
  readonly #hash: (key: string) => Int32Array;

  /** `hash` stands in for a good one, in tests. */
  constructor(layout: SharedLayout, hash: (key: string) => Int32Array = hashOf) {
    this.#layout = layout;
    this.#words = layout.words;
    this.#hash = hash;
  }

  /** The slot of `key`; -1: it has none. */
  find(key: string): number {
    const hash = this.#hashOf(key);
    const { slots } = this.#layout;
    for (let i = 0, slot = this.#first(hash); i < slots; i++, slot = (slot + 1) % slots) {
      const at = this.#at(slot);
      const state = Atomics.load(this.#words, at + STATE);
      if (state === EMPTY) return -1;
      if (state === USED && this.#isOf(at, hash)) return slot;
    }
    return -1;
  }

  /** The slot of `key`, made if need be; -1: the table is full. */
  obtain(key: string): number {
    const hash = this.#hashOf(key);
    const { slots } = this.#layout;
    let free = -1;
    for (let i = 0, slot = this.#first(hash); i < slots; i++, slot = (slot + 1) % slots) {
      const at = this.#at(slot);
      const state = Atomics.load(this.#words, at + STATE);
      if (state === USED) {
        if (this.#isOf(at, hash)) return slot;
        continue;
      }
      if (free < 0) free = slot;
      if (state === EMPTY) break;
    }
    if (free < 0) return -1;
    const at = this.#at(free);
    for (let i = 0; i < HASH_WORDS; i++) Atomics.store(this.#words, at + i, hash[i] as number);
    // Only now is it somebody's.
    Atomics.store(this.#words, at + STATE, USED);
    return free;
  }

  /** All columns' together; may be asked without the lock. */
  total(slot: number): number {
    const from = this.#at(slot) + HEAD;
    let total = 0;
    for (let column = 0; column < this.#layout.columns; column++)
      total += Atomics.load(this.#words, from + column);
    return total;
  }

  add(slot: number, column: number, change: number): void {
    Atomics.add(this.#words, this.#at(slot) + HEAD + column, change);
  }

  of(slot: number, column: number): number {
    return Atomics.load(this.#words, this.#at(slot) + HEAD + column);
  }

  set(slot: number, column: number, count: number): void {
    Atomics.store(this.#words, this.#at(slot) + HEAD + column, count);
  }

  /** Index of the word that says how long a column's first client has waited in the pool of this slot. */
  waitWord(slot: number, column: number): number {
    return this.#at(slot) + HEAD + this.#layout.columns + column;
  }

  /** Nobody needs the slot: it is free for another key. */
  dropIfUnused(slot: number): void {
    const at = this.#at(slot);
    if (Atomics.load(this.#words, at + STATE) !== USED) return;
    const end = at + HEAD + 2 * this.#layout.columns;
    for (let word = at + HEAD; word < end; word++) if (Atomics.load(this.#words, word) !== 0) return;
    Atomics.store(this.#words, at + STATE, DELETED);
    // At the end of a chain nobody looks on behind it: each of these steps leaves a table in which all is found.
    const { slots } = this.#layout;
    if (Atomics.load(this.#words, this.#at((slot + 1) % slots) + STATE) !== EMPTY) return;
    for (let last = slot; ; last = (last + slots - 1) % slots) {
      const state = this.#at(last) + STATE;
      if (Atomics.load(this.#words, state) !== DELETED) return;
      Atomics.store(this.#words, state, EMPTY);
    }
  }

  /** Words from which a slot begins. */
  static slotWords(columns: number): number {
    return HEAD + 2 * columns;
  }

  #first(hash: Int32Array): number {
    return ((hash[0] as number) >>> 0) % this.#layout.slots;
  }

  #at(slot: number): number {
    return this.#layout.slotsAt + slot * this.#layout.slotWords;
  }

  #isOf(at: number, hash: Int32Array): boolean {
    for (let i = 0; i < HASH_WORDS; i++) {
      if (Atomics.load(this.#words, at + i) !== hash[i]) return false;
    }
    return true;
  }

  #hashOf(key: string): Int32Array {
    const known = this.#hashes.get(key);
    if (known !== undefined) return known;
    if (this.#hashes.size >= MAX_HASHES) this.#hashes.clear();
    const hash = this.#hash(key);
    this.#hashes.set(key, hash);
    return hash;
  }
}

function hashOf(key: string): Int32Array {
  const digest = createHash('sha256').update(key).digest();
  return Int32Array.from({ length: HASH_WORDS }, (_, i) => digest.readInt32LE(i * 4));
}
