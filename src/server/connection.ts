import type { ListNode } from '../base/list.ts';
import type { LogLevel } from '../base/log.ts';
import { formatHostPort, formatPeer } from '../net/address.ts';
import { Conn, type ConnHandler } from '../net/conn.ts';
import type { Grant } from '../pool/budget.ts';
import type { CancelCarrier, PoolClient, PoolServer, ServerState, TestPurpose } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import type { ClientEnd, ServerEnd } from '../relay/link.ts';
import { RequestTracker } from '../relay/request-tracker.ts';
import { type ResponseHost, ResponseStream, STREAM_BROKEN } from '../relay/response-stream.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { TxStatus } from '../wire/codes.ts';
import { query, terminate } from '../wire/frontend.ts';
import { ProtocolViolation, SqlState } from '../wire/pg-error.ts';
import { startupMessage } from '../wire/startup-message.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { loginError, ServerLogin, type ServerLoginFailure, type ServerLoginResult } from './login.ts';
import { type Fence, newFence, OwnQuery, type OwnQueryResult } from './own-query.ts';
import { RestReader } from './rest.ts';
import type { ServerServices } from './services.ts';
import { connectFailure, connectOptions, peerOf, type ServerAddress, type ServerTarget } from './target.ts';

/** Takes bytes that nobody needs any more. */
const DISCARD: ByteReader = { feed: (_chunk, _start, end) => end };

/**
 * One connection to PostgreSQL: connect → login → at rest ⇄ linked → test → closing. Its place in the pool's
 * lists is the pool's business; here is what happens to its bytes, by the reader that is in charge:
 *
 * | state | reader |
 * | --- | --- |
 * | new | ServerLogin, then OwnQuery for connect_query |
 * | idle, used, being_canceled | RestReader |
 * | active | OwnQuery while parameters are aligned, then ResponseStream |
 * | tested | OwnQuery |
 * | closing | nobody: bytes are dropped until the server's end is gone |
 */
export class ServerConnection implements PoolServer, ServerEnd, ResponseHost, ConnHandler {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  state: ServerState = 'new';
  stateSinceMs: number;
  link: PoolClient | null = null;
  cancelsInFlight = 0;
  ownCancelMs = 0;
  readonly connectMs: number;
  readonly connectWallMs: number;
  lastBytesMs: number;
  /** When the link was made (or the connection begun), monotonic ms. */
  requestMs: number;

  readonly id: number;
  readonly pool: Pool;
  readonly grant: Grant;
  readonly address: ServerAddress;
  readonly conn: Conn;
  readonly tracker = new RequestTracker();
  readonly parameters: TrackedValues;
  backendKey: Buffer | null = null;

