import { expect, it } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { FakeClient } from '../pool/kit.ts';
import { byEffort } from '../support/effort.ts';
import { type Random, withSeed } from '../support/random.ts';
import { MovingStage, type StageThread } from './moving-stage.ts';

const CHECKED = { serverCheckQuery: '' };
const HANGS_MS = 1e9;

/** The first of two threads has used one server, which rests there. */
function rested(limits: Partial<PoolLimits>, restMs: number) {
  const stage = new MovingStage({ poolSize: 4, ...limits });
  const [giver, waiter] = [stage.thread(0), stage.thread(1)];
  const first = giver.client().acquire();
  stage.pass(20);
  first.finish();
  stage.pass(restMs);
  return { stage, giver, waiter };
}

it('a server at rest goes to a thread where logins fail', () => {
  const { stage, waiter } = rested({}, 100);
  stage.failsLogin = () => true;
  const client = waiter.client().acquire();
  stage.pass(500);
  expect(client.state).toBe('active');
});

it('so does one that must be checked first, behind its check', () => {
  const { stage, giver, waiter } = rested(CHECKED, 31_000);
  expect(giver.pool.servers.used.length).toBe(1);
  stage.failsLogin = () => true;
  const client = waiter.client().acquire();
  stage.pass(500);
  const [server] = giver.connector.opened;
  expect([client.state, server?.tests, giver.pool.servers.slotsTaken]).toEqual(['active', ['check: '], 0]);
});

it('and each that is never at rest without, where all are checked', () => {
  const { stage, waiter } = rested({ ...CHECKED, serverCheckDelayMs: 0 }, 1000);
  stage.failsLogin = () => true;
  const client = waiter.client().acquire();
  stage.pass(500);
  expect(client.state).toBe('active');
});

it('nobody waits for a login that hangs while a server rests in another thread', () => {
  const { stage, waiter } = rested({}, 100);
  stage.loginMs = () => HANGS_MS;
  const client = waiter.client().acquire();
  stage.pass(500);
  expect(client.state).toBe('active');
});

it('nor does a client’s own login, which needs what servers report', () => {
  const { stage, waiter } = rested({}, 100);
  waiter.pool.welcome = null;
  stage.loginMs = () => HANGS_MS;
  const client = waiter.client();
  expect(client.state).toBe('waiting_login');
  stage.pass(500);
  expect(client.heard).toEqual(['welcome']);
});

it('over TLS none is closed for a client that a login is under way for', () => {
  const { stage, giver, waiter } = rested({ poolSize: 2 }, 100);
  for (const server of giver.connector.opened)
    Object.assign(server, { mayMove: false, opening: { tls: {} } });
  stage.loginMs = () => HANGS_MS;
  const client = waiter.client().acquire();
  stage.pass(5000);
  expect(waiter.asks).toBeGreaterThan(0);
  expect([client.state, giver.pool.servers.idle.length]).toEqual(['waiting', 1]);
});

it('nor for one that a check is under way for', () => {
  const { stage, giver, waiter } = rested({ ...CHECKED, poolSize: 2 }, 0);
  const own = waiter.client().acquire();
  stage.pass(30);
  own.finish();
  stage.pass(31_000);
  const other = giver.client().acquire();
  stage.pass(20);
  other.finish();
  for (const server of giver.connector.opened)
    Object.assign(server, { mayMove: false, opening: { tls: {} } });
  stage.testMs = HANGS_MS;
  waiter.client().acquire();
  stage.pass(5000);
  expect(waiter.asks).toBeGreaterThan(0);
  expect([waiter.pool.servers.tested.length, giver.pool.servers.idle.length]).toEqual([1, 1]);
});

it('a check for another thread that hangs keeps none of the other servers back', () => {
  const stage = new MovingStage({ ...CHECKED, poolSize: 2 });
  const [giver, waiter] = [stage.thread(0), stage.thread(1)];
  const clients = [giver.client().acquire(), giver.client().acquire()];
  stage.pass(30);
  for (const client of clients) client.finish();
  stage.pass(31_000);
  expect(giver.pool.servers.used.length).toBe(2);
  const client = waiter.client().acquire();
  stage.testMs = HANGS_MS;
  // The first check has begun, and is not going to end; the next one will.
  stage.pass(50);
  expect(giver.pool.servers.tested.length).toBe(1);
  stage.testMs = 2;
  stage.pass(1000);
  expect([client.state, giver.pool.servers.tested.length]).toEqual(['active', 1]);
});

it('nobody waits for a check that hangs while a server rests in another thread', () => {
  const { stage, giver, waiter } = rested(CHECKED, 0);
  const own = waiter.client().acquire();
  stage.pass(30);
  own.finish();
  stage.pass(31_000);
  // Used a moment ago, this one needs no check.
  const other = giver.client().acquire();
  stage.pass(20);
  other.finish();
  expect([waiter.pool.servers.used.length, giver.pool.servers.idle.length]).toEqual([1, 1]);
  stage.testMs = HANGS_MS;
  const client = waiter.client().acquire();
  stage.pass(500);
  expect(client.state).toBe('active');
});

