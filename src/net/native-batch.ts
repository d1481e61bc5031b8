import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { addressOf, allocPinned, allocPinnedParts } from './pinned.ts';

/**
 * Several reads, or writes, of sockets by one system call: Linux's `io_submit`, which does at once what does not have to
 * wait, and of a socket that doesn't block that is all. Without it each is a call of its own.
 */
export interface BatchCalls {
  /** Something of the kernel's that batches need: one thread's at a time, and there until {@link endContext}. Null: none. */
  newContext(): number | null;
  /** Nothing may be under way in it. */
  endContext(context: number): void;
  /** What uses a context; null where there is none. */
  open(context: number | null): IoBatch | null;
}

/** How many reads, or writes, there are in a batch at most. */
export const BATCH = 32;

/** What one read brings at most. */
export const SLOT_BYTES = 16 * 1024;

/** What all writes of a batch are together at most. */
const OUT_BYTES = 64 * 1024;

type Koffi = typeof import('koffi');
type Library = ReturnType<Koffi['load']>;

/** Which number each system call has; the C library has no functions for them. */
const NUMBERS: Readonly<Partial<Record<NodeJS.Architecture, CallNumbers>>> = {
  x64: { setup: 206, destroy: 207, events: 208, submit: 209 },
  arm64: { setup: 0, destroy: 1, events: 4, submit: 2 },
};

interface CallNumbers {
  readonly setup: number;
  readonly destroy: number;
  readonly events: number;
  readonly submit: number;
}

/** `IOCB_CMD_PREAD` and `IOCB_CMD_PWRITE`. */
const PREAD = 0;
const PWRITE = 1;

/** `struct iocb` in 32-bit words, little-endian: where a request has what. */
const IOCB_WORDS = 16;
const IOCB_DATA = 0;
const IOCB_OPCODE = 4;
const IOCB_FD = 5;
const IOCB_ADDRESS = 6;
const IOCB_LENGTH = 8;

/** `struct io_event`, the same. */
const EVENT_WORDS = 8;
const EVENT_DATA = 0;
const EVENT_RESULT = 4;

const WORD = 2 ** 32;

/** Nothing was read, or written: as of `receive` and `write`. */
const NOTHING = -1;

export const noBatchCalls: BatchCalls = {
  newContext: () => null,
  endContext: () => {},
  open: () => null,
};

/** Linux's, through a library that `openNative` has loaded. Throws where one of them is missing, or the kernel refuses. */
export function batchCalls(libc: Library, koffi: Koffi): BatchCalls {
  const numbers = NUMBERS[process.arch];
  if (numbers === undefined) throw new Error(`not supported on ${process.arch}`);
  const setup = libc.func('long syscall(long, long, void *)');
  const destroy = libc.func('long syscall(long, uintptr_t)');
  const submit = libc.func('long syscall(long, uintptr_t, long, uintptr_t)');
  const events = libc.func('long syscall(long, uintptr_t, long, long, uintptr_t, uintptr_t)');
  const { EAGAIN, EINTR, ENOBUFS } = constants.errno;
  const create = (): number | null => {
    const context = new BigUint64Array(1);
    return setup(numbers.setup, BATCH, context) === 0 ? Number(context[0]) : null;
  };
  // Tried here, so that the log says why there is none. A worker begins with one that it is given.
  let first = isMainThread ? create() : null;
  if (isMainThread && first === null) throw new Error(`io_setup: ${getSystemErrorName(-koffi.errno())}`);
  return {
    newContext() {
      const context = first ?? create();
      first = null;
      return context;
    },
    endContext(context) {
      destroy(numbers.destroy, context);
    },
    open(context) {
      if (context === null) return null;
      return new IoBatch({
        addressOf: (bytes) => addressOf(koffi, bytes),
        submit: (count, pointers) => submit(numbers.submit, context, count, pointers) as number,
        events(least, at) {
          const count: number = events(numbers.events, context, least, BATCH, at, 0);
          if (count < 0 && koffi.errno() !== EINTR) throw new Error(`io_getevents: errno ${koffi.errno()}`);
          return Math.max(0, count);
        },
        isNothing: (errno) => errno === EAGAIN || errno === EINTR || errno === ENOBUFS,
      });
    },
  };
}

/** What a batch is made by. */
interface SubmitCalls {
  addressOf(bytes: Buffer): number;
  /** How many it took, from the first; less than 0 for none. */
  submit(count: number, pointers: number): number;
  /** Waits until there are `least`; how many it wrote. */
  events(least: number, at: number): number;
  /** An errno that says: not now. */
  isNothing(errno: number): boolean;
}

/** Requests of one kind, each in its place. */
class Requests {
  readonly #calls: SubmitCalls;
  readonly #iocbs: Int32Array;
  readonly #pointersAt: number;
  readonly #events: Int32Array;
  readonly #eventsAt: number;
  /** By place: as `receive` and `write` answer. */
  readonly results = new Int32Array(BATCH);

  constructor(calls: SubmitCalls, opcode: number) {
    this.#calls = calls;
    const iocbs = allocPinned(BATCH * IOCB_WORDS * 4).fill(0);
    const pointers = allocPinned(BATCH * 8);
    const events = allocPinned(BATCH * EVENT_WORDS * 4);
    const address = calls.addressOf(iocbs);
    for (let i = 0; i < BATCH; i++) pointers.writeBigUInt64LE(BigInt(address + i * IOCB_WORDS * 4), i * 8);
    this.#iocbs = new Int32Array(iocbs.buffer, iocbs.byteOffset, BATCH * IOCB_WORDS);
    this.#pointersAt = calls.addressOf(pointers);
    this.#events = new Int32Array(events.buffer, events.byteOffset, BATCH * EVENT_WORDS);
    this.#eventsAt = calls.addressOf(events);
    for (let i = 0; i < BATCH; i++) {
      this.#iocbs[i * IOCB_WORDS + IOCB_DATA] = i;
      this.#iocbs[i * IOCB_WORDS + IOCB_OPCODE] = opcode;
    }
  }

