import { BackendType as B } from '../wire/codes.ts';
import { parseErrorFields } from '../wire/error-fields.ts';
import { parseParameterStatus } from '../wire/parameter-status.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { type ByteReader, FramedReader } from '../wire/framed-reader.ts';

/** Largest message read at rest. Bytes. */
const MAX_BODY_BYTES = 1024 * 1024;

/** Takes bytes that nobody needs any more. */
export const DISCARD: ByteReader = { feed: (_chunk, _start, end) => end };

/** What a server connection at rest hears about messages that nobody asked for. */
export interface RestHost {
  /** `message` is for the log; `isDirty`: the connection is not to be used again. */
  unasked(message: string, isDirty: boolean): void;
  parameterStatus(name: string, value: string): void;
}

/**
 * Reads what a server sends while no client is linked (contract, §5.10): notifications are dropped, anything
 * else makes the connection dirty.
 */
export class RestReader implements ByteReader {
  readonly #host: RestHost;
  readonly #reader = new FramedReader(
    MAX_BODY_BYTES,
    () => true,
    (type, body) => this.#message(type, body),
  );

  constructor(host: RestHost) {
    this.#host = host;
  }

  /** No message is half read. A client linked inside one would get the rest of it for an answer. */
  get atBoundary(): boolean {
    return this.#reader.atBoundary;
  }

  /** Throws ProtocolViolation when the server breaks the protocol, or answers what nobody asked. */
  feed(chunk: Buffer, start: number, end: number): number {
    return this.#reader.feed(chunk, start, end);
  }

  #message(type: number, body: Buffer): boolean {
    switch (type) {
      case B.NotificationResponse:
        this.#host.unasked('notification for a client that is gone: dropped', false);
        return true;
      case B.ParameterStatus:
        this.#host.parameterStatus(...parseParameterStatus(body, 0, body.length));
        this.#host.unasked('unasked ParameterStatus', true);
        return false;
      case B.NoticeResponse:
      case B.ErrorResponse: {
        const { severity, message } = parseErrorFields(body);
        this.#host.unasked(`unasked ${severity ?? 'message'}: ${message ?? ''}`, true);
        return false;
      }
      default:
        throw new ProtocolViolation('unknown pkt');
    }
  }
}
