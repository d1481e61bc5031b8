import type { ListNode } from '../base/list.ts';
import type { Conn } from '../net/conn.ts';
import type { ClientState, PoolClient, PoolServer } from '../pool/peers.ts';
import type { WelcomeData } from '../pool/context.ts';
import type { Pool } from '../pool/pool.ts';
import type { Statement } from '../prepared/statement.ts';
import type { ClientEnd, ServerEnd } from '../relay/link.ts';
import { type RequestHost, RequestStream } from '../relay/request-stream.ts';
import { isAnswered } from '../relay/room.ts';
import type { RequestNote } from '../relay/outstanding.ts';
import type { RequestFilter } from '../relay/request-filter.ts';
import type { ExtraParameters } from '../relay/extra-parameters.ts';
import { GivenParameters } from '../relay/given-parameters.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { TxStatus } from '../wire/codes.ts';
import { errorResponse } from '../wire/error-response.ts';
import { errorOf, fatal, type PgErrorFields, SqlState } from '../wire/pg-error.ts';
import { readyForQueryIdle } from '../wire/ready-for-query.ts';
import { type AlignmentFailure, alignServer, isAligned, mayDependOnServer, sparesBase } from './alignment.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';
import { type DepartedClient, leaveServer } from './departure.ts';
import { Intake } from './intake.ts';
import { loginReply } from './login-reply.ts';
import { QueryTimes } from './query-times.ts';
import { sweepSession } from './session-sweep.ts';
import { SessionStatements } from './session-statements.ts';

const CANCELED = errorResponse({
  severity: 'ERROR',
  sqlstate: SqlState.queryCanceled,
  message: 'canceling statement due to user request',
});

/** So many servers may refuse what a client gave, where others have used them, before it is the client's fault. */
const MAX_REFUSALS = 3;

