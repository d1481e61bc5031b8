import type { ListNode } from '../base/list.ts';
import type { Conn } from '../net/conn.ts';
import type { ClientState, PoolClient, PoolServer } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import type { ClientEnd, ServerEnd } from '../relay/link.ts';
import { isAnswered, type RequestHost, RequestStream, type RequestTarget } from '../relay/request-stream.ts';
import type { RequestNote } from '../relay/outstanding.ts';
import type { RequestFilter } from '../relay/request-filter.ts';
import type { ExtraParameters } from '../relay/extra-parameters.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { errorOf, fatal, type PgErrorFields } from '../wire/pg-error.ts';
import { alignServer } from './alignment.ts';
import { newCancelKey } from './cancel-key.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';
import { HeldBytes } from './held-bytes.ts';
import { loginReply } from './login-reply.ts';
import { overdue, queuedNotice } from './overdue.ts';
import { QueryTimes } from './query-times.ts';
import { KeptStretch } from './kept-stretch.ts';
import { SessionStatements } from './session-statements.ts';

/** What a waiting client may send ahead before it is not read any more. Bytes. */
const HOLD_LIMIT = 64 * 1024;

/**
 * A logged-in client: idle, waiting for a server, or linked to one.
 *
 * | state | bytes from the client | leaves by |
 * | --- | --- | --- |
 * | waiting_login | held | welcomeReady → idle |
 * | idle | first message that needs a server: acquire | linked, or waiting |
 * | waiting, aligning | held, read on up to a limit so that a disconnect is seen | linked |
 * | linked | forwarded in runs | unlinked → idle |
 */
export class ClientSession implements ClientPhase, PoolClient, RequestHost, ClientEnd {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  state: ClientState = 'login';
  waitStartMs = 0;
  readonly times: QueryTimes;
  readonly id: number;
  readonly connection: ClientConnection;
  readonly pool: Pool;
  readonly parameters: TrackedValues;
  extras: ExtraParameters;
  readonly given: ExtraParameters;
  /** What BackendKeyData told the client; CancelRequest brings it back. */
  readonly cancelKey: Buffer = newCancelKey();
  /** The linked server once it may be written to. */
  target: RequestTarget | null = null;

  /** The client waits for answers: {@link goOn} when they may have come. */
  isStalled = false;

  readonly #requests: RequestStream;
  readonly prepared: SessionStatements;
  #server: (PoolServer & ServerEnd) | null = null;
  #isFeeding = false;
  /** Bytes are kept instead of fed: the client waits, or its server is being prepared. */
  #isHolding = true;
  readonly held: HeldBytes;
  readonly kept = new KeptStretch(this);
  #targetIsCongested = false;
  idleSinceMs: number;
  #forwardedBytes = 0;
  wasToldToWait = false;
  /** Answers wait to be taken: no new work is begun for it before. */
  #awaitsDrain = false;
  /** The last link ended inside a message of the server. */
  #isMidAnswer = false;

  constructor(connection: ClientConnection, pool: Pool, parameters: TrackedValues, extras: ExtraParameters) {
    this.connection = connection;
    this.id = connection.id;
    this.pool = pool;
    this.parameters = parameters;
    this.extras = extras;
    this.given = extras;
    this.times = new QueryTimes(connection.connectMs);
    this.idleSinceMs = connection.services.clock.nowMs();
    this.prepared = new SessionStatements(connection.services.statements, this);
    this.held = new HeldBytes(connection.services.statements.budget);
    this.#requests = new RequestStream(this, connection.services.settings().maxPacketSize);
  }

  get conn(): Conn {
    return this.connection.conn;
  }

  get atBoundary(): boolean {
    return this.#requests.atBoundary;
  }

  get tracked(): TrackedParameters {
    return this.connection.services.tracked;
  }

  parameter(name: string): string | null {
    return this.parameters[this.tracked.indexOf(name)] ?? null;
  }

  get server(): (PoolServer & ServerEnd) | null {
    return this.#server;
  }

  /** Bytes kept for a server that isn't there yet. */
  get heldBytes(): number {
    return this.held.length;
  }

  /** Bytes of the current message that are still to come. */
  get messageBytesLeft(): number {
    return this.#requests.scanner.bodyLeft;
  }

