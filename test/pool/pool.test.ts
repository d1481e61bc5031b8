import { describe, expect, it } from 'vitest';
import { fatal } from '../../src/wire/pg-error.ts';
import { type FakeClient, PoolKit, WELCOME } from './kit.ts';

describe('linking', () => {
  it('goes past those who have left unnoticed, however many there are', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    for (const isBusy of [true, false]) {
      const busy = isBusy ? kit.acquiring(pool) : null;
      if (busy === null) {
        pool.setPaused(true);
        kit.connector.last.gone();
      }
      const gone = Array.from({ length: 20_000 }, () => kit.acquiring(pool));
      for (const client of gone) client.isAway = true;
      const next = kit.acquiring(pool);
      if (busy === null) {
        pool.setPaused(false);
        kit.connector.last.ready();
      }
      busy?.finish();
      expect([next.state, next.heard.at(-1), pool.clients.count]).toEqual([
        'active',
        'linked',
        isBusy ? 2 : 3,
      ]);
      expect(gone.every(({ state, heard }) => state === 'gone' && heard.length === 0)).toBe(true);
      next.finish();
    }
  });

  it('an idle server is linked before acquire returns', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    const server = kit.connector.last;
    expect(client.heard).toEqual(['linked']);
    expect([client.server, server.link, server.state]).toEqual([server, client, 'active']);
  });

  it('waiting clients are served first come, first served', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const order: number[] = [];
    const clients = [1, 2, 3, 4].map(() => kit.joined(pool));
    for (const client of clients) {
      client.onLinked = () => void order.push(client.id);
      client.acquire();
    }
    for (const client of clients) client.finish();
    expect(order).toEqual(clients.map((client) => client.id));
    expect(pool.servers.idle.length).toBe(1);
  });

  it('a client that asks again stands behind those who wait', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const [first, second] = [kit.acquiring(pool), kit.acquiring(pool)];
    first.finish();
    first.acquire();
    expect([first.state, second.server]).toEqual(['waiting', kit.connector.last]);
  });

  it('unless the server that it had was no use: then it is the first again', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const [client, second] = [kit.acquiring(pool), kit.acquiring(pool)];
    const sinceMs = second.waitStartMs;
    kit.clock.advance(10);
    const { last } = kit.connector;
    pool.closeServer(last, 'no use');
    pool.acquire(client, true);
    expect([client.state, pool.clients.oldestWaitStartMs]).toEqual(['waiting', sinceMs]);
    last.gone();
    pool.service();
    kit.connector.last.ready();
    expect([client.server, second.state]).toEqual([kit.connector.last, 'waiting']);
  });

  it('also when it asks while the pool is still linking it', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { poolSize: 2 });
    const busy = [kit.acquiring(pool), kit.acquiring(pool)];
    const [greedy, patient] = [kit.acquiring(pool), kit.acquiring(pool)];
    greedy.onLinked = () => {
      greedy.onLinked = () => {};
      busy[1]?.finish();
      greedy.finish();
      greedy.acquire();
      expect(patient.state).toBe('active');
    };
    busy[0]?.finish();
    expect([greedy.state, patient.state]).toEqual(['active', 'active']);
  });

  it('a client that leaves the queue is passed over', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const [first, second, third] = [kit.acquiring(pool), kit.acquiring(pool), kit.acquiring(pool)];
    second.disconnect();
    first.finish();
    expect(second.heard).toEqual([]);
    expect(third.server).toBe(kit.connector.last);
  });

  it.each([
    ['the server used last goes first', false, [1, 0]],
    ['server_round_robin takes the one that has rested longest', true, [0, 1]],
  ])('%s', (_name, serverRoundRobin, order) => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { serverRoundRobin });
    const [a, b] = [kit.acquiring(pool), kit.acquiring(pool)];
    const released = [a.linkedServer, b.linkedServer];
    a.finish();
    b.finish();
    const next = [kit.acquiring(pool), kit.acquiring(pool)];
    expect(next.map((client) => released.indexOf(client.linkedServer))).toEqual(order);
  });

  it('a server to be replaced is closed when it is met, and the next one taken', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    const [older, newer] = kit.connector.opened;
    if (newer !== undefined) newer.closeNeeded = true;
    expect(kit.acquiring(pool).server).toBe(older);
    expect(newer?.closeReason).toBe('obsolete connection');
  });

  it('a client that fails inside linked leaves its server to the one behind it', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const [first, second, third] = [kit.acquiring(pool), kit.acquiring(pool), kit.acquiring(pool)];
    second.onLinked = () => second.refused(fatal('unknown pkt'));
    first.finish();
    expect([second.state, third.server]).toEqual(['gone', kit.connector.last]);
    expect(kit.connector.last.link).toBe(third);
  });

  it('acquire by a client that waits already is a bug', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    kit.acquiring(pool);
    const client = kit.acquiring(pool);
    expect(() => client.acquire()).toThrow('acquire by a client that is not active');
  });
});

