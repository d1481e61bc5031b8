import { BackendType as B, HEADER_BYTES, TxStatus } from '../wire/codes.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { readyForQuery } from '../wire/ready-for-query.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';

/** What may come between two ReadyForQuery without being an answer. */
const UNASKED: ReadonlySet<number> = new Set([B.NotificationResponse, B.ParameterStatus, B.NoticeResponse]);

/** So much of that is kept in its place; more of it goes ahead of what is held. Bytes. */
const KEPT_LIMIT = 64 * 1024;

/**
 * Reads behind Syncs of ours, which PostgreSQL ignores in a COPY: a server that has answered all of them has got through
 * everything sent ahead of them, and no COPY of the client's can take what we send next for its data. Passes on what the
 * client is owed. Each ReadyForQuery is held back until something follows that is no answer of ours, and what comes unasked
 * behind one with it: everything comes in PostgreSQL's order.
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
  /** Statuses of ReadyForQuery, and whole messages that came unasked behind the first of these. */
  #held: (number | Buffer)[] = [];
  /** How many of these are statuses, and the last one; how many bytes are messages. */
  #readies = 0;
  #lastStatus: number = TxStatus.Idle;
  #keptBytes = 0;
  /** The message at hand, as far as it has come, if it is to be held. */
  #kept: Buffer | null = null;
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
        const follows = body >= 0 && this.#held.length > 0 && !this.#isReady;
        const isUnasked = follows && UNASKED.has(scanner.type);
        const isKept = isUnasked && this.#keptBytes + scanner.length < KEPT_LIMIT;
        if (body < 0 || scanner.isSplit || follows || this.#isReady) {
          this.#pass(chunk, run, pos);
          run = pos;
        }
        if (body === HEADER_INCOMPLETE) return this.#at(end);
        if (isKept) this.#keep(chunk, pos);
        else if (isUnasked) this.#letGoKept();
        else if (follows) this.#letGo(this.#readies);
        if (body === HEADER_BAD || (scanner.isSplit && !this.#isReady && !isKept)) {
          this.#pass(Buffer.from(scanner.head), 0, HEADER_BYTES);
          if (body === HEADER_BAD) throw new ProtocolViolation('bad pkt header');
          run = body;
        }
        pos = body;
      }
      const stop = Math.min(end, pos + scanner.bodyLeft);
      const kept = this.#kept;
      if (kept !== null) {
        chunk.copy(kept, kept.length - scanner.bodyLeft, pos, stop);
        run = stop;
      }
      scanner.bodyLeft -= stop - pos;
      if (this.#isReady) {
        if (stop > pos) this.#hold(chunk[pos] as number);
        run = stop;
      }
      pos = stop;
      if (kept !== null && scanner.bodyLeft === 0) {
        this.#kept = null;
        this.#held.push(kept);
      }
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
    this.#letGo(this.#readies - ours);
  }

  /** The message at hand is a ReadyForQuery. */
  get #isReady(): boolean {
    return this.#scanner.type === B.ReadyForQuery && this.#scanner.length === 5;
  }

  #tells(): boolean {
    if (this.#isOver || this.#result < 0) return false;
    return this.#isReady ? this.#readies === this.#syncs : this.#scanner.type === B.CopyInResponse;
  }

  #tell(): void {
    if (!this.#isReady) {
      this.#copyBegan();
      return;
    }
    this.#isOver = true;
    this.#passed(this.#lastStatus !== TxStatus.Failed);
  }

  #hold(status: number): void {
    this.#held.push(status);
    this.#readies++;
    this.#lastStatus = status;
    // Of ours, and fewer that are owed.
    if (this.#readies > 2 * this.#syncs) throw new ProtocolViolation('unexpected ReadyForQuery');
  }

  /** The message at hand, whose header ends or begins in `chunk` at `pos`, is held when it is there. */
  #keep(chunk: Buffer, pos: number): void {
    const scanner = this.#scanner;
    const kept = Buffer.allocUnsafe(scanner.length + 1);
    if (scanner.isSplit) scanner.head.copy(kept);
    else chunk.copy(kept, 0, pos, pos + HEADER_BYTES);
    this.#keptBytes += kept.length;
    this.#kept = kept;
  }

  /** Passes on the first `count` ReadyForQuery that were held, and all else. */
  #letGo(count: number): void {
    const held = this.#held;
    this.#held = [];
    this.#readies = 0;
    this.#keptBytes = 0;
    let left = count;
    for (const each of held) {
      const message = typeof each === 'number' ? (left-- > 0 ? readyForQuery(each) : null) : each;
      if (message !== null) this.#pass(message, 0, message.length);
    }
  }

  /** Passes on the messages that were held. */
  #letGoKept(): void {
    const held = this.#held;
    this.#held = held.filter((each) => typeof each === 'number');
    this.#keptBytes = 0;
    for (const each of held) if (typeof each !== 'number') this.#pass(each, 0, each.length);
  }

  #pass(chunk: Buffer, start: number, end: number): void {
    if (start < end && this.#result >= 0) this.#result = this.#owed.feed(chunk, start, end);
  }

  #at(pos: number): number {
    return this.#result < 0 ? this.#result : pos;
  }
}
