import { BackendType as B, TxStatus } from '../wire/codes.ts';
import { mayBeSessionTag, type SessionTag, sessionTag } from '../wire/command-complete.ts';
import { parseParameterStatus } from '../wire/parameter-status.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';
import { framed } from '../wire/writer.ts';
import type { KeptRequests, Outlet } from './link.ts';
import { ReplyAction } from './outstanding.ts';
import type { RequestTracker } from './request-tracker.ts';

/** {@link ResponseStream.feed}: the server sent what no server may send to a logged-in client. */
export const STREAM_BROKEN = -1;

/**
 * What has to be read is no longer: of descriptions, PostgreSQL has at most 1664 columns and 65535 parameters; of a
 * ParameterStatus (search_path), the next client would have a value that nobody knows of. Bytes.
 */
const READ_LIMIT = 1024 * 1024;

/** Largest error body that is kept to be read; a longer one passes unread. Bytes. */
const CAPTURE_LIMIT = 64 * 1024;

/** The server connection that owns a {@link ResponseStream}. */
export interface ResponseHost {
  /** The linked client's connection, where answers go; null drops them. */
  readonly sink: Outlet | null;
  /** ReadyForQuery went by, and all bytes up to it were handed to `sink`. */
  readyForQuery(status: number): void;
  parameterStatus(name: string, value: string): void;
  /** Whether errors have to be read before the client gets them ({@link error}). */
  readonly readsErrors: boolean;
  /**
   * An ErrorResponse's body, borrowed; gives the whole message that the client gets, not to be written to again. Null:
   * it gets nothing of the failed request's answer, as always with `isSwallowed`: the request was ours alone.
   */
  error(body: Buffer, isSwallowed: boolean): Buffer | null;
  /**
   * The client's requests as far as they can be sent once more; null without a client. A ParameterDescription waits
   * then for what follows it: with an error it may be none of the client's.
   */
  readonly kept: KeptRequests | null;
  /** CommandComplete with a tag that may be one to act on went by. */
  sessionTag(tag: SessionTag): void;
  /** `sink` holds more than it should: stop reading from the server until it drains. */
  sinkCongested(): void;
}

/**
 * Server → client: walks the headers of what a linked server sends and forwards adjacent messages as one run.
 * In the common case that is the untouched chunk in one write; no object, slice or string per message.
 *
 * ```
 *  chunk: | forward … forward | drop | forward … ReadyForQuery |
 *           run ───────▶ write         run ───────────▶ write, then host.readyForQuery
 * ```
 */
export class ResponseStream {
  readonly scanner: HeaderScanner;
  readonly #host: ResponseHost;
  readonly #tracker: RequestTracker;
  #dropping = false;
  /** Body of a message that is read beside being passed on: ParameterStatus, error, short CommandComplete. */
  #capture: Buffer | null = null;
  #captured = 0;
  #isSwallowed = false;
  /** Body of a ParameterDescription that waits. */
  #parameters: Buffer | null = null;

  /** `maxPacketSize`: largest message length accepted, `max_packet_size`. */
  constructor(host: ResponseHost, tracker: RequestTracker, maxPacketSize = 0x7fff_ffff) {
    this.scanner = new HeaderScanner(maxPacketSize);
    this.#host = host;
    this.#tracker = tracker;
  }

  /** No message of the server is half read. */
  get atBoundary(): boolean {
    return this.scanner.atBoundary;
  }

  /**
   * The client has whole messages only, so one of ours may follow. False inside a message that is passing: an
   * error of ours there would be read as that message's bytes.
   */
  get sinkAtBoundary(): boolean {
    const { scanner } = this;
    return scanner.bodyLeft === 0 || this.#dropping || scanner.type === B.ReadyForQuery;
  }

