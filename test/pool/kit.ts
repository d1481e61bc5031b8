import type { ListNode } from '../../src/base/list.ts';
import type { LogLevel } from '../../src/base/log.ts';
import { type Budget, type Grant, LocalBudget } from '../../src/pool/budget.ts';
import { loginFailed } from '../../src/pool/dedicated.ts';
import type { LoginNews, PoolIdentity, WelcomeData } from '../../src/pool/context.ts';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { MovedParts } from '../../src/pool/moved-server.ts';
import type {
  Abandonment,
  CancelCarrier,
  ClientState,
  DedicatedClient,
  LoginFailure,
  PoolClient,
  PoolServer,
  ServerConnector,
  ServerState,
  TestPurpose,
} from '../../src/pool/peers.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { Pools } from '../../src/pool/pools.ts';
import { sweepPool } from '../../src/pool/sweep.ts';
import { fatal, type PgErrorFields } from '../../src/wire/pg-error.ts';
import { ManualClock } from '../support/manual-clock.ts';

/** Everything off except a pool of two; a day of patience for closing connections. */
export const QUIET_LIMITS: PoolLimits = {
  poolMode: 'transaction',
  poolSize: 2,
  minPoolSize: 0,
  reservePoolSize: 0,
  reservePoolTimeoutMs: 5_000,
  maxDbConnections: 0,
  maxUserConnections: 0,
  serverLifetimeMs: 86_400_000,
  serverIdleTimeoutMs: 0,
  serverConnectTimeoutMs: 15_000,
  serverLoginRetryMs: 15_000,
  serverCheckDelayMs: 30_000,
  serverCheckQuery: null,
  serverResetQuery: 'DISCARD ALL',
  serverResetQueryAlways: false,
  serverRoundRobin: false,
  serverFastClose: false,
  queryTimeoutMs: 0,
  idleTransactionTimeoutMs: 0,
  transactionTimeoutMs: 0,
  cancelWaitTimeoutMs: 10_000,
  poolIdleTimeoutMs: 0,
  maxPreparedStatements: 0,
  serverCloseTimeoutMs: 5_000,
  serverCancelTimeoutMs: 5_000,
};

export const WELCOME: WelcomeData = [['server_version', '18.1']];

/** A client without a socket. What it hears stands in `heard`. */
export class FakeClient implements PoolClient {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  readonly id: number;
  readonly pool: Pool;
  state: ClientState = 'login';
  waitStartMs = 0;
  queryStartMs = 0;
  xactStartMs = 0;
  server: FakeServer | null = null;
  readonly heard: string[] = [];
  error: PgErrorFields | null = null;
  /** How long what it leaves running may go on. */
  graceMs = 0;
  /** What it does from inside `linked`, `welcomeReady`. */
  onLinked: () => void = () => {};
  onWelcome: () => void = () => {};
  /** Nobody is there any more, which nobody has noticed. */
  isAway = false;

  constructor(pool: Pool, id: number) {
    this.pool = pool;
    this.id = id;
  }

  leaveIfGone(): boolean {
    if (this.isAway) this.disconnect();
    return this.isAway;
  }

  linked(server: PoolServer): void {
    this.heard.push('linked');
    this.server = server as FakeServer;
    this.onLinked();
  }

  unlinked(): void {
    this.heard.push('unlinked');
    this.server = null;
  }

  welcomeReady(): void {
    this.heard.push('welcome');
    this.onWelcome();
  }

  /** As the real one: it is told, lets go of its server, and is gone. */
  refused(error: PgErrorFields): void {
    if (this.state === 'gone') return;
    this.heard.push('refused');
    this.error = error;
    this.disconnect();
  }

  acquire(): this {
    this.pool.acquire(this);
    return this;
  }

  /** Its transaction is over. */
  finish(): void {
    this.pool.release(this.linkedServer);
  }

  /** Its connection ends: what becomes of the server depends on whether that is clean. */
  disconnect(): void {
    const { server } = this;
    const reason = 'client disconnect while server was not ready';
    if (server?.isClean() === true) this.pool.release(server);
    else if (server?.countable === true) this.pool.abandon(server, reason, this.graceMs);
    else if (server !== null) this.pool.closeServer(server, reason);
    this.pool.leave(this);
  }

  get linkedServer(): FakeServer {
    if (this.server === null) throw new Error(`client ${this.id} is not linked`);
    return this.server;
  }
}

/** A client that wants a server connection for itself. */
export class FakeDedicatedClient extends FakeClient implements DedicatedClient {
  readonly replication = 'physical';
  readonly startup = [['replication', 'true']] as const;

  mayWrite(): boolean {
    return true;
  }

  notOpened(failure: LoginFailure): void {
    this.refused(loginFailed(failure));
  }

  welcomed(welcome: WelcomeData): void {
    this.heard.push(`welcomed ${JSON.stringify(welcome)}`);
    this.onWelcome();
  }
}