  /** The client has proved who it is: on to the pool, whose welcome data may have to be waited for. */
  start(): void {
    this.connection.services.addSession(this);
    if (this.pool.join(this)) this.welcomeReady();
  }

  bytes(chunk: Buffer, end: number): void {
    const { needBytes } = this.#requests;
    if (!this.#isHolding && needBytes === 0) {
      this.#feed(chunk, end);
      return;
    }
    if (this.kept.isHeld) {
      this.#keep(chunk, end);
      return;
    }
    this.#hold(chunk, 0, end);
    if (!this.#isHolding && this.held.length >= needBytes) this.#letGo();
  }

  get isTaking(): boolean {
    return !this.#awaitsDrain;
  }

  keepAll(): void {
    this.#isHolding = true;
    if (this.atBoundary) this.target = null;
  }

  /** While the kept stretch is held: sends what is missing of a message, and no more. */
  #keep(chunk: Buffer, end: number): void {
    const rest = Math.min(end, this.messageBytesLeft);
    if (rest > 0) this.#feed(chunk, rest);
    if (this.atBoundary) this.target = null;
    this.kept.add(chunk, rest, end);
    this.#updateReading();
  }

  goOnWith(bytes: Buffer, from: number, isAgain: boolean): void {
    if (isAgain) this.#requests.scanner.unread();
    this.held.add(bytes, from, bytes.length);
    this.goOn();
  }

