import { FrontendType as F, HEADER_BYTES } from '../wire/codes.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';
import { flush } from '../wire/frontend.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import type { Outlet } from './link.ts';
import { brokenText, isMalformed } from './malformed.ts';
import { NEEDS_MORE, type RequestFilter } from './request-filter.ts';
import type { RequestTracker } from './request-tracker.ts';
import { hasRoom, isAnswered } from './room.ts';
import { RunWriter } from './run-writer.ts';

/** No type of a message. */
const ANY = -1;

/** What the client side sees of the server connection it is linked to. */
export interface RequestTarget {
  readonly conn: Outlet;
  readonly tracker: RequestTracker;
}

/** The client session that owns a {@link RequestStream}. */
export interface RequestHost {
  /** The linked server, ready to be written to; null otherwise. */
  readonly target: RequestTarget | null;
  /** A server is linked, be it that it may not be written to now: what is sent late in a COPY may be its COPY's. */
  readonly isLinked: boolean;
  /** Acts on requests that name prepared statements; null: all pass as they are. */
  readonly filter: RequestFilter | null;
  /** An answer that comes from us, at a point where nothing else is owed. */
  reply(bytes: Buffer): void;
  /** Simple queries are not allowed (`disable_pqexec`). */
  readonly refusesQuery: boolean;
  /** A message has to wait until earlier ones have been answered. */
  needAnswers(): void;
  /** A message needs a server and none is linked: asks for one. Afterwards `target` is set, or the client waits. */
  needServer(): void;
  /** The requests that {@link RequestStream.skip} has skipped are over. */
  skipped(): void;
  /** A request of `type` is about to be sent to the server. */
  request(type: number): void;
  /** The last byte of a message went out after its answer had ended: the link may end now. */
  messageSent(): void;
  /** Terminate was received. */
  terminate(): void;
  /** The client broke the protocol: `text` is the contract's. */
  violation(text: string): void;
  /** The server's connection holds more than it should: stop reading from the client until it drains. */
  targetCongested(): void;
}

/**
 * Client → server: walks the headers of what a client sends after login and forwards adjacent messages as one
 * run. The first message that needs a server asks for one; when none is free the stream stops in front of it,
 * and the owner keeps the rest (see {@link takeHeader}).
 */
export class RequestStream {
  readonly scanner: HeaderScanner;
  readonly #host: RequestHost;
  /**
   * After {@link feed} stopped in front of a message of which more has to be seen: how many bytes of it, header
   * included. Else 0.
   */
  needBytes = 0;
  readonly #out = new RunWriter();
  #dropping = false;
  #isOpen = true;
  /** What is skipped ends with the next message of this type; ANY: the next one tells. 0: nothing is skipped. */
  #skipsTo = 0;

  constructor(host: RequestHost, maxPacketSize: number) {
    this.#host = host;
    this.scanner = new HeaderScanner(maxPacketSize);
  }

  /** Bytes handed to servers so far. */
  get forwardedBytes(): number {
    return this.#out.writtenBytes;
  }

  /**
   * No message is half sent. The first bytes of a header may have come: they are held back until the header is
   * complete, so a client that stops there keeps no server.
   */
  get atBoundary(): boolean {
    return this.scanner.bodyLeft === 0 || this.#dropping;
  }

  /**
   * The request that {@link feed} has stopped in front of is not to be done: as after an error, it is skipped with all
   * of the extended protocol up to the Sync.
   */
  skip(): void {
    this.#skipsTo = ANY;
  }

  /** Nothing more is read: the session is closing. */
  stop(): void {
    this.#isOpen = false;
  }

