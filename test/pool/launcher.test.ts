import { describe, expect, it } from 'vitest';
import { fatal } from '../../src/wire/pg-error.ts';
import type { LoginNews } from '../../src/pool/context.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { LocalBudget } from '../../src/pool/budget.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { type FakeServer, PoolKit, wakeUps } from './kit.ts';

const FAIL_FAST = 'server login has been failing, cached error: connect failed (server_login_retry)';

/** Pools of one of several event loops, and how often the others were asked for servers. */
function amongOthers() {
  const news: LoginNews & { asked: number } = {
    asked: 0,
    joined() {},
    succeeded() {},
    failed() {},
    hasUsable: () => false,
    lacks: () => void news.asked++,
  };
  const kit = new PoolKit({ clock: new ManualClock(), budget: new LocalBudget(), owner: 'worker 0', news });
  return { kit, news };
}

describe('opening connections', () => {
  /** All logins that are under way succeed, and so on; how many there were each time. */
  function loginRounds(pool: Pool): number[] {
    const counts: number[] = [];
    for (;;) {
      const underWay = [...pool.servers.new] as FakeServer[];
      if (underWay.length === 0) return counts;
      counts.push(underWay.length);
      for (const server of underWay) server.ready();
    }
  }

  it('as many as clients wait for, never more than pool_size', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 3 });
    const clients = [1, 2, 3, 4, 5].map(() => kit.acquiring(pool));
    loginRounds(pool);
    expect(clients.map((client) => client.state === 'active')).toEqual([true, true, true, false, false]);
    expect(pool.servers.slotsTaken).toBe(3);
  });

  it('one login at first, then two, four and eight at a time: a burst of clients is no herd, and soon served', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ poolSize: 30 });
    for (let i = 0; i < 60; i++) kit.joined(pool);
    expect([pool.servers.new.length, pool.clients.waiting_login.length]).toEqual([1, 60]);
    kit.connector.onOpen = () => expect(pool.servers.new.length).toBeLessThan(8);
    kit.connector.last.ready();
    for (let i = 0; i < 60; i++) kit.acquiring(pool);
    // Each that is ready makes way for the next one: the second round's are there before the first is over.
    expect(loginRounds(pool).length).toBeLessThan(7);
    expect(pool.servers.active.length).toBe(30);
  });

  it.each([
    [2, 4],
    [3, 2],
    [20, 1],
  ])('and of %i event loops each has no more than %i under way', (loops, most) => {
    const kit = new PoolKit({
      clock: new ManualClock(),
      budget: new LocalBudget(),
      owner: 'worker 0',
      loops,
    });
    const pool = kit.warmPool(1, { poolSize: 30 });
    for (let i = 0; i < 60; i++) kit.acquiring(pool);
    let seen = 0;
    kit.connector.onOpen = () => void (seen = Math.max(seen, pool.servers.new.length + 1));
    loginRounds(pool);
    expect([seen, pool.servers.active.length]).toEqual([most, 30]);
  });

  it('while one logs in servers of other event loops are asked for', () => {
    const { kit, news } = amongOthers();
    const pool = kit.pool({ poolSize: 5 });
    kit.joined(pool);
    expect([pool.servers.new.length, news.asked]).toEqual([1, 0]);
    pool.introduce([]);
    kit.acquiring(pool);
    // For it there is one on its way.
    expect([pool.servers.new.length, news.asked]).toEqual([1, 0]);
    kit.acquiring(pool);
    expect(pool.servers.new.length).toBe(1);
    expect(news.asked).toBeGreaterThan(0);
  });

  it('where it has all that it may have servers of other event loops are asked for: those of the reserve', () => {
    const { kit, news } = amongOthers();
    const pool = kit.warmPool(1, { poolSize: 1, reservePoolSize: 1, reservePoolTimeoutMs: 5000 });
    kit.acquiring(pool);
    news.asked = 0;
    kit.acquiring(pool);
    expect([pool.servers.slotsTaken, news.asked > 0]).toEqual([1, true]);
    // Without a reserve there are none of it elsewhere.
    pool.limits = { ...pool.limits, reservePoolSize: 0 };
    news.asked = 0;
    kit.acquiring(pool);
    expect(news.asked).toBe(0);
  });

  it('after a failure one attempt again', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 20, serverLoginRetryMs: 1000 });
    for (let i = 0; i < 12; i++) kit.acquiring(pool);
    kit.connector.last.ready();
    const [first, second] = [...pool.servers.new] as FakeServer[];
    expect(pool.servers.new.length).toBe(2);
    first?.failConnect();
    kit.sweepAfter(1000);
    expect([...pool.servers.new]).toEqual([second]);
    second?.failConnect();
    expect(pool.servers.new.length).toBe(0);
    kit.sweepAfter(1000);
    expect(pool.servers.new.length).toBe(1);
    kit.connector.last.ready();
    expect(pool.servers.new.length).toBe(2);
  });

  it('one again, too, when none has been under way: what let earlier ones in may have changed', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 20 });
    const clients = [1, 2, 3, 4].map(() => kit.acquiring(pool));
    loginRounds(pool);
    for (const client of clients) client.finish();
    for (const server of [...pool.servers.idle] as FakeServer[]) {
      pool.closeServer(server, 'server idle timeout');
      if (server.state !== 'gone') server.gone();
    }
    for (let i = 0; i < 12; i++) kit.acquiring(pool);
    expect(pool.servers.new.length).toBe(1);
  });

  it('no more than clients wait for', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 9 });
    kit.acquiring(pool);
    kit.acquiring(pool);
    kit.connector.last.ready();
    expect([pool.servers.slotsTaken, pool.servers.new.length]).toEqual([2, 0]);
  });

  it('pool_size holds while there is no welcome data', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    kit.acquiring(pool);
    pool.markAllCloseNeeded(true);
    kit.joined(pool);
    expect(kit.connector.opened.length).toBe(1);
  });

  it('a slot is free for the next one only when the server is gone', async () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const server = kit.connector.last;
    const busy = kit.acquiring(pool);
    kit.acquiring(pool);
    server.clean = false;
    busy.disconnect();
    await wakeUps();
    expect(kit.connector.opened.length).toBe(1);
    server.gone();
    await wakeUps();
    expect(kit.connector.opened.length).toBe(2);
  });

  it('a connection that is there at once serves at once', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ poolSize: 1 });
    kit.connector.onOpen = (server) => void server.ready();
    const client = kit.joined(pool);
    expect(client.heard).toEqual(['welcome']);
    expect([kit.connector.last.state, pool.servers.slotsTaken]).toEqual(['idle', 1]);
  });
});