describe('release', () => {
  it('in session mode comes the reset query, then the next client', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, poolMode: 'session' });
    const server = kit.connector.last;
    const [first, second] = [kit.acquiring(pool), kit.acquiring(pool)];
    first.disconnect();
    expect([server.state, server.tests, second.state]).toEqual(['tested', ['reset: DISCARD ALL'], 'waiting']);
    server.answerTest();
    expect(second.server).toBe(server);
  });

  it('a server that fails its reset query is closed and the waiting client gets another', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolMode: 'session' });
    const server = kit.connector.last;
    kit.acquiring(pool).disconnect();
    const client = kit.acquiring(pool);
    expect(pool.servers.new.length).toBe(0);
    server.answerTest(false);
    expect([server.state, server.closeReason]).toEqual(['closing', 'test query failed']);
    kit.connector.last.ready();
    expect(client.server).toBe(kit.connector.last);
  });

  it('a server that breaks in its reset query makes room for another at once', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolMode: 'session' });
    const server = kit.connector.last;
    kit.acquiring(pool).disconnect();
    kit.acquiring(pool);
    pool.serverBroke(server, 'server conn crashed?', 'server conn crashed?');
    expect(pool.servers.new.length).toBe(1);
  });

  it('an unsure count is probed first and the reset query still follows', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolMode: 'session' });
    const server = kit.connector.last;
    const client = kit.acquiring(pool);
    server.unsure = true;
    client.disconnect();
    expect(server.tests).toEqual(['resync: ']);
    server.answerTest();
    expect(server.tests).toEqual(['resync: ', 'reset: DISCARD ALL']);
    server.answerTest();
    expect(server.state).toBe('idle');
  });

  it('in transaction mode the probe is enough', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const server = kit.connector.last;
    const client = kit.acquiring(pool);
    server.unsure = true;
    client.finish();
    server.answerTest();
    expect([server.state, server.tests]).toEqual(['idle', ['resync: ']]);
  });

  it('a client that goes in the middle of something takes the server with it, and its slot stays taken', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const server = kit.connector.last;
    const [first, second] = [kit.acquiring(pool), kit.acquiring(pool)];
    server.clean = false;
    first.disconnect();
    expect([server.state, server.closeReason]).toEqual([
      'closing',
      'client disconnect while server was not ready',
    ]);
    expect([second.state, kit.connector.opened.length]).toEqual(['waiting', 1]);
    expect(kit.budget.count('server')).toBe(1);
  });

  it('a check delay of 0 checks on every reuse', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, serverCheckDelayMs: 0, serverCheckQuery: 'select 1' });
    const server = kit.connector.last;
    kit.acquiring(pool).finish();
    expect(server.state).toBe('used');
    const client = kit.acquiring(pool);
    expect([server.tests, client.state]).toEqual([['check: select 1'], 'waiting']);
    server.answerTest();
    expect(client.server).toBe(server);
  });

  it('used servers serve unchecked when checks are turned off meanwhile', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { poolSize: 3, serverCheckDelayMs: 0, serverCheckQuery: '' });
    const before = [kit.acquiring(pool), kit.acquiring(pool)];
    for (const client of before) client.finish();
    const clients = [kit.joined(pool), kit.joined(pool)];
    pool.limits = { ...pool.limits, serverCheckQuery: null };
    for (const client of clients) client.acquire();
    expect(clients.map((client) => client.state)).toEqual(['active', 'active']);
    expect([pool.servers.active.length, kit.connector.opened.length]).toEqual([2, 2]);
  });

  it('a used server to be replaced is not checked, and another one is opened in its place', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { serverCheckDelayMs: 0, serverCheckQuery: '' });
    const server = kit.connector.last;
    kit.acquiring(pool).finish();
    server.closeNeeded = true;
    kit.acquiring(pool);
    expect([server.closeReason, server.tests]).toEqual(['obsolete connection', []]);
    expect(pool.servers.new.length).toBe(1);
  });

  it('checks no more used servers than clients wait for', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { serverCheckDelayMs: 0, serverCheckQuery: '' });
    const before = [kit.acquiring(pool), kit.acquiring(pool)];
    for (const client of before) client.finish();
    kit.acquiring(pool);
    expect([pool.servers.tested.length, pool.servers.used.length]).toEqual([1, 1]);
  });

  it('a server that has served nobody is not linked to be released', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    expect(() => pool.release(kit.connector.last)).toThrow('release of a server that is not linked');
  });
});

