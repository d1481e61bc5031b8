import { describe, expect, it } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { fatal } from '../../src/wire/pg-error.ts';
import { type FakeServer, PoolKit, wakeUps } from './kit.ts';

describe('a login', () => {
  it('that takes longer than server_connect_timeout is given up as a failure', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ serverConnectTimeoutMs: 15_000 });
    const client = kit.joined(pool);
    const server = kit.connector.last;
    kit.sweepAfter(15_000);
    expect(server.state).toBe('new');
    kit.sweepAfter(1);
    expect([server.state, server.closeReason, pool.launcher.failure !== null]).toEqual([
      'closing',
      'connect timeout',
      true,
    ]);
    expect([client.state, kit.budget.count('server')]).toEqual(['waiting_login', 1]);
  });

  it('may take for ever when server_connect_timeout is 0', () => {
    const kit = new PoolKit();
    kit.joined(kit.pool({ serverConnectTimeoutMs: 0 }));
    kit.sweepAfter(3_600_000);
    expect(kit.connector.last.state).toBe('new');
  });

  it('goes on to the next address in the same slot, each with a server_connect_timeout of its own', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ serverConnectTimeoutMs: 15_000 });
    kit.joined(pool);
    const server = kit.connector.last;
    server.opening.left = 2;
    for (const tried of [1, 2]) {
      kit.sweepAfter(15_000);
      kit.sweepAfter(1);
      expect([server.tried.length, server.state, pool.launcher.failure]).toEqual([tried, 'new', null]);
    }
    kit.sweepAfter(15_001);
    expect([server.state, server.closeReason, pool.launcher.failure]).toEqual([
      'closing',
      'connect timeout',
      'connect timeout',
    ]);
    expect(kit.connector.opened).toHaveLength(1);
  });

  it.each([
    0, 15_000,
  ])('loses 2 s on an address that failed before, with a server_connect_timeout of %i', (timeoutMs) => {
    const kit = new PoolKit();
    kit.joined(kit.pool({ serverConnectTimeoutMs: timeoutMs }));
    const server = kit.connector.last;
    server.opening.left = 1;
    server.opening.isSuspect = true;
    kit.sweepAfter(2000);
    expect(server.tried).toEqual([]);
    kit.sweepAfter(1);
    expect([server.tried, server.state]).toEqual([['connect timeout'], 'new']);
  });
});

describe('a linked pair', () => {
  it('is closed when its query takes too long', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1, { queryTimeoutMs: 1000 }));
    const server = client.linkedServer;
    server.clean = false;
    client.queryStartMs = kit.clock.nowMs();
    kit.sweepAfter(1000);
    expect(client.state).toBe('active');
    kit.sweepAfter(1);
    expect([client.error, server.closeReason]).toEqual([fatal('query timeout'), 'query timeout']);
  });

  it('is closed when it idles in a transaction, counted from the last bytes of the server', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1, { idleTransactionTimeoutMs: 1000 }));
    const server = client.linkedServer;
    server.idleInTransaction = true;
    kit.clock.advance(900);
    server.lastBytesMs = kit.clock.nowMs();
    kit.sweepAfter(1000);
    expect(client.state).toBe('active');
    kit.sweepAfter(1);
    expect(client.error).toEqual(fatal('idle transaction timeout'));
  });

  it('is closed when its transaction takes too long, and the next pair is looked at too', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { transactionTimeoutMs: 1000 });
    const clients = [kit.acquiring(pool), kit.acquiring(pool)];
    for (const client of clients) client.xactStartMs = kit.clock.nowMs();
    kit.sweepAfter(1001);
    expect(clients.map((client) => client.error?.message)).toEqual([
      'transaction timeout',
      'transaction timeout',
    ]);
  });

  it('survives one that takes another with it', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { queryTimeoutMs: 1000 });
    const [a, b] = [kit.acquiring(pool), kit.acquiring(pool)];
    a.queryStartMs = kit.clock.nowMs();
    b.queryStartMs = a.queryStartMs;
    const refuse = a.refused.bind(a);
    a.refused = (error) => {
      b.disconnect();
      refuse(error);
    };
    kit.sweepAfter(1001);
    expect([a.state, b.state, b.error]).toEqual(['gone', 'gone', null]);
  });

  it.each([
    ['in session mode outside a transaction', 'session', true, true, true],
    ['not inside one', 'session', true, false, false],
    ['not when server_fast_close is off', 'session', false, true, false],
    ['not in transaction mode, where the release is near', 'transaction', true, true, false],
  ] as const)('server_fast_close ends it %s', (_name, poolMode, serverFastClose, clean, isClosed) => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolMode, serverFastClose });
    const client = kit.acquiring(pool);
    client.linkedServer.clean = clean;
    pool.markAllCloseNeeded(false);
    kit.sweepAfter(333);
    expect(client.error).toEqual(isClosed ? fatal('database configuration changed') : null);
  });
});