/** Not given yet. */
const NO_KEY = Buffer.alloc(0);

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
export class ClientSession
  extends Intake
  implements ClientPhase, PoolClient, RequestHost, ClientEnd, DepartedClient
{
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
  readonly given: GivenParameters;
  /** What BackendKeyData tells the client; CancelRequest brings it back. Given at {@link start}. */
  cancelKey: Buffer = NO_KEY;
  saidGoodbye = false;
  idleSinceMs: number;
  wasToldToWait = false;

  /** The client waits for answers: {@link goOn} when they may have come. */
  isStalled = false;

  protected readonly requests: RequestStream;
  readonly prepared: SessionStatements;
  #server: (PoolServer & ServerEnd) | null = null;
  /** So many servers in turn have refused what the client gave. */
  #refusals = 0;
  /** The last link ended inside a message of the server. */
  #isMidAnswer = false;

  constructor(connection: ClientConnection, pool: Pool, parameters: TrackedValues, extras: ExtraParameters) {
    super(connection.services.statements.budget);
    this.connection = connection;
    this.id = connection.id;
    this.pool = pool;
    this.parameters = parameters;
    this.extras = extras;
    this.given = new GivenParameters(connection.services.tracked, parameters, extras);
    this.times = new QueryTimes(connection.connectMs);
    this.idleSinceMs = connection.services.clock.nowMs();
    this.prepared = new SessionStatements(connection.services.statements, this);
    this.requests = new RequestStream(this, connection.services.settings().maxPacketSize);
  }

  get conn(): Conn {
    return this.connection.conn;
  }

  get isLinked(): boolean {
    return this.#server !== null;
  }

  get isServed(): boolean {
    return this.target !== null;
  }

  get isWaiting(): boolean {
    return this.state === 'waiting';
  }

  get tracked(): TrackedParameters {
    return this.connection.services.tracked;
  }

  parameter(name: string): string | null {
    return this.parameters[this.tracked.indexOf(name)] ?? this.extras.get(name.toLowerCase()) ?? null;
  }

  get server(): (PoolServer & ServerEnd) | null {
    return this.#server;
  }

  /** The client has proved who it is: on to the pool, whose welcome data may have to be waited for. */
  start(): void {
    this.cancelKey = this.connection.services.addSession(this);
    if (this.pool.join(this)) this.welcomeReady();
  }

  /** What the server reports that the login ends with. */
  protected get welcome(): WelcomeData {
    return this.pool.welcome ?? [];
  }

  drained(): void {
    this.#server?.sinkDrained();
    if (!this.awaitsDrain) return;
    this.awaitsDrain = false;
    this.letGo();
  }

  isMidAnswer(): boolean {
    return this.#isMidAnswer || this.#server?.sinkAtBoundary === false;
  }

  sweep(nowMs: number): void {
    sweepSession(this, nowMs);
  }

  closing(): void {
    this.requests.stop();
    this.isHolding = true;
    this.held.clear();
    this.connection.services.removeSession(this);
    const server = this.#server;
    try {
      if (server !== null) leaveServer(this, server);
    } finally {
      this.pool.leave(this);
    }
    this.kept.end();
    this.prepared.end();
  }

  welcomeReady(): void {
    this.connection.guard(() => this.#welcome());
  }

  #welcome(): void {
    const { services } = this.connection;
    const notice = services.settings().loginNotifyMessage;
    this.conn.write(
      loginReply(this.welcome, services.tracked, this.parameters, this.extras, this.cancelKey, notice),
    );
    this.idleSinceMs = services.clock.nowMs();
    this.letGo();
  }

  leaveIfGone(): boolean {
    try {
      return this.connection.closeIfLeft();
    } catch (error) {
      this.connection.onFault(error);
      return this.connection.isClosing;
    }
  }

  linked(server: PoolServer): void {
    // The daemon builds both sides: every server of a pool is also the other end of a link.
    const end = server as PoolServer & ServerEnd;
    const isNew = this.#server !== end;
    this.#server = end;
    this.wasToldToWait = false;
    try {
      if (!this.connection.closeIfLeft()) this.#align(end, isNew);
    } catch (error) {
      // On another connection's call stack, usually: it must not be taken for that one's fault.
      this.connection.onFault(error);
    }
  }

  #align(end: PoolServer & ServerEnd, isNew: boolean): void {
    this.isHolding = true;
    if (isAligned(this.tracked, this, end)) {
      this.#begin(end);
      return;
    }
    alignServer(this.tracked, this, end, (failure) => {
      if (this.#server !== end) return;
      if (failure === null) this.#begin(end);
      else this.#notAligned(end, failure, isNew);
    });
  }

  /** What others have done on a server is not the client's fault: it gets another one, unless it has used this one. */
  #notAligned(end: PoolServer & ServerEnd, { error, isServers }: AlignmentFailure, isNew: boolean): void {
    // In the middle of a session a RESET has led away from what cannot be had again.
    if (isServers && !isNew && sparesBase(end)) {
      end.closeNeeded = true;
      this.#align(end, isNew);
      return;
    }
    if (!isServers) this.#refusals++;
    const mayGoOn =
      !end.isUntouched && this.#refusals < MAX_REFUSALS && mayDependOnServer(error, this.extras);
    if (isNew && (isServers || mayGoOn)) {
      this.pool.closeServer(end, 'var change failed');
      // Ahead of whoever waits: it may be one of those who leave servers like that.
      this.pool.acquire(this, true);
    } else {
      this.pool.closeLinked(end, 'var change failed', errorOf(error, 'invalid server parameter'));
    }
  }

  unlinked(): void {
    this.#isMidAnswer = this.#server?.sinkAtBoundary === false;
    this.#server = null;
    this.target = null;
    this.idleSinceMs = this.connection.services.clock.nowMs();
    this.targetIsCongested = false;
    this.prepared.unlinked();
    this.updateReading();
  }

  refused(error: PgErrorFields): void {
    this.connection.fail(error);
  }

  needServer(): void {
    // Linked, but the server is being probed; or a client that pipelines and never reads would pile up answers here,
    // one link after the other.
    if (this.#server !== null || this.conn.isCongested) {
      this.awaitsDrain ||= this.#server === null;
      this.isHolding = true;
      return;
    }
    this.#openQuery();
    const refusal = this.connection.services.refusesQueries();
    if (refusal !== null) {
      this.connection.fail(refusal);
      return;
    }
    this.pool.acquire(this);
    if (this.target === null) this.isHolding = true;
  }

  /** A CancelRequest ends its wait for a server: it gets PostgreSQL's own answer to one. False: it does not wait. */
  cancelWait(): boolean {
    if (this.state !== 'waiting') return false;
    this.pool.stopWaiting(this);
    this.#refusals = 0;
    this.wasToldToWait = false;
    this.idleSinceMs = this.connection.services.clock.nowMs();
    this.requests.skip();
    this.reply(CANCELED);
    this.connection.guard(() => this.letGo());
    return true;
  }

  skipped(): void {
    this.reply(readyForQueryIdle);
    this.answered(TxStatus.Idle, true);
  }

  get filter(): RequestFilter | null {
    return this.prepared.filter;
  }

  reply(bytes: Buffer): void {
    if (this.conn.write(bytes)) return;
    // Nothing else holds back a client that never reads answers of ours.
    this.awaitsDrain = true;
    this.isHolding = true;
  }

  needAnswers(): void {
    this.isStalled = true;
    this.isHolding = true;
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

  waitsForMore(): void {
    // Until more of it comes, a server that is not in use may be another client's.
    this.messageSent();
    if (this.#server === null) this.times.withdraw(this.pool.stats);
  }

  terminate(): void {
    this.saidGoodbye = true;
    this.connection.closeAtOnce('client close request');
  }

  violation(text: string): void {
    this.connection.fail(fatal(text));
  }

  targetCongested(): void {
    this.targetIsCongested = true;
    this.updateReading();
  }

  goOn(): void {
    this.isStalled = false;
    this.target = this.#server;
    this.connection.guard(() => this.letGo());
  }

  readsAlike(statement: Statement): boolean {
    return this.prepared.readsAlike(statement);
  }

  error(body: Buffer, note: RequestNote | null): Buffer {
    return this.prepared.error(body, note);
  }

  reported(name: string): void {
    this.prepared.reported(name);
  }

  rolledBack(): void {
    this.prepared.doubts.rolledBack();
  }

  statementsDropped(): void {
    this.prepared.statements.clear();
  }

  targetDrained(): void {
    this.targetIsCongested = false;
    this.updateReading();
  }

  answered(status: number, isQuiet: boolean): void {
    this.prepared.answered(status);
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
    this.#refusals = 0;
    this.target = server;
    // Inside feed, the stream that asked goes on by itself.
    if (this.isFeeding) this.isHolding = false;
    else this.letGo();
  }
}
