import { SharedLock } from '../base/shared-lock.ts';
import { SharedCounts } from './shared-counts.ts';
import {
  GONE,
  LOCK,
  RECORD_FD,
  RECORD_KEY_BYTES,
  RECORD_OWNER,
  RECORD_SLOTS,
  SharedLayout,
  TAKEN,
  WAITING,
} from './shared-layout.ts';

/** Beyond that nobody has so many keys, or descriptors. */
const SLOTS = 65_536;
const RECORDS = 8192;

/** The main thread's number for the lock; no column is as high. */
const MAIN = 1000;

/** So long the main thread waits for the lock, which a thread may hold whose death it has not heard of. */
const PATIENCE_MS = 50;

/** A server connection whose thread has died, and which still has its place. */
export interface LeftConnection {
  readonly record: number;
  /** Our copy of its descriptor. */
  readonly fd: number;
  /** Process ID and secret; null: the server has not told them. */
  readonly backendKey: Buffer | null;
}

/**
 * What all threads share, as the main thread has it, which makes it and cleans up behind threads that have died. Column:
 * the place of a thread, from 0 on.
 */
export class SharedMemory {
  readonly buffer: SharedArrayBuffer;
  readonly columns: number;
  readonly #layout: SharedLayout;
  readonly #counts: SharedCounts;
  readonly #lock: SharedLock;

  constructor(columns: number, slots = SLOTS, records = RECORDS) {
    this.buffer = SharedLayout.create(columns, slots, records);
    this.columns = columns;
    this.#layout = new SharedLayout(this.buffer);
    this.#counts = new SharedCounts(this.#layout);
    this.#lock = new SharedLock(this.#layout.words, LOCK, MAIN);
  }

  /** Connections that the thread has taken over, since the column is its. */
  connectionsTaken(column: number): number {
    return Atomics.load(this.#layout.words, this.#layout.columnAt(column) + TAKEN);
  }

  /** Of those, how many are gone. */
  connectionsGone(column: number): number {
    return Atomics.load(this.#layout.words, this.#layout.columnAt(column) + GONE);
  }

  /** Columns in which clients wait for servers. */
  waitingColumns(): number[] {
    const all = Array.from({ length: this.columns }, (_, column) => column);
    return all.filter(
      (column) => Atomics.load(this.#layout.words, this.#layout.columnAt(column) + WAITING) > 0,
    );
  }

  /**
   * The thread of this column has died: gives back what it held, but for server connections that PostgreSQL may still have;
   * those are returned, and stay counted until {@link reclaimConnection}.
   */
  reclaim(column: number): LeftConnection[] {
    this.#lock.freeOf(column + 1);
    const { words } = this.#layout;
    const left = this.#leftIn(column);
    const counted = new Map<number, number>();
    for (const { record } of left) {
      for (const slot of this.#slotsOf(record)) counted.set(slot, (counted.get(slot) ?? 0) + 1);
    }
    for (let slot = 0; slot < this.#layout.slots; slot++) {
      this.#counts.set(slot, column, counted.get(slot) ?? 0);
      Atomics.store(words, this.#counts.waitWord(slot, column), 0);
    }
    Atomics.store(words, this.#layout.columnAt(column) + WAITING, 0);
    this.#sweep();
    return left;
  }

  /** The server's end of it is gone. Its descriptor is closed by now. */
  reclaimConnection(column: number, { record }: LeftConnection): void {
    for (const slot of this.#slotsOf(record)) this.#counts.add(slot, column, -1);
    Atomics.store(this.#layout.words, this.#layout.recordAt(record) + RECORD_OWNER, 0);
    this.#sweep();
  }

  /** Nothing of the dead thread is left: another may have the column. */
  clear(column: number): void {
    const at = this.#layout.columnAt(column);
    for (const word of [TAKEN, GONE, WAITING]) Atomics.store(this.#layout.words, at + word, 0);
  }

  /** How many grants of this key there are. */
  count(key: string): number {
    const slot = this.#counts.find(key);
    return slot < 0 ? 0 : this.#counts.total(slot);
  }

  #leftIn(column: number): LeftConnection[] {
    const { words } = this.#layout;
    const left: LeftConnection[] = [];
    for (let record = 0; record < this.#layout.records; record++) {
      const at = this.#layout.recordAt(record);
      const owner = Atomics.load(words, at + RECORD_OWNER);
      // It was giving it back: the server's end is gone, and perhaps the descriptor is another's by now.
      if (owner === -(column + 1)) Atomics.store(words, at + RECORD_OWNER, 0);
      if (owner !== column + 1) continue;
      const bytes = Atomics.load(words, at + RECORD_KEY_BYTES);
      const backendKey = bytes === 0 ? null : Buffer.from(this.#layout.keyOf(record).subarray(0, bytes));
      left.push({ record, fd: Atomics.load(words, at + RECORD_FD), backendKey });
    }
    return left;
  }

  #slotsOf(record: number): number[] {
    const at = this.#layout.recordAt(record) + RECORD_SLOTS;
    return [0, 1, 2, 3].map((i) => Atomics.load(this.#layout.words, at + i));
  }

  /** Frees slots that nobody needs; those that stay for now, whoever has the key next finds, or the next sweep. */
  #sweep(): void {
    if (!this.#lock.take(PATIENCE_MS)) return;
    try {
      for (let slot = 0; slot < this.#layout.slots; slot++) this.#counts.dropIfUnused(slot);
    } finally {
      this.#lock.release();
    }
  }
}
