import { strict as assert } from 'node:assert';
import { describe, it } from 'vitest';
import { LocalBudget } from '../../src/pool/budget.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { byEffort } from '../support/effort.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { type Random, withSeed } from '../support/random.ts';
import { type BudgetOf, SharedStage } from './budget-stage.ts';
import { type FakeClient, type FakeServer, PoolKit, wakeUps } from './kit.ts';

const ROUNDS = byEffort({ quick: 3, wide: 10, full: 100 });
/** Of up to three pools. */
const GROUPS = 3;
const STEP_MS = 5;
const RUN_MS = 20_000;
const SWEEP_MS = 333;
/** Times that logins and PostgreSQL's ends take. */
const LOGIN_MS = 10;
const GONE_MS = 5;
/**
 * Longest wait: those who waited a second longer than the others' clients get a server, of each other pool one in 0.2 s, and
 * there is a login and up to two sweeps before.
 */
const LONGEST_MS = 4000;
/** Where two limits have to have room at a time, which is kept for half a second of two. */
const LONGEST_OF_BOTH_MS = 10_000;

/** A client that works, thinks and comes again; where it works without a break, its pool's servers never rest. */
interface Worker {
  readonly client: FakeClient;
  readonly workMs: number;
  readonly thinkMs: number;
  /** When it has done what it is at. */
  dueMs: number;
}

/** Pools of one database on some loops, each on one of them, which may have fewer servers together than there are pools. */
class World {
  readonly #clock = new ManualClock();
  readonly #kits: PoolKit[];
  readonly #workers: Worker[] = [];
  readonly #limit: number;
  #sweepMs = 0;
  longestMs = 0;

  /** `hasBoth`: each pool of one of two databases and one of two users, which have as many servers each at most. */
  constructor(random: Random, loops: number, budgetOf: BudgetOf, hasBoth: boolean) {
    this.#limit = 1 + random.below(3);
    this.#kits = Array.from({ length: loops }, (_, loop) => {
      const owner = `worker ${loop}`;
      return new PoolKit({ clock: this.#clock, budget: budgetOf(owner), owner });
    });
    for (let group = 0; group < GROUPS; group++) {
      const kit = this.#kits[group % loops] as PoolKit;
      for (let i = random.below(3); i >= 0; i--) {
        const limits = {
          maxDbConnections: this.#limit,
          maxUserConnections: hasBoth ? this.#limit : 0,
          poolSize: 1 + random.below(3),
        };
        const pool = kit.pool(limits, hasBoth ? identityOf(group, i) : { user: `${group} ${i}` });
        for (let count = 1 + random.below(4); count > 0; count--) {
          const client = kit.client(pool);
          if (pool.join(client)) client.acquire();
          else client.onWelcome = () => void client.acquire();
          const thinkMs = random.pick([0, 0, 20, 400]);
          this.#workers.push({ client, workMs: 5 + random.below(40), thinkMs, dueMs: 0 });
        }
      }
    }
  }

  async run(): Promise<void> {
    const endMs = this.#clock.nowMs() + RUN_MS;
    while (this.#clock.nowMs() < endMs) await this.#step();
  }

  async #step(): Promise<void> {
    this.#clock.advance(STEP_MS);
    const nowMs = this.#clock.nowMs();
    for (const kit of this.#kits) for (const server of kit.connector.opened) this.#serve(server, nowMs);
    for (const worker of this.#workers) this.#work(worker, nowMs);
    if (nowMs - this.#sweepMs >= SWEEP_MS) {
      this.#sweepMs = nowMs;
      for (const kit of this.#kits) kit.sweepAfter(0);
    }
    await wakeUps();
    const open = this.#kits.flatMap(({ connector }) =>
      connector.opened.filter(({ state }) => state !== 'gone'),
    );
    const counts = new Map<string, number>();
    for (const { database, user, limits } of open.map(({ pool }) => pool)) {
      const scopes = limits.maxUserConnections > 0 ? [`of ${database}`, `for ${user}`] : [`of ${database}`];
      for (const scope of scopes) counts.set(scope, (counts.get(scope) ?? 0) + 1);
    }
    for (const [scope, count] of counts)
      assert(count <= this.#limit, `${count} servers ${scope}, of ${this.#limit}`);
  }

  #serve(server: FakeServer, nowMs: number): void {
    if (server.state === 'new' && nowMs - server.connectMs >= LOGIN_MS) server.ready();
    if (server.state === 'closing' && nowMs - server.stateSinceMs >= GONE_MS) server.gone();
  }

  #work(worker: Worker, nowMs: number): void {
    const { client, workMs, thinkMs } = worker;
    if (client.server !== null) {
      if (worker.dueMs === 0) worker.dueMs = nowMs + workMs;
      if (worker.dueMs > nowMs) return;
      client.finish();
      worker.dueMs = nowMs + thinkMs;
      if (thinkMs === 0) this.#comeAgain(worker);
    } else if (client.state === 'active') {
      if (worker.dueMs <= nowMs) this.#comeAgain(worker);
    } else {
      this.longestMs = Math.max(this.longestMs, nowMs - client.waitStartMs);
    }
  }

  #comeAgain(worker: Worker): void {
    worker.dueMs = 0;
    worker.client.acquire();
  }

  /** What may help to see why. */
  get told(): string {
    const pools = this.#kits.flatMap((kit) => kit.pools.all());
    const one = ({ user, limits, clients }: Pool) => `${user}: ${clients.count} on ${limits.poolSize}`;
    return `${this.#limit} servers for ${pools.map(one).join(', ')}`;
  }
}

/** Each pool is on one loop, that of its group. */
function identityOf(group: number, index: number): { database: string; user: string } {
  if (group > 0) return { database: 'other', user: group === 1 ? 'a' : 'b' };
  return { database: 'db', user: index % 2 === 0 ? 'a' : 'b' };
}

const LOOPS = [1, 2, 3].flatMap((loops) => [
  { loops, hasBoth: false },
  { loops, hasBoth: true },
]);

describe('pools of one or several loops under one limit, or one for the database and one for the user', () => {
  it.each(LOOPS)('nobody waits without end: $loops, $hasBoth', async ({ loops, hasBoth }) => {
    for (let round = 0; round < ROUNDS; round++) {
      await withSeed(async (random) => {
        const shared = new SharedStage();
        const local = new LocalBudget();
        const budgetOf = (owner: string) => (loops === 1 ? local : shared.budgetOf(owner));
        const world = new World(random, loops, budgetOf, hasBoth);
        await world.run();
        const longestMs = hasBoth ? LONGEST_OF_BOTH_MS : LONGEST_MS;
        assert(world.longestMs <= longestMs, `${world.longestMs} ms of waiting, ${world.told}`);
      });
    }
  });
});