describe('reserve_pool_size', () => {
  it('lends a connection to a client that has waited for reserve_pool_timeout', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, reservePoolSize: 1, reservePoolTimeoutMs: 5000 });
    kit.acquiring(pool);
    const waiting = kit.acquiring(pool);
    kit.sweepAfter(4999);
    expect(pool.servers.slotsTaken).toBe(1);
    kit.sweepAfter(1);
    expect(kit.logged).toEqual(['WARNING db/app: taking connection from reserve_pool']);
    kit.connector.last.ready();
    expect(waiting.state).toBe('active');
    kit.acquiring(pool);
    kit.sweepAfter(6000);
    expect(pool.servers.slotsTaken).toBe(2);
  });

  it('goes by the wait of the first in the queue', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, reservePoolSize: 1, reservePoolTimeoutMs: 5000 });
    const first = [kit.acquiring(pool), kit.acquiring(pool)][1];
    kit.clock.advance(3000);
    kit.acquiring(pool);
    first?.disconnect();
    kit.sweepAfter(3000);
    expect(pool.servers.slotsTaken).toBe(1);
  });

  it('helps who waits for the first welcome data too', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, reservePoolSize: 1, reservePoolTimeoutMs: 5000 });
    kit.acquiring(pool);
    pool.markAllCloseNeeded(true);
    const client = kit.joined(pool);
    kit.sweepAfter(5000);
    kit.connector.last.ready();
    expect(client.heard).toEqual(['welcome']);
  });
});

describe('min_pool_size', () => {
  it('is filled by one connection per sweep while a client is there', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 5, minPoolSize: 3 });
    kit.sweepAfter(333);
    expect(pool.servers.slotsTaken).toBe(1);
    kit.joined(pool);
    for (let i = 0; i < 5; i++) {
      kit.sweepAfter(333);
      if (pool.servers.new.length > 0) kit.connector.last.ready();
    }
    expect(pool.servers.idle.length).toBe(3);
  });

  it('is filled without clients when the database names the user', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ minPoolSize: 1 }, { isForcedUser: true });
    kit.sweepAfter(333);
    kit.connector.last.ready();
    expect(pool.servers.idle.length).toBe(1);
  });

  it('waits while the pool is paused', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ minPoolSize: 1 }, { isForcedUser: true });
    pool.setPaused(true);
    kit.sweepAfter(333);
    expect(kit.connector.opened.length).toBe(0);
  });

  it('never evicts a connection of another pool', () => {
    const kit = new PoolKit();
    kit.warmPool(1, { maxDbConnections: 1 }, { user: 'other' });
    const pool = kit.pool({ minPoolSize: 1, maxDbConnections: 1 }, { isForcedUser: true });
    kit.sweepAfter(333);
    expect([kit.connector.last.state, pool.servers.slotsTaken]).toEqual(['idle', 0]);
  });
});

