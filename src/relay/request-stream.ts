import { FrontendType as F } from '../wire/codes.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';
import type { Outlet } from './link.ts';
import type { RequestTracker } from './request-tracker.ts';

/** What the client side sees of the server connection it is linked to. */
export interface RequestTarget {
  readonly conn: Outlet;
  readonly tracker: RequestTracker;
}

/** The client session that owns a {@link RequestStream}. */
export interface RequestHost {
  /** The linked server, ready to be written to; null otherwise. */
  readonly target: RequestTarget | null;
  /** Simple queries are not allowed (`disable_pqexec`). */
  readonly refusesQuery: boolean;
  /** A message needs a server and none is linked: asks for one. Afterwards `target` is set, or the client waits. */
  needServer(): void;
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
  /** Bytes handed to servers so far. */
  forwardedBytes = 0;
  readonly #host: RequestHost;
  #dropping = false;
  #isOpen = true;

  constructor(host: RequestHost, maxPacketSize: number) {
    this.#host = host;
    this.scanner = new HeaderScanner(maxPacketSize);
  }

  /**
   * No message is half sent. The first bytes of a header may have come: they are held back until the header is
   * complete, so a client that stops there keeps no server.
   */
  get atBoundary(): boolean {
    return this.scanner.bodyLeft === 0 || this.#dropping;
  }

  /** Nothing more is read: the session is closing. */
  stop(): void {
    this.#isOpen = false;
  }

  /**
   * Consumes `chunk[start, end)`. Returns the position of the first byte not consumed: less than `end` when the
   * client must wait for a server or is closing.
   */
  feed(chunk: Buffer, start: number, end: number): number {
    const { scanner } = this;
    const host = this.#host;
    let pos = start;
    let run = start;
    while (pos < end && this.#isOpen) {
      if (scanner.bodyLeft > 0) {
        const stop = Math.min(end, pos + scanner.bodyLeft);
        scanner.bodyLeft -= stop - pos;
        pos = stop;
        if (this.#dropping) run = pos;
        if (scanner.bodyLeft === 0 && this.#settles()) {
          this.#forward(chunk, run, pos);
          run = pos;
          host.messageSent();
        }
        continue;
      }
      const body = scanner.readHeader(chunk, pos, end);
      if (body === HEADER_INCOMPLETE) break;
      const { type } = scanner;
      if (body === HEADER_BAD || !isRequest(type) || (type === F.Query && host.refusesQuery)) {
        this.#forward(chunk, run, pos);
        // Nothing of this message was sent: a server that is at rest can be kept.
        scanner.unread();
        host.violation(this.#violation(body));
        return pos;
      }
      if (type === F.Terminate) {
        this.#forward(chunk, run, pos);
        scanner.unread();
        host.terminate();
        return end;
      }
      this.#dropping = host.target === null && !isAnswered(type);
      if (this.#dropping) {
        pos = body;
        run = body;
        continue;
      }
      if (host.target === null) {
        host.needServer();
        if (host.target === null) return pos;
      }
      host.request(type);
      host.target.tracker.sent(type);
      if (scanner.isSplit) {
        this.#write(Buffer.from(scanner.head));
        run = body;
      }
      pos = body;
      // A message without a body ends here.
      if (scanner.bodyLeft === 0 && this.#settles()) {
        this.#forward(chunk, run, pos);
        run = pos;
        host.messageSent();
      }
    }
    this.#forward(chunk, run, pos);
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

  /** With nothing owed by the server, a finished message (a late CopyDone, say) leaves the link without a purpose. */
  #settles(): boolean {
    const { target } = this.#host;
    return target?.tracker.isClean === true;
  }

  #violation(body: number): string {
    const { scanner } = this;
    if (body === HEADER_BAD) return `bad packet header: '${scanner.headerHex()}'`;
    return isRequest(scanner.type) ? 'PQexec disallowed' : 'unknown pkt';
  }

  #forward(chunk: Buffer, start: number, end: number): void {
    if (end <= start) return;
    const { target } = this.#host;
    if (target === null) return;
    this.forwardedBytes += end - start;
    if (!target.conn.forward(chunk, start, end)) this.#host.targetCongested();
  }

  #write(bytes: Buffer): void {
    const { target } = this.#host;
    if (target === null) return;
    this.forwardedBytes += bytes.length;
    if (!target.conn.write(bytes)) this.#host.targetCongested();
  }
}

/** Whether a client may send `type` after login. */
function isRequest(type: number): boolean {
  return REQUESTS[type] === 1;
}

const REQUESTS = new Uint8Array(256);
for (const type of Object.values(F)) REQUESTS[type] = 1;
REQUESTS[F.Password] = 0;

/**
 * Whether PostgreSQL answers such a message, so that it needs a server and begins a query. Late COPY messages,
 * after the COPY's error, are the client's leftovers: without a link they are dropped (PostgreSQL ignores them
 * too), and on one they are nothing that could take too long. Flush has nothing to flush there.
 */
export function isAnswered(type: number): boolean {
  return type !== F.CopyData && type !== F.CopyDone && type !== F.CopyFail && type !== F.Flush;
}
