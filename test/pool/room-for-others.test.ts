import { describe, expect, it, vi } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { viewOf } from '../../src/pool/budget-view.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { granted, SERVER, SharedStage } from './budget-stage.ts';
import { type FakeServer, PoolKit, wakeUps } from './kit.ts';

const ONE: Partial<PoolLimits> = { maxDbConnections: 1 };

/** Two event loops, `here` with the servers, and as many as there may be. */
function stage() {
  const shared = new SharedStage();
  const clock = new ManualClock();
  const kit = (owner: string) => new PoolKit({ clock, budget: shared.budgetOf(owner), owner });
  const [here, there] = [kit('worker 0'), kit('worker 1')];
  return { shared, clock, here, there };
}

/** The only server there may be is in use here, for long enough, and a client waits there for a pool of its own. */
function claimed() {
  const it = stage();
  const { here, there, clock } = it;
  const pool = here.warmPool(1, ONE, { user: 'a' });
  clock.advance(200);
  const busy = here.acquiring(pool);
  const waiting = there.joined(there.pool(ONE, { user: 'b' }));
  return { ...it, pool, busy, server: busy.linkedServer, waiting };
}

/** How many servers each loop has opened. */
function opened(here: PoolKit, there: PoolKit): number[] {
  return [here.connector.opened.length, there.connector.opened.length];
}

async function isGone(server: FakeServer): Promise<void> {
  server.gone();
  await wakeUps();
}

