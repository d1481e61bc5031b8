import type { LogLevel } from '../base/log.ts';
import type { Conn } from '../net/conn.ts';
import type { ConnHandler } from '../net/conn-handler.ts';
import type { Grant } from '../pool/budget.ts';
import type { DedicatedClient, LoginFailure, PoolClient, PoolServer, TestPurpose } from '../pool/peers.ts';
import type { WelcomeData } from '../pool/context.ts';
import type { Pool } from '../pool/pool.ts';
import type { ClientEnd, KeptRequests, ServerEnd } from '../relay/link.ts';
import { type ResponseHost, ResponseStream, STREAM_BROKEN } from '../relay/response-stream.ts';
import { TxStatus } from '../wire/codes.ts';
import { terminate } from '../wire/frontend.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import type { SessionTag } from '../wire/command-complete.ts';
import type { ErrorFields } from '../wire/error-fields.ts';
import { type ByteReader, DISCARD } from '../wire/framed-reader.ts';
import type { ServerLoginResult } from './login.ts';
import { type MovedConnection, restore, surrender } from './moved-connection.ts';
import type { Opening, OpeningHost } from './opening.ts';
import { ConnectionLog } from './connection-log.ts';
import { Drain } from './drain.ts';
import { Interlude } from './interlude.ts';
import { OwnCancel } from './own-cancel.ts';
import { OwnQueries } from './own-queries.ts';
import type { PartsHost } from './parts-host.ts';
import { PlanRepair } from './plan-repair.ts';
import { PooledServer } from './pooled-server.ts';
import { RestReader } from './rest.ts';
import type { ServerRoute } from './route.ts';
import type { ServerServices } from './services.ts';

/**
 * One connection to PostgreSQL: connect → login → at rest ⇄ linked → test → closing. Its place in the pool's
 * lists is the pool's business; here is what happens to its bytes, by the reader that is in charge:
 *
 * | state | reader |
 * | --- | --- |
 * | new | ServerOpening's: ServerLogin, then OwnQuery for connect_query |
 * | idle, used, being_canceled | RestReader |
 * | active, dedicated | OwnQuery while parameters are aligned, then ResponseStream |
 * | being_canceled, abandoned | ResponseStream, without a sink |
 * | tested | OwnQuery |
 * | closing | nobody: bytes are dropped until the server's end is gone |
 */