  /** The memory must not move or go away before the request is done. */
  setMemory(place: number, address: number, length: number): void {
    const at = place * IOCB_WORDS;
    this.#iocbs[at + IOCB_ADDRESS] = (address % WORD) | 0;
    this.#iocbs[at + IOCB_ADDRESS + 1] = Math.floor(address / WORD);
    this.#iocbs[at + IOCB_LENGTH] = length;
  }

  setFd(place: number, fd: number): void {
    this.#iocbs[place * IOCB_WORDS + IOCB_FD] = fd;
  }

  /** Has the first `count` done; how many could be tried. What stands behind one that cannot is not tried either. */
  submit(count: number): number {
    const { results } = this;
    results.fill(NOTHING, 0, count);
    const submitted = Math.max(0, this.#calls.submit(count, this.#pointersAt));
    for (let done = 0; done < submitted; ) {
      const some = this.#calls.events(submitted - done, this.#eventsAt);
      for (let i = 0; i < some; i++) this.#take(i * EVENT_WORDS);
      done += some;
    }
    return submitted;
  }

  #take(at: number): void {
    const result = this.#events[at + EVENT_RESULT] as number;
    const isNothing = result < 0 && this.#calls.isNothing(-result);
    this.results[this.#events[at + EVENT_DATA] as number] = isNothing ? NOTHING : result;
  }
}

/**
 * The reads and the writes of one event loop. The memory for them is here, is there for as long as the process, and is
 * used again by the next batch.
 */
export class IoBatch {
  /** Where each read's bytes lie, from the beginning, until the next {@link read}. */
  readonly slots: readonly Buffer[] = allocPinnedParts(BATCH, SLOT_BYTES);
  /** What is to be written, as {@link addWrite} and {@link extendWrite} have put it there. */
  readonly out: Buffer = allocPinned(OUT_BYTES);
  readonly #outAt: number;
  readonly #reads: Requests;
  readonly #writes: Requests;
  readonly #writeFds = new Int32Array(BATCH);
  readonly #starts = new Int32Array(BATCH + 1);
  #readCount = 0;
  #writeCount = 0;

  constructor(calls: SubmitCalls) {
    this.#outAt = calls.addressOf(this.out);
    this.#reads = new Requests(calls, PREAD);
    this.#writes = new Requests(calls, PWRITE);
    for (const [i, slot] of this.slots.entries()) this.#reads.setMemory(i, calls.addressOf(slot), SLOT_BYTES);
  }

  /** Reads that were added. */
  get readCount(): number {
    return this.#readCount;
  }

  /** Has a socket that doesn't block read by the next {@link read}; into which slot. There is room for {@link BATCH}. */
  addRead(fd: number): number {
    const slot = this.#readCount++;
    this.#reads.setFd(slot, fd);
    return slot;
  }

  /** Takes back what was added last. */
  dropRead(): void {
    this.#readCount--;
  }

  /** Reads what was added, and says how many of it, from the first; what failed is told by {@link readResult}. */
  read(): number {
    const tried = this.#reads.submit(this.#readCount);
    this.#readCount = 0;
    return tried;
  }

  /** Of the last {@link read}: as `IoCalls.receive` answers. */
  readResult(slot: number): number {
    return this.#reads.results[slot] as number;
  }

  /** Writes that were added. */
  get writeCount(): number {
    return this.#writeCount;
  }

  /** Whether so many bytes more find room. */
  hasSpace(bytes: number): boolean {
    return this.endOfWrite(this.#writeCount - 1) + bytes <= OUT_BYTES;
  }

  /** Copies `bytes[start, end)`, to be written to a socket that doesn't block by the next {@link write}; there is room for it. */
  addWrite(fd: number, bytes: Buffer, start: number, end: number): number {
    const place = this.#writeCount++;
    this.#writeFds[place] = fd;
    const at = this.startOfWrite(place);
    this.#starts[place + 1] = at + bytes.copy(this.out, at, start, end);
    return place;
  }

  /** Puts more behind the write that was added last; there is room for it. */
  extendWrite(bytes: Buffer, start: number, end: number): void {
    const at = this.endOfWrite(this.#writeCount - 1);
    this.#starts[this.#writeCount] = at + bytes.copy(this.out, at, start, end);
  }

  /** Where its bytes begin in {@link out}. */
  startOfWrite(place: number): number {
    return place === 0 ? 0 : (this.#starts[place] as number);
  }

  endOfWrite(place: number): number {
    return place < 0 ? 0 : (this.#starts[place + 1] as number);
  }

  fdOfWrite(place: number): number {
    return this.#writeFds[place] as number;
  }

  /** Writes all that was added. What came of it is told by {@link writeResult} until something is added. */
  write(): void {
    const count = this.#writeCount;
    for (let place = 0; place < count; place++) {
      const start = this.startOfWrite(place);
      this.#writes.setFd(place, this.#writeFds[place] as number);
      this.#writes.setMemory(place, this.#outAt + start, this.endOfWrite(place) - start);
    }
    this.#writes.submit(count);
  }

  /** As `IoCalls.write` answers. */
  writeResult(place: number): number {
    return this.#writes.results[place] as number;
  }

  /** Of one that was written in another way. */
  setWriteResult(place: number, result: number): void {
    this.#writes.results[place] = result;
  }

  /** The writes are dealt with. */
  clearWrites(): void {
    this.#writeCount = 0;
  }
}