  /**
   * Consumes `chunk[start, end)`. Returns `end` or {@link STREAM_BROKEN}. Throws ProtocolViolation on a bad length
   * or a broken ParameterStatus. In both cases everything before the message at fault has been forwarded.
   */
  feed(chunk: Buffer, start: number, end: number): number {
    const { scanner } = this;
    let pos = start;
    let run = start;
    while (pos < end) {
      if (scanner.bodyLeft === 0) {
        const body = scanner.readHeader(chunk, pos, end);
        if (body === HEADER_INCOMPLETE) {
          this.#forward(chunk, run, pos);
          return end;
        }
        if (body === HEADER_BAD || !isRelayed(scanner.type, scanner.length)) {
          this.#forward(chunk, run, pos);
          scanner.unread();
          if (body === HEADER_BAD) throw new ProtocolViolation('bad pkt header');
          return STREAM_BROKEN;
        }
        if (scanner.type === B.ReadyForQuery) {
          if (scanner.isSplit) run = body;
          if (body < end) {
            if (!this.#readyForQuery(chunk, run, pos, body, scanner.isSplit)) return STREAM_BROKEN;
            pos = body + 1;
            run = pos;
            continue;
          }
          // The status byte comes with the next chunk: until it is here the message is not ours to forward.
          this.#forward(chunk, run, scanner.isSplit ? body : pos);
          return end;
        }
        run = this.#begin(chunk, run, pos, body, end);
        pos = body;
        if (scanner.bodyLeft === 0) {
          run = this.#finish(chunk, run, pos);
          continue;
        }
      }
      if (scanner.type === B.ReadyForQuery) {
        // Only the status byte was missing; the header was held back.
        if (!this.#readyForQuery(chunk, pos, pos, pos, true)) return STREAM_BROKEN;
        pos += 1;
        run = pos;
        continue;
      }
      const stop = Math.min(end, pos + scanner.bodyLeft);
      if (this.#capture !== null) {
        chunk.copy(this.#capture, this.#captured, pos, stop);
        this.#captured += stop - pos;
      }
      scanner.bodyLeft -= stop - pos;
      pos = stop;
      if (this.#dropping) run = pos;
      if (scanner.bodyLeft === 0) run = this.#finish(chunk, run, pos);
    }
    this.#forward(chunk, run, pos);
    return pos;
  }

  /** A message's header is known: decides forward or drop. Returns where the run of forwarded bytes begins. */
  #begin(chunk: Buffer, run: number, header: number, body: number, end: number): number {
    const { scanner } = this;
    const action = this.#tracker.received(scanner.type);
    this.#isSwallowed = action === ReplyAction.Swallow;
    this.#dropping = this.#isSwallowed || action === ReplyAction.Rewrite;
    if (this.#isRead(scanner.type, scanner.bodyLeft, body < end ? (chunk[body] as number) : -1)) {
      if (scanner.bodyLeft > READ_LIMIT) {
        this.#forward(chunk, run, header);
        scanner.unread();
        throw new ProtocolViolation('bad pkt header');
      }
      this.#capture = Buffer.allocUnsafe(scanner.bodyLeft);
      this.#captured = 0;
      // The client gets it from us, once it is whole.
      if (scanner.type === B.ErrorResponse || scanner.type === B.ParameterDescription) this.#dropping = true;
    }
    if (this.#parameters !== null && (scanner.type !== B.ErrorResponse || this.#capture === null)) {
      this.#sendParameters(this.#parameters);
    }
    if (this.#dropping) {
      if (!scanner.isSplit) this.#forward(chunk, run, header);
      if (action === ReplyAction.Rewrite && this.#tracker.replacement !== null) {
        this.#write(this.#tracker.replacement);
      }
      return body;
    }
    if (!scanner.isSplit) return run;
    // The first bytes of this header came earlier and were held back: they go first.
    this.#write(Buffer.from(scanner.head));
    return body;
  }

  /** A message's last byte is in. Returns where the run of forwarded bytes begins. */
  #finish(chunk: Buffer, run: number, pos: number): number {
    let start = run;
    if (this.#capture !== null) this.#read(chunk, run, pos);
    if (this.#tracker.queue.length > 0) {
      const bytes = this.#tracker.takeSynthesized();
      if (bytes !== null) {
        this.#forward(chunk, start, pos);
        start = pos;
        this.#write(bytes);
        this.#writeSynthesized();
      }
    }
    return start;
  }

  /** Whether a message that begins is to be read when it is whole. */
  #isRead(type: number, bodyBytes: number, first: number): boolean {
    switch (type) {
      case B.ParameterStatus:
        return !this.#isSwallowed;
      case B.CommandComplete:
        return mayBeSessionTag(bodyBytes, first);
      case B.ErrorResponse:
        return this.#host.readsErrors && bodyBytes <= CAPTURE_LIMIT;
      case B.RowDescription:
      case B.NoData:
        return this.#tracker.describedNote !== null;
      case B.ParameterDescription:
        if (this.#isSwallowed) return this.#tracker.queue.headNote?.parameters !== undefined;
        return this.#host.kept?.isKeeping === true && !this.#dropping && bodyBytes <= CAPTURE_LIMIT;
      default:
        return false;
    }
  }

  /** The captured message is complete. */
  #read(chunk: Buffer, run: number, pos: number): void {
    const body = this.#capture as Buffer;
    this.#capture = null;
    switch (this.scanner.type) {
      case B.ParameterStatus:
        this.#parameterStatus(body, chunk, run, pos);
        break;
      case B.CommandComplete:
        this.#host.sessionTag(sessionTag(body));
        break;
      case B.RowDescription:
        this.#rows(body);
        break;
      case B.NoData:
        this.#rows(null);
        break;
      case B.ParameterDescription:
        if (this.#isSwallowed) this.#tracker.queue.headNote?.parameters?.(body);
        else this.#parameters = body;
        break;
      case B.ErrorResponse:
        this.#error(body);
        break;
    }
  }

  #error(body: Buffer): void {
    const error = this.#host.error(body, this.#isSwallowed);
    const parameters = this.#parameters;
    this.#parameters = null;
    if (error === null) return;
    if (parameters !== null) this.#sendParameters(parameters);
    this.#write(error);
  }

  /** What a Describe of ours asked for. */
  #rows(body: Buffer | null): void {
    this.#tracker.takeDescribed()?.rows?.(body);
  }

  #sendParameters(body: Buffer): void {
    this.#parameters = null;
    this.#write(framed(B.ParameterDescription, body));
    this.#host.kept?.end();
  }

