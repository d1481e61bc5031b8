import { onTestFinished, vi } from 'vitest';
import { WorkerExchange } from '../../src/daemon/server-exchange.ts';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { Pools } from '../../src/pool/pools.ts';
import type { SharedBudget } from '../../src/pool/shared-budget.ts';
import { sweepPool } from '../../src/pool/sweep.ts';
import { SharedStage } from '../pool/budget-stage.ts';
import { FakeClient, FakeConnector, type FakeServer, QUIET_LIMITS, WELCOME } from '../pool/kit.ts';
import { ManualClock } from '../support/manual-clock.ts';

const IDENTITY = { database: 'db', user: 'app', isForcedUser: false };
/** How many threads the stage's budget has. */
const THREADS = 3;
/** What goes from one thread to another takes so long, and so does the end of a connection. */
const MESSAGE_MS = 1;
const CLOSE_MS = 2;
const SWEEP_MS = 333;

/** One thread's part of the pool: its own lists, launcher and exchange, with servers that are none. */
export class StageThread {
  readonly number: number;
  readonly budget: SharedBudget;
  readonly connector = new FakeConnector();
  readonly exchange: WorkerExchange;
  readonly pools: Pools;
  readonly pool: Pool;
  /** How often it has asked others for servers. */
  asks = 0;
  readonly #stage: MovingStage;

  constructor(stage: MovingStage, number: number, limits: Partial<PoolLimits>) {
    this.#stage = stage;
    this.number = number;
    this.budget = stage.shared.budget(number);
    const { clock } = stage;
    const log = {
      enabled: () => true,
      log: (level: string, text: string) => void stage.lines.push(`${level} ${text}`),
    };
    this.exchange = new WorkerExchange({
      clock,
      log,
      budget: this.budget,
      closeDescriptor: () => {},
      pools: () => this.pools,
      poolOf: () => this.pool,
      others: Array.from({ length: THREADS }, (_, other) => other).filter((other) => other !== number),
      give: (owner, moved) => stage.post(owner, ({ exchange }) => exchange.received(moved)),
      askFor: (owner, name, mayClose) => {
        this.asks++;
        stage.post(owner, ({ exchange }) => exchange.askedFor(name, mayClose));
      },
    });
    this.connector.onOpen = (server) => {
      this.budget.custody.take(server.grant, server.id);
      stage.opened(server);
    };
    this.pools = new Pools({
      clock,
      log,
      budget: this.budget,
      owner: this.budget.name,
      connector: this.connector,
      isSuspended: () => false,
      loops: THREADS,
      exchange: this.exchange,
      news: {
        joined: () => {},
        succeeded: () => stage.others(number, ({ pool }) => pool.launcher.hearSuccess()),
        failed: (_, failure, atMs) =>
          stage.others(number, ({ pool }) => pool.launcher.hearFailure(failure, atMs)),
        hasUsable: ({ database, user }) => this.budget.hasUsableElsewhere(database, user),
        lacks: ({ database, user }) => this.exchange.refused(database, user),
      },
    });
    const ask = this.budget.askServer.bind(this.budget);
    // The stage has one callback for all its budgets.
    this.budget.askServer = (request) => {
      const answer = ask(request);
      if (typeof answer === 'string') this.exchange.refused(request.database, request.user);
      return answer;
    };
    this.pool = this.pools.open(IDENTITY, { ...QUIET_LIMITS, ...limits });
    this.pool.welcome = WELCOME;
  }

  client(): FakeClient {
    const client = new FakeClient(this.pool, this.#stage.newId());
    this.pool.join(client);
    return client;
  }
}

/**
 * Three threads that share one pool, their exchanges and budgets as in the daemon, all in one thread and in steps of a
 * millisecond. PostgreSQL is what `loginMs`, `failsLogin` and `testMs` say.
 */
export class MovingStage {
  readonly clock = new ManualClock();
  readonly shared = new SharedStage();
  readonly threads: readonly StageThread[];
  readonly lines: string[] = [];
  loginMs: () => number = () => 10;
  failsLogin: () => boolean = () => false;
  testMs = 2;
  readonly #logins = new Map<FakeServer, number>();
  readonly #tests = new Map<FakeServer, number>();
  readonly #closes = new Map<FakeServer, number>();
  #lastId = 0;
  #steps = 0;

  constructor(limits: Partial<PoolLimits>) {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    this.threads = Array.from({ length: THREADS }, (_, number) => new StageThread(this, number, limits));
  }

  thread(number: number): StageThread {
    return this.threads[number] as StageThread;
  }

  others(number: number, tell: (thread: StageThread) => void): void {
    for (const thread of this.threads) if (thread.number !== number) tell(thread);
  }

  post(owner: number, hear: (thread: StageThread) => void): void {
    setTimeout(() => hear(this.thread(owner)), MESSAGE_MS);
  }

  opened(server: FakeServer): void {
    this.#logins.set(server, this.clock.nowMs() + this.loginMs());
  }

  newId(): number {
    return ++this.#lastId;
  }

  /** Lets so many ms pass; `each` is called in each of them. */
  pass(ms: number, each: () => void = () => {}): void {
    for (let i = 0; i < ms; i++) {
      this.clock.advance(1);
      vi.advanceTimersByTime(1);
      this.#finishLogins();
      for (const { pool } of this.threads) {
        this.#finish(pool.servers.tested, this.#tests, this.testMs, (server) => server.answerTest());
        this.#finish(pool.servers.closing, this.#closes, CLOSE_MS, (server) => server.gone());
      }
      if (++this.#steps % SWEEP_MS === 0)
        for (const { pool } of this.threads) sweepPool(pool, this.clock.nowMs());
      each();
    }
  }

  #finishLogins(): void {
    for (const [server, dueMs] of [...this.#logins]) {
      if (dueMs > this.clock.nowMs()) continue;
      this.#logins.delete(server);
      if (server.state !== 'new') continue;
      if (this.failsLogin()) server.failConnect();
      else server.ready();
    }
  }

  /** What is in that state for so long gets to its end. */
  #finish(
    servers: Pool['servers']['tested'],
    since: Map<FakeServer, number>,
    takesMs: number,
    end: (server: FakeServer) => void,
  ): void {
    const nowMs = this.clock.nowMs();
    for (const server of [...servers] as FakeServer[]) {
      const dueMs = since.get(server) ?? nowMs + takesMs;
      since.set(server, dueMs);
      if (dueMs > nowMs) continue;
      since.delete(server);
      end(server);
    }
  }
}
