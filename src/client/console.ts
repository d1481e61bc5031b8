import { authenticationOk } from '../wire/authentication.ts';
import { backendKeyData } from '../wire/backend-key-data.ts';
import { FramedReader } from '../wire/framed-reader.ts';
import { parameterStatus } from '../wire/parameter-status.ts';
import { fatal } from '../wire/pg-error.ts';
import { readyForQueryIdle } from '../wire/ready-for-query.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';
import { HeldBytes } from './held-bytes.ts';
import type { ConsoleAnswer, ConsoleSession } from './services.ts';

/** What a console client may send ahead before it is not read any more. Bytes. */
const HOLD_LIMIT = 64 * 1024;

/** A console that takes nothing of its answers for so long is closed: they are large, and no other limit is its. */
const UNREAD_LIMIT_MS = 5 * 60_000;

/** So much of an answer is written at once: how much of what was written has been taken, streams tell only when all is. */
const SLICE_BYTES = 64 * 1024;

/** The admin console's client: one message at a time, each answered, and the answer taken, before the next is read. */
export class ConsolePhase implements ClientPhase {
  readonly #connection: ClientConnection;
  readonly #session: ConsoleSession;
  readonly #reader: FramedReader;
  readonly #abort = new AbortController();
  /** A command runs, or its answer waits for the client to take it. */
  #isBusy = false;
  /** What is to be done as soon as the client has taken what it was sent. */
  #whenDrained: (() => void) | null = null;
  /** A part of an answer waits for that. */
  #isMidAnswer = false;
  /** Of its answers when that was last less, or nothing, and when that was, monotonic ms. */
  #unreadBytes = 0;
  #takenMs: number;
  readonly #held = new HeldBytes();
  /** When the latest message came, monotonic ms. */
  requestMs: number;

  constructor(connection: ClientConnection, session: ConsoleSession) {
    this.#connection = connection;
    this.#session = session;
    this.requestMs = connection.connectMs;
    this.#takenMs = connection.services.clock.nowMs();
    // What is over the console's limit is let through, within reason, so that it can name the error itself.
    this.#reader = new FramedReader(
      Math.max(HOLD_LIMIT, session.maxBodyBytes),
      () => true,
      (type, body) => this.#message(type, body),
      (hex) => `bad packet header: '${hex}'`,
    );
    const parameters = session.welcome.map(([name, value]) => parameterStatus(name, value));
    connection.conn.write(
      Buffer.concat([
        authenticationOk(),
        ...parameters,
        backendKeyData(session.cancelKey),
        readyForQueryIdle,
      ]),
    );
  }

  /** What the client gave when it connected; empty = nothing. */
  get applicationName(): string {
    return this.#session.welcome.findLast(([name]) => name === 'application_name')?.[1] ?? '';
  }

  bytes(chunk: Buffer, end: number): void {
    if (this.#isBusy) {
      this.#hold(chunk, 0, end);
      return;
    }
    const pos = this.#reader.feed(chunk, 0, end);
    if (pos < end) this.#hold(chunk, pos, end);
  }

  drained(): void {
    this.#takenMs = this.#connection.services.clock.nowMs();
    this.#goOnDrained();
  }

  isMidAnswer(): boolean {
    return this.#isMidAnswer;
  }

  /** The console is exempt from every timeout, but it has to read. */
  sweep(nowMs: number): void {
    const bytes = this.#connection.conn.pendingBytes;
    if (bytes === 0 || bytes < this.#unreadBytes) this.#takenMs = nowMs;
    this.#unreadBytes = bytes;
    if (nowMs - this.#takenMs > UNREAD_LIMIT_MS) this.#connection.fail(fatal('console answers are not read'));
  }

  closing(): void {
    this.#abort.abort();
    this.#session.closed();
    this.#goOnDrained();
  }

  #message(type: number, body: Buffer): boolean {
    this.#isBusy = true;
    this.requestMs = this.#connection.services.clock.nowMs();
    const connection = this.#connection;
    this.#session
      .message(type, body, this.#abort.signal, (bytes) => this.#send(bytes))
      .then(
        // Guarded: nobody else catches what is thrown from here on, and it would end the process.
        (answer) => connection.guard(() => this.#answer(answer)),
        (error) => connection.onFault(error),
      );
    return false;
  }

  #answer({ bytes, closeReason, error }: ConsoleAnswer): void {
    const connection = this.#connection;
    if (connection.isClosing) return;
    if (closeReason !== null) connection.close(closeReason, bytes);
    if (error !== null) connection.logError(error);
    if (closeReason === null) this.#write(bytes, () => this.#goOn());
  }

  /** Resolves when the client may be sent more, or is gone. */
  #send(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => this.#write(bytes, resolve));
  }

  /**
   * Calls when the client may be sent more, or is gone: answers to one that asks on and never reads would pile up.
   */
  #write(bytes: Buffer, call: () => void): void {
    const connection = this.#connection;
    const { conn } = connection;
    for (let pos = 0; pos < bytes.length && !connection.isClosing; ) {
      conn.write(bytes.subarray(pos, pos + SLICE_BYTES));
      pos += SLICE_BYTES;
      this.#isMidAnswer = pos < bytes.length;
      if (conn.isCongested) {
        this.#whenDrained = () => this.#write(bytes.subarray(pos), call);
        return;
      }
    }
    call();
  }

  #goOnDrained(): void {
    const call = this.#whenDrained;
    this.#whenDrained = null;
    call?.();
  }

  #goOn(): void {
    if (this.#connection.isClosing) return;
    this.#isBusy = false;
    const held = this.#held.take();
    this.#connection.conn.resume();
    if (held.length > 0) this.#connection.onBytes(held, held.length);
  }

  /** A console client may type ahead, within reason: beyond it is not read until the command is answered. */
  #hold(chunk: Buffer, start: number, end: number): void {
    this.#held.add(chunk, start, end);
    if (this.#held.length > HOLD_LIMIT) this.#connection.conn.pause();
  }
}
