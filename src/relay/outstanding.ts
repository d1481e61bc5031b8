import type { Statement } from '../prepared/statement.ts';
import { FrontendType as F } from '../wire/codes.ts';

/** What happens with the answer to a request that was sent to a server connection. */
export const ReplyAction = {
  /** The client asked and gets the answer as it comes (also when the request was rewritten on its way). */
  Forward: 0,
  /** pgweir asked; the client never sees the answer. */
  Swallow: 1,
  /**
   * Nothing was sent to the server; the stored bytes are the answer, due when all earlier ones are out. With
   * nothing owed they are due at once: then the sender writes them itself and the queue hears nothing of it.
   */
  Synthesize: 2,
  /** The client asked; one answer message is replaced by the stored bytes. */
  Rewrite: 3,
} as const;
export type ReplyAction = (typeof ReplyAction)[keyof typeof ReplyAction];

/**
 * What hangs on one request's answer. A request of several statements is told of each; what it was not told of by
 * its end has failed or was skipped.
 */
export interface RequestNote {
  /** The request (the next statement of it) was done. */
  step(): void;
  /** Its answer is complete, or it was skipped. Called once. */
  end(): void;
  /** What the client calls the statement that has `serverName` on servers, in this request; null: it may say elsewhere. */
  nameOf(serverName: string): string | null;
  /** The statement that the request builds on: when the server doesn't know it any more, that has to be noticed. */
  readonly uses: Statement | null;
  /** The statement that it has the server prepare, which cannot be there yet. */
  readonly gives?: Statement | null;
  /** As {@link uses}: what its text names, by EXECUTE and DEALLOCATE. */
  readonly based?: Iterable<Statement>;
  /** All but the last of its statements are done, and that one, which changes something, may be. */
  readonly isAtLast?: boolean;
  /** ParameterDescription (borrowed) in answer to a Describe of ours. */
  parameters?(body: Buffer): void;
  /** Behind that RowDescription (borrowed; null: NoData), when the request counts as done already. */
  rows?(body: Buffer | null): void;
  /** A position in the text that was sent, counted in characters from 1, as one in the client's own text. */
  position(sent: number): number;
}

/** Hangs on a Query whose text was not read to its end: what its statements are is not known before their answers. */
export class UnreadText implements RequestNote {
  readonly uses = null;
  /** Names that it gives are to be those for servers. */
  readonly hidesNames: boolean;
  readonly #over: () => void;

  /** `over` is called once the Query is answered. */
  constructor(hidesNames: boolean, over: () => void = () => {}) {
    this.hidesNames = hidesNames;
    this.#over = over;
  }

  step(): void {}

  end(): void {
    this.#over();
  }

  nameOf(): null {
    return null;
  }

  position(sent: number): number {
    return sent;
  }
}

/** Entries that there is room for at first. */
const FIRST_SIZE = 16;

/** Room for more is given back when the queue is cleared. */
const KEPT_SIZE = 4096;

/**
 * FIFO of the requests whose answer is not complete, one per server connection: a ring, no allocation in the
 * steady state. An entry is the request's message type, what to do with its answer, bytes where the action needs
 * them, and a note where something hangs on the answer. Source: manual, `protocol-flow`.
 */
export class OutstandingQueue {
  #types: Uint8Array = new Uint8Array(FIRST_SIZE);
  #actions: Uint8Array = new Uint8Array(FIRST_SIZE);
  #payloads: (Buffer | null)[] = new Array<Buffer | null>(FIRST_SIZE).fill(null);
  #notes: (RequestNote | null)[] = new Array<RequestNote | null>(FIRST_SIZE).fill(null);
  #head = 0;
  #length = 0;
  /** Entries by {@link KIND}. */
  readonly #counts = new Uint32Array(6);

  get length(): number {
    return this.#length;
  }

  /** Type of the oldest entry, 0 when there is none. */
  get headType(): number {
    return this.#length === 0 ? 0 : (this.#types[this.#head] as number);
  }

  /** Type of the newest entry, 0 when there is none. */
  get lastType(): number {
    return this.#length === 0 ? 0 : this.typeAt(this.#length - 1);
  }

  /** Action of the oldest entry; Forward when there is none, for unasked messages are the client's. */
  get headAction(): number {
    return this.#length === 0 ? ReplyAction.Forward : (this.#actions[this.#head] as number);
  }

  get headPayload(): Buffer | null {
    return this.#length === 0 ? null : (this.#payloads[this.#head] as Buffer | null);
  }

  get headNote(): RequestNote | null {
    return this.#length === 0 ? null : (this.#notes[this.#head] as RequestNote | null);
  }

  get syncs(): number {
    return this.#counts[SYNC] as number;
  }

  /** Of Query and FunctionCall. */
  get queries(): number {
    return this.#counts[QUERY] as number;
  }

  /** A COPY IN may be under way, or begin before what is sent now is read. */
  get mayCopy(): boolean {
    return this.#counts[EXECUTE] !== 0 || this.#counts[QUERY] !== 0;
  }

  /** Of CopyDone and CopyFail. */
  get copyEnds(): number {
    return this.#counts[COPY_END] as number;
  }

