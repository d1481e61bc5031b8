import { RareSet } from '../base/rare.ts';
import type { Statement, StatementUse } from '../prepared/statement.ts';
import { type StretchNeeds, stretchNeeds } from '../prepared/stretch.ts';
import type { KeptRequests } from '../relay/link.ts';
import type { RequestNote } from '../relay/outstanding.ts';
import { HEADER_BYTES } from '../wire/codes.ts';
import { HeldBytes } from './held-bytes.ts';

/** A longer stretch is not kept. Bytes. */
const LIMIT = 16 * 1024;

const HEADER = Buffer.allocUnsafe(HEADER_BYTES);

/** The session as its kept stretch sees it. */
export interface StretchHost {
  /** No message is half sent. */
  readonly atBoundary: boolean;
  /** The client has taken its answers so far, and is read. */
  readonly isTaking: boolean;
  /** From now on nothing is sent but the rest of a message that is half sent: what comes goes to the kept stretch. */
  keepAll(): void;
  /** Prepared anew, the statement would be what it is. */
  readsAlike(statement: Statement): boolean;
  /** What waits to be sent. */
  readonly held: HeldBytes;
  readonly pool: { readonly stats: { bindCount: number } };
  /** Goes on with `bytes[from, end)`; `isAgain`: what has come of a header is in it, too. */
  goOnWith(bytes: Buffer, from: number, isAgain: boolean): void;
}

/**
 * A copy of what the client has sent since it was at rest, from the first request on that the server got, for as long as
 * that is unanswered. When it fails because of a plan that is out of date, it can be sent once more.
 *
 * | state | the client's bytes | leaves by |
 * | --- | --- | --- |
 * | nothing is kept | pass | begin → keeping |
 * | keeping | pass and are copied | an answer, or too many of them → nothing; hold → held |
 * | held | are copied | repeat, pass → nothing |
 */
export class KeptStretch implements KeptRequests {
  isKeeping = false;
  isHeld = false;
  /** Binds of statements that were counted, of what is kept. */
  binds = 0;
  readonly #host: StretchHost;
  readonly #bytes = new HeldBytes();
  /** How many of them were sent; while held. */
  #sentBytes = -1;
  /** The rest of a message that was half sent when they were held made them too many: they were let go. */
  #isTooLong = false;
  /** Where in the chunk at hand begins what is to be kept. */
  #from = 0;
  #first: StatementUse | null = null;
  /** What the client was told by us to be prepared, in stretch {@link #segment}. */
  readonly #given = new RareSet<string>();
  #segment = -1;
  #decided: ((needs: StretchNeeds | null) => void) | null = null;

  constructor(host: StretchHost) {
    this.#host = host;
  }

  /** The client's name for a statement was given in stretch `segment`, and answered by us. */
  given(name: string, segment: number): void {
    if (segment !== this.#segment) this.#given.clear();
    this.#segment = segment;
    this.#given.add(name);
  }

  /**
   * With nothing owed and outside a transaction, the request `use` of stretch `segment` is sent: a message of `type`
   * whose body of `bodyBytes` begins at `body` of the chunk at hand.
   */
  begin(use: StatementUse, segment: number, type: number, body: number, bodyBytes: number): void {
    if (segment !== this.#segment) this.#given.clear();
    this.#bytes.reset();
    this.#from = body - HEADER_BYTES;
    if (this.#from < 0) {
      // The header's first bytes came with an earlier chunk.
      HEADER[0] = type;
      HEADER.writeInt32BE(bodyBytes + 4, 1);
      this.#bytes.add(HEADER, 0, HEADER_BYTES);
      this.#from = body;
    }
    this.#first = use;
    this.binds = 0;
    this.isKeeping = true;
  }

  /** While {@link isKeeping}: `chunk` has been sent up to `end`, but for `early` bytes of a header ahead of it. */
  keep(chunk: Buffer, end: number, early: number): void {
    if (early > 0) this.#bytes.shorten(early);
    const isTooLong = this.#bytes.length + end - this.#from > LIMIT;
    if (isTooLong && !this.isHeld) this.end();
    else if (isTooLong || this.#isTooLong) this.#letGo();
    else this.#bytes.add(chunk, this.#from, end);
    this.#from = 0;
  }

  /** While {@link isHeld}: `chunk[start, end)` is not sent. */
  add(chunk: Buffer, start: number, end: number): void {
    if (this.#sentBytes < 0 && this.#host.atBoundary) this.#stop();
    this.#bytes.add(chunk, start, end);
    this.#decide();
  }

  get length(): number {
    return this.#bytes.length;
  }

  /** Nothing is kept any more. */
  end(): void {
    if (!this.isKeeping && !this.isHeld && this.#given.size === 0) return;
    this.isKeeping = false;
    this.isHeld = false;
    this.#first = null;
    this.#decided = null;
    this.#sentBytes = -1;
    this.#isTooLong = false;
    this.#from = 0;
    this.#bytes.reset();
    this.#given.clear();
  }

  canRepeat(note: RequestNote | null): boolean {
    const first = this.#first;
    if (first === null || note !== first || !this.isKeeping) return false;
    return this.#host.isTaking && this.#host.readsAlike(first.uses);
  }

  get isGiven(): boolean {
    return this.#first !== null && this.#given.has(this.#first.name);
  }

  hold(decided: (needs: StretchNeeds | null) => void): void {
    this.isHeld = true;
    this.#decided = decided;
    this.#host.keepAll();
    if (this.#host.atBoundary) this.#stop();
    this.#decide();
  }

  repeat(): void {
    this.#host.pool.stats.bindCount -= this.binds;
    this.#goOn(0, true);
  }

  pass(): void {
    this.#goOn(this.#sentBytes, false);
  }

  #goOn(from: number, isAgain: boolean): void {
    const bytes = this.#bytes.take();
    this.end();
    this.#host.goOnWith(bytes, from, isAgain);
  }

  /** They cannot be sent once more. */
  #letGo(): void {
    this.#isTooLong = true;
    this.#bytes.reset();
  }

  /** What comes from here on has not been sent. */
  #stop(): void {
    this.#sentBytes = this.#bytes.length;
    const held = this.#host.held.take();
    this.#bytes.add(held, 0, held.length);
  }

  #decide(): void {
    if (this.#decided === null || this.#sentBytes < 0) return;
    const { length } = this.#bytes;
    const { name } = this.#first as StatementUse;
    const needs = this.#isTooLong
      ? null
      : this.#bytes.look((bytes) => stretchNeeds(bytes, length, name, this.isGiven));
    if (needs === 'incomplete' && length <= LIMIT) return;
    const decided = this.#decided;
    this.#decided = null;
    decided(needs === 'incomplete' ? null : needs);
  }
}
