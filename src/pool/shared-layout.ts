import { SharedCounts } from './shared-counts.ts';

/** Words of the head: the lock, the next id, columns, slots, records. */
const HEAD = 16;
/** Words of what a column publishes: a cache line. */
const COLUMN = 16;
/** Words of a custody record: whose it is, descriptor, four slots, bytes of the key; then the key. */
const RECORD_HEAD = 8;
const MAX_KEY_BYTES = 260;
const RECORD = RECORD_HEAD + MAX_KEY_BYTES / 4;

/** Words of the head. */
export const LOCK = 0;
export const NEXT_ID = 1;

/** Words of a column. */
export const TAKEN = 0;
export const GONE = 1;
export const WAITING = 2;

/** Words of a record. */
export const RECORD_OWNER = 0;
export const RECORD_FD = 1;
export const RECORD_SLOTS = 2;
export const RECORD_KEY_BYTES = 6;

/** Where what stands in the memory that all threads share; in 32-bit words. */
export class SharedLayout {
  readonly words: Int32Array;
  readonly columns: number;
  readonly slots: number;
  readonly records: number;
  readonly slotWords: number;
  readonly slotsAt: number;
  readonly #recordsAt: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.columns = this.words[2] as number;
    this.slots = this.words[3] as number;
    this.records = this.words[4] as number;
    this.slotWords = SharedCounts.slotWords(this.columns);
    this.slotsAt = HEAD + this.columns * COLUMN;
    this.#recordsAt = this.slotsAt + this.slots * this.slotWords;
  }

  /** New memory, for so many threads at a time, keys and server connections. */
  static create(columns: number, slots: number, records: number): SharedArrayBuffer {
    const words = HEAD + columns * COLUMN + slots * SharedCounts.slotWords(columns) + records * RECORD;
    const buffer = new SharedArrayBuffer(words * 4);
    const head = new Int32Array(buffer);
    head[NEXT_ID] = 1;
    head[2] = columns;
    head[3] = slots;
    head[4] = records;
    return buffer;
  }

  columnAt(column: number): number {
    return HEAD + column * COLUMN;
  }

  recordAt(record: number): number {
    return this.#recordsAt + record * RECORD;
  }

  /** The bytes of a record's key, as far as there may be any. */
  keyOf(record: number): Uint8Array {
    const at = (this.recordAt(record) + RECORD_HEAD) * 4;
    return new Uint8Array(this.words.buffer, at, MAX_KEY_BYTES);
  }
}