describe('a resting server', () => {
  it('is closed after server_idle_timeout, the check delay included', () => {
    const kit = new PoolKit();
    const limits = { serverIdleTimeoutMs: 60_000, serverCheckDelayMs: 30_000, serverCheckQuery: '' };
    kit.warmPool(1, limits);
    const server = kit.connector.last;
    kit.sweepAfter(30_001);
    expect(server.state).toBe('used');
    kit.sweepAfter(29_999);
    expect(server.state).toBe('used');
    kit.sweepAfter(1);
    expect(server.closeReason).toBe('server idle timeout');
  });

  it('stays as one of min_pool_size', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { serverIdleTimeoutMs: 1000, minPoolSize: 1 });
    kit.sweepAfter(1001);
    expect([pool.servers.idle.length, pool.servers.closing.length]).toEqual([1, 1]);
  });

  it('goes when pool_size has been lowered, used ones first', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(3, { poolSize: 3, serverCheckQuery: '', serverCheckDelayMs: 1000 });
    kit.sweepAfter(1001);
    const client = kit.acquiring(pool);
    pool.serverTested(pool.servers.tested.first as FakeServer, true, '');
    client.finish();
    expect([pool.servers.idle.length, pool.servers.used.length]).toEqual([1, 2]);
    pool.limits = { ...pool.limits, poolSize: 1 };
    kit.sweepAfter(1);
    expect([pool.servers.idle.length, pool.servers.used.length]).toEqual([1, 0]);
    expect(
      kit.connector.opened.filter((server) => server.closeReason === 'too many servers in the pool').length,
    ).toBe(2);
  });

  it('is checked before it serves again after server_check_delay', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { serverCheckQuery: '', serverCheckDelayMs: 1000 });
    kit.sweepAfter(1001);
    const client = kit.acquiring(pool);
    expect([kit.connector.last.tests, client.state]).toEqual([['check: '], 'waiting']);
    kit.connector.last.answerTest();
    expect(client.state).toBe('active');
  });
});

describe('server_lifetime', () => {
  it('closes servers of the same age one by one, a lifetime divided by pool_size apart', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(4, { poolSize: 4, serverLifetimeMs: 4000 });
    const left: number[] = [];
    kit.clock.advance(3000);
    for (let i = 0; i < 10; i++) {
      kit.sweepAfter(500);
      left.push(pool.servers.idle.length);
    }
    expect(left).toEqual([4, 3, 3, 2, 2, 1, 1, 0, 0, 0]);
  });

  it('spaces closes on release with those of the sweep', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { serverLifetimeMs: 2000 });
    const clients = [kit.acquiring(pool), kit.acquiring(pool)];
    kit.clock.advance(2000);
    for (const client of clients) client.finish();
    expect([pool.servers.closing.length, pool.servers.idle.length]).toEqual([1, 1]);
    kit.sweepAfter(999);
    expect(pool.servers.idle.length).toBe(1);
    kit.sweepAfter(1);
    expect(pool.servers.idle.length).toBe(0);
  });

  it('of 0 uses every connection once', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { serverLifetimeMs: 0, serverCheckQuery: '', serverCheckDelayMs: 10 });
    const server = kit.connector.last;
    kit.sweepAfter(1000);
    const client = kit.acquiring(pool);
    server.answerTest();
    expect(client.server).toBe(server);
    client.finish();
    expect(server.closeReason).toBe('server lifetime over');
  });
});

describe('a test query', () => {
  it('that is never answered costs the connection, and the client gets another', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolMode: 'session' });
    const server = kit.connector.last;
    kit.acquiring(pool).disconnect();
    const client = kit.acquiring(pool);
    kit.sweepAfter(15_000);
    expect(server.state).toBe('tested');
    kit.sweepAfter(1);
    expect([server.closeReason, pool.servers.new.length]).toEqual(['test query failed', 1]);
    kit.connector.last.ready();
    server.answerTest();
    expect([client.server, server.state]).toEqual([kit.connector.last, 'closing']);
  });
});

describe('a closing server', () => {
  it('first gets time, then a cancel, then more time, then its slot is given up', async () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { serverCloseTimeoutMs: 5000, serverCancelTimeoutMs: 3000 });
    const server = kit.connector.last;
    const client = kit.acquiring(pool);
    server.clean = false;
    client.disconnect();
    const steps: unknown[] = [];
    for (const ms of [5000, 1, 1, 2999, 1]) {
      kit.sweepAfter(ms);
      steps.push([server.ownCancels, server.cuts, kit.budget.count('server')]);
    }
    expect(steps).toEqual([
      [0, 0, 1],
      [1, 0, 1],
      [2, 0, 1],
      [3, 0, 1],
      [3, 1, 0],
    ]);
    await wakeUps();
    expect(server.state).toBe('gone');
  });

  it('is cancelled before it is given up, however late the sweep comes', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { serverCloseTimeoutMs: 5000, serverCancelTimeoutMs: 3000 });
    const server = kit.connector.last;
    pool.closeServer(server, 'evicted');
    kit.sweepAfter(60_000);
    expect([server.ownCancels, server.cuts]).toEqual([1, 0]);
  });

  it('that goes by itself is left alone', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    pool.closeServer(kit.connector.last, 'evicted');
    kit.connector.last.gone();
    kit.sweepAfter(60_000);
    expect([kit.connector.last.ownCancels, kit.connector.last.cuts]).toEqual([0, 0]);
  });

  it('that is gone as soon as it is told leaves the others to be swept', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(3, { poolSize: 3, serverIdleTimeoutMs: 1000 });
    for (const server of kit.connector.opened) server.closesAtOnce = true;
    kit.sweepAfter(1001);
    expect([pool.servers.slotsTaken, kit.budget.count('server')]).toEqual([0, 0]);
  });
});