  #parameterStatus(body: Buffer, chunk: Buffer, run: number, pos: number): void {
    let pair: readonly [string, string];
    try {
      pair = parseParameterStatus(body, 0, body.length);
    } catch {
      // Part of it may be at the client already: the whole has to be, for an error to be readable behind it.
      this.#forward(chunk, run, pos);
      throw new ProtocolViolation('broken ParameterStatus packet');
    }
    this.#host.parameterStatus(...pair);
  }

  /**
   * `chunk[body]` is the status byte. `isHeld`: the header's bytes were not forwarded and stand in the scanner.
   * False: no such status.
   */
  #readyForQuery(chunk: Buffer, run: number, header: number, body: number, isHeld: boolean): boolean {
    const { scanner } = this;
    const status = chunk[body] as number;
    scanner.bodyLeft = 0;
    if (status !== TxStatus.Idle && status !== TxStatus.InTransaction && status !== TxStatus.Failed) {
      if (!isHeld) this.#forward(chunk, run, header);
      return false;
    }
    if (this.#parameters !== null) this.#sendParameters(this.#parameters);
    const action = this.#tracker.readyForQuery(status);
    if (action === ReplyAction.Swallow) {
      this.#forward(chunk, run, header);
    } else if (isHeld) {
      this.#write(Buffer.from([B.ReadyForQuery, 0, 0, 0, 5, status]));
    } else {
      this.#forward(chunk, run, body + 1);
    }
    this.#writeSynthesized();
    this.#host.readyForQuery(status);
    return true;
  }

  #writeSynthesized(): void {
    for (
      let bytes = this.#tracker.takeSynthesized();
      bytes !== null;
      bytes = this.#tracker.takeSynthesized()
    ) {
      this.#write(bytes);
    }
  }

  #forward(chunk: Buffer, start: number, end: number): void {
    const { sink } = this.#host;
    if (end > start && sink !== null && !sink.forward(chunk, start, end)) this.#host.sinkCongested();
  }

  #write(bytes: Buffer): void {
    const { sink } = this.#host;
    if (sink !== null && !sink.write(bytes)) this.#host.sinkCongested();
  }
}

/**
 * Whether a server may send `type` after login, with this length where it is a fixed one. Authentication and key
 * data there are a broken peer's.
 */
function isRelayed(type: number, length: number): boolean {
  return RELAYED[type] === 1 && (type !== B.ReadyForQuery || length === 5);
}

const RELAYED = new Uint8Array(256);
for (const type of Object.values(B)) RELAYED[type] = 1;
for (const type of [B.Authentication, B.BackendKeyData, B.NegotiateProtocolVersion]) RELAYED[type] = 0;