  /**
   * Consumes `chunk[start, end)`. Returns the position of the first byte not consumed: less than `end` when the
   * client must wait (for a server, for answers, for the rest of a message) or is closing. Throws
   * ProtocolViolation on a message that the filter finds broken.
   */
  feed(chunk: Buffer, start: number, end: number): number {
    const { scanner } = this;
    const host = this.#host;
    const { filter } = host;
    let pos = start;
    let run = start;
    this.needBytes = 0;
    this.#out.start(host.target?.conn ?? null);
    while (pos < end && this.#isOpen) {
      if (scanner.bodyLeft > 0) {
        const stop = Math.min(end, pos + scanner.bodyLeft);
        scanner.bodyLeft -= stop - pos;
        pos = stop;
        if (this.#dropping) run = pos;
        if (scanner.bodyLeft > 0) continue;
        if (this.#skipsTo === 0) run = this.#sent(chunk, run, pos);
        else this.#endSkipped();
        continue;
      }
      const body = scanner.readHeader(chunk, pos, end);
      if (body === HEADER_INCOMPLETE) break;
      const { type } = scanner;
      if (
        body === HEADER_BAD ||
        !isRequest(type) ||
        (type === F.Query && host.refusesQuery) ||
        isMalformed(type, scanner.bodyLeft)
      ) {
        this.#flush(chunk, run, pos);
        const text = this.#violation(body);
        // Nothing of this message was sent: a server that is at rest can be kept.
        scanner.unread();
        host.violation(text);
        return pos;
      }
      if (type === F.Terminate) {
        this.#flush(chunk, run, pos);
        scanner.unread();
        host.terminate();
        return end;
      }
      if (this.#skipsTo !== 0) {
        this.#beginSkipped(type);
        pos = body;
        run = body;
        continue;
      }
      this.#dropping = !host.isLinked && !isAnswered(type);
      if (this.#dropping) {
        pos = body;
        run = body;
        continue;
      }
      const { target } = host;
      if (target !== null && !hasRoom(target.tracker, type)) {
        this.#flush(chunk, run, pos);
        if (!target.tracker.isUnsure) {
          // Without a Sync, or with one that COPY ignores, the server would keep answers back that make room.
          if (target.tracker.isStretchOpen || target.tracker.isCopyIn) {
            this.#out.put(flush);
            this.#flush(chunk, pos, pos);
          }
          target.tracker.waitsForRoom = true;
          host.needAnswers();
          return pos;
        }
        // What would make room may have been counted wrongly.
        scanner.unread();
        host.violation('too many requests under way');
        return pos;
      }
      const need = filter === null ? 0 : filter.look(type, chunk, body, end, scanner.bodyLeft);
      if (need > 0) {
        this.#out.put(chunk, run, pos);
        const next = this.#filter(filter as RequestFilter, need, chunk, body, end);
        if (next < 0) {
          this.#flush(chunk, pos, pos);
          return pos;
        }
        pos = next;
        run = next;
        if (scanner.bodyLeft === 0) run = this.#sent(chunk, run, pos);
        continue;
      }
      if (!this.#isLinked()) return pos;
      host.request(type);
      (host.target as RequestTarget).tracker.sent(type);
      if (scanner.isSplit) {
        this.#out.put(scanner.head);
        run = body;
      }
      pos = body;
      if (end - body < scanner.bodyLeft) continue;
      pos += scanner.bodyLeft;
      scanner.bodyLeft = 0;
      // None that is answered can have been, for nothing of it has gone out.
      if (!isAnswered(type)) run = this.#sent(chunk, run, pos);
    }
    this.#flush(chunk, run, pos);
    return this.#isOpen ? end : pos;
  }

  /**
   * After {@link feed} stopped in front of a message: the bytes of its header that an earlier chunk brought,
   * or null. The owner keeps them in front of the unconsumed rest and feeds both again later.
   */
  takeHeader(): Buffer | null {
    const { scanner } = this;
    const early = scanner.isSplit ? Buffer.from(scanner.head.subarray(0, scanner.earlyBytes)) : null;
    scanner.unread();
    return early;
  }

  /**
   * Has the filter act on the message at hand, of which `need` bytes of the body have to be there. Gives the
   * position from which on it passes as it is; -1: it has to wait.
   */
  #filter(filter: RequestFilter, need: number, chunk: Buffer, body: number, end: number): number {
    const { scanner } = this;
    const host = this.#host;
    const { type, bodyLeft } = scanner;
    // The next message is no part of it, whatever it says.
    if (need > bodyLeft) throw new ProtocolViolation(brokenText(type));
    if (end - body < need) {
      this.needBytes = HEADER_BYTES + need;
      return -1;
    }
    if (host.target === null) {
      const alone = filter.answerAlone(type, chunk, body, body + need);
      if (alone !== null) {
        scanner.bodyLeft = 0;
        host.reply(alone);
        return body + bodyLeft;
      }
    }
    if (!this.#isLinked()) return -1;
    const rest = filter.pass(type, chunk, body, body + need, bodyLeft, this.#out);
    if (rest === NEEDS_MORE) {
      this.needBytes = HEADER_BYTES + (end - body) + 1;
      return -1;
    }
    // What was answered by us at once is none that the server could take too long for.
    if (host.target?.tracker.isQuiet === false) host.request(type);
    if (rest < 0) {
      // What they are is not for the server to keep until the Sync that may be stuck behind this message.
      this.#out.put(flush);
      host.needAnswers();
      return rest;
    }
    if (rest - body > bodyLeft) throw new ProtocolViolation(brokenText(type));
    scanner.bodyLeft = bodyLeft - (rest - body);
    return rest;
  }

  /** Whether there is a server to write to; asks for one. */
  #isLinked(): boolean {
    const host = this.#host;
    if (host.target === null) {
      host.needServer();
      this.#out.start((host.target as RequestTarget | null)?.conn ?? null);
    }
    return host.target !== null;
  }

  /**
   * A message's last byte is at `pos`. With nothing owed by the server (behind a late CopyDone, say) it leaves the
   * link without a purpose. Gives where the next run begins.
   */
  #sent(chunk: Buffer, run: number, pos: number): number {
    const host = this.#host;
    if (host.target?.tracker.isClean !== true) return run;
    this.#flush(chunk, run, pos);
    host.messageSent();
    return pos;
  }

  #beginSkipped(type: number): void {
    this.#dropping = true;
    if (this.#skipsTo === ANY) this.#skipsTo = type === F.Query || type === F.FunctionCall ? type : F.Sync;
    if (this.scanner.bodyLeft === 0) this.#endSkipped();
  }

  /** The last byte of a skipped message has come. */
  #endSkipped(): void {
    if (this.scanner.type !== this.#skipsTo) return;
    this.#skipsTo = 0;
    this.#host.skipped();
  }

  #violation(body: number): string {
    const { scanner } = this;
    if (body === HEADER_BAD) return `bad packet header: '${scanner.headerHex()}'`;
    if (isMalformed(scanner.type, scanner.bodyLeft)) return brokenText(scanner.type);
    return isRequest(scanner.type) ? 'PQexec disallowed' : 'unknown pkt';
  }

  /** Writes a last run, and what was put ahead of it. */
  #flush(chunk: Buffer, start: number, end: number): void {
    const out = this.#out;
    out.finish(chunk, start, end);
    if (!out.isCongested) return;
    out.isCongested = false;
    this.#host.targetCongested();
  }
}

/** Whether a client may send `type` after login. */
function isRequest(type: number): boolean {
  return REQUESTS[type] === 1;
}

const REQUESTS = new Uint8Array(256);
for (const type of Object.values(F)) REQUESTS[type] = 1;
REQUESTS[F.Password] = 0;