/** A server connection without a socket. */
export class FakeServer implements PoolServer {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  readonly id: number;
  readonly pool: Pool;
  readonly grant: Grant;
  state: ServerState = 'new';
  stateSinceMs: number;
  link: PoolClient | null = null;
  readonly dedicatedTo: DedicatedClient | null;
  isStreaming = false;
  readyMs = 0;
  connectMs: number;
  lastBytesMs: number;
  closeNeeded = false;
  cancelsInFlight = 0;
  abandoned: Abandonment | null = null;
  ownCancelMs = 0;
  clean = true;
  readonly isCancellable = true;
  /** What it runs can be cancelled and counted. */
  countable = false;
  drains = 0;
  idleInTransaction = false;
  unsure = false;
  readonly tests: string[] = [];
  closeReason: string | null = null;
  ownCancels = 0;
  cuts = 0;
  /** Further addresses that it can try, and whether the one that it tries is a suspect. */
  readonly opening = {
    tls: null as object | null,
    left: 0,
    isSuspect: false,
    triesNext: (reason: string): boolean => {
      if (this.opening.left === 0) return false;
      this.opening.left--;
      this.tried.push(reason);
      this.connectMs = this.pool.nowMs;
      return true;
    },
  };
  readonly tried: string[] = [];
  /** Both ends are gone as soon as it says goodbye. */
  closesAtOnce = false;

  constructor(pool: Pool, id: number, grant: Grant, dedicatedTo: DedicatedClient | null) {
    this.pool = pool;
    this.dedicatedTo = dedicatedTo;
    this.id = id;
    this.grant = grant;
    this.connectMs = pool.nowMs;
    this.stateSinceMs = pool.nowMs;
    this.lastBytesMs = pool.nowMs;
  }

  isClean(): boolean {
    return this.clean && this.dedicatedTo === null;
  }

  isIdleInTransaction(): boolean {
    return this.idleInTransaction;
  }

  sweep(): void {}

  needsResync(): boolean {
    return this.unsure;
  }

  cancelsOver(): void {}

  linked(): void {}

  unlinked(): void {}

  drain(): void {
    this.drains++;
  }

  /** All that its last client has asked for is answered. */
  drained(isClean = true): void {
    this.clean = isClean;
    this.pool.drained(this, isClean);
  }

  test(sql: string, purpose: TestPurpose): void {
    this.tests.push(`${purpose}: ${sql}`);
  }

  beginClose(reason: string): void {
    this.closeReason = reason;
    if (this.closesAtOnce) this.pool.serverGone(this);
  }

  cancelOwnQuery(): void {
    this.ownCancels++;
  }

  /** What it takes note of when it is asked to. */
  onCatchUp: () => void = () => {};

  /** It is there no more. */
  isLost = false;

  catchUp(): boolean {
    this.onCatchUp();
    return !this.isLost;
  }

  /** It goes to another event loop when it is asked to. */
  mayMove = true;

  surrender(): MovedParts | null {
    return this.mayMove ? { fd: this.id } : null;
  }

  cut(): void {
    this.cuts++;
    this.pool.serverGone(this);
  }

  ready(welcome: WelcomeData = WELCOME): this {
    this.pool.serverReady(this, welcome);
    return this;
  }

  /** Connecting fails: nobody is there. */
  failConnect(): void {
    this.pool.serverFailed(this, { message: 'connect failed', serverError: null, failWaiting: false });
    this.pool.serverGone(this);
  }

  /** PostgreSQL refuses the login. */
  refuseLogin(text: string): void {
    this.pool.serverFailed(this, { message: text, serverError: fatal(text, '28P01'), failWaiting: true });
    this.pool.serverGone(this);
  }

  answerTest(ok = true): void {
    if (ok) this.unsure = false;
    this.pool.serverTested(this, ok, 'test query failed');
  }

  gone(): void {
    this.pool.serverGone(this);
  }
}

/** A connection that carries a cancel, moved by hand. */
export class FakeCarrier implements CancelCarrier {
  readonly server: FakeServer;
  readonly #maySend: () => boolean;
  readonly #done: (reason: string) => void;
  isSent = false;
  isCut = false;

  constructor(server: FakeServer, maySend: () => boolean, done: (reason: string) => void) {
    this.server = server;
    this.#maySend = maySend;
    this.#done = done;
  }

  /** The connection is there: sends if it still may. */
  connect(): boolean {
    this.isSent = this.#maySend();
    return this.isSent;
  }

  /** PostgreSQL has closed the connection. */
  close(): void {
    this.#done(this.isSent ? 'successfully sent cancel request' : 'failed to send cancel request');
  }

  /** As the real one does after a moment, and a hostile one at once. */
  cut(): void {
    this.isCut = true;
    this.close();
  }
}