describe('room that one loop makes for another', () => {
  it('is not taken by who waits in the loop that made it', async () => {
    const { here, there } = stage();
    const pool = here.warmPool(1, ONE, { user: 'a' });
    const server = here.connector.last;
    there.joined(there.pool(ONE, { user: 'b' }));
    expect(server.closeReason).toBe('evicted');
    here.acquiring(pool);
    await isGone(server);
    expect(opened(here, there)).toEqual([1, 1]);
  });

  it('is made by the next server that comes to rest', async () => {
    const { here, there, busy, server } = claimed();
    busy.finish();
    expect(server.closeReason).toBe('evicted');
    here.acquiring(busy.pool as Pool);
    await isGone(server);
    expect(opened(here, there)).toEqual([1, 1]);
  });

  it('is no longer claimed once nobody waits there', () => {
    const { busy, server, waiting } = claimed();
    waiting.disconnect();
    busy.finish();
    expect(server.state).toBe('idle');
  });

  it('is at once anybody’s when they wait no more as it comes', async () => {
    const { here, there, busy, server, waiting } = claimed();
    busy.finish();
    here.acquiring(busy.pool as Pool);
    waiting.disconnect();
    await isGone(server);
    expect(opened(here, there)).toEqual([2, 0]);
  });

  it('is anybody’s again when they don’t take it', async () => {
    const { here, there, busy, server, waiting } = claimed();
    busy.finish();
    here.acquiring(busy.pool as Pool);
    (waiting.pool as Pool).paused = true;
    await isGone(server);
    expect(opened(here, there)).toEqual([2, 0]);
  });

  it('is taken by none that comes in between, not even of a third loop', async () => {
    const { here, there, busy, server, shared, clock } = claimed();
    const third = new PoolKit({ clock, budget: shared.budgetOf('worker 2'), owner: 'worker 2' });
    third.joined(third.pool(ONE, { user: 'c' }));
    const hand = shared.onHand;
    const late: (() => void)[] = [];
    shared.onHand = (owner, grant) => void late.push(() => hand(owner, grant));
    busy.finish();
    here.acquiring(busy.pool as Pool);
    await isGone(server);
    third.pools.find('db', 'c')?.service();
    expect([...opened(here, there), ...opened(third, third)]).toEqual([1, 0, 0, 0]);
    for (const arrive of late) arrive();
    expect([...opened(here, there), ...opened(third, third)]).toEqual([1, 1, 0, 0]);
  });

  // Times have fractions, of microseconds too.
  it.each([200, 200.0004, 200.0006])('is made by one loop, not by each that has heard of it: %d ms', (ms) => {
    const { here, there, shared, clock } = stage();
    const third = new PoolKit({ clock, budget: shared.budgetOf('worker 2'), owner: 'worker 2' });
    const limits = { maxDbConnections: 2 };
    const pools = [here.warmPool(1, limits, { user: 'a' }), third.warmPool(1, limits, { user: 'c' })];
    clock.advance(ms);
    const busy = [here.acquiring(pools[0] as Pool), third.acquiring(pools[1] as Pool)];
    const other = there.pool(limits, { user: 'b' });
    there.joined(other);
    for (const client of busy) client.finish();
    const closing = () => pools.map(({ servers }) => servers.closing.length);
    expect(closing()).toEqual([1, 0]);
    // Whoever asks again is not served by that.
    const client = third.acquiring(pools[1] as Pool);
    clock.advance(10);
    other.service();
    client.finish();
    expect(closing()).toEqual([1, 1]);
  });

  it('that was made for what was asked later is not forgotten over what was asked before', () => {
    const { owners } = viewOf(stage().shared.memory, 0);
    owners.meet(1, 3, 7.5);
    owners.meet(1, 3, 5);
    expect([5, 7.5, 7.501].map((ms) => owners.isMet(1, 3, ms))).toEqual([true, true, false]);
    expect([2, 4].map((mark) => owners.isMet(1, mark, 5))).toEqual([false, false]);
  });

  it('is not taken by who comes in between, as they get to hear of it', async () => {
    const { here, there, busy, server, pool } = claimed();
    busy.finish();
    const heard = there.pools.onFreed.bind(there.pools);
    vi.spyOn(there.pools, 'onFreed').mockImplementation(() => {
      here.acquiring(pool);
      heard();
    });
    await isGone(server);
    expect(opened(here, there)).toEqual([1, 1]);
  });

  it('within one limit stays claimed when room has been made within another', () => {
    const { here, there, busy, server } = claimed();
    here.warmPool(1, ONE, { database: 'db2', user: 'a' });
    there.joined(there.pool(ONE, { database: 'db2', user: 'b' }));
    busy.finish();
    expect(server.closeReason).toBe('evicted');
  });

  it('is heard of once', async () => {
    const { there, busy, server } = claimed();
    busy.finish();
    const freed = vi.spyOn(there.pools, 'onFreed');
    await isGone(server);
    expect(freed).toHaveBeenCalledTimes(1);
  });

  it('is kept from others once, and no more, by a loop that hangs', async () => {
    const { here, there, shared, clock } = stage();
    const limits = { maxDbConnections: 2 };
    const pool = here.warmPool(2, limits, { user: 'a' });
    const [first, second] = here.connector.opened as [FakeServer, FakeServer];
    clock.advance(200);
    there.joined(there.pool(limits, { user: 'b' }));
    shared.onHand = () => {};
    const { closeReason } = first.state === 'closing' ? first : second;
    expect(closeReason).toBe('evicted');
    await isGone(first.state === 'closing' ? first : second);
    clock.advance(10);
    there.pools.find('db', 'b')?.service();
    const left = first.state === 'closing' ? first : second;
    expect(left.closeReason).toBe('evicted');
    here.acquiring(pool);
    here.acquiring(pool);
    await isGone(left);
    expect(opened(here, there)).toEqual([3, 0]);
  });

  it('goes back to all when its loop is gone', async () => {
    const { here, there, busy, server, shared } = claimed();
    busy.finish();
    here.acquiring(busy.pool as Pool);
    shared.onHand = () => {};
    await isGone(server);
    expect(opened(here, there)).toEqual([1, 0]);
    await shared.keeper.reclaim(1);
    here.pools.find('db', 'a')?.service();
    expect(opened(here, there)).toEqual([2, 0]);
  });

  it('is not theirs when it is made for those who wait here', async () => {
    const { here, there } = stage();
    here.warmPool(1, ONE, { user: 'a' });
    const server = here.connector.last;
    here.joined(here.pool(ONE, { user: 'c' }));
    there.joined(there.pool(ONE, { user: 'b' }));
    await isGone(server);
    expect(opened(here, there)).toEqual([2, 0]);
  });
});

describe('a server of the same pool that rests in another loop', () => {
  const limits = { poolSize: 5, maxDbConnections: 2 };

  it('goes there, and is not closed for that', () => {
    const { here, there, shared, clock } = stage();
    here.warmPool(2, limits);
    const refused: string[] = [];
    shared.onRefused = (database, user) => void refused.push(`${database} ${user}`);
    const pool = there.pool(limits);
    pool.introduce([]);
    there.acquiring(pool);
    clock.advance(10);
    pool.service();
    expect(here.connector.opened.map(({ state }) => state)).toEqual(['idle', 'idle']);
    // It is asked for instead.
    expect(refused).toContain('db app');
  });

  it('is closed when it cannot go and would not be closed for that', () => {
    const { here, there, clock } = stage();
    const pool = here.warmPool(2, limits);
    for (const server of here.connector.opened) server.opening.tls = {};
    pool.launcher.hearFailure({ message: 'no', serverError: null, failWaiting: false }, clock.nowMs());
    const other = there.pool(limits);
    other.introduce([]);
    there.acquiring(other);
    expect(pool.servers.closing.length).toBe(1);
  });

  it('is closed for a client that wants a connection to itself', () => {
    const { here, there } = stage();
    const pool = here.warmPool(2, limits);
    there.dedicated(there.pool(limits));
    expect([pool.servers.idle.length, pool.servers.closing.length]).toEqual([1, 1]);
  });

  it('and so is the next one that comes to rest', () => {
    const { here, there, clock } = stage();
    const pool = here.warmPool(2, limits);
    clock.advance(200);
    const [first] = [here.acquiring(pool), here.acquiring(pool)];
    there.dedicated(there.pool(limits));
    const server = first.linkedServer;
    first.finish();
    expect(server.closeReason).toBe('evicted');
  });
});

