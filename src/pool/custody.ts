import type { SharedSection } from '../base/shared-section.ts';
import { type Layout, CUSTODY_WORDS } from './shared-memory.ts';

// Words of a record.
/** The descriptor plus 1; 0 = none. */
const DESCRIPTOR = 0;
/** Written last of the key. */
const KEY_BYTES = 1;
const IS_LOGGED_IN = 2;
/** 0 = in the clear. */
const HOST_BYTES = 3;
const KEY = 4;
const HOST = 69;

/** What it takes to end a server connection whose thread is dead. */
export interface Custody {
  /** A duplicate of the connection's descriptor: alive however its thread has ended. */
  readonly fd: number;
  /** Process ID and secret; null where the login has not told it. */
  readonly backendKey: Buffer | null;
  /** The name of the host that it is encrypted to; null in the clear. */
  readonly tlsHost: string | null;
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
    this.#section.write(at + IS_LOGGED_IN, 0);
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
  setKey(record: number, backendKey: Uint8Array, tlsHost: string | null): void {
    const name = Buffer.from(tlsHost ?? '');
    // Nobody could be told where to go with it.
    if (name.length > 4 * (CUSTODY_WORDS - HOST)) this.#setKey(record, new Uint8Array(0), Buffer.alloc(0));
    else this.#setKey(record, backendKey, name);
  }

  #setKey(record: number, backendKey: Uint8Array, host: Buffer): void {
    const words = this.#words;
    const at = this.#at(record);
    Atomics.store(words, at + KEY_BYTES, 0);
    this.#bytes(at + KEY, HOST - KEY, backendKey.length).set(backendKey);
    this.#bytes(at + HOST, CUSTODY_WORDS - HOST, host.length).set(host);
    Atomics.store(words, at + HOST_BYTES, host.length);
    Atomics.store(words, at + IS_LOGGED_IN, 1);
    Atomics.store(words, at + KEY_BYTES, backendKey.length);
  }

  isLoggedIn(record: number): boolean {
    return this.has(record) && Atomics.load(this.#words, this.#at(record) + IS_LOGGED_IN) !== 0;
  }

  /** For a record that nobody writes to any more; null without a descriptor. */
  read(record: number): Custody | null {
    const words = this.#words;
    const at = this.#at(record);
    const fd = Atomics.load(words, at + DESCRIPTOR) - 1;
    if (fd < 0) return null;
    const keyBytes = Atomics.load(words, at + KEY_BYTES);
    const hostBytes = Atomics.load(words, at + HOST_BYTES);
    return {
      fd,
      backendKey: keyBytes === 0 ? null : Buffer.from(this.#bytes(at + KEY, HOST - KEY, keyBytes)),
      tlsHost:
        hostBytes === 0
          ? null
          : Buffer.from(this.#bytes(at + HOST, CUSTODY_WORDS - HOST, hostBytes)).toString(),
    };
  }

  #bytes(at: number, words: number, length: number): Uint8Array {
    if (length > 4 * words) throw new RangeError(`a backend key or host name of ${length} bytes`);
    return new Uint8Array(this.#words.buffer, 4 * at, length);
  }

  #at(record: number): number {
    return this.#layout.custody + record * CUSTODY_WORDS;
  }
}