describe('a broken server', () => {
  it('tells its client and keeps its slot until it is gone', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const server = kit.connector.last;
    const client = kit.acquiring(pool);
    pool.serverBroke(server, 'server conn crashed?', 'server conn crashed?');
    expect(client.error).toEqual(fatal('server conn crashed?'));
    expect([client.state, server.state, kit.budget.count('server')]).toEqual(['gone', 'closing', 1]);
    server.gone();
    expect([server.state, kit.budget.count('server')]).toEqual(['gone', 0]);
  });

  it('is reported once, however often it breaks', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const server = kit.connector.last;
    pool.serverBroke(server, 'first', 'first');
    pool.serverBroke(server, 'second', 'second');
    server.gone();
    pool.serverBroke(server, 'third', 'third');
    server.gone();
    expect([server.closeReason, kit.budget.count('server')]).toEqual(['first', 0]);
  });
});

describe('welcome data', () => {
  it('a client waits for the first server of the pool, the next one does not', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const first = kit.client(pool);
    expect(pool.join(first)).toBe(false);
    expect([first.state, pool.servers.new.length]).toEqual(['waiting_login', 1]);
    kit.connector.last.ready();
    expect([first.heard, first.state, pool.welcome]).toEqual([['welcome'], 'active', WELCOME]);
    expect(pool.join(kit.client(pool))).toBe(true);
  });

  it('all who wait for it are welcomed, also when one leaves meanwhile or asks for a server at once', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ poolSize: 1 });
    const clients = [1, 2, 3, 4].map(() => kit.joined(pool));
    const [a, b, c, d] = clients as [FakeClient, FakeClient, FakeClient, FakeClient];
    a.onWelcome = () => c.disconnect();
    b.onWelcome = () => b.refused(fatal('bad packet'));
    d.onWelcome = () => void d.acquire();
    kit.connector.last.ready();
    expect(clients.map((client) => client.state)).toEqual(['active', 'gone', 'gone', 'active']);
    expect([c.heard, d.server]).toEqual([[], kit.connector.last]);
    expect(pool.clients.waiting_login.length).toBe(0);
  });

  it('is replaced by every login', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    kit.acquiring(pool);
    kit.acquiring(pool);
    kit.connector.last.ready([['server_version', '19.0']]);
    expect(pool.welcome).toEqual([['server_version', '19.0']]);
  });

  it('RECONNECT keeps it, another connection string drops it', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    pool.markAllCloseNeeded(false);
    expect(pool.welcome).toEqual(WELCOME);
    pool.markAllCloseNeeded(true);
    expect(pool.join(kit.client(pool))).toBe(false);
  });

  it('does not come from a connection that was given up meanwhile', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    kit.joined(pool);
    const server = kit.connector.last;
    pool.markAllCloseNeeded(true);
    server.ready([['server_version', '12.0']]);
    expect([pool.welcome, server.state]).toEqual([null, 'closing']);
  });
});

