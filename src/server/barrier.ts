import { BackendType as B, HEADER_BYTES, TxStatus } from '../wire/codes.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { readyForQuery } from '../wire/ready-for-query.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';

/** What may come between two ReadyForQuery without being an answer. */
const UNASKED: ReadonlySet<number> = new Set([B.NotificationResponse, B.ParameterStatus, B.NoticeResponse]);

/**
 * Reads behind Syncs of ours, which PostgreSQL ignores in a COPY: a server that has answered all of them has got through
 * everything sent ahead of them, and no COPY of the client's can take what we send next for its data. Passes on what the
 * client is owed. Each ReadyForQuery is held back until something follows that is no answer of ours.
 *
 * ```
 *  | … Z (owed) 1 2 C Z (owed) Z (ours) Z (ours) |
 *  ─▶ `owed`              └─ held, until `end` ──┘
 * ```
 */
export class Barrier implements ByteReader {
  readonly #owed: ByteReader;
  readonly #syncs: number;
  readonly #passed: (isUsable: boolean) => void;
  readonly #copyBegan: () => void;
  readonly #scanner = new HeaderScanner();
  /** Statuses of ReadyForQuery. */
  #held: number[] = [];
  #isOver = false;
  /** What the reader of what is owed has said last. */
  #result = 0;

  /**
   * `syncs` of ours have been sent, more than there can be ReadyForQuery owed. `passed` is called once, when they must have
   * been read, with whether the transaction can be used; `copyBegan` when a COPY IN has begun before that.
   */
  constructor(owed: ByteReader, syncs: number, passed: (isUsable: boolean) => void, copyBegan: () => void) {
    this.#owed = owed;
    this.#syncs = syncs;
    this.#passed = passed;
    this.#copyBegan = copyBegan;
  }

  /** Same answers and errors as the reader of what is owed; stops behind what it tells of. */
  feed(chunk: Buffer, start: number, end: number): number {
    const scanner = this.#scanner;
    let pos = start;
    let run = start;
    while (pos < end && this.#result >= 0) {
      if (scanner.bodyLeft === 0) {
        const body = scanner.readHeader(chunk, pos, end);
        const endsHold = body >= 0 && this.#held.length > 0 && !this.#isReady && !UNASKED.has(scanner.type);
        if (body < 0 || scanner.isSplit || endsHold || this.#isReady) {
          this.#pass(chunk, run, pos);
          run = pos;
        }
        if (body === HEADER_INCOMPLETE) return this.#at(end);
        if (endsHold) this.#letGo(this.#held.length);
        if (body === HEADER_BAD || (scanner.isSplit && !this.#isReady)) {
          this.#pass(Buffer.from(scanner.head), 0, HEADER_BYTES);
          if (body === HEADER_BAD) throw new ProtocolViolation('bad pkt header');
          run = body;
        }
        pos = body;
      }
      const stop = Math.min(end, pos + scanner.bodyLeft);
      scanner.bodyLeft -= stop - pos;
      if (this.#isReady) {
        if (stop > pos) this.#held.push(chunk[pos] as number);
        // Of ours, and fewer that are owed.
        if (this.#held.length > 2 * this.#syncs) throw new ProtocolViolation('unexpected ReadyForQuery');
        run = stop;
      }
      pos = stop;
      if (scanner.bodyLeft === 0 && this.#tells()) {
        this.#pass(chunk, run, pos);
        this.#tell();
        return this.#at(pos);
      }
    }
    this.#pass(chunk, run, pos);
    return this.#at(pos);
  }

  /** Nothing of ours is owed any more: passes on what was held, but for the last `ours`. */
  end(ours: number): void {
    this.#isOver = true;
    this.#letGo(this.#held.length - ours);
  }

  /** The message at hand is a ReadyForQuery. */
  get #isReady(): boolean {
    return this.#scanner.type === B.ReadyForQuery && this.#scanner.length === 5;
  }

  #tells(): boolean {
    if (this.#isOver || this.#result < 0) return false;
    return this.#isReady ? this.#held.length === this.#syncs : this.#scanner.type === B.CopyInResponse;
  }

  #tell(): void {
    if (!this.#isReady) {
      this.#copyBegan();
      return;
    }
    this.#isOver = true;
    this.#passed(this.#held.at(-1) !== TxStatus.Failed);
  }

  #letGo(count: number): void {
    const statuses = this.#held;
    this.#held = [];
    for (const status of statuses.slice(0, Math.max(0, count))) {
      const message = readyForQuery(status);
      this.#pass(message, 0, message.length);
    }
  }

  #pass(chunk: Buffer, start: number, end: number): void {
    if (start < end && this.#result >= 0) this.#result = this.#owed.feed(chunk, start, end);
  }

  #at(pos: number): number {
    return this.#result < 0 ? this.#result : pos;
  }
}
