import type { Grant } from '../../src/pool/budget.ts';
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { Databases } from '../../src/daemon/databases.ts';
import { LoginBoard, type LoginReport } from '../../src/daemon/login-board.ts';
import type { WelcomeData } from '../../src/pool/context.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { load } from '../config/files.ts';
import { CLIENT, granted, SERVER, SharedStage } from '../pool/budget-stage.ts';
import { PoolKit, WELCOME } from '../pool/kit.ts';
import { ManualClock } from '../support/manual-clock.ts';

const OTHER: WelcomeData = [['server_version', '17.0']];
const DB = '[databases]\ndb = host=one\n';

function configOf(text: string): Config {
  return load(text.includes('[pgbouncer]') ? text : `${text}[pgbouncer]\n`);
}

/** The boards of two threads, both in this one; what one tells, the other hears at {@link deliver}. */
class Stage {
  readonly budgets = new SharedStage();
  readonly clock = new ManualClock();
  readonly kits: PoolKit[] = [];
  readonly boards: LoginBoard[] = [];
  readonly told: { from: number; report: LoginReport }[] = [];
  readonly #databases: Databases[] = [];
  /** How often a server was asked for. */
  lacks = 0;
  config: Config;

  constructor(text = DB) {
    this.config = configOf(text);
    for (const owner of [0, 1]) {
      const board = new LoginBoard({
        budget: this.budgets.budget(owner),
        state: () => ({
          clock: this.clock,
          config: this.config,
          databases: this.#databases[owner] as Databases,
          isSuspended: (this.kits[owner] as PoolKit).isSuspended,
          pools: (this.kits[owner] as PoolKit).pools,
        }),
        tell: (report) => void this.told.push({ from: owner, report: structuredClone(report) }),
        lacks: () => void this.lacks++,
      });
      const budget = this.budgets.budget(owner);
      this.boards.push(board);
      const kit = new PoolKit({ clock: this.clock, budget, owner: budget.name, news: board });
      this.kits.push(kit);
      const log = { enabled: () => true, log: () => {} };
      this.#databases.push(new Databases(this.config, log));
    }
  }

  board(owner: number): LoginBoard {
    return this.boards[owner] as LoginBoard;
  }

  kit(owner: number): PoolKit {
    return this.kits[owner] as PoolKit;
  }

  deliver(): void {
    for (const { from, report } of this.told.splice(0)) this.boards[1 - from]?.hear(report);
  }

