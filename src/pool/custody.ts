import type { SharedSection } from '../base/shared-section.ts';
import { type Layout, CUSTODY_WORDS } from './shared-memory.ts';

// Words of a record.
/** The descriptor plus 1; 0 = none. */
const DESCRIPTOR = 0;
/** Written last of the key. */
const KEY_BYTES = 1;
const FLAGS = 2;
const KEY = 3;

const IS_TLS = 1;
const IS_LOGGED_IN = 2;

/** What it takes to end a server connection whose thread is dead. */
export interface Custody {
  /** A duplicate of the connection's descriptor: alive however its thread has ended. */
  readonly fd: number;
  /** Process ID and secret; null where the login has not told it. */
  readonly backendKey: Buffer | null;
  readonly isTls: boolean;
}

/**
 * Descriptors and backend keys of server connections, one place for each record of a server grant. Whose record it is
 * may write there. A descriptor is closed only after it has left the record: as soon as it is closed its number may be
 * somebody else's.
 */
export class CustodyWords {
  readonly #section: SharedSection;
  readonly #layout: Layout;
  readonly #words: Int32Array;

  constructor(section: SharedSection, layout: Layout) {
    this.#section = section;
    this.#layout = layout;
    this.#words = layout.words;
  }

  /** Puts a descriptor in; gives what was there and is now the caller's to close, or -1. Inside of a section. */
  put(record: number, fd: number): number {
    const before = this.take(record);
    const at = this.#at(record);
    this.#section.write(at + KEY_BYTES, 0);
    this.#section.write(at + FLAGS, 0);
    this.#section.write(at + DESCRIPTOR, fd + 1);
    return before;
  }

  /** Takes the descriptor out, which is the caller's to close once the section is over; -1 when there is none. */
  take(record: number): number {
    const at = this.#at(record) + DESCRIPTOR;
    const fd = (this.#words[at] as number) - 1;
    if (fd >= 0) this.#section.write(at, 0);
    return fd;
  }

  has(record: number): boolean {
    return Atomics.load(this.#words, this.#at(record) + DESCRIPTOR) !== 0;
  }

  /** The login is over; the key is empty where the server has told none. */
  setKey(record: number, backendKey: Uint8Array, isTls: boolean): void {
    const words = this.#words;
    const at = this.#at(record);
    Atomics.store(words, at + KEY_BYTES, 0);
    this.#bytes(at, backendKey.length).set(backendKey);
    Atomics.store(words, at + FLAGS, IS_LOGGED_IN | (isTls ? IS_TLS : 0));
    Atomics.store(words, at + KEY_BYTES, backendKey.length);
  }

  isLoggedIn(record: number): boolean {
    return this.has(record) && (Atomics.load(this.#words, this.#at(record) + FLAGS) & IS_LOGGED_IN) !== 0;
  }

  /** For a record that nobody writes to any more; null without a descriptor. */
  read(record: number): Custody | null {
    const words = this.#words;
    const at = this.#at(record);
    const fd = Atomics.load(words, at + DESCRIPTOR) - 1;
    if (fd < 0) return null;
    const bytes = Atomics.load(words, at + KEY_BYTES);
    return {
      fd,
      backendKey: bytes === 0 ? null : Buffer.from(this.#bytes(at, bytes)),
      isTls: (Atomics.load(words, at + FLAGS) & IS_TLS) !== 0,
    };
  }

  #bytes(at: number, length: number): Uint8Array {
    const room = 4 * (CUSTODY_WORDS - KEY);
    if (length > room) throw new RangeError(`a backend key of ${length} bytes`);
    return new Uint8Array(this.#words.buffer, 4 * (at + KEY), length);
  }

  #at(record: number): number {
    return this.#layout.custody + record * CUSTODY_WORDS;
  }
}
