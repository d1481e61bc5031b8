import { SharedLock } from './shared-lock.ts';

/** Words that a section may change before it is committed. */
const MAX_CHANGES = 96;

/** Words in the header: lock, structure version and journal lie on cache lines of their own. */
const VERSION_AT = 16;
const COUNT_AT = 32;
const ENTRIES_AT = 33;

/** How often a reader without the lock looks again when the structure changes under its eyes. */
const MAX_LOOKS = 1000;

/** Words of shared memory that a {@link SharedSection} takes for itself, from where it is told. */
export const SECTION_WORDS = ENTRIES_AT + 2 * MAX_CHANGES + 15;

/**
 * Changes to shared memory by one thread at a time, each as a whole or not at all, whatever instruction its thread dies
 * at: before a word is changed its old value goes into a journal, also in shared memory, and {@link recover} puts back
 * what a dead thread has not committed. The price is two more stores per word.
 * Zeroed memory is a sound beginning. Words outside of sections are written by their only writer, and atomically.
 */
export class SharedSection {
  readonly words: Int32Array;
  readonly #at: number;
  readonly #lock: SharedLock;
  /** As in the journal, while this thread has the lock. */
  #changes = 0;

  /** `me`: a number of this thread's own, from 1 up. */
  constructor(words: Int32Array, at: number, me: number) {
    this.words = words;
    this.#at = at;
    this.#lock = new SharedLock(words, at, me);
  }

  /** Does `work` under the lock and commits; what it throws undoes its changes. Does not nest. */
  run<T>(work: () => T): T {
    this.#lock.acquire();
    return this.#locked(work);
  }

  /** As {@link run}, or null when the lock is not to be had within about `patienceMs`. */
  tryRun<T>(work: () => T, patienceMs: number): T | null {
    return this.#lock.tryAcquire(patienceMs) ? this.#locked(work) : null;
  }

  /** Changes a word, inside of a section. */
  write(index: number, value: number): void {
    const { words } = this;
    const change = this.#changes;
    if (change === MAX_CHANGES) throw new RangeError('too many changes in one section');
    const entry = this.#at + ENTRIES_AT + 2 * change;
    words[entry] = index;
    words[entry + 1] = words[index] as number;
    this.#changes = change + 1;
    Atomics.store(words, this.#at + COUNT_AT, change + 1);
    Atomics.store(words, index, value);
  }

  add(index: number, difference: number): void {
    this.write(index, (this.words[index] as number) + difference);
  }

  /** What has been changed so far stays. Sections that do the same to many things commit after each. */
  commit(): void {
    this.#changes = 0;
    Atomics.store(this.words, this.#at + COUNT_AT, 0);
  }

  /** Links are about to change, or have changed: those who follow them without the lock look again. Call in pairs. */
  changeLinks(): void {
    Atomics.add(this.words, this.#at + VERSION_AT, 1);
  }

  /**
   * What `look` finds without the lock, which has not been in the middle of a change of links. `look` may meet any words
   * meanwhile, and must end all the same. Null when that never comes to rest, as when a thread has died there.
   */
  read<T>(look: () => T): T | null {
    const at = this.#at + VERSION_AT;
    for (let looks = 0; looks < MAX_LOOKS; looks++) {
      const version = Atomics.load(this.words, at);
      if ((version & 1) !== 0) continue;
      const found = look();
      if (Atomics.load(this.words, at) === version) return found;
    }
    return null;
  }

  /** For the thread that sees others end: undoes what `dead` was in the middle of, and frees the lock that it held. */
  recover(dead: number): void {
    if (!this.#lock.isHeldBy(dead)) return;
    this.#undo();
    this.#lock.freeOf(dead);
  }

  #locked<T>(work: () => T): T {
    // Where even undoing has failed (no stack left), there is something to undo still.
    if (Atomics.load(this.words, this.#at + COUNT_AT) !== 0) this.#undo();
    this.#changes = 0;
    try {
      const result = work();
      this.commit();
      return result;
    } catch (error) {
      this.#undo();
      throw error;
    } finally {
      this.#lock.release();
    }
  }

  /** May itself be begun anew at any instruction. */
  #undo(): void {
    const { words } = this;
    const at = this.#at;
    if ((Atomics.load(words, at + VERSION_AT) & 1) === 0) this.changeLinks();
    for (let change = Atomics.load(words, at + COUNT_AT) - 1; change >= 0; change--) {
      const entry = at + ENTRIES_AT + 2 * change;
      Atomics.store(words, words[entry] as number, words[entry + 1] as number);
    }
    this.commit();
    this.changeLinks();
  }
}
