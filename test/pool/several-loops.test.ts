import { describe, expect, it, vi } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { BUDGETS, type BudgetOf } from './budget-stage.ts';
import { type FakeClient, type FakeServer, PoolKit, wakeUps } from './kit.ts';

/** One pool on two event loops: `here` and `there`. */
class Stage {
  readonly here: PoolKit;
  readonly there: PoolKit;
  readonly #limits: Partial<PoolLimits>;

  constructor(budgetOf: BudgetOf, limits: Partial<PoolLimits>) {
    this.#limits = limits;
    const clock = new ManualClock();
    const kit = (owner: string) => new PoolKit({ clock, budget: budgetOf(owner), owner });
    this.here = kit('worker 0');
    this.there = kit('worker 1');
  }

  pool(kit: PoolKit): Pool {
    return kit.pool(this.#limits);
  }

  /** So many clients that are each linked to a server of their loop. */
  busy(kit: PoolKit, count: number): FakeClient[] {
    return Array.from({ length: count }, () => {
      const client = kit.client(this.pool(kit));
      if (this.pool(kit).join(client)) client.acquire();
      else {
        kit.connector.last.ready();
        client.acquire();
      }
      if (client.server === null) kit.connector.last.ready();
      expect(client.server).not.toBe(null);
      return client;
    });
  }

  get count(): number {
    return this.here.budget.count('server', { database: 'db', user: 'app' });
  }
}

describe.each(BUDGETS)('a pool of several event loops, with a budget %s', (_, make) => {
  it('lends from the reserve where others have all of pool_size, and no more than that', () => {
    const limits = { poolSize: 3, reservePoolSize: 1, reservePoolTimeoutMs: 5000 };
    const stage = new Stage(make(), limits);
    stage.busy(stage.here, 1);
    stage.busy(stage.there, 2);
    const waiting = [0, 1].map(() => stage.here.acquiring(stage.pool(stage.here)));
    stage.here.sweepAfter(4999);
    expect([stage.count, stage.here.connector.opened.length]).toEqual([3, 1]);
    stage.here.sweepAfter(1);
    stage.there.sweepAfter(0);
    stage.here.connector.last.ready();
    stage.here.sweepAfter(9000);
    expect([stage.count, ...waiting.map(({ state }) => state)]).toEqual([4, 'active', 'waiting']);
    expect(
      stage.here.logged.filter((line) => line.includes('taking connection from reserve_pool')),
    ).toHaveLength(1);
  });

  it('makes room for a client that wants a connection of its own', async () => {
    const stage = new Stage(make(), { poolSize: 2 });
    const [resting] = stage.busy(stage.here, 1);
    stage.busy(stage.there, 1);
    const server = resting?.server as FakeServer;
    resting?.finish();
    expect(server.state).toBe('idle');
    const client = stage.here.dedicated(stage.pool(stage.here));
    expect([server.closeReason, client.state]).toEqual(['evicted', 'waiting_dedicated']);
    server.gone();
    await wakeUps();
    expect(stage.here.connector.last.dedicatedTo).toBe(client);
    expect(stage.count).toBe(2);
  });

  it('closes the next server that comes to rest for such a client', async () => {
    const stage = new Stage(make(), { poolSize: 2 });
    const [working] = stage.busy(stage.here, 1);
    stage.busy(stage.there, 1);
    const server = working?.server as FakeServer;
    const client = stage.here.dedicated(stage.pool(stage.here));
    stage.here.clock.advance(1);
    // It has come later, and would have the server at once.
    const later = stage.here.acquiring(stage.pool(stage.here));
    expect(server.state).toBe('active');
    working?.finish();
    expect([server.closeReason, later.state]).toEqual(['evicted', 'waiting']);
    server.gone();
    await wakeUps();
    expect(stage.here.connector.last.dedicatedTo).toBe(client);
  });

  /** Others have all of the pool, and somebody here waits and has been told so. */
  function full() {
    const stage = new Stage(make(), { poolSize: 2 });
    const [, second] = stage.busy(stage.there, 2);
    const pool = stage.pool(stage.here);
    const asked = vi.spyOn(stage.here.budget, 'askServer');
    // Its login waits for what only a server can tell.
    const client = stage.here.joined(pool);
    expect(asked).toHaveBeenCalledTimes(1);
    return { stage, pool, asked, client, second: second?.server as FakeServer };
  }

  /** What `full` has closed is gone: there is room for one. */
  async function makeRoom({ stage, second }: ReturnType<typeof full>) {
    stage.pool(stage.there).closeServer(second, 'test');
    second.gone();
    await wakeUps();
  }

  it('asks once for what others have, however many come to wait', async () => {
    const stuck = full();
    for (let i = 0; i < 10; i++) stuck.stage.here.joined(stuck.pool);
    expect(stuck.asked).toHaveBeenCalledTimes(1);
    await makeRoom(stuck);
    expect(stuck.pool.servers.new.length).toBe(1);
  });

  it('asks anew when something has come back that nobody here waited for then', async () => {
    const stuck = full();
    stuck.pool.leave(stuck.client);
    await makeRoom(stuck);
    expect(stuck.pool.servers.new.length).toBe(0);
    stuck.stage.here.joined(stuck.pool);
    expect(stuck.pool.servers.new.length).toBe(1);
  });

  it('asks anew under another pool_size, and a tenth of a second later in any case', () => {
    const { stage, pool, asked } = full();
    stage.here.clock.advance(99);
    pool.service();
    expect(asked).toHaveBeenCalledTimes(1);
    stage.here.clock.advance(1);
    pool.service();
    expect(asked).toHaveBeenCalledTimes(2);
    pool.limits = { ...pool.limits, poolSize: 3 };
    pool.service();
    expect([asked.mock.calls.length, pool.servers.new.length]).toEqual([3, 1]);
  });
});
