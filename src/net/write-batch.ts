import { BATCH, type IoBatch } from './native-batch.ts';
import type { IoCalls } from './native-io.ts';

/** A connection whose bytes may wait until those of others are written, too. */
export interface BatchWriter {
  /** Which write of the batch is its; -1 = none. {@link WriteBatch} changes it. */
  batched: number;
  /** Its descriptor may be somebody else's. */
  readonly isClosed: boolean;
  /**
   * Of its bytes the kernel took less than all: `count` as `IoCalls.write` answers, of `bytes[start, end)`, which are
   * borrowed. Nothing may be written to others in here, nor handlers be told.
   */
  wroteLess(count: number, bytes: Buffer, start: number, end: number): void;
}

/** What is larger goes by itself. */
const MOST_BYTES = 8 * 1024;

/**
 * Writes of several connections by one system call. A connection's bytes stay in order: those that come while some of it
 * wait are put right behind them, or have the batch written first. Whoever closes or shuts down a connection, or gives its
 * descriptor away, has it written, too.
 */
export class WriteBatch {
  readonly #batch: IoBatch;
  readonly #write: IoCalls['write'];
  /** By place. */
  readonly #writers: (BatchWriter | null)[] = Array.from({ length: BATCH }, () => null);
  #isOpen = false;

  constructor(batch: IoBatch, write: IoCalls['write']) {
    this.#batch = batch;
    this.#write = write;
  }

  /** Whether writes may wait: until {@link end}. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  begin(): void {
    this.#isOpen = true;
  }

  end(): void {
    this.flush();
    this.#isOpen = false;
  }

  /**
   * Copies `bytes[start, end)` for `fd`, which doesn't block and has nothing queued. False: it has not, and nothing of this
   * connection waits here any more.
   */
  add(writer: BatchWriter, fd: number, bytes: Buffer, start: number, end: number): boolean {
    const batch = this.#batch;
    const { batched } = writer;
    const size = end - start;
    const isSmall = size <= MOST_BYTES;
    if (batched >= 0) {
      if (isSmall && batched === batch.writeCount - 1 && batch.hasSpace(size)) {
        batch.extendWrite(bytes, start, end);
        return true;
      }
      this.flush();
      return false;
    }
    if (!isSmall) return false;
    if (batch.writeCount === BATCH || !batch.hasSpace(size)) this.flush();
    writer.batched = batch.addWrite(fd, bytes, start, end);
    this.#writers[writer.batched] = writer;
    return true;
  }

  /** Writes what waits. */
  flush(): void {
    const batch = this.#batch;
    const count = batch.writeCount;
    if (count === 0) return;
    let open = 0;
    for (let place = 0; place < count; place++) {
      const writer = this.#writers[place] as BatchWriter;
      writer.batched = -1;
      if (!writer.isClosed) open++;
    }
    // A number that may be somebody else's is not to be written to. Of one alone nothing is gained.
    const isTogether = open === count && count > 1;
    if (isTogether) batch.write();
    for (let place = 0; place < count; place++) {
      const writer = this.#writers[place] as BatchWriter;
      this.#writers[place] = null;
      if (writer.isClosed) continue;
      const start = batch.startOfWrite(place);
      const end = batch.endOfWrite(place);
      const result = isTogether
        ? batch.writeResult(place)
        : this.#write(batch.fdOfWrite(place), batch.out, start, end);
      if (result !== end - start) writer.wroteLess(result, batch.out, start, end);
    }
    batch.clearWrites();
  }
}
