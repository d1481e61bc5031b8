import { BATCH, type IoBatch, SLOT_BYTES } from './native-batch.ts';

/** What was taken out of the kernel for a connection before its turn, and is next in order. {@link ReadAhead} changes it. */
export class Ahead {
  /** In which slot of the batch under way; -1 = in none. */
  slot = -1;
  /** What could not be told when it came: the connection was paused, or another one's turn had failed. */
  kept: Buffer | null = null;
  /** The last read has brought as much as a slot takes: then it is better read by itself. */
  isBulk = false;
}

/** A connection whose bytes may be taken ahead. */
export interface AheadReader {
  readonly ahead: Ahead | null;
  /** Its descriptor is its own, and it wants bytes now: it may be watched for room alone, or be closed and not yet removed. */
  readonly mayRead: boolean;
  /** `count` is what `IoCalls.receive` would have answered for `chunk`, which is borrowed. */
  took(chunk: Buffer, count: number): void;
}

/**
 * Reads of several connections by one system call. What was read is told in each one's turn. Who is paused by then
 * keeps it, and whoever reads the connection in another way gets it first: by {@link receive} or {@link takeAll}.
 */
export class ReadAhead {
  readonly #batch: IoBatch;
  /** By slot: of those that have not been told. */
  readonly #readers: (AheadReader | null)[] = Array.from({ length: BATCH }, () => null);
  readonly #fds: number[] = Array.from({ length: BATCH }, () => -1);
  #slots = 0;

  constructor(batch: IoBatch) {
    this.#batch = batch;
  }

  /** Of a connection that can be read, and is watched, {@link BATCH} at most; {@link run} reads it. */
  add(reader: AheadReader, fd: number): void {
    const { ahead } = reader;
    // What is kept comes first.
    if (ahead === null || ahead.kept !== null || ahead.isBulk || !reader.mayRead) return;
    ahead.slot = this.#batch.addRead(fd);
    this.#readers[ahead.slot] = reader;
    this.#fds[ahead.slot] = fd;
  }

  /** Reads all that were added; of one alone nothing is gained. */
  run(): void {
    this.#slots = this.#batch.readCount;
    if (this.#slots > 1) {
      // Whoever the kernel has not come to is read by itself: it may not come to it the next time either.
      const tried = this.#batch.read();
      for (let slot = tried; slot < this.#slots; slot++) this.#let(this.#readers[slot] as AheadReader, slot);
      return;
    }
    if (this.#slots === 0) return;
    this.#batch.dropRead();
    this.#let(this.#readers[0] as AheadReader, 0);
  }

  /** Whether there is something in a slot for it. */
  has(reader: AheadReader): boolean {
    return reader.ahead !== null && reader.ahead.slot >= 0;
  }

  /** Tells it that; {@link settle} keeps it where it doesn't read now. */
  tell(reader: AheadReader): void {
    if (!reader.mayRead) return;
    const { slot } = reader.ahead as Ahead;
    const count = this.#let(reader, slot);
    reader.took(this.#batch.slots[slot] as Buffer, count);
  }

  /**
   * What is next, as `IoCalls.receive` has it; null: that is still the kernel's. `buffer` has room for what is in a
   * slot.
   */
  receive(reader: AheadReader, buffer: Buffer): number | null {
    const { ahead } = reader;
    if (ahead === null) return null;
    if (ahead.slot >= 0) {
      const { slot } = ahead;
      const count = this.#let(reader, slot);
      if (count > 0) (this.#batch.slots[slot] as Buffer).copy(buffer, 0, 0, count);
      return count;
    }
    if (ahead.kept === null) return null;
    const count = ahead.kept.copy(buffer);
    ahead.kept = null;
    return count;
  }

  /** A copy of all that was taken ahead; null when that is nothing. */
  takeAll(reader: AheadReader): Buffer | null {
    const { ahead } = reader;
    if (ahead === null) return null;
    if (ahead.slot >= 0) this.#keep(reader, ahead.slot);
    const { kept } = ahead;
    ahead.kept = null;
    return kept;
  }

  /** Behind the turns of all: keeps what was not told, and calls `untold` with those whose it is. */
  settle(untold: (fd: number, reader: AheadReader) => void): void {
    for (let slot = 0; slot < this.#slots; slot++) {
      const reader = this.#readers[slot];
      if (reader == null) continue;
      this.#keep(reader, slot);
      untold(this.#fds[slot] as number, reader);
    }
    this.#slots = 0;
  }

  #keep(reader: AheadReader, slot: number): void {
    const count = this.#let(reader, slot);
    // An end can be read again.
    if (count > 0)
      (reader.ahead as Ahead).kept = Buffer.from((this.#batch.slots[slot] as Buffer).subarray(0, count));
  }

  /** Empties a slot; what the read has come to. */
  #let(reader: AheadReader, slot: number): number {
    const count = this.#batch.readResult(slot);
    const ahead = reader.ahead as Ahead;
    ahead.slot = -1;
    ahead.isBulk = count === SLOT_BYTES;
    this.#readers[slot] = null;
    return count;
  }
}
