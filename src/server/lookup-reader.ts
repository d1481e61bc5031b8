import { BackendType as B, TxStatus } from '../wire/codes.ts';
import { parseDataRow } from '../wire/data-row.ts';
import { type ErrorFields, parseErrorFields } from '../wire/error-fields.ts';
import { type ByteReader, FramedReader } from '../wire/framed-reader.ts';
import { ProtocolViolation, SqlState } from '../wire/pg-error.ts';
import { Reader } from '../wire/reader.ts';

/** What PostgreSQL has answered to one lookup. */
export interface LookupAnswer {
  /** Of the result; 0 without one. */
  readonly columns: number;
  /** The last row as text, null for NULL; null: there was none. */
  readonly row: readonly (string | null)[] | null;
  /** Null: it went well. */
  readonly error: ErrorFields | null;
  /** What is asked about cannot be written in that database's encoding: nothing there has such a name. */
  readonly isForeign: boolean;
}

/** Largest message of an answer. Bytes; the longest secret takes 64 KiB. */
const MAX_BODY_BYTES = 1024 * 1024;

/**
 * Reads the answers to lookups: each is Parse, Bind, Describe, Execute and Sync, so each ends with its own
 * ReadyForQuery, whatever happened to the one before.
 */
export class LookupReader implements ByteReader {
  readonly #reader: FramedReader;
  readonly #isOwed: () => boolean;
  readonly #answered: (answer: LookupAnswer) => void;
  #columns = 0;
  #row: readonly (string | null)[] | null = null;
  #error: ErrorFields | null = null;

  /** `isOwed`: an answer is still to come. `answered` gets each, in the order of the lookups. */
  constructor(isOwed: () => boolean, answered: (answer: LookupAnswer) => void) {
    this.#isOwed = isOwed;
    this.#answered = answered;
    this.#reader = new FramedReader(
      MAX_BODY_BYTES,
      (type) => !isSkipped(type),
      (type, body) => this.#message(type, body),
    );
  }

  /** Throws ProtocolViolation when the server breaks the protocol. */
  feed(chunk: Buffer, start: number, end: number): number {
    return this.#reader.feed(chunk, start, end);
  }

  #message(type: number, body: Buffer): boolean {
    // What comes without having been asked for says why the connection is about to end.
    if (type === B.ErrorResponse) {
      this.#error ??= parseErrorFields(body);
      return true;
    }
    if (!this.#isOwed()) throw new ProtocolViolation('unexpected response from auth_query');
    switch (type) {
      case B.RowDescription:
        this.#columns = new Reader(body).int16();
        return true;
      case B.DataRow:
        this.#row = parseDataRow(body);
        return true;
      case B.ParseComplete:
      case B.BindComplete:
      case B.NoData:
      case B.CommandComplete:
      case B.EmptyQueryResponse:
        return true;
      case B.ReadyForQuery: {
        // In a transaction the next lookup would not see what has changed since.
        if (body.length !== 1 || body[0] !== TxStatus.Idle) {
          throw new ProtocolViolation('unexpected response from auth_query');
        }
        const isForeign = this.#error?.sqlstate === SqlState.untranslatableCharacter;
        const answer: LookupAnswer = isForeign
          ? { columns: 0, row: null, error: null, isForeign }
          : { columns: this.#columns, row: this.#row, error: this.#error, isForeign };
        this.#columns = 0;
        this.#row = null;
        this.#error = null;
        this.#answered(answer);
        return true;
      }
      default:
        // COPY, a further result, or nothing that is known.
        throw new ProtocolViolation('unexpected response from auth_query');
    }
  }
}

function isSkipped(type: number): boolean {
  return type === B.NoticeResponse || type === B.NotificationResponse || type === B.ParameterStatus;
}