export class ServerConnection
  extends PooledServer
  implements PoolServer, ServerEnd, ResponseHost, ConnHandler, PartsHost
{
  readonly pool: Pool;
  /** Another one after a server did not take our protocol's version. */
  conn: Conn;

  readonly #services: ServerServices;
  readonly #lines: ConnectionLog;
  readonly #responses: ResponseStream;
  readonly #rest = new RestReader(this);
  #reader: ByteReader;
  readonly opening: Opening;
  #client: (PoolClient & ClientEnd) | null = null;
  readonly #own = new OwnQueries(this);
  #readMs = 0;
  readonly #repair: PlanRepair;
  readonly #interlude: Interlude;
  #releaseDue = false;
  /** What the pool hears once a chunk is read to its end: the rest of it is nobody's, not the next client's. */
  #atChunkEnd: (() => void) | null = null;
  readonly #ownCancel: OwnCancel;
  #drain: Drain | null = null;

  /** `openingBy` makes what it begins with. */
  constructor(
    services: ServerServices,
    id: number,
    pool: Pool,
    grant: Grant,
    address: ServerRoute,
    dedicatedTo: DedicatedClient | null,
    openingBy: (host: OpeningHost, own: OwnQueries) => Opening,
  ) {
    super(services, id, grant, address, dedicatedTo);
    this.#services = services;
    this.#lines = new ConnectionLog(services, this);
    this.pool = pool;
    this.#responses = new ResponseStream(this, this.tracker, services.maxPacketSize());
    this.#repair = new PlanRepair(this, this.#own, this.#responses);
    this.#ownCancel = new OwnCancel(services, address);
    this.#interlude = new Interlude(this, this.#own, this.#responses);
    this.opening = openingBy(this, this.#own);
    this.#reader = this.opening.login;
    this.conn = this.opening.connect(this, () => this.#connected());
  }

  get sink(): Conn | null {
    return this.#client?.conn ?? null;
  }

  protected override get isMidMessage(): boolean {
    return !this.#rest.atBoundary;
  }

  get isProbed(): boolean {
    return this.#own.isProbing;
  }

  get sinkAtBoundary(): boolean {
    return this.#responses.sinkAtBoundary;
  }

  /** Bytes of the message now being relayed that are still to come. */
  get messageBytesLeft(): number {
    return this.#responses.scanner.bodyLeft;
  }

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
    if (this.abandoned !== null) this.#drain?.took(end);
    const client = this.#client;
    if (this.#releaseDue) this.releaseIfDone();
    const due = this.#atChunkEnd;
    this.#atChunkEnd = null;
    // What is due may be the link's end: a client that waits for answers goes on behind that, perhaps on another.
    if (due !== null) due();
    else if (client?.isStalled === true && this.#goesOn(client)) client.goOn();
  }

  onFault(error: unknown): void {
    this.#lines.fault(error);
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
    if (this.opening.isConnected) this.#broke('server conn crashed?', 'server conn crashed?');
    else if (this.state === 'new') this.#broke(this.opening.failure(error), '');
    if (this.state === 'new') {
      this.#reader = this.opening.login;
      this.conn = this.opening.connect(this, () => this.#connected());
      return;
    }
    this.#ownCancel.cut();
    this.tracker.queue.clear();
    this.statements.end();
    this.pool.serverGone(this);
  }

  isClean(): boolean {
    if (this.dedicatedTo !== null || this.#own.isInTheWay) return false;
    return this.tracker.isClean && this.#responses.atBoundary;
  }

  catchUp(): boolean {
    return this.conn.readNow();
  }

  surrender(): MovedConnection | null {
    return surrender(this, this.#services.clock.nowMs());
  }

  /** What it was elsewhere. Right behind the constructor. */
  restore(all: MovedConnection): void {
    restore(this, all, this.#services);
    this.#reader = this.#rest;
  }

  needsResync(): boolean {
    return this.tracker.isUnsure || this.#own.mayBeLeft;
  }

  sweep(nowMs: number): void {
    // One that isn't read may have said anything.
    const silentMs = this.conn.isPaused ? 0 : nowMs - Math.max(this.lastBytesMs, this.#readMs);
    if (this.#client !== null) this.#interlude.sweep(this.#client, silentMs);
  }

  cancelsOver(): void {
    this.#interlude.cancelsOver();
  }

  linked(client: PoolClient): void {
    // The daemon builds both sides: every client of a pool is also the other end of a link, but for one of ours.
    this.#client = this.dedicatedTo?.replication === 'none' ? null : (client as PoolClient & ClientEnd);
    this.requestMs = this.#services.clock.nowMs();
    this.links++;
    this.tracker.reset();
    this.lent();
    this.#reader = this.#responses;
  }

  unlinked(): void {
    this.#client = null;
    this.#repair.end();
    this.#releaseDue = false;
    this.#reader = this.#rest;
    this.conn.resume();
  }

  drain(): void {
    this.#reader = this.#responses;
    this.#drain = new Drain(this);
    this.#drain.begin();
  }

  drained(isClean: boolean): void {
    this.#reader = this.#rest;
    this.pool.drained(this, isClean);
  }

  test(sql: string, purpose: TestPurpose): void {
    this.#own.test(sql, purpose, (ok, reason) => {
      this.#reader = this.#rest;
      if (this.tracker.isMistaken) this.closeNeeded = true;
      if (purpose === 'resync') this.tracker.reset();
      this.#atChunkEnd = () => this.pool.serverTested(this, ok, reason);
    });
  }

  beginClose(reason: string): void {
    this.#lines.closing(reason);
    this.opening.login.abandon();
    this.#reader = DISCARD;
    if (!this.opening.isConnected) return this.conn.destroy();
    this.conn.resume();
    this.conn.end(terminate);
  }

  cancelOwnQuery(): void {
    this.#ownCancel.send(this.backendKey, this.opening.encryptedBy);
  }

  cut(): void {
    this.log('WARNING', 'the server does not end its connection: giving its slot up');
    this.conn.destroy();
  }

  alignParameters(texts: readonly string[], done: (error: ErrorFields | null) => void): void {
    this.#interlude.align(texts, done);
  }

  /** As {@link releaseIfDone}; if not now, as soon as it is, though the client says nothing more. */
  releaseWhenDone(): void {
    this.#releaseDue = true;
    this.releaseIfDone();
  }

  releaseIfDone(): void {
    const client = this.#client;
    // With a message of the client half sent, the client ends the link when the rest has gone out.
    if (client === null || this.#interlude.isInTheWay(client)) return;
    if (!this.isClean() || !client.atBoundary) return;
    this.#releaseDue = false;
    if (this.tracker.isUnsure) this.#interlude.probe(client);
    else if (this.isDoubtful && (this.#staysLinked || this.#interlude.asks(client))) return;
    else if (this.pool.limits.poolMode === 'session') this.#interlude.relink(client);
    else this.pool.release(this);
  }

  sinkDrained(): void {
    this.#readMs = this.#services.clock.nowMs();
    this.conn.resume();
  }

  sinkCongested(): void {
    this.conn.pause();
  }

  readyForQuery(status: number): void {
    const client = this.#client;
    if (client === null) return;
    if (this.tracker.lost.isCountLost) return this.#interlude.giveUp();
    if (this.#own.isRepairing) {
      this.#atChunkEnd = () => this.#repair.ready();
      return;
    }
    const { isQuiet } = this.tracker;
    client.answered(status, isQuiet);
    if (status === TxStatus.Idle) {
      // After the whole chunk is read: what follows in it is still this client's.
      this.#releaseDue = isQuiet && !this.#staysLinked;
    } else if (this.pool.limits.poolMode === 'statement' && this.dedicatedTo === null) {
      const text = 'transaction blocks not allowed in statement pooling mode';
      this.pool.closeLinked(this, text, text);
    }
  }

  parameterStatus(name: string, value: string): void {
    if (this.state === 'new') this.introduced(name, value);
    else this.reported(name, value, this.#own.isRunning ? null : this.#client, this.#client !== null);
  }

  error(body: Buffer, isSwallowed: boolean): Buffer | null {
    return this.#repair.failed(this.#client, body, isSwallowed);
  }

  get kept(): KeptRequests | null {
    return this.#client?.kept ?? null;
  }

  sessionTag(tag: SessionTag): void {
    this.doneUnread(tag);
    // What connect_query sets is the server's own; what we set for a client we know.
    if (this.state === 'active' ? !this.#own.isRunning : this.state !== 'new') this.done(tag, this.#client);
  }

  readOn(atChunkEnd: () => void): void {
    this.#releaseDue = false;
    this.#atChunkEnd = atChunkEnd;
  }

  loggedIn({ backendKey, welcome }: ServerLoginResult): void {
    this.backendKey = backendKey;
    for (const [name, value] of welcome) this.introduced(name, value);
  }

  opened(welcome: WelcomeData): void {
    this.#reader = this.#rest;
    this.#atChunkEnd = () => this.pool.serverReady(this, welcome);
  }

  failed(failure: LoginFailure, reason: string): void {
    this.pool.serverFailed(this, failure);
    this.beginClose(reason);
  }

  read(reader: ByteReader): void {
    this.#readMs = this.#services.clock.nowMs();
    if (this.#reader !== DISCARD) this.#reader = reader;
    if (this.#client === null) return;
    // What comes for us is read whether or not the client takes what it has got.
    if (reader === this.#responses && this.#client.conn.isCongested) this.conn.pause();
    else this.conn.resume();
  }

  log(level: LogLevel, message: string): void {
    this.#lines.log(level, message);
  }

  unasked(message: string, isDirty: boolean): void {
    this.log('WARNING', message);
    const list = this.state === 'used' ? 'SV_USED' : 'SV_IDLE';
    if (isDirty) this.#broke(`${list} server got dirty`, 'server conn crashed?');
  }

  /** Session mode, and what the client gave is still there. */
  get #staysLinked(): boolean {
    return this.pool.limits.poolMode === 'session' && !this.wasReset;
  }

  /** Some answers are there and nothing of ours is in the way, or the link is over: another client's may have begun. */
  #goesOn(client: PoolClient & ClientEnd): boolean {
    return this.#client !== client || (!this.#interlude.isInTheWay(client) && this.tracker.takeAnswered());
  }

  #connected(): void {
    if (this.state === 'new') {
      this.#lines.connected();
      this.opening.start();
    } else this.conn.end();
  }

  #broke(reason: string, clientText: string): void {
    if (this.#client !== null) this.#own.lost();
    if (this.state !== 'new') this.pool.serverBroke(this, reason, clientText);
    else if (!this.opening.goesOn(reason))
      this.failed({ message: reason, serverError: null, failWaiting: false }, reason);
  }
}