describe('after a failed connect', () => {
  it('who waits stays, and a new attempt follows after server_login_retry', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ serverLoginRetryMs: 15_000 });
    const client = kit.joined(pool);
    kit.connector.last.failConnect();
    kit.sweepAfter(14_999);
    expect([client.state, kit.connector.opened.length]).toEqual(['waiting_login', 1]);
    kit.sweepAfter(1);
    kit.connector.last.ready();
    expect([client.heard, pool.launcher.failure !== null]).toEqual([['welcome'], false]);
  });

  it('a client that needs a server is told at once, also behind one that waits', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    pool.closeServer(kit.connector.last, 'evicted');
    kit.connector.last.gone();
    const waiting = kit.acquiring(pool);
    kit.connector.last.failConnect();
    const late = kit.acquiring(pool);
    expect([waiting.state, late.state]).toEqual(['waiting', 'gone']);
    expect(late.error).toEqual(fatal(FAIL_FAST));
  });

  it('a refused client starts the next attempt when it is due', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    pool.closeServer(kit.connector.last, 'evicted');
    kit.connector.last.gone();
    const waiting = kit.acquiring(pool);
    kit.connector.last.failConnect();
    waiting.disconnect();
    kit.clock.advance(15_000);
    const refused = kit.acquiring(pool);
    expect([refused.state, pool.servers.new.length]).toEqual(['gone', 1]);
    // Still nothing to offer while that login runs.
    expect(kit.acquiring(pool).error).toEqual(fatal(FAIL_FAST));
    kit.connector.last.ready();
    expect(kit.acquiring(pool).state).toBe('active');
  });

  it('clients wait as long as another server of the pool works', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 2 });
    const busy = kit.acquiring(pool);
    kit.acquiring(pool);
    kit.connector.last.failConnect();
    const waiting = kit.acquiring(pool);
    expect(waiting.state).toBe('waiting');
    busy.finish();
    expect(pool.launcher.failure !== null).toBe(true);
  });

  it('a closing server is none to wait for', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 2 });
    const busy = kit.acquiring(pool);
    kit.acquiring(pool);
    kit.connector.last.failConnect();
    busy.linkedServer.clean = false;
    busy.disconnect();
    expect(kit.acquiring(pool).error).toEqual(fatal(FAIL_FAST));
  });

  it('a login is never refused for it', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    kit.joined(pool);
    kit.connector.last.failConnect();
    expect(kit.joined(pool).state).toBe('waiting_login');
  });

  it('a server_login_retry of 0 tries again at the next sweep, not in a loop', async () => {
    const kit = new PoolKit();
    const pool = kit.pool({ serverLoginRetryMs: 0 });
    kit.connector.onOpen = (server) => server.failConnect();
    kit.joined(pool);
    await wakeUps();
    expect(kit.connector.opened.length).toBe(1);
    kit.sweepAfter(333);
    await wakeUps();
    expect(kit.connector.opened.length).toBe(2);
    expect([pool.servers.slotsTaken, kit.budget.count('server')]).toEqual([0, 0]);
  });

  it('a connector that throws costs no slot', async () => {
    const kit = new PoolKit();
    const pool = kit.pool({ serverLoginRetryMs: 0 });
    let attempts = 0;
    kit.connector.onOpen = () => {
      attempts++;
      throw new Error('no such host entry');
    };
    kit.joined(pool);
    await wakeUps();
    expect([attempts, kit.budget.count('server'), pool.launcher.failure !== null]).toEqual([1, 0, true]);
    expect(kit.logged).toEqual(['ERROR db/app: cannot open a server connection: Error: no such host entry']);
  });
});

describe('after a refused login', () => {
  it('all who wait are told in the words of the server', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    pool.markAllCloseNeeded(true);
    kit.connector.last.gone();
    const clients = [kit.joined(pool), kit.joined(pool)];
    kit.connector.last.refuseLogin('password authentication failed for user "app"');
    for (const client of clients) {
      expect(client.error).toEqual(fatal('password authentication failed for user "app"', '28P01'));
    }
    expect(pool.clients.count).toBe(0);
  });

  it('waiting clients with a working server keep waiting for it', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 2 });
    const busy = kit.acquiring(pool);
    const waiting = kit.acquiring(pool);
    kit.connector.last.refuseLogin('sorry, too many clients already');
    expect(waiting.state).toBe('waiting');
    busy.finish();
    expect(waiting.state).toBe('active');
  });

  it('a client that is refused may take another one with it', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const [a, b, c] = [kit.joined(pool), kit.joined(pool), kit.joined(pool)];
    const refuse = a.refused.bind(a);
    a.refused = (error) => {
      b.disconnect();
      refuse(error);
    };
    kit.connector.last.refuseLogin('no');
    expect([a.heard, b.heard, c.heard]).toEqual([['refused'], [], ['refused']]);
  });
});