  drained(): void {
    this.#server?.sinkDrained();
    if (!this.#awaitsDrain) return;
    this.#awaitsDrain = false;
    this.#letGo();
  }

  isMidAnswer(): boolean {
    return this.#isMidAnswer || this.#server?.sinkAtBoundary === false;
  }

  sweep(nowMs: number): void {
    const due = overdue(this, nowMs);
    if (due === null) return;
    if (due !== 'notify') {
      this.connection.fail(due);
      return;
    }
    this.wasToldToWait = true;
    this.conn.write(queuedNotice);
  }

  closing(): void {
    this.#requests.stop();
    this.#isHolding = true;
    this.held.clear();
    this.connection.services.removeSession(this);
    const server = this.#server;
    if (server !== null) {
      if (this.atBoundary && server.isClean()) this.pool.release(server);
      else this.pool.closeServer(server, this.#dirtyReason(server));
    }
    this.pool.leave(this);
    this.kept.end();
    this.prepared.end();
  }

  welcomeReady(): void {
    this.connection.guard(() => this.#welcome());
  }

  #welcome(): void {
    const { services } = this.connection;
    const welcome = this.pool.welcome ?? [];
    const notice = services.settings().loginNotifyMessage;
    this.conn.write(
      loginReply(welcome, services.tracked, this.parameters, this.extras, this.cancelKey, notice),
    );
    this.idleSinceMs = services.clock.nowMs();
    this.#letGo();
  }

  linked(server: PoolServer): void {
    // The daemon builds both sides: every server of a pool is also the other end of a link.
    const end = server as PoolServer & ServerEnd;
    this.#server = end;
    this.wasToldToWait = false;
    try {
      this.#align(end);
    } catch (error) {
      // On another connection's call stack, usually: it must not be taken for that one's fault.
      this.connection.onFault(error);
    }
  }

  #align(end: PoolServer & ServerEnd): void {
    this.#isHolding = true;
    alignServer(this.tracked, this, end, (error) => {
      if (this.#server !== end) return;
      if (error === null) this.#begin(end);
      else this.pool.closeLinked(end, 'var change failed', errorOf(error, 'invalid server parameter'));
    });
  }

  unlinked(): void {
    this.#isMidAnswer = this.#server?.sinkAtBoundary === false;
    this.#server = null;
    this.target = null;
    this.idleSinceMs = this.connection.services.clock.nowMs();
    this.#targetIsCongested = false;
    this.prepared.unlinked();
    this.#updateReading();
  }

  refused(error: PgErrorFields): void {
    this.connection.fail(error);
  }

  needServer(): void {
    // Linked, but the server is being probed; or a client that pipelines and never reads would pile up answers here,
    // one link after the other.
    if (this.#server !== null || this.conn.isCongested) {
      this.#awaitsDrain ||= this.#server === null;
      this.#isHolding = true;
      return;
    }
    this.#openQuery();
    const refusal = this.connection.services.refusesQueries();
    if (refusal !== null) {
      this.connection.fail(refusal);
      return;
    }
    this.pool.acquire(this);
    if (this.target === null) this.#isHolding = true;
  }

  get filter(): RequestFilter | null {
    return this.prepared.filter;
  }

  reply(bytes: Buffer): void {
    if (this.conn.write(bytes)) return;
    // Nothing else holds back a client that never reads answers of ours.
    this.#awaitsDrain = true;
    this.#isHolding = true;
  }

  needAnswers(): void {
    this.isStalled = true;
    this.#isHolding = true;
  }

  get refusesQuery(): boolean {
    return this.connection.services.settings().disablePqexec;
  }

  request(type: number): void {
    if (this.queryStartMs === 0 && isAnswered(type)) this.#openQuery();
  }

  messageSent(): void {
    if (this.pool.limits.poolMode !== 'session') this.#server?.releaseIfDone();
  }

  terminate(): void {
    this.connection.close('client close request');
  }

  violation(text: string): void {
    this.connection.fail(fatal(text));
  }

  targetCongested(): void {
    this.#targetIsCongested = true;
    this.#updateReading();
  }

  hold(): void {
    this.target = null;
    this.#isHolding = true;
  }

  goOn(): void {
    this.isStalled = false;
    this.target = this.#server;
    this.connection.guard(() => this.#letGo());
  }

  error(body: Buffer, note: RequestNote | null): Buffer {
    return this.prepared.error(body, note);
  }

  statementsDropped(): void {
    this.prepared.statements.clear();
  }

  targetDrained(): void {
    this.#targetIsCongested = false;
    this.#updateReading();
  }

  answered(status: number, isQuiet: boolean): void {
    if (isQuiet) this.times.answered(status, this.connection.services.clock.nowMs(), this.pool.stats);
  }

  get queryStartMs(): number {
    return this.times.queryStartMs;
  }

  get xactStartMs(): number {
    return this.times.xactStartMs;
  }

  #openQuery(): void {
    this.times.open(this.connection.services.clock.nowMs(), this.pool.stats);
  }

  /** The server is ready to be written to. */
  #begin(server: ServerEnd): void {
    this.target = server;
    // Inside feed, the stream that asked goes on by itself.
    if (this.#isFeeding) this.#isHolding = false;
    else this.#letGo();
  }

  /** Feeds what was held, then reads on. */
  #letGo(): void {
    this.#isHolding = false;
    const { length } = this.held;
    const bytes = this.held.takeBuffer();
    if (length > 0) this.#feed(bytes, length);
    HeldBytes.giveBack(bytes);
    this.#updateReading();
  }

  #feed(chunk: Buffer, end: number): void {
    const requests = this.#requests;
    this.#isFeeding = true;
    let pos: number;
    try {
      pos = requests.feed(chunk, 0, end);
    } finally {
      this.#isFeeding = false;
    }
    this.pool.stats.received += requests.forwardedBytes - this.#forwardedBytes;
    this.#forwardedBytes = requests.forwardedBytes;
    const early = pos < end ? requests.takeHeader() : null;
    if (this.kept.isKeeping) this.kept.keep(chunk, pos, early?.length ?? 0);
    if (pos >= end || this.connection.isClosing) return;
    if (early !== null) this.held.add(early, 0, early.length);
    this.#hold(chunk, pos, end);
  }

  /** Copies `chunk[start, end)`: it is borrowed. */
  #hold(chunk: Buffer, start: number, end: number): void {
    this.held.add(chunk, start, end);
    this.#updateReading();
  }

  #updateReading(): void {
    const limit = Math.max(HOLD_LIMIT, this.#requests.needBytes);
    if (this.#targetIsCongested || this.held.length + this.kept.length > limit) this.conn.pause();
    else this.conn.resume();
  }

  #dirtyReason(server: PoolServer): string {
    const isBusy = server.isIdleInTransaction() || this.queryStartMs > 0;
    return `client disconnect${isBusy ? ' while server was not ready' : 'ed with query in progress'}`;
  }
}
