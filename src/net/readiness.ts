import { isMainThread } from 'node:worker_threads';
import { type Clock, SystemClock } from '../base/clock.ts';
import { Alternation } from './alternation.ts';
import type { Native } from './native.ts';
import { BATCH, type IoBatch, SLOT_BYTES } from './native-batch.ts';
import { type EpollSet, Interest } from './native-io.ts';
import { allocPinned } from './pinned.ts';
import { ProcessorYield } from './processor-yield.ts';
import { type AheadReader, ReadAhead } from './read-ahead.ts';
import { WriteBatch } from './write-batch.ts';

/** Who uses a descriptor that a {@link Readiness} watches. */
export interface Reader extends AheadReader {
  /** There are bytes. May be told once too often: then there is nothing to read. */
  readable(): void;
  /** The peer has finished or the connection has failed; bytes may have come before that. */
  hungUp(): void;
  /** There is room for more. Whoever asks for `Interest.write` has it. */
  writable?(): void;
}

/**
 * Every connection that is read directly reads into this one buffer: a chunk is dealt with before the next read,
 * so none needs memory of its own. See docs/decisions/0006-direct-io.md.
 */
export const READ_BUFFER = allocPinned(64 * 1024);

/** How often a turn of the event loop asks for more before timers and Node's own connections are due again. */
const ROUNDS_PER_TURN = 4;

/**
 * Tells readers that there is something to read: an epoll set of our own, which the event loop watches as a single
 * descriptor. Node's way of handing a chunk to JavaScript costs more than everything that is done with the chunk
 * here; with the set it is gone once for all that is ready. See docs/decisions/0006-direct-io.md.
 *
 * A number that was closed is soon another connection's. So that nobody hears what was meant for somebody else, each
 * event carries the token of the {@link add} that it belongs to, and what {@link close} is given stays open until all
 * events are dealt with that were fetched together.
 *
 * Of two connections that take turns the one whose turn it is is read without asking.
 *
 * Where there are batches, connections that are ready together are read together ahead of the first one's turn, and what
 * is written in these turns goes out behind the last one. See docs/decisions/0015-batches.md. Where several were ready, others
 * may use the processor ahead of the next question, so that more are ready together.
 */
export class Readiness {
  readonly native: Native;
  /** Null where each write is a call of its own. */
  readonly writes: WriteBatch | null;
  readonly #ahead: ReadAhead | null;
  readonly #alternation = new Alternation();
  /** The last read of one connection by itself has brought something, be it its end. */
  #hasRead = false;
  readonly #epoll: EpollSet;
  readonly #processor: ProcessorYield;
  /** How often the set has been asked. */
  asked = 0;
  /** The last answer of the set had more than one event. */
  #isCrowded = false;
  /** By descriptor. */
  readonly #readers: (Reader | null)[] = [];
  /** By descriptor: of the last `add`. */
  readonly #tokens: number[] = [];
  #lastToken = 0;
  #count = 0;
  /** Events that were fetched together are being dealt with. */
  #isDraining = false;
  /** Descriptors to close behind them. */
  readonly #unclosed: number[] = [];
  /** What is to be called behind them, or in a turn of its own. */
  readonly #later: (() => void)[] = [];
  #hasTurn = false;
  readonly #untold = (fd: number, reader: AheadReader): void => {
    // One that is paused asks again when it goes on.
    if (this.#readers[fd] === reader) this.#tellSoon(fd, reader);
  };