  apply(text: string): void {
    this.config = configOf(text);
    for (const databases of this.#databases) databases.update(this.config);
    for (const board of this.boards) board.applied();
  }

  /** A server of thread 0 has logged in. */
  login(welcome: WelcomeData = WELCOME): Pool {
    const kit = this.kit(0);
    const pool = kit.pool({ poolSize: 9 });
    while (pool.servers.new.length === 0) {
      if (pool.welcome === null) kit.joined(pool);
      else kit.acquiring(pool);
    }
    kit.connector.last.ready(welcome);
    return pool;
  }

  /** What a pool of thread 1 begins with. */
  known(): WelcomeData | null {
    const { pools } = this.kit(1);
    const pool = this.kit(1).pool();
    pools.remove(pool);
    return pool.welcome;
  }
}

describe('what a server has reported', () => {
  it('ends logins of another thread, there and where a pool is made later', () => {
    const stage = new Stage();
    const waiting = stage.kit(1).joined(stage.kit(1).pool());
    expect(waiting.state).toBe('waiting_login');
    stage.login();
    stage.deliver();
    expect([waiting.state, waiting.heard]).toEqual(['active', ['welcome']]);
    stage.kit(1).pools.remove(waiting.pool);
    expect(stage.known()).toEqual(WELCOME);
  });

  it('ends them while the pool is paused, and not in SUSPEND', () => {
    const stage = new Stage();
    const pool = stage.kit(1).pool();
    const client = stage.kit(1).joined(pool);
    stage.login();
    stage.kit(1).isSuspended = true;
    stage.deliver();
    expect(client.state).toBe('waiting_login');
    stage.kit(1).isSuspended = false;
    pool.setPaused(true);
    stage.board(0).tellAgain(null);
    stage.deliver();
    expect(client.state).toBe('active');
  });

  it('is told once, and again when it is something else', () => {
    const stage = new Stage();
    stage.login();
    stage.login();
    expect(stage.told).toHaveLength(1);
    stage.login(OTHER);
    stage.deliver();
    expect(stage.known()).toEqual(OTHER);
  });

  it('is told to a thread that has heard nothing, when it is asked for', () => {
    const stage = new Stage();
    stage.login();
    stage.told.length = 0;
    stage.board(0).tellAgain({ database: 'db', user: 'somebody' });
    expect(stage.told).toEqual([]);
    stage.board(0).tellAgain({ database: 'db', user: 'app' });
    stage.deliver();
    expect(stage.known()).toEqual(WELCOME);
  });

  it.each([
    ['leads to another host', '[databases]\ndb = host=two\n'],
    ['has another user', '[databases]\ndb = host=one user=other\n'],
    ['is gone', '[databases]\nothers = host=one\n'],
    ['is what * makes of it now', '[databases]\n* = host=one\n'],
  ])('is forgotten when its database %s, though it comes to be as before', (_, text) => {
    const stage = new Stage();
    stage.login();
    stage.deliver();
    stage.apply(text);
    stage.apply(DB);
    expect(stage.known()).toBe(null);
    stage.board(0).tellAgain(null);
    expect(stage.told).toEqual([]);
  });

  it('is forgotten when what * makes of a database leads elsewhere, where nobody has used that yet', () => {
    const stage = new Stage('[databases]\n* = host=one\n');
    stage.login();
    stage.deliver();
    expect(stage.known()).toEqual(WELCOME);
    stage.apply('[databases]\n* = host=two\n');
    expect(stage.known()).toBe(null);
  });

  it('is kept when the configuration leads to the same server', () => {
    const stage = new Stage();
    stage.login();
    stage.deliver();
    stage.apply('[databases]\ndb = host=one pool_size=7\n');
    expect(stage.known()).toEqual(WELCOME);
  });

  it('is not taken by a pool that is made between a configuration and what it has the board forget', () => {
    const stage = new Stage();
    stage.login();
    stage.deliver();
    stage.board(1).applied = () => {};
    stage.apply('[databases]\ndb = host=two\n');
    expect(stage.known()).toBe(null);
  });

  it('is forgotten at KILL of that database', () => {
    const stage = new Stage();
    stage.login();
    stage.deliver();
    stage.board(1).forget('other');
    expect(stage.known()).toEqual(WELCOME);
    stage.board(1).forget('db');
    expect(stage.known()).toBe(null);
  });

  it.each([
    ['pool_idle_timeout', `${DB}[pgbouncer]\npool_idle_timeout = 10\n`],
    ['autodb_idle_timeout', '[databases]\n* = host=one\n[pgbouncer]\nautodb_idle_timeout = 10\n'],
  ])('is forgotten when no thread has used the pool for %s', (_, text) => {
    const stage = new Stage(text);
    const pool = stage.login();
    stage.deliver();
    const server = stage.kit(0).connector.last;
    const pass = (ms: number): void => {
      stage.clock.advance(ms);
      stage.board(1).sweep();
    };
    pass(60_000);
    expect(stage.known()).toEqual(WELCOME);
    pool.closeServer(server, 'test');
    server.gone();
    const used = granted(stage.budgets.budget(0).askClient(CLIENT));
    pass(60_000);
    expect(stage.known()).toEqual(WELCOME);
    stage.budgets.budget(0).giveBack(used);
    pass(1);
    pass(10_000);
    expect(stage.known()).toEqual(WELCOME);
    pass(1);
    expect(stage.known()).toBe(null);
  });

  it('is kept of so many pools, those of which something was heard last, and not when it is huge', () => {
    const stage = new Stage('[databases]\n* = host=one\n');
    stage.login();
    const { report } = stage.told[0] as { report: LoginReport };
    for (let i = 0; i <= 1000; i++) stage.board(1).hear({ ...report, user: `user ${i}` });
    stage.told.length = 0;
    stage.board(1).tellAgain(null);
    expect(stage.told.map(({ report: { user } }) => user)).toEqual(
      Array.from({ length: 1000 }, (_, i) => `user ${i + 1}`),
    );
    const other = new Stage();
    other.login([['huge', 'x'.repeat(20_000)]]);
    other.deliver();
    expect(other.known()).toBe(null);
  });
});

describe('a login that has failed', () => {
  it('refuses who waits in another thread where it is the server’s answer, and keeps it from the next attempt', () => {
    const stage = new Stage();
    const waiting = stage.kit(1).joined(stage.kit(1).pool());
    stage.kit(0).joined(stage.kit(0).pool());
    stage.kit(1).connector.last.failConnect();
    stage.told.length = 0;
    stage.clock.advance(1);
    stage.kit(0).connector.last.refuseLogin('no');
    stage.deliver();
    expect(waiting.error).toMatchObject({ message: 'no', sqlstate: '28P01' });
    const later = stage.kit(1).joined(stage.kit(1).pool());
    expect([later.state, stage.kit(1).connector.opened.length]).toEqual(['waiting_login', 1]);
    // What is told again is nothing new.
    stage.board(0).tellAgain(null);
    stage.deliver();
    expect(later.state).toBe('waiting_login');
  });

  it('leaves who waits alone where nobody was there to answer', () => {
    const stage = new Stage();
    const waiting = stage.kit(1).joined(stage.kit(1).pool());
    stage.kit(0).joined(stage.kit(0).pool());
    stage.kit(0).connector.last.failConnect();
    stage.deliver();
    expect(waiting.state).toBe('waiting_login');
    expect(stage.kit(1).pool().launcher.failure).toBe('connect failed');
  });

  it('is over when one succeeds, in whichever thread', () => {
    const stage = new Stage();
    const pool = stage.login();
    stage.deliver();
    const other = stage.kit(1).pool();
    other.launcher.failed({ message: 'no', serverError: null, failWaiting: false });
    stage.deliver();
    expect(pool.launcher.failure).toBe('no');
    stage.clock.advance(20_000);
    stage.kit(1).acquiring(other);
    stage.kit(1).acquiring(other);
    stage.kit(1).connector.last.ready();
    stage.deliver();
    expect(pool.launcher.failure).toBe(null);
  });

  it('refuses nobody while another thread has a server whose login is over: that is asked for', () => {
    const stage = new Stage();
    const { budgets } = stage;
    const pool = stage.kit(1).pool();
    pool.introduce(WELCOME);
    pool.launcher.failed({ message: 'no', serverError: null, failWaiting: true });
    const hasUsable = () => budgets.budget(1).hasUsableElsewhere('db', 'app');
    expect(stage.kit(1).acquiring(pool).state).toBe('gone');
    const grant = granted(budgets.budget(0).askServer(SERVER));
    budgets.budget(0).custody.take(grant, 3);
    expect(hasUsable()).toBe(false);
    // A server without a key is one, too.
    budgets.budget(0).custody.setBackendKey(grant, new Uint8Array(0), null);
    expect([hasUsable(), budgets.budget(0).hasUsableElsewhere('db', 'app')]).toEqual([true, false]);
    stage.lacks = 0;
    expect(stage.kit(1).acquiring(pool).state).toBe('waiting');
    expect(stage.lacks).toBe(1);
    // One on its way here is in none of the lists yet.
    const moved = budgets.budget(0).transfer(grant, 1);
    expect(hasUsable()).toBe(true);
    expect(budgets.budget(1).arrived(moved as Grant)).toBe(true);
    expect(hasUsable()).toBe(false);
    budgets.budget(0).arrived(budgets.budget(1).transfer(moved as Grant, 0) as Grant);
    expect(hasUsable()).toBe(true);
    budgets.budget(0).setAside(grant);
    expect(hasUsable()).toBe(false);
    expect(stage.kit(1).acquiring(pool).state).toBe('gone');
  });
});
