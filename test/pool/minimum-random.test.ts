import { strict as assert } from 'node:assert';
import { describe, it } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { sweepPool } from '../../src/pool/sweep.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { type Random, withSeed } from '../support/random.ts';
import { BUDGETS, type BudgetOf } from './budget-stage.ts';
import { type FakeClient, type FakeServer, PoolKit, wakeUps } from './kit.ts';
import { byEffort } from '../support/effort.ts';

const ROUNDS = byEffort({ wide: 30, full: 1000 });
const STEPS = 150;
const MINIMUM = 3;
const LIMITS: Partial<PoolLimits> = {
  poolSize: 8,
  minPoolSize: MINIMUM,
  serverIdleTimeoutMs: 1000,
  serverLoginRetryMs: 0,
};

/** The pool of one database and user on three event loops, and what steps by chance do to it. */
class World {
  readonly #clock = new ManualClock();
  readonly #kits: PoolKit[];
  readonly #random: Random;
  readonly #clients: FakeClient[] = [];
  #limits = LIMITS;

  constructor(budgetOf: BudgetOf, random: Random) {
    this.#random = random;
    this.#kits = [0, 1, 2].map((loop) => {
      const owner = `worker ${loop}`;
      return new PoolKit({ clock: this.#clock, budget: budgetOf(owner), owner });
    });
    for (const kit of this.#kits) kit.pool(LIMITS, { isForcedUser: true });
  }

  async step(): Promise<void> {
    const random = this.#random;
    const kit = random.pick(this.#kits);
    const server = random.pick(this.#servers());
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        this.#sweep(kit);
        break;
      case 3:
        if (server?.state === 'new') {
          if (random.below(6) === 0) server.failConnect();
          else server.ready();
        }
        break;
      case 4:
        if (server?.state === 'closing') server.gone();
        break;
      case 5:
        this.#clock.advance(random.below(900));
        break;
      case 6: {
        const client = kit.client(kit.pool());
        this.#clients.push(client);
        if (kit.pool().join(client)) client.acquire();
        break;
      }
      default: {
        const client = random.pick(this.#clients);
        if (client !== undefined && client.state !== 'gone') client.disconnect();
      }
    }
    await wakeUps();
    this.#check();
  }

  /** All clients leave, all is done: what is left then. */
  async settle(limits: Partial<PoolLimits>): Promise<number> {
    for (const client of this.#clients.splice(0)) if (client.state !== 'gone') client.disconnect();
    this.#limits = { ...this.#limits, ...limits };
    for (const kit of this.#kits) kit.pool().limits = { ...kit.pool().limits, ...limits };
    for (let round = 0; round < 30; round++) {
      this.#clock.advance(400);
      // In another order each time.
      const first = this.#random.below(3);
      for (const i of [0, 1, 2]) this.#sweep(this.#kits[(first + i) % 3] as PoolKit);
      if (this.#random.below(3) > 0) this.#finishAll();
      await wakeUps();
      this.#check();
    }
    this.#finishAll();
    return this.#servers().length;
  }

  #finishAll(): void {
    for (const server of this.#servers()) {
      if (server.state === 'new') server.ready();
      else if (server.state === 'closing') server.gone();
    }
  }

  #sweep(kit: PoolKit): void {
    const before = this.#serving;
    const opened = kit.connector.opened.length;
    const isWanted = kit.pool().clients.isWaiting;
    sweepPool(kit.pool(), this.#clock.nowMs());
    const { minPoolSize = 0, poolSize = 0 } = this.#limits;
    const isNew = kit.connector.opened.length > opened;
    assert(isWanted || !isNew || this.#serving <= minPoolSize, `${this.#serving} servers, filled up to`);
    // What is lost here beyond that was too much for pool_size.
    const least = Math.min(before, minPoolSize, poolSize);
    assert(this.#serving >= least, `${this.#serving} of ${before} servers are left`);
  }

  get #serving(): number {
    return this.#kits[0]?.budget.serving('db', 'app') ?? 0;
  }

  #servers(): FakeServer[] {
    return this.#kits.flatMap(({ connector }) => connector.opened.filter(({ state }) => state !== 'gone'));
  }

  #check(): void {
    const all = this.#servers();
    const serving = all.filter(({ state }) => state !== 'closing').length;
    for (const { budget } of this.#kits) assert.equal(budget.serving('db', 'app'), serving);
    assert.equal(this.#kits[1]?.budget.count('server', { database: 'db', user: 'app' }), all.length);
    assert(all.length <= 8, 'pool_size');
  }
}

describe.each(BUDGETS)('min_pool_size with a budget %s', (_, make) => {
  it('holds once for all of them: neither is it exceeded for itself nor do idle servers go below it', async () => {
    await withSeed(async (random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const world = new World(make(), random);
        for (let step = 0; step < STEPS; step++) await world.step();
        assert.equal(await world.settle({}), MINIMUM);
        assert.equal(await world.settle({ minPoolSize: 6, serverIdleTimeoutMs: 0 }), 6);
        // A smaller pool closes what is too much, and no more.
        assert.equal(await world.settle({ poolSize: 4 }), 4);
        assert.equal(await world.settle({ minPoolSize: 0, serverIdleTimeoutMs: 1000 }), 0);
      }
    });
  });
});