  readonly #services: ServerServices;
  readonly #target: ServerTarget;
  readonly #responses: ResponseStream;
  readonly #rest = new RestReader({
    unasked: (message, isDirty) => this.#unasked(message, isDirty),
    parameterStatus: (name, value) => this.parameterStatus(name, value),
  });
  #reader: ByteReader;
  readonly #login: ServerLogin;
  #client: (PoolClient & ClientEnd) | null = null;
  #isConnected = false;
  #ownQueryRuns = false;
  #releaseDue = false;
  /** What the pool hears once a chunk is read to its end: the rest of it is nobody's, not the next client's. */
  #atChunkEnd: (() => void) | null = null;
  #ownCancel: CancelCarrier | null = null;
  #closeNeeded = false;

  constructor(
    services: ServerServices,
    id: number,
    pool: Pool,
    grant: Grant,
    target: ServerTarget,
    address: ServerAddress,
  ) {
    this.#services = services;
    this.#target = target;
    this.id = id;
    this.pool = pool;
    this.grant = grant;
    this.address = address;
    this.connectMs = services.clock.nowMs();
    this.connectWallMs = services.clock.wallMs();
    this.stateSinceMs = this.connectMs;
    this.lastBytesMs = this.connectMs;
    this.requestMs = this.connectMs;
    this.parameters = services.tracked.emptyValues();
    this.#responses = new ResponseStream(this, this.tracker, services.maxPacketSize());
    this.#login = new ServerLogin(
      {
        send: (bytes) => this.conn.write(bytes),
        pause: () => this.conn.pause(),
        resume: () => this.conn.resume(),
        loggedIn: (result) => this.#loggedIn(result),
        failed: (failure) => this.#loginFailed(failure),
        note: (text) => this.#log('WARNING', text),
      },
      { user: target.user, credentials: target.credentials, ...services.auth },
    );
    this.#reader = this.#login;
    this.conn = Conn.connect(connectOptions(address, target), this, () => this.#connected(), services.native);
  }

  get sink(): Conn | null {
    return this.#client === null ? null : this.#client.conn;
  }

  get tracked(): TrackedParameters {
    return this.#services.tracked;
  }

  /** Also when a message that nobody asked for has come in part: its rest would be read as an answer. */
  get closeNeeded(): boolean {
    return this.#closeNeeded || !this.#rest.atBoundary;
  }

  set closeNeeded(needed: boolean) {
    this.#closeNeeded = needed;
  }

  /** The client has whole messages only, so one of ours may follow. */
  get sinkAtBoundary(): boolean {
    return this.#responses.sinkAtBoundary;
  }

  /** Bytes of the message now being relayed that are still to come. */
  get messageBytesLeft(): number {
    return this.#responses.scanner.bodyLeft;
  }

  // --- ConnHandler -----------------------------------------------------------------------------------------

  onBytes(chunk: Buffer, end: number): void {
    const { clock } = this.#services;
    clock.hold();
    try {
      this.lastBytesMs = clock.nowMs();
      this.#take(chunk, end);
    } finally {
      clock.letGo();
    }
  }

  #take(chunk: Buffer, end: number): void {
    if (this.state !== 'new') this.pool.stats.sent += end;
    try {
      let pos = 0;
      while (pos < end) {
        pos = this.#reader.feed(chunk, pos, end);
        if (pos === STREAM_BROKEN) {
          this.#broke('unknown pkt from server', 'unknown pkt');
          return;
        }
      }
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
      this.#broke(error.message, error.message);
      return;
    }
    if (this.#releaseDue) this.#releaseIfDone();
    const due = this.#atChunkEnd;
    this.#atChunkEnd = null;
    due?.();
  }

  onFault(error: unknown): void {
    this.#log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
    this.#broke('internal error', 'server conn crashed?');
  }

  onEnd(): void {
    this.#broke('server conn crashed?', 'server conn crashed?');
    this.conn.destroy();
  }

  onDrain(): void {
    this.#client?.targetDrained();
  }

  onClosed(error: Error | null): void {
    if (this.#isConnected) this.#broke('server conn crashed?', 'server conn crashed?');
    else if (this.state === 'new') {
      if (error !== null) this.#log('DEBUG', `connect failed: ${error.message}`);
      this.#broke(connectFailure(error), '');
    }
    this.#ownCancel?.cut();
    this.pool.serverGone(this);
  }

  // --- PoolServer ------------------------------------------------------------------------------------------

  isClean(): boolean {
    return !this.#ownQueryRuns && this.tracker.isClean && this.#responses.atBoundary;
  }

  isIdleInTransaction(): boolean {
    return this.tracker.txStatus !== TxStatus.Idle && this.tracker.isQuiet;
  }

  needsResync(): boolean {
    return this.tracker.isUnsure;
  }

  linked(client: PoolClient): void {
    // The daemon builds both sides: every client of a pool is also the other end of a link.
    this.#client = client as PoolClient & ClientEnd;
    this.requestMs = this.#services.clock.nowMs();
    this.tracker.reset();
    this.#reader = this.#responses;
  }

  unlinked(): void {
    this.#client = null;
    this.#releaseDue = false;
    this.#reader = this.#rest;
    this.conn.resume();
  }

  test(sql: string, purpose: TestPurpose): void {
    const fence = purpose === 'resync' ? newFence() : null;
    this.#runOwn(fence === null ? sql : fence.sql, fence, (result) => {
      this.#reader = this.#rest;
      if (purpose === 'resync') this.tracker.reset();
      // Without a complete reset the last client's settings are still there, and it can have seen to that.
      const ok = result.isIdle && (purpose === 'check' || result.error === null);
      const reason = purpose === 'reset' ? 'reset query failed' : 'test query failed';
      this.#atChunkEnd = () => this.pool.serverTested(this, ok, reason);
    });
  }

  beginClose(reason: string): void {
    if (this.#services.logsDisconnections()) {
      const ageSec = Math.floor((this.#services.clock.nowMs() - this.connectMs) / 1000);
      this.#log('LOG', `closing because: ${reason} (age=${ageSec}s)`);
    }
    this.#login.abandon();
    this.#reader = DISCARD;
    if (!this.#isConnected) {
      this.conn.destroy();
      return;
    }
    this.conn.resume();
    this.conn.end(terminate);
  }

  cancelOwnQuery(): void {
    if (this.backendKey !== null) this.#ownCancel = this.#services.cancelAt(this.address, this.backendKey);
  }

  cut(): void {
    this.#log('WARNING', 'the server does not end its connection: giving its slot up');
    this.conn.destroy();
  }

  // --- ServerEnd and ResponseHost --------------------------------------------------------------------------

  alignParameters(sql: string, done: (ok: boolean) => void): void {
    this.#runOwn(sql, null, (result) => {
      this.#reader = this.#responses;
      done(result.error === null && result.isIdle);
    });
  }

  sinkDrained(): void {
    this.conn.resume();
  }

  sinkCongested(): void {
    this.conn.pause();
  }

  readyForQuery(status: number): void {
    const client = this.#client;
    if (client === null) return;
    const isQuiet = this.tracker.isQuiet;
    client.answered(status, isQuiet);
    if (status === TxStatus.Idle) {
      // Ended after the whole chunk is read: what follows ReadyForQuery in it is still this client's.
      this.#releaseDue = isQuiet && this.pool.limits.poolMode !== 'session';
    } else if (this.pool.limits.poolMode === 'statement') {
      const text = 'transaction blocks not allowed in statement pooling mode';
      this.pool.closeLinked(this, text, text);
    }
  }

  parameterStatus(name: string, value: string): void {
    const index = this.#services.tracked.indexOf(name);
    if (index < 0) return;
    this.parameters[index] = value;
    if (this.#client !== null && !this.#ownQueryRuns) this.#client.parameters[index] = value;
  }

  // --- inside ----------------------------------------------------------------------------------------------

  #connected(): void {
    this.#isConnected = true;
    if (this.state !== 'new') {
      this.conn.end();
      return;
    }
    if (this.#services.logsConnections()) {
      const { localAddress, localPort } = this.conn.socket;
      const from =
        localAddress === undefined ? '' : ` (from ${formatHostPort(localAddress, localPort ?? 0)})`;
      this.#log('LOG', `new connection to server${from}`);
    }
    const { database, user, parameters } = this.#target;
    this.conn.write(startupMessage([['database', database], ...parameters, ['user', user]]));
  }

  #loggedIn(result: ServerLoginResult): void {
    this.backendKey = result.backendKey;
    for (const [name, value] of result.welcome) this.parameterStatus(name, value);
    const { connectQuery } = this.#target;
    if (connectQuery === null) {
      this.#ready(result);
      return;
    }
    this.#runOwn(connectQuery, null, ({ error, isIdle }) => {
      if (error !== null) this.#log('ERROR', `error while executing exec_on_query: ${error.message ?? ''}`);
      if (isIdle) this.#ready(result);
      else this.#broke('connect_query left a transaction open', 'server conn crashed?');
    });
  }

  #ready(result: ServerLoginResult): void {
    this.#reader = this.#rest;
    this.#atChunkEnd = () => this.pool.serverReady(this, result.welcome);
  }

  #loginFailed(failure: ServerLoginFailure): void {
    const { fields, message } = failure;
    const severity = fields?.severity ?? '';
    // Without the connection's name, as PgBouncer has it; the line that it is closed follows, with name and text.
    if (fields !== null) this.#services.log.log('WARNING', `server login failed: ${severity} ${message}`);
    else this.#log('WARNING', message);
    const serverError = loginError(failure);
    const failWaiting = serverError.sqlstate !== SqlState.cannotConnectNow;
    this.pool.serverFailed(this, { message, serverError, failWaiting });
    this.beginClose(fields === null ? 'failed to answer authreq' : message);
  }

  #runOwn(sql: string, fence: Fence | null, done: (result: OwnQueryResult) => void): void {
    this.#ownQueryRuns = true;
    this.#reader = new OwnQuery(
      fence,
      (name, value) => this.parameterStatus(name, value),
      (result) => {
        this.#ownQueryRuns = false;
        done(result);
      },
    );
    this.conn.write(query(sql));
  }

  #releaseIfDone(): void {
    const client = this.#client;
    if (client === null) return;
    // With a message of the client half sent, the client ends the link when the rest has gone out.
    if (this.isClean() && client.atBoundary) this.pool.release(this);
  }

  #unasked(message: string, isDirty: boolean): void {
    this.#log('WARNING', message);
    const reason = this.state === 'used' ? 'SV_USED server got dirty' : 'SV_IDLE server got dirty';
    if (isDirty) this.#broke(reason, 'server conn crashed?');
  }

  #broke(reason: string, clientText: string): void {
    if (this.state === 'new') {
      this.pool.serverFailed(this, { message: reason, serverError: null, failWaiting: false });
      this.beginClose(reason);
    } else {
      this.pool.serverBroke(this, reason, clientText);
    }
  }

  #log(level: LogLevel, message: string): void {
    if (!this.#services.log.enabled(level)) return;
    this.#services.log.log(level, `${this.#prefix()}${message}`);
  }

  #prefix(): string {
    const { pool } = this;
    const peer = formatPeer(peerOf(this.address, this.conn.socket));
    return `S-0x${this.id.toString(16)}: ${pool.database}/${pool.user}@${peer} `;
  }
}
