import { randomBytes } from 'node:crypto';
import { BackendType as B, TxStatus } from '../wire/codes.ts';
import { type ErrorFields, parseErrorFields } from '../wire/error-fields.ts';
import { parseParameterStatus } from '../wire/parameter-status.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { type ByteReader, FramedReader } from '../wire/framed-reader.ts';

/** How one of our own queries ended. */
export interface OwnQueryResult {
  /** The first error, when the server sent one. */
  readonly error: ErrorFields | null;
  /** The server is outside a transaction block, as every query of ours leaves it. */
  readonly isIdle: boolean;
}

/** Messages may carry this much of an error; rows are skipped unread. Bytes. */
const MAX_BODY_BYTES = 1024 * 1024;

/** A query whose answer cannot be mistaken for another's, not even for one that a client made up. */
export interface Fence {
  readonly sql: string;
  /** The one value of its one row. */
  readonly text: string;
}

/** A fence of its own for one use: clients can read the running one in `pg_stat_activity`, but not foresee it. */
export function newFence(): Fence {
  const text = randomBytes(16).toString('hex');
  return { sql: `SELECT '${text}'`, text };
}

/**
 * Reads the answers to a simple query that pgweir itself sent (reset, check, connect_query, parameters) until
 * its ReadyForQuery. The client sees none of it.
 */
export class OwnQuery implements ByteReader {
  readonly #reader: FramedReader;
  readonly #onParameter: (name: string, value: string) => void;
  readonly #done: (result: OwnQueryResult) => void;
  #error: ErrorFields | null = null;
  /** Body of the DataRow that is the fence; null without one. */
  readonly #fenceRow: Buffer | null;
  /** Until the fence's answer has come, ReadyForQuery may still belong to an earlier request. */
  #awaitsFence: boolean;

  /** With a fence, ReadyForQuery of earlier requests may come ahead of its answer and does not count. */
  constructor(
    fence: Fence | null,
    onParameter: (name: string, value: string) => void,
    done: (result: OwnQueryResult) => void,
  ) {
    this.#awaitsFence = fence !== null;
    this.#fenceRow = fence === null ? null : rowOf(fence.text);
    this.#onParameter = onParameter;
    this.#done = done;
    this.#reader = new FramedReader(
      MAX_BODY_BYTES,
      this.#fenceRow === null ? isRead : (type) => type === B.DataRow || isRead(type),
      (type, body) => this.#message(type, body),
    );
  }

  /** Throws ProtocolViolation when the server breaks the protocol. */
  feed(chunk: Buffer, start: number, end: number): number {
    return this.#reader.feed(chunk, start, end);
  }

  #message(type: number, body: Buffer): boolean {
    switch (type) {
      case B.EmptyQueryResponse:
        return true;
      case B.DataRow:
        if (this.#fenceRow?.equals(body)) this.#awaitsFence = false;
        return true;
      case B.ErrorResponse:
        this.#error ??= parseErrorFields(body);
        // Ahead of the fence: an earlier request failed, and the server may skip all that follows, the fence too.
        if (this.#awaitsFence) return this.#finish(false);
        return true;
      case B.ParameterStatus:
        this.#onParameter(...parseParameterStatus(body, 0, body.length));
        return true;
      case B.CopyInResponse:
      case B.CopyBothResponse:
        throw new ProtocolViolation('a query of ours may not COPY');
      case B.ReadyForQuery:
        if (body.length !== 1) throw new ProtocolViolation('bad pkt header');
        return this.#awaitsFence || this.#finish(body[0] === TxStatus.Idle);
      default:
        throw new ProtocolViolation('unknown pkt');
    }
  }

  #finish(isIdle: boolean): false {
    this.#done({ error: this.#error, isIdle });
    return false;
  }
}

/** The body of a DataRow with one text value. */
function rowOf(text: string): Buffer {
  const value = Buffer.from(text);
  const body = Buffer.alloc(6 + value.length);
  body.writeInt16BE(1, 0);
  body.writeInt32BE(value.length, 2);
  value.copy(body, 6);
  return body;
}

/** Rows, tags and notices of our own queries are nobody's business. */
function isRead(type: number): boolean {
  switch (type) {
    case B.RowDescription:
    case B.DataRow:
    case B.CommandComplete:
    case B.NoticeResponse:
    case B.NotificationResponse:
    case B.CopyOutResponse:
    case B.CopyData:
    case B.CopyDone:
      return false;
    default:
      return true;
  }
}