describe('what is promised', () => {
  it('is what is on its way out, not what was held and is let go', () => {
    const { shared, here, there } = stage();
    const [mine, other] = [shared.budgetOf('worker 0'), shared.budgetOf('worker 1')];
    const handed: number[] = [];
    shared.onHand = (_, grant) => void handed.push(grant.id);
    const limits = { maxUserConnections: 2 };
    const pool = here.warmPool(1, limits, { database: 'e', user: 'u' });
    const held = granted(mine.askServer({ ...SERVER, user: 'u' }));
    const waiting = there.pool(limits, { database: 'd', user: 'u' });
    there.joined(waiting);
    expect(other.waitOf(waiting.key, 1)).toBeGreaterThan(0);
    const server = pool.servers.closing.first as FakeServer;
    mine.giveBack(held);
    expect(handed).toEqual([]);
    server.gone();
    expect(handed).toEqual([server.grant.id]);
  });
});

describe('who waits for a connection of its own', () => {
  it('waits for nobody else’s while that logs in, however long it takes', () => {
    const { shared, there } = stage();
    const pool = there.pool();
    there.dedicated(pool);
    const waitOf = () => shared.budgetOf('worker 0').waitOf(pool.key, 1);
    expect([pool.servers.new.length, waitOf()]).toEqual([1, 0]);
    there.sweepAfter(3000);
    expect(waitOf()).toBe(0);
    // Whom any connection serves waits for those of others.
    const sinceMs = there.clock.nowMs();
    there.joined(pool);
    expect(waitOf()).toBe(sinceMs);
  });

  it('waits for others’ again when it was another one’s login, and that is over', () => {
    const { shared, there } = stage();
    const pool = there.pool({ poolSize: 1 });
    const [first] = [there.dedicated(pool), there.dedicated(pool)];
    const waitOf = () => shared.budgetOf('worker 0').waitOf(pool.key, 1);
    expect(waitOf()).toBe(0);
    first.disconnect();
    expect(waitOf()).toBeGreaterThan(0);
  });

  it('waits for others’ as long as there is no room for it', () => {
    const { shared, there } = stage();
    const pool = there.warmPool(1, { poolSize: 1 });
    there.acquiring(pool);
    const sinceMs = there.clock.nowMs();
    there.dedicated(pool);
    expect(shared.budgetOf('worker 0').waitOf(pool.key, 1)).toBe(sinceMs);
  });
});

describe('asking other loops for room', () => {
  it('is not put off because somebody asked who does not wait yet', () => {
    const { here, there, clock, shared } = stage();
    here.acquiring(here.warmPool(1, ONE, { user: 'a' }));
    const claims = vi.spyOn(here.pools, 'claimed');
    const other = there.pool(ONE, { user: 'b' });
    other.introduce([]);
    other.launcher.hearFailure({ message: 'no', serverError: null, failWaiting: false }, clock.nowMs());
    clock.advance(15_000);
    there.acquiring(other);
    expect([claims.mock.calls.length, shared.full]).toEqual([1, []]);
  });

  it('is done once for many clients, and again when that has come to nothing', () => {
    const { here, there, clock, shared } = stage();
    const pool = here.warmPool(1, ONE, { user: 'a' });
    here.acquiring(pool);
    const asked = vi.spyOn(shared.budgetOf('worker 0'), 'yieldAsked');
    const other = there.pool(ONE, { user: 'b' });
    other.introduce([]);
    for (let i = 0; i < 50; i++) there.acquiring(other);
    expect(asked).toHaveBeenCalledTimes(1);
    clock.advance(10);
    other.service();
    expect(asked).toHaveBeenCalledTimes(2);
  });

  it('claims of thousands of pools whose clients are gone are not kept', () => {
    const { here, there, shared } = stage();
    const pool = here.warmPool(1, ONE, { user: 'a' });
    here.clock.advance(200);
    const busy = here.acquiring(pool);
    for (let i = 0; i < 500; i++) {
      const other = there.pool(ONE, { user: `user ${i % 20}` });
      there.joined(other).disconnect();
      here.clock.advance(20);
    }
    const server = busy.linkedServer;
    busy.finish();
    expect([server.state, shared.full]).toEqual(['idle', []]);
  });
});
