import type { Conn } from '../net/conn.ts';
import { BackendType as B, FrontendType as F } from '../wire/codes.ts';
import { parseParameterStatus } from '../wire/parameter-status.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';
import { ReplyAction } from './outstanding.ts';
import type { RequestTracker } from './request-tracker.ts';

/** {@link ResponseStream.feed}: the server broke the protocol. */
export const STREAM_BROKEN = -1;

/** Largest ParameterStatus body that is kept to be read; a longer one passes unread. Bytes. */
const CAPTURE_LIMIT = 64 * 1024;

/** The server connection that owns a {@link ResponseStream}. */
export interface ResponseHost {
  /** The linked client's connection, where answers go; null drops them. */
  readonly sink: Conn | null;
  /** ReadyForQuery went by, and all bytes up to it were handed to `sink`. */
  readyForQuery(status: number): void;
  parameterStatus(name: string, value: string): void;
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
  readonly scanner = new HeaderScanner();
  readonly #host: ResponseHost;
  readonly #tracker: RequestTracker;
  #dropping = false;
  /** Body of a ParameterStatus or ReadyForQuery that is cut by a chunk's end. */
  #capture: Buffer | null = null;
  #captured = 0;

  constructor(host: ResponseHost, tracker: RequestTracker) {
    this.#host = host;
    this.#tracker = tracker;
  }

  /** No message of the server is half read. */
  get atBoundary(): boolean {
    return this.scanner.atBoundary;
  }

  /**
   * Consumes `chunk[start, end)`. Returns `end` or {@link STREAM_BROKEN}.
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
        if (body === HEADER_BAD || !isRelayed(scanner.type)) {
          this.#forward(chunk, run, pos);
          return STREAM_BROKEN;
        }
        if (scanner.type === B.ReadyForQuery) {
          if (scanner.length !== 5) return STREAM_BROKEN;
          if (scanner.isSplit) run = body;
          if (body < end) {
            this.#readyForQuery(chunk, run, pos, body, scanner.isSplit);
            pos = body + 1;
            run = pos;
            continue;
          }
          // The status byte comes with the next chunk: until it is here the message is not ours to forward.
          this.#forward(chunk, run, scanner.isSplit ? body : pos);
          return end;
        }
        run = this.#begin(chunk, run, pos, body);
        pos = body;
        if (scanner.bodyLeft === 0) {
          run = this.#finish(chunk, run, pos);
          continue;
        }
      }
      if (scanner.type === B.ReadyForQuery) {
        // Only the status byte was missing; the header was held back.
        this.#readyForQuery(chunk, pos, pos, pos, true);
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
  #begin(chunk: Buffer, run: number, header: number, body: number): number {
    const { scanner } = this;
    const action = this.#tracker.received(scanner.type);
    this.#dropping = action === ReplyAction.Swallow || action === ReplyAction.Rewrite;
    if (scanner.type === B.ParameterStatus && scanner.bodyLeft <= CAPTURE_LIMIT) {
      this.#capture = Buffer.allocUnsafe(scanner.bodyLeft);
      this.#captured = 0;
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
    if (this.#capture !== null) {
      const [name, value] = parseParameterStatus(this.#capture, 0, this.#captured);
      this.#capture = null;
      this.#host.parameterStatus(name, value);
    }
    if (this.#tracker.queue.headAction === ReplyAction.Synthesize) {
      this.#forward(chunk, start, pos);
      start = pos;
      this.#writeSynthesized();
    }
    return start;
  }

  /** `chunk[body]` is the status byte. `isHeld`: the header's bytes were not forwarded and stand in the scanner. */
  #readyForQuery(chunk: Buffer, run: number, header: number, body: number, isHeld: boolean): void {
    const { scanner } = this;
    const status = chunk[body] as number;
    scanner.bodyLeft = 0;
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

/** Whether a server may send `type` after login. Authentication and key data there are a broken peer's. */
function isRelayed(type: number): boolean {
  return RELAYED[type] === 1;
}

const RELAYED = new Uint8Array(256);
for (const type of Object.values(B)) RELAYED[type] = 1;
for (const type of [B.Authentication, B.BackendKeyData, B.NegotiateProtocolVersion]) RELAYED[type] = 0;

/** Whether a client may send `type` after login. */
export function isRequest(type: number): boolean {
  return REQUESTS[type] === 1;
}

const REQUESTS = new Uint8Array(256);
for (const type of Object.values(F)) REQUESTS[type] = 1;
REQUESTS[F.Password] = 0;
