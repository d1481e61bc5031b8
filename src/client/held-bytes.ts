import type { TextBudget } from '../prepared/text-budget.ts';

/** Size of a first buffer: what one request needs, most often. Bytes. */
const FIRST_BYTES = 1024;

/** So many of them are kept when they are given back. */
const MAX_SPARES = 64;

/** Any client may hold so many. Bytes. */
const UNCOUNTED = 64 * 1024;

const spares: Buffer[] = [];

const NOTHING = Buffer.alloc(0);

/**
 * Bytes that a client has sent and that nobody can take yet, in their order, copied into one buffer that grows by
 * doubling. With more clients than servers nearly every request waits here for a moment: its buffer then is one
 * that the last such request has given back.
 */
export class HeldBytes {
  readonly #budget: TextBudget | null;
  #buffer: Buffer | null = null;
  #length = 0;

  /** `budget`: what is held beyond 64 kB counts there; {@link add} throws ProtocolViolation when it is too much. */
  constructor(budget: TextBudget | null = null) {
    this.#budget = budget;
  }

  get length(): number {
    return this.#length;
  }

  /** Copies `chunk[start, end)` behind what is held. */
  add(chunk: Buffer, start: number, end: number): void {
    if (start === end) return;
    const length = this.#length + end - start;
    if (length > UNCOUNTED) this.#count(length);
    const buffer = this.#room(length);
    chunk.copy(buffer, this.#length, start, end);
    this.#length = length;
  }

  /** All of them, which are the caller's from now on; nothing is held then. */
  take(): Buffer {
    const length = this.#length;
    return this.takeBuffer().subarray(0, length);
  }

  /** As {@link take}, without cutting them out: the first {@link length} bytes, asked for before, of what is returned. */
  takeBuffer(): Buffer {
    const buffer = this.#buffer ?? NOTHING;
    this.clear();
    return buffer;
  }

  /** Nobody looks any more at a buffer that {@link takeBuffer} has given. */
  static giveBack(buffer: Buffer): void {
    if (buffer.length === FIRST_BYTES && spares.length < MAX_SPARES) spares.push(buffer);
  }

  clear(): void {
    if (this.#length > UNCOUNTED) this.#count(0);
    this.#buffer = null;
    this.#length = 0;
  }

  /** As {@link clear}; nobody but this has the buffer. */
  reset(): void {
    if (this.#buffer !== null) HeldBytes.giveBack(this.#buffer);
    this.clear();
  }

  /** Drops the last `bytes` of them. */
  shorten(bytes: number): void {
    this.#length -= bytes;
  }

  /** Shows them to `see`, which keeps no view of them: the first {@link length} bytes of what it gets. */
  look<T>(see: (bytes: Buffer) => T): T {
    return see(this.#buffer ?? NOTHING);
  }

  /** So many are going to be held. */
  #count(length: number): void {
    const budget = this.#budget;
    if (budget === null) return;
    const more = Math.max(length, UNCOUNTED) - Math.max(this.#length, UNCOUNTED);
    if (more > 0) budget.check(more);
    budget.usedBytes += more;
  }

  #room(bytes: number): Buffer {
    const old = this.#buffer;
    if (old !== null && bytes <= old.length) return old;
    let size = old === null ? FIRST_BYTES : old.length * 2;
    while (size < bytes) size *= 2;
    const buffer = (size === FIRST_BYTES ? spares.pop() : undefined) ?? Buffer.allocUnsafeSlow(size);
    if (old !== null) {
      old.copy(buffer, 0, 0, this.#length);
      HeldBytes.giveBack(old);
    }
    this.#buffer = buffer;
    return buffer;
  }
}