  constructor(
    native: Native,
    epoll: EpollSet,
    batch: IoBatch | null = null,
    clock: Clock = new SystemClock(),
  ) {
    this.native = native;
    this.#processor = new ProcessorYield(native.yieldProcessor, clock);
    this.#ahead = batch === null ? null : new ReadAhead(batch);
    this.writes = batch === null ? null : new WriteBatch(batch, native.write);
    this.#epoll = epoll;
    epoll.onReady(() => this.#drain());
  }

  /** `interest` as for an `EpollSet`. False when the kernel refuses: the caller has to do without. */
  add(fd: number, reader: Reader, interest: number = Interest.read): boolean {
    const token = (this.#lastToken + 1) | 0;
    if (!this.#epoll.add(fd, interest, token)) return false;
    this.#lastToken = token;
    while (this.#readers.length <= fd) {
      this.#readers.push(null);
      this.#tokens.push(0);
    }
    this.#readers[fd] = reader;
    this.#tokens[fd] = token;
    this.#count++;
    if (this.#count === 1) this.#epoll.keepAlive(true);
    this.#tellKept(fd, reader);
    return true;
  }

  /** Of a descriptor that was added and not removed. */
  change(fd: number, interest: number): void {
    this.#epoll.change(fd, interest, this.#tokens[fd] as number);
    const reader = this.#readers[fd];
    if (reader != null && (interest & Interest.read) !== 0) this.#tellKept(fd, reader);
  }

  /** `isOpen`: the descriptor is still the reader's. The kernel itself takes closed ones out. */
  remove(fd: number, reader: Reader, isOpen: boolean): void {
    if (isOpen) this.#epoll.remove(fd);
    // A connection that was opened since may have the number now.
    if (this.#readers[fd] === reader) this.#readers[fd] = null;
    this.#count--;
    if (this.#count === 0) this.#epoll.keepAlive(false);
  }

  /** Closes a descriptor that is not watched: now, or as soon as no event that was fetched can be for its number. */
  close(fd: number): void {
    if (this.#isDraining) this.#unclosed.push(fd);
    else this.native.closeFd(fd);
  }

  /**
   * As `IoCalls.receive`, with what was taken ahead of its turn in front. Whoever reads a connection that was ever watched
   * does it by this, or has {@link takeAhead} first.
   */
  receive(reader: Reader, fd: number, buffer: Buffer): number {
    const ahead = this.#ahead?.receive(reader, buffer) ?? null;
    if (ahead !== null) return ahead;
    const count = this.native.receive(fd, buffer);
    this.#hasRead = count !== -1;
    if (reader.ahead !== null) reader.ahead.isBulk = count >= SLOT_BYTES;
    return count;
  }

  /** What was taken ahead of its turn, for somebody who reads on in another way; null for nothing. */
  takeAhead(reader: Reader): Buffer | null {
    return this.#ahead?.takeAll(reader) ?? null;
  }

  /** Calls `call` soon, but from inside no other call. */
  soon(call: () => void): void {
    this.#later.push(call);
    if (!this.#isDraining) this.#takeTurn();
  }

  #takeTurn(): void {
    if (this.#hasTurn) return;
    this.#hasTurn = true;
    setImmediate(() => {
      this.#hasTurn = false;
      this.#runLater();
    });
  }

  #drain(): void {
    if (this.#tellNext()) return;
    const epoll = this.#epoll;
    for (let round = 0; round < ROUNDS_PER_TURN; round++) {
      if (this.#isCrowded) this.#processor.yield();
      this.asked++;
      const count = epoll.wait();
      this.#isCrowded = count > 1;
      if (count < 1) return;
      if (count === 1) this.#alternation.told(epoll.fdAt(0), epoll.tokenAt(0));
      else this.#alternation.end();
      this.#isDraining = true;
      try {
        for (let from = 0; from < count; from += BATCH) this.#tellSome(from, Math.min(count, from + BATCH));
      } finally {
        this.#endDraining();
      }
      // A loop that has time comes back soon enough.
      if (count === 1) return;
    }
  }

  /** Has the one whose turn it should be read, without asking the set; false when that has brought nothing. */
  #tellNext(): boolean {
    const alternation = this.#alternation;
    const fd = alternation.next();
    if (fd < 0) return false;
    const { token } = alternation;
    const reader = this.#tokens[fd] === token ? this.#readers[fd] : null;
    this.#hasRead = false;
    if (reader?.mayRead === true) {
      this.#isDraining = true;
      try {
        reader.readable();
      } finally {
        this.#endDraining();
      }
    }
    if (this.#hasRead) alternation.told(fd, token);
    else alternation.end();
    return this.#hasRead;
  }

  #endDraining(): void {
    this.#isDraining = false;
    if (this.#unclosed.length > 0) for (const fd of this.#unclosed.splice(0)) this.native.closeFd(fd);
    if (this.#later.length > 0) this.#runLater();
  }

  /** Of as many as a batch has room for. */
  #tellSome(from: number, to: number): void {
    const ahead = to - from > 1 ? this.#ahead : null;
    if (ahead === null) {
      this.#tell(from);
      for (let i = from + 1; i < to; i++) this.#tell(i);
      return;
    }
    for (let i = from; i < to; i++) this.#addAhead(ahead, i);
    ahead.run();
    this.writes?.begin();
    try {
      for (let i = from; i < to; i++) this.#tell(i);
    } finally {
      this.writes?.end();
      ahead.settle(this.#untold);
    }
  }

  #addAhead(ahead: ReadAhead, index: number): void {
    const epoll = this.#epoll;
    if (!epoll.isReadableAt(index) || epoll.isHungUpAt(index)) return;
    const reader = this.#readerAt(index);
    if (reader !== null) ahead.add(reader, epoll.fdAt(index));
  }

  /** Null when an earlier event of this round has ended it. */
  #readerAt(index: number): Reader | null {
    const fd = this.#epoll.fdAt(index);
    return this.#tokens[fd] === this.#epoll.tokenAt(index) ? (this.#readers[fd] ?? null) : null;
  }

  #tell(index: number): void {
    const epoll = this.#epoll;
    const fd = epoll.fdAt(index);
    const reader = this.#readerAt(index);
    if (reader === null) return;
    if (epoll.isWritableAt(index)) {
      reader.writable?.();
      if (this.#readers[fd] !== reader) return;
    }
    if (epoll.isHungUpAt(index)) reader.hungUp();
    else if (this.#ahead?.has(reader) === true) this.#ahead.tell(reader);
    else if (epoll.isReadableAt(index)) reader.readable();
  }

  #tellKept(fd: number, reader: Reader): void {
    if (reader.ahead !== null && reader.ahead.kept !== null) this.#tellSoon(fd, reader);
  }

  /** The kernel says nothing of what was taken out of it. */
  #tellSoon(fd: number, reader: AheadReader): void {
    this.soon(() => {
      const now = this.#readers[fd];
      if (now === reader) now.readable();
    });
  }

  #runLater(): void {
    let count = 0;
    try {
      // There may be more by then.
      while (count < this.#later.length) this.#later[count++]?.();
    } finally {
      this.#later.splice(0, count);
      // One has thrown: the others are not to suffer for it.
      if (this.#later.length > 0) this.#takeTurn();
    }
  }
}

const made = new WeakMap<Native, Readiness>();

/**
 * The one that goes with these native calls, made when it is first asked for; null when they cannot make one. `context`,
 * which counts then: what its batches are made in, null for no batches; by default a new one, and none in a worker, which
 * cannot end it.
 */
export function readinessOf(native: Native, context?: number | null): Readiness | null {
  const known = made.get(native);
  if (known !== undefined) return known;
  const epoll = native.epoll();
  if (epoll === null) return null;
  const own = context !== undefined ? context : isMainThread ? native.batch.newContext() : null;
  const readiness = new Readiness(native, epoll, native.batch.open(own));
  made.set(native, readiness);
  return readiness;
}