describe('PAUSE', () => {
  it('closes what rests, keeps what works until it is released, and holds clients back', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    const busy = kit.acquiring(pool);
    const server = busy.linkedServer;
    pool.setPaused(true);
    expect(pool.servers.idle.length).toBe(0);
    expect(server.state).toBe('active');
    const waiting = kit.acquiring(pool);
    expect(waiting.state).toBe('waiting');
    busy.finish();
    expect([server.state, server.closeReason, waiting.state]).toEqual(['closing', 'pause mode', 'waiting']);
  });

  it('closes servers that wait for a check as well', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { serverCheckDelayMs: 0, serverCheckQuery: '' });
    kit.acquiring(pool).finish();
    pool.setPaused(true);
    expect(kit.connector.last.closeReason).toBe('pause mode');
  });

  it('holds clients back from the first moment, before the pool has been told to close anything', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    pool.paused = true;
    const client = kit.acquiring(pool);
    pool.service();
    expect([client.state, kit.connector.last.state]).toEqual(['waiting', 'idle']);
  });

  it('after it nobody overtakes those who waited, also while they are being served', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    pool.paused = true;
    const [first, second, late] = [kit.acquiring(pool), kit.acquiring(pool), kit.joined(pool)];
    first.onLinked = () => void late.acquire();
    pool.setPaused(false);
    expect([first.state, second.state, late.state]).toEqual(['active', 'active', 'waiting']);
  });

  it('lets clients wait in front of a server that cannot be reached, for it may be back by then', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    pool.closeServer(kit.connector.last, 'evicted');
    kit.acquiring(pool);
    kit.connector.last.failConnect();
    pool.setPaused(true);
    expect(kit.acquiring(pool).state).toBe('waiting');
  });

  it('does not run the reset query on what it closes', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolMode: 'session' });
    const client = kit.acquiring(pool);
    pool.setPaused(true);
    client.disconnect();
    expect([kit.connector.last.tests, kit.connector.last.closeReason]).toEqual([[], 'pause mode']);
  });

  it('RESUME serves whoever waited, in order', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    pool.setPaused(true);
    for (const server of kit.connector.opened) server.gone();
    const [first, second] = [kit.acquiring(pool), kit.acquiring(pool)];
    kit.sweepAfter(1000);
    expect(pool.servers.slotsTaken).toBe(0);
    pool.setPaused(false);
    kit.connector.last.ready();
    expect([first.state, second.state]).toEqual(['active', 'waiting']);
  });

  it('closing a login is no failure: clients do not hear of one after RESUME', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    kit.acquiring(pool);
    kit.acquiring(pool);
    const login = kit.connector.last;
    pool.setPaused(true);
    expect([login.state, login.closeReason]).toEqual(['closing', 'pause mode']);
    pool.serverFailed(login, { message: 'closed', serverError: null, failWaiting: true });
    login.gone();
    expect(pool.launcher.failure !== null).toBe(false);
    pool.setPaused(false);
    expect(pool.servers.new.length).toBe(1);
  });
});

describe('RECONNECT', () => {
  it('closes what rests and logs in now, and what works when it is released', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { poolSize: 3 });
    const client = kit.acquiring(pool);
    kit.acquiring(pool);
    kit.acquiring(pool);
    const login = kit.connector.last;
    pool.markAllCloseNeeded(false);
    expect(login.closeReason).toBe('connect string changed');
    const server = client.linkedServer;
    client.finish();
    expect(server.closeReason).toBe('close_needed');
    expect(pool.launcher.failure !== null).toBe(false);
  });

  it('closes a server under test when the answer comes', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolMode: 'session' });
    const server = kit.connector.last;
    kit.acquiring(pool).disconnect();
    pool.markAllCloseNeeded(false);
    expect(server.state).toBe('tested');
    server.answerTest();
    expect(server.closeReason).toBe('close_needed');
  });

  it('closes a server whose cancels are under way when they are done', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    const server = client.linkedServer;
    pool.cancels.request(client, server, () => {});
    kit.connector.lastCarrier.connect();
    client.finish();
    pool.markAllCloseNeeded(false);
    expect(server.state).toBe('being_canceled');
    kit.connector.lastCarrier.close();
    expect(server.closeReason).toBe('close_needed');
  });

  it('closes idle ones with the reason of a configuration change', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    pool.markAllCloseNeeded(false);
    expect(kit.connector.last.closeReason).toBe('database configuration changed');
  });
});

describe('statistics', () => {
  it('count each assignment and the time spent in the queue', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    pool.stats.waitTimeUs = 0;
    const [first, second, third] = [kit.acquiring(pool), kit.acquiring(pool), kit.acquiring(pool)];
    kit.clock.advance(1.5);
    first.finish();
    expect(pool.stats.waitTimeUs).toBe(1500);
    kit.clock.advance(2);
    third.disconnect();
    expect(pool.stats.waitTimeUs).toBe(5000);
    second.finish();
    expect(pool.stats.serverAssignmentCount).toBe(2);
  });

  it('count the wait for the first welcome data too', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    kit.joined(pool);
    kit.clock.advance(7);
    kit.connector.last.ready();
    expect([pool.stats.waitTimeUs, pool.stats.serverAssignmentCount]).toEqual([7000, 0]);
  });
});
