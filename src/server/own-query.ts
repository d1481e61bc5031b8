import { BackendType as B, HEADER_BYTES, TxStatus } from '../wire/codes.ts';
import { type ErrorFields, isEnding, parseErrorFields } from '../wire/error-fields.ts';
import { parseParameterStatus } from '../wire/parameter-status.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { type ByteReader, FramedReader } from '../wire/framed-reader.ts';
import { type SessionTag, sessionTag } from '../wire/command-complete.ts';
import type { Fence } from './fence.ts';

/** How one of our own queries ended. */
export interface OwnQueryResult {
  /** The first error, when the server sent one. */
  readonly error: ErrorFields | null;
  /** The server is outside a transaction block, as every query of ours leaves it. */
  readonly isIdle: boolean;
}

/** What the connection hears of one of our own queries before it ends. */
export interface OwnQueryEvents {
  parameterStatus(name: string, value: string): void;
  /** One of its statements was done. */
  sessionTag(tag: SessionTag): void;
  /** A notification (body, borrowed) has come: a client that is linked may wait for it. */
  notified?(body: Buffer): void;
  /** The server says why it ends the connection, with `error` in the body (borrowed): nothing more comes. */
  ending?(error: ErrorFields, body: Buffer): void;
}

/** Takes the body of a DataRow, borrowed. */
export type RowTaker = (body: Buffer) => void;

/** Messages may carry this much of an error; rows are skipped unread. Bytes. */
const MAX_BODY_BYTES = 1024 * 1024;

/**
 * Reads the answers to a simple query that pgweir itself sent (reset, check, connect_query, parameters) until
 * its ReadyForQuery. The client sees none of it.
 */
export class OwnQuery implements ByteReader {
  readonly #reader: FramedReader;
  readonly #host: OwnQueryEvents;
  readonly #done: (result: OwnQueryResult) => void;
  #error: ErrorFields | null = null;
  /** Body of the fence's RowDescription; null without one. */
  readonly #fenceBody: Buffer | null;
  /** Until the fence's answer has come, ReadyForQuery may still belong to an earlier request. */
  #awaitsFence: boolean;
  readonly #row: RowTaker | null;

  /**
   * With a fence, ReadyForQuery of earlier requests may come ahead of its answer and does not count. `row` gets the
   * rows; null: nobody does.
   */
  constructor(
    fence: Fence | null,
    host: OwnQueryEvents,
    done: (result: OwnQueryResult) => void,
    row: RowTaker | null = null,
  ) {
    this.#awaitsFence = fence !== null;
    this.#fenceBody = fence === null ? null : fence.description.subarray(HEADER_BYTES);
    this.#host = host;
    this.#done = done;
    this.#row = row;
    const isWanted = (type: number) =>
      (type === B.RowDescription && this.#fenceBody !== null) || (type === B.DataRow && row !== null);
    this.#reader = new FramedReader(
      MAX_BODY_BYTES,
      (type) => isWanted(type) || isRead(type),
      (type, body) => this.#message(type, body),
    );
  }

  /** No message is half read. */
  get atBoundary(): boolean {
    return this.#reader.atBoundary;
  }

  /** Throws ProtocolViolation when the server breaks the protocol. */
  feed(chunk: Buffer, start: number, end: number): number {
    return this.#reader.feed(chunk, start, end);
  }

  #message(type: number, body: Buffer): boolean {
    switch (type) {
      case B.EmptyQueryResponse:
        return true;
      case B.CommandComplete:
        this.#host.sessionTag(sessionTag(body));
        return true;
      case B.RowDescription:
        if (this.#fenceBody?.equals(body)) this.#awaitsFence = false;
        return true;
      case B.DataRow:
        this.#row?.(body);
        return true;
      case B.ErrorResponse: {
        const error = parseErrorFields(body);
        this.#error ??= error;
        // Ahead of the fence: an earlier request failed, and the server may skip all that follows, the fence too.
        if (this.#awaitsFence) return this.#finish(false);
        if (isEnding(error)) this.#host.ending?.(error, body);
        return true;
      }
      case B.ParameterStatus:
        this.#host.parameterStatus(...parseParameterStatus(body, 0, body.length));
        return true;
      case B.NotificationResponse:
        this.#host.notified?.(body);
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

/** Rows and notices of our own queries are nobody's business. */
function isRead(type: number): boolean {
  switch (type) {
    case B.RowDescription:
    case B.DataRow:
    case B.NoticeResponse:
    case B.CopyOutResponse:
    case B.CopyData:
    case B.CopyDone:
      return false;
    default:
      return true;
  }
}
