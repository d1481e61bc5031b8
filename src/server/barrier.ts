import { BackendType as B, HEADER_BYTES, TxStatus } from '../wire/codes.ts';
import { isEnding, parseErrorFields } from '../wire/error-fields.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { readyForQuery } from '../wire/ready-for-query.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';

/** What may come between two ReadyForQuery without being an answer. */
const UNASKED: ReadonlySet<number> = new Set([B.NotificationResponse, B.ParameterStatus, B.NoticeResponse]);

const STATUSES: ReadonlySet<number> = new Set(Object.values(TxStatus));

/** So much is kept in its place behind a ReadyForQuery; more of it goes ahead of what is held. Bytes. */
const KEPT_LIMIT = 64 * 1024;

/** A CloseComplete has no body. */
const EMPTY_LENGTH = 4;

/** What there is to know of the requests ahead of a barrier's Syncs; as RequestTracker has it. */
export interface Ahead {
  /** With a request whose Sync is missing or swallowed, a Sync of ours has ReadyForQuery come behind its answer. */
  readonly areEnded: boolean;
  /** The last of them is one whose Sync is still to come. */
  readonly isStretchOpen: boolean;
}

/** What a barrier tells of. */
export interface BarrierEvents {
  /** Once: all that was sent ahead of our Syncs has been answered. What comes now has been sent for by us. */
  passed(): void;
  /** A COPY IN has begun before that. */
  copyBegan(): void;
  /** Behind `passed`: CloseComplete, which answers a Close of ours. */
  closed(): void;
  /** Behind `passed`: an error that does not end the connection. */
  failed(): void;
}

/**
 * Reads behind Syncs of ours, which PostgreSQL ignores in a COPY: a server that has answered all of them has got through
 * everything sent ahead of them, and no COPY of the client's can take what we send next for its data. Passes on what the
 * client is owed. Each ReadyForQuery that may be ours is held back until something follows that is no answer of ours, and
 * what comes unasked behind one with it: everything comes in PostgreSQL's order.
 *
 * ```
 *  | … Z (owed) 1 2 C Z (owed) Z (ours) Z (ours) | 3 (ours)
 *  ─▶ `owed`                   └ held until `end` ┘
 * ```
 */
export class Barrier implements ByteReader {
  readonly #owed: ByteReader;
  readonly #syncs: number;
  readonly #events: BarrierEvents;
  readonly #isStretchOpen: boolean;
  /** What the last ReadyForQuery has said, whosever it was. */
  status: number = TxStatus.Idle;
  readonly #scanner = new HeaderScanner();
  /** Statuses of ReadyForQuery, and whole messages that came unasked behind the first of these. */
  #held: (number | Buffer)[] = [];
  /** How many ReadyForQuery have come in a row; how many of these were passed on: the first one, or none. */
  #readies = 0;
  #gone = 0;
  /** How many bytes of `#held` are messages. */
  #keptBytes = 0;
  /** The message at hand, as far as it has come, if it is to be seen whole. */
  #kept: Buffer | null = null;
  /** ReadyForQuery right behind an answer is the client's for certain. */
  #areEnded: boolean;
  /** An answer has come behind the last ReadyForQuery. */
  #isBehindAnswer = false;
  #isOver = false;
  /** What the reader of what is owed has said last. */
  #result = 0;

  /** `syncs` of ours have been sent, more than there can be ReadyForQuery owed. */
  constructor(owed: ByteReader, syncs: number, ahead: Ahead, events: BarrierEvents) {
    this.#owed = owed;
    this.#syncs = syncs;
    this.#areEnded = ahead.areEnded;
    this.#isStretchOpen = ahead.isStretchOpen;
    this.#events = events;
  }