it.each([
  false,
  true,
])('a queue in which each waits for 2 ms gets servers that rest elsewhere (a query behind each client: %s)', (serverResetQueryAlways) => {
  const stage = new MovingStage({ poolSize: 4, serverResetQueryAlways });
  const [giver, waiter] = [stage.thread(0), stage.thread(1)];
  stage.testMs = 0;
  const held = [1, 2, 3].map(() => giver.client().acquire());
  stage.pass(60);
  let current = waiter.client().acquire();
  stage.pass(60);
  const queue = [waiter.client().acquire(), waiter.client().acquire()];
  const { servers } = waiter.pool;
  const count = () => servers.active.length + servers.idle.length + servers.tested.length;
  let steps = 0;
  stage.pass(300, () => {
    if (++steps === 50) for (const client of held) client.finish();
    if (count() > 1 || current.state !== 'active') return;
    queue.push(waiter.client().acquire());
    current.finish();
    current = queue.shift() as FakeClient;
  });
  expect(count()).toBeGreaterThan(1);
});

/** One client of the interleavings: works, thinks, and may leave and be followed by another one at any time. */
class Worker {
  readonly #thread: StageThread;
  readonly #random: Random;
  readonly #thinkMs: number;
  readonly #workMs: number;
  #client: FakeClient;
  /** When it goes on; null: it waits. */
  #dueMs: number | null;

  constructor(thread: StageThread, random: Random) {
    this.#thread = thread;
    this.#random = random;
    this.#thinkMs = random.pick([0, 5, 50, 400]);
    this.#workMs = random.pick([1, 5, 30, 300]);
    this.#client = thread.client();
    this.#dueMs = random.below(50);
  }

  step(nowMs: number): void {
    const random = this.#random;
    if (this.#client.state === 'gone') {
      if (random.below(20) !== 0) return;
      this.#client = this.#thread.client();
      this.#dueMs = nowMs;
    } else if (random.below(3000) === 0) {
      this.#client.disconnect();
      return;
    }
    if (this.#dueMs === null && this.#client.server !== null)
      this.#dueMs = nowMs + random.below(this.#workMs + 1);
    if (this.#dueMs === null || this.#dueMs > nowMs) return;
    if (this.#client.server !== null) {
      this.#client.finish();
      this.#dueMs = nowMs + random.below(this.#thinkMs + 1);
    } else if (this.#client.state === 'active') {
      this.#dueMs = null;
      this.#client.acquire();
    }
  }
}

/** Longest time for which somebody may wait while a server rests where nobody waits: two questions, a check, a move. */
const MOST_REST_MS = 250;

it('at random nobody is left to wait, no limit is passed, and what is told of rests and waits is so', async () => {
  for (let run = 0; run < byEffort({ wide: 20, full: 400 }); run++) {
    await withSeed(async (random) => {
      const limits = {
        ...(random.pick([true, false]) ? { ...CHECKED, serverCheckDelayMs: random.pick([0, 100]) } : {}),
        poolSize: 1 + random.below(4),
        reservePoolSize: random.pick([0, 0, 1, 2]),
        reservePoolTimeoutMs: 200,
        maxDbConnections: random.pick([0, 0, 2]),
        minPoolSize: random.pick([0, 0, 1]),
        serverResetQueryAlways: random.pick([false, true]),
        serverRoundRobin: random.pick([false, true]),
      };
      const stage = new MovingStage(limits);
      const { clock, threads } = stage;
      stage.loginMs = () => 1 + random.below(30);
      let areFailing = false;
      stage.failsLogin = () => areFailing && random.below(10) < 7;
      const workers = threads.flatMap((thread) =>
        Array.from({ length: 1 + random.below(4) }, () => new Worker(thread, random)),
      );
      const most = limits.poolSize + limits.reservePoolSize;
      const waitedMs = threads.map(() => 0);
      const isResting = ({ pool: { servers, clients } }: StageThread) =>
        servers.idle.length + servers.used.length > 0 && clients.waiting.length === 0;
      stage.pass(8000, () => {
        if (random.below(1500) === 0) areFailing = !areFailing;
        for (const worker of workers) worker.step(clock.nowMs());
        const count = stage.shared.keeper.count('server');
        if (count > most) throw new Error(`${count} servers of ${most}`);
        if (limits.maxDbConnections > 0 && count > limits.maxDbConnections)
          throw new Error(`${count} servers of the database's ${limits.maxDbConnections}`);
        for (const { number, pool } of threads) {
          const { budget } = stage.thread((number + 1) % threads.length);
          const rests = pool.servers.idle.length + pool.servers.used.length > 0;
          if (budget.restsIn(number, pool.key) !== rests) throw new Error(`told of rest: ${!rests}`);
          const isWaiting = budget.waitOf(pool.key, number) > 0;
          if (isWaiting !== pool.clients.isWaiting) throw new Error(`told of a wait: ${isWaiting}`);
          const others = threads.filter((other) => other.number !== number);
          const isLeft = pool.clients.waiting.length > 0 && others.some(isResting);
          waitedMs[number] = isLeft ? (waitedMs[number] as number) + 1 : 0;
          if ((waitedMs[number] as number) > MOST_REST_MS)
            throw new Error(`left to wait ${JSON.stringify(limits)}`);
        }
      });
      expect(stage.lines.filter((line) => line.startsWith('ERROR'))).toEqual([]);
    });
  }
});
