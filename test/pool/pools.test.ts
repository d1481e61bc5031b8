import { describe, expect, it } from 'vitest';
import { YieldClaims } from '../../src/pool/yield-claims.ts';
import { type FakeClient, type FakeServer, PoolKit, wakeUps } from './kit.ts';

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
    kit.clock.advance(200);
    const busy = [kit.acquiring(other), kit.acquiring(other)];
    const pool = kit.pool(limits, { user: 'b' });
    const client = kit.joined(pool);
    expect([other.servers.active.length, pool.servers.slotsTaken]).toEqual([2, 0]);
    const server = busy[0]?.linkedServer;
    busy[0]?.finish();
    expect(server?.closeReason).toBe('evicted');
    server?.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect(client.heard).toEqual(['welcome']);
  });

  /** `max_db_connections` are all in use by pool `a`, for longer than they have to be; a client of pool `b` waits. */
  function claimed(count = 2) {
    const kit = new PoolKit();
    const limits = { maxDbConnections: count, poolSize: count };
    const other = kit.warmPool(count, limits, { user: 'a' });
    kit.clock.advance(200);
    const busy = Array.from({ length: count }, () => kit.acquiring(other));
    const pool = kit.pool(limits, { user: 'b' });
    return { kit, other, busy, pool, client: kit.joined(pool) };
  }

  it('one server makes room for a client that waits, not each that comes to rest', async () => {
    const { kit, other, busy, client } = claimed(3);
    busy[0]?.finish();
    busy[1]?.finish();
    expect([other.servers.closing.length, other.servers.idle.length]).toEqual([1, 1]);
    other.servers.closing.first?.cut();
    await wakeUps();
    // Its login is under way: nobody else need make room.
    busy[2]?.finish();
    expect([other.servers.closing.length, other.servers.idle.length]).toEqual([0, 2]);
    kit.connector.last.ready();
    expect(client.heard).toEqual(['welcome']);
  });

  it('a server makes room when it has been used for a moment, since a login costs much', () => {
    const { kit, other, busy } = claimed(1);
    const server = busy[0]?.linkedServer;
    if (server === undefined) throw new Error('it is linked');
    server.readyMs = kit.clock.nowMs() - 199;
    busy[0]?.finish();
    expect(server.state).toBe('idle');
    other.acquire(busy[0] as FakeClient);
    kit.clock.advance(1);
    busy[0]?.finish();
    expect(server.closeReason).toBe('evicted');
  });

  it('where logins take long, it is used for longer than that', () => {
    const { kit, other, busy } = claimed(1);
    const server = busy[0]?.linkedServer;
    if (server === undefined) throw new Error('it is linked');
    server.readyMs = kit.clock.nowMs();
    server.connectMs = server.readyMs - 500;
    for (let i = 0; i < 3; i++) kit.sweepAfter(333);
    busy[0]?.finish();
    expect([server.state, server.closeReason]).toEqual(['idle', null]);
    other.acquire(busy[0] as FakeClient);
    kit.sweepAfter(1);
    busy[0]?.finish();
    expect(server.closeReason).toBe('evicted');
  });

  it('the next sweep finds one that has come to rest since, too new to make room at once', () => {
    const { kit, busy } = claimed(1);
    const server = busy[0]?.linkedServer;
    if (server === undefined) throw new Error('it is linked');
    server.readyMs = kit.clock.nowMs();
    busy[0]?.finish();
    expect(server.state).toBe('idle');
    kit.sweepAfter(1);
    expect(server.closeReason).toBe('evicted');
  });

  it('two pools with a client each that never rest share one server by turns', async () => {
    const kit = new PoolKit();
    const one = { maxDbConnections: 1 };
    const first = kit.warmPool(1, one, { user: 'a' });
    const clients = [kit.acquiring(first), kit.joined(kit.pool(one, { user: 'b' }))];
    const served = [0, 0];
    for (let ms = 0; ms < 2000; ms += 10) {
      kit.clock.advance(10);
      for (const server of kit.connector.opened) {
        if (server.state === 'closing') server.gone();
      }
      await wakeUps();
      for (const server of kit.connector.opened) if (server.state === 'new') server.ready();
      for (const [index, client] of clients.entries()) {
        if (client.server !== null) {
          client.finish();
          served[index] = (served[index] ?? 0) + 1;
        }
        if (client.state === 'active' && client.server === null) client.acquire();
      }
    }
    expect(Math.min(...served)).toBeGreaterThan(60);
    // One for each fifth of a second, and the first one.
    expect(kit.connector.opened.length).toBeLessThanOrEqual(11);
  });

  it.each([
    1, 2,
  ])('who lacks room in the database and for the user gets both, with %i servers each', async (most) => {
    const kit = new PoolKit();
    const limits = { maxDbConnections: most, maxUserConnections: most };
    const identities = [
      { database: 'd', user: 'v' },
      { database: 'e', user: 'u' },
    ];
    const busy = identities.flatMap((identity) => {
      const pool = kit.warmPool(most, limits, identity);
      return Array.from({ length: 2 * most }, () => kit.acquiring(pool));
    });
    const waiting = kit.joined(kit.pool(limits, { database: 'd', user: 'u' }));
    const turns = busy.map(() => 0);
    let servedMs = 0;
    for (let ms = 0; ms < 6000; ms += 10) {
      kit.clock.advance(10);
      for (const server of kit.connector.opened) if (server.state === 'closing') server.gone();
      await wakeUps();
      for (const scope of [{ database: 'd' }, { user: 'u' }]) {
        const isOpen = (server: FakeServer) => {
          const { database, user } = server.pool;
          return server.state !== 'gone' && (database === scope.database || user === scope.user);
        };
        expect(kit.connector.opened.filter(isOpen).length).toBeLessThanOrEqual(most);
      }
      for (const server of kit.connector.opened) if (server.state === 'new') server.ready();
      if (servedMs === 0 && waiting.state === 'active') servedMs = ms;
      for (const [index, client] of busy.entries()) {
        if (client.server !== null) {
          client.finish();
          turns[index] = (turns[index] ?? 0) + 1;
        }
        if (client.state === 'active' && client.server === null) client.acquire();
      }
      if (ms % 330 === 0) kit.sweepAfter(0);
    }
    expect(servedMs).toBeGreaterThan(0);
    expect(servedMs).toBeLessThan(4000);
    expect(Math.min(...turns)).toBeGreaterThan(50);
    // What it had no use for any more it has given back.
    waiting.disconnect();
    for (const client of busy) client.disconnect();
    kit.sweepAfter(0);
    expect(kit.budget.count('server')).toBe(
      kit.connector.opened.filter(({ state }) => state !== 'gone').length,
    );
  });

  it('no room in the database is kept for who has servers, and waits for these', async () => {
    const kit = new PoolKit();
    const limits = { maxDbConnections: 2, maxUserConnections: 1 };
    const own = kit.warmPool(1, limits, { database: 'd', user: 'u' });
    const others = kit.warmPool(1, limits, { database: 'd', user: 'v' });
    const server = kit.connector.last;
    kit.acquiring(own);
    kit.acquiring(own);
    expect(server.closeReason).toBe('evicted');
    server.gone();
    await wakeUps();
    kit.acquiring(others);
    expect(kit.connector.opened.length).toBe(3);
  });

  it('two that lack room for the same user do not keep each other from it', async () => {
    const kit = new PoolKit();
    const limits = { maxDbConnections: 5, maxUserConnections: 1 };
    kit.warmPool(1, limits, { database: 'x', user: 'u' });
    const server = kit.connector.last;
    for (const database of ['d', 'e']) kit.joined(kit.pool(limits, { database, user: 'u' }));
    server.gone();
    await wakeUps();
    expect(kit.connector.opened.length).toBe(2);
  });

  it('those who lack room for their users for long do not keep the database from others by turns', async () => {
    const kit = new PoolKit();
    const limits = { maxDbConnections: 1, maxUserConnections: 1 };
    for (const user of ['a', 'b', 'c', 'd']) {
      kit.acquiring(kit.warmPool(1, limits, { database: `of ${user}`, user }));
      kit.joined(kit.pool(limits, { database: 'd', user }));
    }
    kit.joined(kit.pool(limits, { database: 'd', user: 'f' }));
    for (let i = 0; i < 15; i++) {
      kit.sweepAfter(333);
      await wakeUps();
    }
    expect(kit.connector.opened.length).toBe(5);
  });

  it('room in the database is kept for half a second for who lacks it for the user, and then others have it', async () => {
    const kit = new PoolKit();
    const limits = { maxDbConnections: 1, maxUserConnections: 1 };
    kit.acquiring(kit.warmPool(1, limits, { database: 'e', user: 'u' }));
    const others = kit.warmPool(1, limits, { database: 'd', user: 'v' });
    const server = kit.connector.last;
    const waiting = kit.joined(kit.pool(limits, { database: 'd', user: 'u' }));
    expect(server.closeReason).toBe('evicted');
    server.gone();
    await wakeUps();
    const next = kit.acquiring(others);
    const settled = async (ms: number) => {
      kit.sweepAfter(ms);
      await wakeUps();
      return kit.connector.opened.length;
    };
    expect(await settled(499)).toBe(2);
    expect(await settled(1)).toBe(3);
    kit.connector.last.ready();
    expect([next.server, waiting.state]).toEqual([kit.connector.last, 'waiting_login']);
    expect(kit.budget.count('server')).toBe(2);
  });

  it('a server goes to the next client of its own pool, unless one of another has waited a second longer', async () => {
    const { kit, other, busy, client } = claimed();
    const server = busy[0]?.linkedServer;
    kit.clock.advance(1);
    const next = kit.acquiring(other);
    busy[0]?.finish();
    expect([next.server, server?.closeReason]).toEqual([server, null]);
    kit.clock.advance(998);
    const late = kit.acquiring(other);
    kit.sweepAfter(0);
    next.finish();
    expect([late.server, server?.closeReason]).toEqual([server, null]);
    kit.clock.advance(1);
    const later = kit.acquiring(other);
    kit.sweepAfter(0);
    late.finish();
    expect([later.server, server?.closeReason]).toEqual([null, 'evicted']);
    server?.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect([client.heard, later.state]).toEqual([['welcome'], 'waiting']);
  });

  it('clients that have waited far longer do not drain a pool whose clients wait, too', async () => {
    const { kit, other, busy, pool } = claimed(3);
    pool.welcome = [];
    for (let i = 0; i < 3; i++) kit.acquiring(pool);
    kit.clock.advance(1200);
    const waiting = [0, 1, 2].map(() => kit.acquiring(other));
    kit.sweepAfter(0);
    busy[0]?.finish();
    other.servers.closing.first?.cut();
    await wakeUps();
    kit.connector.last.ready();
    expect(pool.servers.active.length).toBe(1);
    busy[1]?.finish();
    expect([other.servers.closing.length, waiting[0]?.state]).toEqual([0, 'active']);
    kit.sweepAfter(200);
    busy[2]?.finish();
    expect([other.servers.closing.length, waiting[1]?.state]).toEqual([1, 'waiting']);
  });

  it('a pool that has servers of its own waits for them for a moment before others make room', () => {
    const kit = new PoolKit();
    const other = kit.warmPool(1, limits, { user: 'a' });
    const pool = kit.warmPool(1, limits, { user: 'b' });
    kit.clock.advance(200);
    const [busy, own] = [kit.acquiring(other), kit.acquiring(pool)];
    kit.acquiring(pool);
    const server = busy.linkedServer;
    kit.clock.advance(99);
    busy.finish();
    expect([server.closeReason, own.state]).toEqual([null, 'active']);
    busy.acquire();
    kit.clock.advance(1);
    busy.finish();
    expect(server.closeReason).toBe('evicted');
  });

  it('nobody makes room for clients that have been served by their own pool meanwhile, or have left', () => {
    const kit = new PoolKit();
    const other = kit.warmPool(1, limits, { user: 'a' });
    const pool = kit.warmPool(1, limits, { user: 'b' });
    kit.clock.advance(200);
    const [busy, own] = [kit.acquiring(other), kit.acquiring(pool)];
    const waiting = [kit.acquiring(pool), kit.acquiring(pool)];
    own.finish();
    waiting[1]?.disconnect();
    kit.clock.advance(100);
    const server = busy.linkedServer;
    busy.finish();
    expect([waiting[0]?.heard.at(-1), server.state]).toEqual(['linked', 'idle']);
  });

  it('nor for those of a pool whose logins fail, until one may be tried again: then they wait for room', async () => {
    const { kit, busy, pool, client } = claimed();
    client.disconnect();
    const { limits } = pool;
    pool.limits = { ...limits, maxDbConnections: 0 };
    const joined = kit.joined(pool);
    kit.connector.last.failConnect();
    joined.disconnect();
    await wakeUps();
    pool.limits = limits;
    pool.welcome = [];
    kit.sweepAfter(14_999);
    expect(kit.acquiring(pool).heard).toEqual(['refused']);
    busy[0]?.finish();
    expect(busy[0]?.pool.servers.idle.length).toBe(1);
    busy[0]?.acquire();
    kit.sweepAfter(1);
    const waiting = kit.acquiring(pool);
    const server = busy[0]?.linkedServer;
    busy[0]?.finish();
    expect([waiting.state, server?.closeReason]).toEqual(['waiting', 'evicted']);
    server?.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect(waiting.heard).toEqual(['linked']);
  });

  it('a client that wants a connection to itself gets the next slot of its own pool, too', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, limits);
    kit.clock.advance(200);
    const busy = [kit.acquiring(pool), kit.acquiring(pool)];
    kit.dedicated(pool);
    busy[0]?.finish();
    expect([pool.servers.closing.length, pool.servers.idle.length]).toEqual([1, 0]);
  });

  it('a connection that hangs on its way out keeps no other from making room, each time for longer', () => {
    const kit = new PoolKit();
    const five = { maxDbConnections: 5, poolSize: 5 };
    const other = kit.warmPool(5, five, { user: 'a' });
    kit.joined(kit.pool(five, { user: 'b' }));
    const counts = [499, 1, 999, 1, 1999, 1].map((ms) => {
      kit.sweepAfter(ms);
      return other.servers.closing.length;
    });
    expect(counts).toEqual([1, 2, 2, 3, 3, 4]);
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

describe('claims', () => {
  const OLD = { connectMs: 0, readyMs: 0 };

  it('that nobody has met for long leave nothing behind', () => {
    const claims = new YieldClaims();
    const pool = {
      key: 'own',
      user: 'app',
      clients: { oldestWaitStartMs: 0, isDedicatedFirst: false },
      moves: { areWanted: false },
      nowMs: 549,
    };
    const claimant = { key: 'x', dueFromMs: 0 };
    for (let i = 0; i < 100; i++) claims.add({ kind: 'database', name: `db${i}` }, claimant, i);
    expect(claims.size).toBe(100);
    expect(claims.take({ ...pool, database: 'db40' }, OLD)).toBe(false);
    expect(claims.size).toBe(50);
    expect(claims.take({ ...pool, database: 'db70' }, OLD)).toBe(true);
    expect(claims.take({ ...pool, database: 'db70' }, OLD)).toBe(false);
  });

  it('of other threads that the server can go to as it is come first', () => {
    const claims = new YieldClaims();
    claims.add({ kind: 'user', name: 'app' }, { key: 'x', dueFromMs: 0 }, 0);
    const pool = {
      key: 'own',
      database: 'db',
      user: 'app',
      clients: { oldestWaitStartMs: 0, isDedicatedFirst: false },
      nowMs: 300,
    };
    expect(claims.take({ ...pool, moves: { areWanted: true } }, OLD)).toBe(false);
    expect(claims.take({ ...pool, moves: { areWanted: false } }, OLD)).toBe(true);
  });

  it('are looked through only when one may be due, however many there are', () => {
    const claims = new YieldClaims();
    let looks = 0;
    const claimant = (dueFromMs: number) => ({
      key: 'x',
      get dueFromMs() {
        looks++;
        return dueFromMs;
      },
    });
    for (let i = 0; i < 100; i++) claims.add({ kind: 'database', name: 'db' }, claimant(1000 + i), 900);
    const pool = {
      key: 'own',
      database: 'db',
      user: 'app',
      clients: { oldestWaitStartMs: 1000, isDedicatedFirst: false },
      moves: { areWanted: false },
      nowMs: 1300,
    };
    looks = 0;
    for (let i = 0; i < 100; i++) expect(claims.take(pool, OLD)).toBe(false);
    expect(looks).toBe(0);
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

  it('is since when the queue of a busy pool lasts, until the sweep, however short each wait is', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    let serving = kit.acquiring(pool);
    let next = kit.acquiring(pool);
    const waits: number[] = [];
    kit.budget.publishWait = (_owner, _key, sinceMs) => void waits.push(sinceMs);
    for (let i = 0; i < 10; i++) {
      kit.clock.advance(1);
      const last = kit.acquiring(pool);
      serving.finish();
      [serving, next] = [next, last];
    }
    expect([waits, next.heard]).toEqual([[], []]);
    kit.sweepAfter(0);
    expect(waits).toEqual([kit.clock.nowMs()]);
  });
});