  /** Same answers and errors as the reader of what is owed; stops behind what it tells of. */
  feed(chunk: Buffer, start: number, end: number): number {
    const scanner = this.#scanner;
    let pos = start;
    let run = start;
    while (pos < end && this.#result >= 0) {
      if (scanner.bodyLeft === 0) {
        const body = scanner.readHeader(chunk, pos, end);
        const isAnswer = body >= 0 && !this.#isReady && !UNASKED.has(scanner.type);
        const isError = isAnswer && scanner.type === B.ErrorResponse;
        const follows = body >= 0 && this.#held.length > 0 && !this.#isReady;
        const mayBeKept = (follows && !isAnswer) || (isError && (follows || this.#isOver));
        // An error has room of its own: it does not stay.
        const isKept = mayBeKept && (isError ? 0 : this.#keptBytes) + scanner.length < KEPT_LIMIT;
        if (body < 0 || scanner.isSplit || follows || this.#isReady || this.#isOver) {
          this.#pass(chunk, run, pos);
          run = pos;
        }
        if (body === HEADER_INCOMPLETE) return this.#at(end);
        if (isKept) this.#keep(chunk, pos);
        else if (isAnswer && this.#isOver) {
          this.#closed();
          return this.#at(body);
        } else if (isAnswer) this.#answerCame();
        else if (follows) this.#letGoKept();
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
        if (scanner.type !== B.ErrorResponse) this.#held.push(kept);
        else if (!this.#errorCame(kept)) return this.#at(pos);
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

  /** The connection is gone. Whose the ReadyForQuery are that are held nobody knows; what came unasked is the client's. */
  lost(): void {
    this.#letGo(0);
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
      this.#events.copyBegan();
      return;
    }
    this.#isOver = true;
    this.#events.passed();
  }

  /** An answer of the client's begins: so were the ReadyForQuery ahead of it. */
  #answerCame(): void {
    const { type } = this.#scanner;
    this.#areClients();
    this.#isBehindAnswer = true;
    // It swallows a Sync that was sent for what is answered now.
    if (type === B.CopyInResponse || type === B.CopyBothResponse) this.#areEnded = false;
  }

  /** So are the ReadyForQuery that were held, and with them a COPY is over which had swallowed one. */
  #areClients(): void {
    if (this.#readies === 0) return;
    this.#letGo(this.#readies);
    this.#areEnded = !this.#isStretchOpen;
  }

  /** An answer when nothing of the client's is left to be answered. */
  #closed(): void {
    const { type, length } = this.#scanner;
    if (type !== B.CloseComplete || length !== EMPTY_LENGTH) throw new ProtocolViolation('unknown pkt');
    this.#events.closed();
  }

  /** An error behind a ReadyForQuery that is held, or behind all that is the client's. False: all is over. */
  #errorCame(message: Buffer): boolean {
    const isEnd = isEnding(parseErrorFields(message, HEADER_BYTES));
    if (this.#isOver && !isEnd) {
      this.#events.failed();
      return false;
    }
    // Behind the last words nothing tells whose they are: with one of ours the client would take for done what is not.
    if (isEnd) this.#letGo(0);
    else this.#areClients();
    this.#isBehindAnswer = !isEnd;
    this.#pass(message, 0, message.length);
    return true;
  }

  #hold(status: number): void {
    this.#readies++;
    this.status = status;
    // Of ours, and fewer that are owed.
    if (this.#readies > 2 * this.#syncs) throw new ProtocolViolation('unexpected ReadyForQuery');
    const isOwed = this.#areEnded && this.#isBehindAnswer;
    this.#isBehindAnswer = false;
    if (!isOwed && STATUSES.has(status)) {
      this.#held.push(status);
      return;
    }
    // A status that is none is for its reader to tell.
    this.#gone++;
    const message = readyForQuery(status);
    this.#pass(message, 0, message.length);
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

  /** Passes on the first `count` ReadyForQuery that have come, as far as it has not been done, and all else that was held. */
  #letGo(count: number): void {
    const held = this.#held;
    let left = count - this.#gone;
    this.#held = [];
    this.#readies = 0;
    this.#gone = 0;
    this.#keptBytes = 0;
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