  get copyData(): number {
    return this.#counts[COPY_DATA] as number;
  }

  push(
    type: number,
    action: ReplyAction = ReplyAction.Forward,
    payload: Buffer | null = null,
    note: RequestNote | null = null,
  ): void {
    if (this.#length === this.#types.length) this.#resize(this.#length * 2);
    const at = (this.#head + this.#length) & (this.#types.length - 1);
    this.#types[at] = type;
    this.#actions[at] = action;
    this.#payloads[at] = payload;
    this.#notes[at] = note;
    this.#length++;
    this.#count(type, 1);
  }

  /** The answer to the newest entry is none of the client's. */
  swallowLast(): void {
    this.#actions[(this.#head + this.#length - 1) & (this.#types.length - 1)] = ReplyAction.Swallow;
  }

  /** Takes the oldest entry out; there must be one. */
  pop(): void {
    const note = this.#notes[this.#head] as RequestNote | null;
    this.#payloads[this.#head] = null;
    this.#notes[this.#head] = null;
    this.#count(this.#types[this.#head] as number, -1);
    this.#head = (this.#head + 1) & (this.#types.length - 1);
    this.#length--;
    note?.end();
  }

  /** Type of the entry at `index` from the head. */
  typeAt(index: number): number {
    return this.#types[(this.#head + index) & (this.#types.length - 1)] as number;
  }

  /** Action of the entry at `index` from the head. */
  actionAt(index: number): number {
    return this.#actions[(this.#head + index) & (this.#types.length - 1)] as number;
  }

  /** Index of the first entry of `type` at or behind `from`, or -1. */
  indexOf(type: number, from = 0): number {
    for (let i = from; i < this.#length; i++) if (this.typeAt(i) === type) return i;
    return -1;
  }

  /** The requests from the head to `count` will not be done any more: so much for what hangs on them. */
  endNotes(count: number): void {
    for (let i = 0; i < count; i++) {
      const at = (this.#head + i) & (this.#types.length - 1);
      const note = this.#notes[at] as RequestNote | null;
      this.#notes[at] = null;
      note?.end();
    }
  }

  /**
   * Takes out the `count` entries behind the oldest one; `keepsOurs`: but for those that were never sent, whose answers
   * are still due. What stands behind them stays where it is: that may be far more.
   */
  removeBehindHead(count: number, keepsOurs: boolean): void {
    const mask = this.#types.length - 1;
    const stays = (i: number) => i === 0 || (keepsOurs && this.actionAt(i) === ReplyAction.Synthesize);
    for (let i = 1; i <= count; i++) {
      if (stays(i)) continue;
      this.#count(this.typeAt(i), -1);
      this.#notes[(this.#head + i) & mask]?.end();
    }
    let free = count;
    for (let i = count; i >= 0; i--) {
      if (!stays(i)) continue;
      const from = (this.#head + i) & mask;
      const to = (this.#head + free--) & mask;
      if (from === to) continue;
      this.#types[to] = this.#types[from] as number;
      this.#actions[to] = this.#actions[from] as number;
      this.#payloads[to] = this.#payloads[from] as Buffer | null;
      this.#notes[to] = this.#notes[from] as RequestNote | null;
    }
    for (let i = 0; i <= free; i++) {
      this.#payloads[(this.#head + i) & mask] = null;
      this.#notes[(this.#head + i) & mask] = null;
    }
    this.#head = (this.#head + free + 1) & mask;
    this.#length -= free + 1;
  }

  clear(): void {
    while (this.#length > 0) this.pop();
    if (this.#types.length > KEPT_SIZE) this.#resize(FIRST_SIZE);
  }

  #count(type: number, by: number): void {
    const kind = KIND[type] as number;
    this.#counts[kind] = (this.#counts[kind] as number) + by;
  }

  #resize(size: number): void {
    const types = new Uint8Array(size);
    const actions = new Uint8Array(size);
    const payloads = new Array<Buffer | null>(size).fill(null);
    const notes = new Array<RequestNote | null>(size).fill(null);
    for (let i = 0; i < this.#length; i++) {
      const at = (this.#head + i) & (this.#types.length - 1);
      types[i] = this.#types[at] as number;
      actions[i] = this.#actions[at] as number;
      payloads[i] = this.#payloads[at] as Buffer | null;
      notes[i] = this.#notes[at] as RequestNote | null;
    }
    this.#types = types;
    this.#actions = actions;
    this.#payloads = payloads;
    this.#notes = notes;
    this.#head = 0;
  }
}

/** Kinds of requests that are counted; 0 for all others. */
const SYNC = 1;
const QUERY = 2;
const COPY_END = 3;
const COPY_DATA = 4;
const EXECUTE = 5;
const KIND = new Uint8Array(256);
KIND[F.Sync] = SYNC;
KIND[F.Query] = QUERY;
KIND[F.FunctionCall] = QUERY;
KIND[F.CopyDone] = COPY_END;
KIND[F.CopyFail] = COPY_END;
KIND[F.CopyData] = COPY_DATA;
KIND[F.Execute] = EXECUTE;
