import fc from 'fast-check';
import type { Outlet } from '../../src/relay/link.ts';
import type { ReplyAction } from '../../src/relay/outstanding.ts';
import type { RequestFilter } from '../../src/relay/request-filter.ts';
import type { RequestHost, RequestTarget } from '../../src/relay/request-stream.ts';
import { RequestTracker } from '../../src/relay/request-tracker.ts';
import { type ResponseHost, ResponseStream, STREAM_BROKEN } from '../../src/relay/response-stream.ts';
import type { SessionTag } from '../../src/wire/command-complete.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { type Cutting, cuttings, feedBorrowed } from '../support/cut.ts';

/** One call that would have reached the socket. */
export interface Written {
  readonly how: 'write' | 'forward';
  /** The very buffer that was handed over. */
  readonly chunk: Buffer;
  readonly start: number;
  readonly end: number;
  /** A copy of what it said at that time. */
  readonly bytes: Buffer;
}

/** A connection that goes nowhere and remembers what was written. */
export class FakeConn implements Outlet {
  readonly written: Written[] = [];
  /** Answers `write` and `forward` as a connection does whose peer doesn't read. */
  isFull = false;

  write(bytes: Buffer): boolean {
    this.written.push({ how: 'write', chunk: bytes, start: 0, end: bytes.length, bytes: Buffer.from(bytes) });
    return !this.isFull;
  }

  forward(chunk: Buffer, start: number, end: number): boolean {
    this.written.push({ how: 'forward', chunk, start, end, bytes: Buffer.from(chunk.subarray(start, end)) });
    return !this.isFull;
  }

  /** Bytes that were given away still say what they said then. */
  get areUntouched(): boolean {
    return this.written.every(({ how, chunk, bytes }) => how === 'forward' || chunk.equals(bytes));
  }

  /** All bytes so far. */
  get bytes(): Buffer {
    return Buffer.concat(this.written.map(({ bytes }) => bytes));
  }
}

/** The server side's owner: notes events together with how many bytes the client had by then. */
export class FakeResponseHost implements ResponseHost {
  readonly conn = new FakeConn();
  sink: Outlet | null = this.conn;
  readonly events: string[] = [];
  readonly tracker = new RequestTracker();
  readonly stream: ResponseStream;
  onReady: (status: number) => void = () => {};

  constructor(maxPacketSize?: number) {
    this.stream = new ResponseStream(this, this.tracker, maxPacketSize);
  }

  readyForQuery(status: number): void {
    this.events.push(`ready ${String.fromCharCode(status)} at ${this.conn.bytes.length}`);
    this.onReady(status);
  }

  parameterStatus(name: string, value: string): void {
    this.events.push(`${name}=${value}`);
  }

  /** Errors are read, and told apart from what passes. */
  readsErrors = false;

  error(body: Buffer, isSwallowed: boolean): Buffer | null {
    if (isSwallowed) return null;
    this.events.push(`error of ${body.length} bytes`);
    return Buffer.from('error!');
  }

  readonly kept = null;

  sessionTag(tag: SessionTag): void {
    if (tag !== null) this.events.push(tag);
  }

  sinkCongested(): void {
    this.events.push('congested');
  }

  /** Feeds chunks as a server connection does; notes how it ended when that is not well. */
  feed(chunks: readonly Buffer[]): this {
    try {
      feedBorrowed(chunks, (chunk) => {
        const pos = this.stream.feed(chunk, 0, chunk.length);
        if (pos === STREAM_BROKEN) throw new ProtocolViolation('unknown pkt');
        if (pos !== chunk.length) throw new Error(`${pos} of ${chunk.length} consumed`);
      });
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
      this.events.push(`violation: ${error.message}`);
    }
    return this;
  }
}

/** A request that stands in the tracker's queue before a stream of answers begins. */
export type Asked = string | readonly [type: string, action: ReplyAction, payload?: Buffer];

/** Tells the tracker what was asked; letters alone are forwarded. */
export function ask(tracker: RequestTracker, asked: readonly Asked[]): void {
  for (const each of asked) {
    if (typeof each === 'string') for (const letter of each) tracker.sent(letter.charCodeAt(0));
    else tracker.sent(each[0].charCodeAt(0), each[1], each[2] ?? null);
  }
}

/** A linked server that takes everything. */
export class FakeTarget implements RequestTarget {
  readonly conn = new FakeConn();
  readonly tracker = new RequestTracker();
}

/** The client side's owner. By default it is linked from the start; else `needServer` leaves it waiting. */
export class FakeRequestHost implements RequestHost {
  target: FakeTarget | null;
  /** Linked to a server that may not be written to. */
  isHeld = false;
  readonly events: string[] = [];
  onNeed: () => void = () => {};
  onSent: () => void = () => {};
  refusesQuery = false;
  filter: RequestFilter | null = null;
  readonly replies: Buffer[] = [];

  constructor(target: FakeTarget | null = new FakeTarget()) {
    this.target = target;
  }

  get isLinked(): boolean {
    return this.target !== null || this.isHeld;
  }

  reply(bytes: Buffer): void {
    this.replies.push(bytes);
  }

  needAnswers(): void {
    this.events.push('stalled');
  }

  needServer(): void {
    this.events.push('need');
    this.onNeed();
  }

  skipped(): void {
    this.events.push('skipped');
  }

  request(type: number): void {
    this.events.push(String.fromCharCode(type));
  }

  messageSent(): void {
    this.events.push('sent');
    this.onSent();
  }

  terminate(): void {
    this.events.push('terminate');
  }

  violation(text: string): void {
    this.events.push(`violation: ${text}`);
  }

  targetCongested(): void {
    this.events.push('congested');
  }
}

/** All the cuttings of wire tests, and some random ones with a few chunks of any size. */
export function* allCuttings(bytes: Buffer, seed: number): Generator<Cutting> {
  yield* cuttings(bytes);
  const places = fc.array(fc.nat(bytes.length), { maxLength: 6 });
  for (const [i, cuts] of fc.sample(places, { numRuns: 50, seed }).entries()) {
    const ends = [...cuts.sort((a, b) => a - b), bytes.length];
    const chunks = ends.map((end, k) => Buffer.from(bytes.subarray(ends[k - 1] ?? 0, end)));
    yield { name: `seed ${seed}, random ${i}`, chunks: chunks.filter((chunk) => chunk.length > 0) };
  }
}
