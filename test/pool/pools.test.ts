import { describe, expect, it } from 'vitest';
import { PoolKit, wakeUps } from './kit.ts';

describe('pools', () => {
  it('are one per database and pool user', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    expect(kit.pool({ poolSize: 99 })).toBe(pool);
    expect(pool.limits.poolSize).toBe(2);
    expect(kit.pool({}, { user: 'other' })).not.toBe(pool);
    expect(kit.pools.find('db', 'app')).toBe(pool);
    expect(kit.pools.find('db', 'nobody')).toBe(null);
  });

  it('are listed by database and user', () => {
    const kit = new PoolKit();
    for (const [database, user] of [
      ['b', 'x'],
      ['a', 'z'],
      ['b', 'a'],
      ['a', 'b'],
    ] as const)
      kit.pool({}, { database, user });
    expect(kit.pools.all().map((pool) => `${pool.database}/${pool.user}`)).toEqual([
      'a/b',
      'a/z',
      'b/a',
      'b/x',
    ]);
    expect(kit.pools.all('b').map((pool) => pool.user)).toEqual(['a', 'x']);
  });

  it('are forgotten with their counters', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    pool.stats.queryCount = 7;
    kit.pools.remove(pool);
    expect(kit.pools.find('db', 'app')).toBe(null);
    expect(kit.pool().stats.queryCount).toBe(0);
  });
});

describe('max_db_connections', () => {
  const limits = { maxDbConnections: 2 };

  it('makes the most idle connection of any pool of the database give way', async () => {
    const kit = new PoolKit();
    kit.warmPool(1, limits, { user: 'a' });
    const oldest = kit.connector.last;
    kit.clock.advance(100);
    kit.warmPool(1, limits, { user: 'b' });
    const newer = kit.connector.last;
    const elsewhere = kit.warmPool(1, limits, { database: 'db2', user: 'c' });
    const pool = kit.pool(limits, { user: 'c' });
    const client = kit.joined(pool);
    expect([oldest.closeReason, newer.closeReason]).toEqual(['evicted', null]);
    expect([pool.servers.slotsTaken, elsewhere.servers.idle.length]).toEqual([0, 1]);
    oldest.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect([client.heard, kit.budget.count('server', { database: 'db' })]).toEqual([['welcome'], 2]);
  });

  it('evicts one connection at a time: one on its way out is enough', () => {
    const kit = new PoolKit();
    const other = kit.warmPool(2, limits, { user: 'a' });
    const pool = kit.pool(limits, { user: 'b' });
    kit.joined(pool);
    kit.joined(pool);
    kit.sweepAfter(333);
    expect(other.servers.closing.length).toBe(1);
  });

  it('with nothing idle the client waits until something is, which is then evicted', async () => {
    const kit = new PoolKit();
    const other = kit.warmPool(2, limits, { user: 'a' });
    const busy = [kit.acquiring(other), kit.acquiring(other)];
    const pool = kit.pool(limits, { user: 'b' });
    const client = kit.joined(pool);
    expect([other.servers.active.length, pool.servers.slotsTaken]).toEqual([2, 0]);
    const server = busy[0]?.linkedServer;
    busy[0]?.finish();
    kit.sweepAfter(333);
    expect(server?.closeReason).toBe('evicted');
    server?.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect(client.heard).toEqual(['welcome']);
  });

  it('a freed connection goes to the pool whose first client has waited longest', async () => {
    const kit = new PoolKit();
    const full = kit.warmPool(1, { maxDbConnections: 1 }, { user: 'full' });
    const busy = kit.acquiring(full);
    // The later pool by name and by making waits longer.
    const young = kit.pool({ maxDbConnections: 1 }, { user: 'a' });
    const old = kit.pool({ maxDbConnections: 1 }, { user: 'b' });
    kit.joined(old);
    kit.clock.advance(10);
    kit.joined(young);
    busy.linkedServer.clean = false;
    const server = busy.linkedServer;
    busy.disconnect();
    server.gone();
    await wakeUps();
    expect([old.servers.new.length, young.servers.new.length]).toEqual([1, 0]);
  });

  it('a wake-up reaches the next pool when the first breaks over it', async () => {
    const kit = new PoolKit();
    const [first, second] = ['a', 'b'].map((user) => kit.pool({}, { user }));
    if (first === undefined || second === undefined) throw new Error('two pools were made');
    for (const pool of [first, second]) {
      kit.joined(pool);
      kit.clock.advance(1);
    }
    const served: string[] = [];
    first.service = () => {
      throw new Error('a bug');
    };
    second.service = () => void served.push('b');
    kit.pools.onFreed();
    expect(served).toEqual(['b']);
  });

  it('a wake-up reaches the next pool when the first has no use for it', async () => {
    const kit = new PoolKit();
    const full = kit.warmPool(1, { maxDbConnections: 1 }, { user: 'full' });
    const busy = kit.acquiring(full);
    const paused = kit.pool({ maxDbConnections: 1 }, { user: 'a' });
    kit.joined(paused);
    paused.setPaused(true);
    kit.clock.advance(10);
    const pool = kit.pool({ maxDbConnections: 1 }, { user: 'b' });
    kit.joined(pool);
    const server = busy.linkedServer;
    server.clean = false;
    busy.disconnect();
    server.gone();
    await wakeUps();
    expect([paused.servers.new.length, pool.servers.new.length]).toEqual([0, 1]);
  });
});

describe('max_user_connections', () => {
  it('evicts within the pools of that user, in every database', () => {
    const kit = new PoolKit();
    const limits = { maxUserConnections: 1 };
    kit.warmPool(1, {}, { database: 'db1', user: 'other' });
    const others = kit.connector.last;
    kit.warmPool(1, limits, { database: 'db1', user: 'app' });
    const own = kit.connector.last;
    kit.joined(kit.pool(limits, { database: 'db2', user: 'app' }));
    expect([own.closeReason, others.closeReason]).toEqual(['evicted', null]);
  });

  it('is exact over databases', () => {
    const kit = new PoolKit();
    const limits = { maxUserConnections: 1 };
    const first = kit.warmPool(1, limits, { database: 'db1' });
    kit.acquiring(first);
    kit.joined(kit.pool(limits, { database: 'db2' }));
    kit.sweepAfter(333);
    expect(kit.budget.count('server', { user: 'app' })).toBe(1);
  });
});

describe('what the budget is told', () => {
  it('is when the oldest client of each pool began to wait, and that nobody does any more', () => {
    const kit = new PoolKit();
    const waits: [string, number][] = [];
    kit.budget.publishWait = (_owner, key, sinceMs) => void waits.push([key, sinceMs]);
    const pool = kit.warmPool(1, { poolSize: 1 });
    waits.length = 0;
    const busy = kit.acquiring(pool);
    const sinceMs = kit.clock.nowMs();
    const first = kit.acquiring(pool);
    kit.clock.advance(5);
    const second = kit.acquiring(pool);
    first.disconnect();
    kit.sweepAfter(0);
    busy.finish();
    second.finish();
    expect(waits).toEqual([
      [pool.key, sinceMs],
      [pool.key, sinceMs + 5],
      [pool.key, 0],
    ]);
  });
});