/** Opens fakes; keeps what it opened. */
export class FakeConnector implements ServerConnector<Pool> {
  readonly opened: FakeServer[] = [];
  readonly carriers: FakeCarrier[] = [];
  /** Called with what was made, before `open` returns. */
  onOpen: (server: FakeServer) => void = () => {};
  onOpenCancel: (carrier: FakeCarrier) => void = () => {};
  #nextId = 1000;

  open(pool: Pool, grant: Grant, dedicatedTo: DedicatedClient | null): PoolServer {
    const server = new FakeServer(pool, this.#nextId++, grant, dedicatedTo);
    this.onOpen(server);
    this.opened.push(server);
    return server;
  }

  /** Called with what came from elsewhere, before `adopt` returns. */
  onAdopt: (server: FakeServer) => void = () => {};

  adopt(pool: Pool, grant: Grant, id: number): PoolServer {
    const server = new FakeServer(pool, id, grant, null);
    this.onAdopt(server);
    this.opened.push(server);
    return server;
  }

  openCancel(server: PoolServer, maySend: () => boolean, done: (reason: string) => void): CancelCarrier {
    const carrier = new FakeCarrier(server as FakeServer, maySend, done);
    this.onOpenCancel(carrier);
    this.carriers.push(carrier);
    return carrier;
  }

  get last(): FakeServer {
    const server = this.opened.at(-1);
    if (server === undefined) throw new Error('no server connection was opened');
    return server;
  }

  get lastCarrier(): FakeCarrier {
    const carrier = this.carriers.at(-1);
    if (carrier === undefined) throw new Error('no cancel was carried');
    return carrier;
  }
}

/** Pools over fakes: one clock, one budget, one connector. */
export class PoolKit {
  readonly clock: ManualClock;
  readonly budget: Budget;
  readonly connector = new FakeConnector();
  readonly logged: string[] = [];
  isSuspended = false;
  readonly pools: Pools;
  #nextId = 1;

  /** `shared`: with other event loops. */
  constructor(shared?: {
    readonly clock: ManualClock;
    readonly budget: Budget;
    readonly owner: string;
    readonly news?: LoginNews;
    /** Default: 1. */
    readonly loops?: number;
  }) {
    this.clock = shared?.clock ?? new ManualClock();
    this.budget = shared?.budget ?? new LocalBudget();
    this.pools = new Pools({
      clock: this.clock,
      log: {
        enabled: () => true,
        log: (level: LogLevel, message: string) => void this.logged.push(`${level} ${message}`),
      },
      budget: this.budget,
      owner: shared?.owner ?? 'loop-0',
      connector: this.connector,
      ...(shared?.news === undefined ? {} : { news: shared.news }),
      loops: shared?.loops ?? 1,
      isSuspended: () => this.isSuspended,
    });
  }

  pool(limits: Partial<PoolLimits> = {}, identity: Partial<PoolIdentity> = {}): Pool {
    return this.pools.open(
      { database: 'db', user: 'app', isForcedUser: false, ...identity },
      { ...QUIET_LIMITS, ...limits },
    );
  }

  /** A pool with `count` idle servers and so with welcome data. They are opened by clients that leave again. */
  warmPool(count: number, limits: Partial<PoolLimits> = {}, identity: Partial<PoolIdentity> = {}): Pool {
    const pool = this.pool({ ...limits, minPoolSize: count }, identity);
    const starter = this.client(pool);
    pool.join(starter);
    for (let i = 0; i < count; i++) {
      if (pool.servers.new.length === 0) pool.launcher.fillToMinimum();
      this.connector.last.ready();
    }
    pool.leave(starter);
    pool.limits = { ...QUIET_LIMITS, ...limits };
    return pool;
  }

  client(pool: Pool): FakeClient {
    return new FakeClient(pool, this.#nextId++);
  }

  /** A client that has asked for a server connection of its own. */
  dedicated(pool: Pool): FakeDedicatedClient {
    const client = this.dedicatedClient(pool);
    pool.dedicated.join(client);
    return client;
  }

  /** A client that will ask for one. */
  dedicatedClient(pool: Pool): FakeDedicatedClient {
    return new FakeDedicatedClient(pool, this.#nextId++);
  }

  /** A client that has logged in (the pool has welcome data) or waits for its first server. */
  joined(pool: Pool): FakeClient {
    const client = this.client(pool);
    pool.join(client);
    return client;
  }

  /** A logged-in client that asked for a server. */
  acquiring(pool: Pool): FakeClient {
    return this.joined(pool).acquire();
  }

  /** Time passes, then the sweep runs. */
  sweepAfter(ms: number): void {
    this.clock.advance(ms);
    for (const pool of this.pools.all()) sweepPool(pool, this.clock.nowMs());
  }
}

/** Lets the budget's wake-ups run, also those that follow from one; of `budget` all, however many that are. */
export async function wakeUps(budget?: Pick<Budget, 'isWaking'>): Promise<void> {
  for (let i = 0; i < 5 || budget?.isWaking === true; i++) await Promise.resolve();
}