describe('an empty pool', () => {
  it('is known since the sweep that found it so, until somebody comes', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const server = kit.connector.last;
    const client = kit.joined(pool);
    kit.sweepAfter(100);
    expect(pool.emptySinceMs).toBe(0);
    client.disconnect();
    pool.closeServer(server, 'evicted');
    kit.sweepAfter(100);
    expect(pool.emptySinceMs).toBe(0);
    server.gone();
    kit.sweepAfter(100);
    const sinceMs = kit.clock.nowMs();
    kit.sweepAfter(100);
    expect(pool.emptySinceMs).toBe(sinceMs);
    kit.joined(pool);
    kit.sweepAfter(100);
    expect(pool.emptySinceMs).toBe(0);
  });
});

describe('a server whose client is gone in the middle of what it asked for', () => {
  function abandoned(limits: Partial<PoolLimits> = {}, graceMs = 0) {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, serverCloseTimeoutMs: 1000, ...limits });
    const client = kit.acquiring(pool);
    const server = client.linkedServer;
    server.clean = false;
    server.countable = true;
    client.graceMs = graceMs;
    client.disconnect();
    return { kit, pool, server, connector: kit.connector };
  }

  it('is drained and cancelled at once', () => {
    const { kit, pool, server, connector } = abandoned();
    expect([server.state, server.drains, connector.carriers.length]).toEqual(['being_canceled', 1, 1]);
    expect([pool.cancels.carrierCount, pool.cancels.requestsIn(pool.cancels.waiting)]).toEqual([1, 0]);
    expect([server.closeReason, kit.budget.count('server')]).toEqual([null, 1]);
  });

  it('is cancelled again with each sweep once the last cancel is done', () => {
    const { kit, connector } = abandoned();
    connector.lastCarrier.connect();
    kit.sweepAfter(333);
    expect(connector.carriers.length).toBe(1);
    connector.lastCarrier.close();
    kit.sweepAfter(333);
    expect(connector.carriers.length).toBe(2);
    kit.sweepAfter(333);
    expect(connector.carriers.length).toBe(2);
  });

  it('is used again when all is answered and the cancels are done, which are not sent any more', () => {
    const { kit, pool, server, connector } = abandoned();
    connector.lastCarrier.connect();
    server.drained();
    expect(server.state).toBe('being_canceled');
    connector.lastCarrier.close();
    expect(server.state).toBe('idle');
    const next = kit.acquiring(pool);
    expect(next.server).toBe(server);

    const other = abandoned();
    other.server.drained();
    expect([other.server.state, other.connector.lastCarrier.connect()]).toEqual(['idle', false]);
  });

  it('is reset first in session mode', () => {
    const { server } = abandoned({ poolMode: 'session' });
    server.drained();
    expect([server.state, server.tests]).toEqual(['tested', ['reset: DISCARD ALL']]);
  });

  it('is closed when its last state is not for others', () => {
    const { server } = abandoned();
    server.drained(false);
    expect([server.state, server.closeReason]).toEqual([
      'closing',
      'client disconnect while server was not ready',
    ]);
  });

  it('is closed after server_close_timeout', () => {
    const { kit, server, connector } = abandoned();
    kit.sweepAfter(1000);
    expect(server.state).toBe('being_canceled');
    kit.sweepAfter(1);
    expect([server.state, connector.lastCarrier.connect()]).toEqual(['closing', false]);
    server.drained();
    expect(server.state).toBe('closing');
  });

  it('has its grace first, where there is one', () => {
    const { kit, server, connector } = abandoned({}, 1000);
    kit.sweepAfter(999);
    expect(connector.carriers.length).toBe(0);
    kit.sweepAfter(1);
    expect(connector.carriers.length).toBe(1);
    kit.sweepAfter(1000);
    expect(server.state).toBe('being_canceled');
    kit.sweepAfter(1);
    expect(server.state).toBe('closing');
  });

  it('is closed when PostgreSQL does not get the cancel done, whatever cancel_wait_timeout says', () => {
    const { kit, server, connector } = abandoned({ cancelWaitTimeoutMs: 0, serverCancelTimeoutMs: 3000 });
    connector.lastCarrier.connect();
    server.drained();
    kit.sweepAfter(3000);
    expect(server.state).toBe('being_canceled');
    kit.sweepAfter(1);
    expect([server.state, server.closeReason]).toEqual(['closing', 'cancel_wait_timeout']);
  });

  it('breaks like any other', () => {
    const { pool, server } = abandoned();
    pool.serverBroke(server, 'server conn crashed?', 'server conn crashed?');
    expect([server.state, server.closeReason, server.abandoned]).toEqual([
      'closing',
      'server conn crashed?',
      null,
    ]);
  });
});
