import type { Conn } from '../net/conn.ts';
import type { Pool } from '../pool/pool.ts';
import type { Statement } from '../prepared/statement.ts';
import type { TextBudget } from '../prepared/text-budget.ts';
import type { RequestStream, RequestTarget } from '../relay/request-stream.ts';
import type { ClientConnection } from './connection.ts';
import { HeldBytes } from './held-bytes.ts';
import { KeptStretch, type StretchHost } from './kept-stretch.ts';

/** What a waiting client may send ahead and still be read. Bytes. */
const HOLD_LIMIT = 64 * 1024;

/** A session's bytes from its client: fed to its requests at once, or held until they can be. */
export abstract class Intake implements StretchHost {
  abstract readonly connection: ClientConnection;
  abstract readonly conn: Conn;
  abstract readonly pool: Pool;
  /** The linked server once it may be written to. */
  target: RequestTarget | null = null;
  readonly held: HeldBytes;
  readonly kept = new KeptStretch(this);
  protected abstract readonly requests: RequestStream;
  /** Bytes are held instead of fed: the client waits, or its server is being prepared. */
  protected isHolding = true;
  protected isFeeding = false;
  protected targetIsCongested = false;
  /** Answers wait to be taken: no new work is begun for it before. */
  protected awaitsDrain = false;
  #forwardedBytes = 0;
  /** Something was thrown while requests were being sent. */
  #isCutShort = false;

  constructor(budget: TextBudget) {
    this.held = new HeldBytes(budget);
  }

  abstract readsAlike(statement: Statement): boolean;

  /** The client has stopped in the middle of something that has to be seen whole. */
  abstract waitsForMore(): void;

  /** What was held back goes on. */
  abstract goOn(): void;

  get atBoundary(): boolean {
    return this.requests.atBoundary;
  }

  get isWholeSent(): boolean {
    return this.atBoundary && !this.#isCutShort;
  }

  get isTaking(): boolean {
    return !this.awaitsDrain;
  }

  /** Bytes kept for a server that isn't there yet. */
  get heldBytes(): number {
    return this.held.length;
  }

  /** Bytes of the current message that are still to come. */
  get messageBytesLeft(): number {
    return this.requests.scanner.bodyLeft;
  }

  bytes(chunk: Buffer, end: number): void {
    const { needBytes } = this.requests;
    if (!this.isHolding && needBytes === 0) {
      this.#feed(chunk, end);
      return;
    }
    if (this.kept.isHeld) {
      this.#keep(chunk, end);
      return;
    }
    this.#hold(chunk, 0, end);
    if (!this.isHolding && this.held.length >= needBytes) this.letGo();
  }

  hold(): void {
    this.target = null;
    this.isHolding = true;
  }

  keepAll(): void {
    this.isHolding = true;
    if (this.atBoundary) this.target = null;
  }

  goOnWith(bytes: Buffer, from: number, isAgain: boolean): void {
    if (isAgain) this.requests.scanner.unread();
    // There may be no room for them any more, which is no fault of the server's.
    this.connection.guard(() => {
      this.held.add(bytes, from, bytes.length);
      this.goOn();
    });
  }

  /** Feeds what was held, then reads on. */
  protected letGo(): void {
    this.isHolding = false;
    const { length } = this.held;
    const bytes = this.held.takeBuffer();
    if (length > 0) this.#feed(bytes, length);
    HeldBytes.giveBack(bytes);
    this.updateReading();
  }

  protected updateReading(): void {
    // Beside what is held, a kept copy is no reason to wait: what would end it may be still to come.
    const isFull = this.kept.isHeld
      ? this.kept.length > HOLD_LIMIT
      : this.held.length > Math.max(HOLD_LIMIT, this.requests.needBytes);
    if (this.targetIsCongested || isFull) this.conn.pause();
    else this.conn.resume();
  }

  /** While the kept stretch is held: sends what is missing of a message, and no more. */
  #keep(chunk: Buffer, end: number): void {
    const rest = Math.min(end, this.messageBytesLeft);
    if (rest > 0) this.#feed(chunk, rest);
    if (this.atBoundary) this.target = null;
    this.kept.add(chunk, rest, end);
    this.updateReading();
  }

  #feed(chunk: Buffer, end: number): void {
    const { requests } = this;
    this.isFeeding = true;
    let pos = -1;
    try {
      pos = requests.feed(chunk, 0, end);
    } finally {
      this.isFeeding = false;
      this.#isCutShort = pos < 0;
    }
    this.pool.stats.received += requests.forwardedBytes - this.#forwardedBytes;
    this.#forwardedBytes = requests.forwardedBytes;
    const early = pos < end ? requests.takeHeader() : null;
    if (this.kept.isKeeping) this.kept.keep(chunk, pos, early?.length ?? 0);
    if (pos >= end || this.connection.isClosing) return;
    if (early !== null) this.held.add(early, 0, early.length);
    this.#hold(chunk, pos, end);
    if (requests.needBytes > 0) this.waitsForMore();
  }

  /** Copies `chunk[start, end)`: it is borrowed. */
  #hold(chunk: Buffer, start: number, end: number): void {
    this.held.add(chunk, start, end);
    this.updateReading();
  }
}
