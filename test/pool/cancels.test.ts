import { describe, expect, it } from 'vitest';
import type { FakeClient } from './kit.ts';
import { PoolKit } from './kit.ts';

const SENT = 'successfully sent cancel request';
const UNSENT = 'not sending cancel request for client that is now idle';

/** Cancels what `client` runs; what becomes of the request stands in the answer. */
function cancel(client: FakeClient): string[] {
  const outcome: string[] = [];
  client.pool.cancels.request(client, client.linkedServer, (reason) => void outcome.push(reason));
  return outcome;
}

describe('a cancel', () => {
  it('is sent to the server of its client, and ends when PostgreSQL has closed the connection', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1));
    const outcome = cancel(client);
    const carrier = kit.connector.lastCarrier;
    expect(carrier.server).toBe(client.linkedServer);
    expect([carrier.connect(), outcome]).toEqual([true, []]);
    expect(client.linkedServer.cancelsInFlight).toBe(1);
    carrier.close();
    expect([outcome, client.linkedServer.cancelsInFlight]).toEqual([[SENT], 0]);
  });

  it('is never sent once the link has ended', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    const server = client.linkedServer;
    const outcome = cancel(client);
    client.finish();
    const carrier = kit.connector.lastCarrier;
    expect([outcome, carrier.isCut]).toEqual([[UNSENT], true]);
    kit.acquiring(pool);
    expect([carrier.connect(), server.cancelsInFlight]).toEqual([false, 0]);
  });

  it('is never sent once the client is gone', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1));
    const outcome = cancel(client);
    client.disconnect();
    expect([outcome, kit.connector.lastCarrier.connect()]).toEqual([[UNSENT], false]);
  });

  it('for a client that is not linked to that server does nothing', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    const server = client.linkedServer;
    client.finish();
    kit.acquiring(pool);
    const outcome: string[] = [];
    pool.cancels.request(client, server, (reason) => void outcome.push(reason));
    expect([outcome, kit.connector.carriers.length]).toEqual([['cancel request for idle client'], 0]);
  });

  it('that cannot be carried leaves the server alone', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    const outcome = cancel(client);
    kit.connector.lastCarrier.close();
    client.finish();
    expect([outcome, kit.connector.last.state]).toEqual([['failed to send cancel request'], 'idle']);
  });

  it('whose connection cannot even be begun fails, and the next one is carried', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1));
    kit.connector.onOpenCancel = () => {
      throw new Error('bad address');
    };
    expect(cancel(client)).toEqual(['failed to send cancel request']);
    kit.connector.onOpenCancel = () => {};
    cancel(client);
    expect(kit.connector.carriers.length).toBe(1);
  });
});

describe('the server of a cancel that was sent', () => {
  it('serves nobody until PostgreSQL has closed the connection that carried it', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const client = kit.acquiring(pool);
    const server = client.linkedServer;
    const waiting = kit.acquiring(pool);
    cancel(client);
    kit.connector.lastCarrier.connect();
    client.finish();
    expect([server.state, waiting.state]).toEqual(['being_canceled', 'waiting']);
    kit.connector.lastCarrier.close();
    expect([server.state, waiting.server]).toEqual(['active', server]);
  });

  it('waits for all of them', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    const server = client.linkedServer;
    cancel(client);
    cancel(client);
    const [a, b] = kit.connector.carriers;
    a?.connect();
    b?.connect();
    client.finish();
    b?.close();
    expect(server.state).toBe('being_canceled');
    a?.close();
    expect(server.state).toBe('idle');
  });

  it('runs the reset query only afterwards', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1, { poolMode: 'session' }));
    const server = client.linkedServer;
    cancel(client);
    kit.connector.lastCarrier.connect();
    client.disconnect();
    expect(server.tests).toEqual([]);
    kit.connector.lastCarrier.close();
    expect(server.tests).toEqual(['reset: DISCARD ALL']);
  });

  it('is closed when the carrier does not end in time, and never serves another client', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, cancelWaitTimeoutMs: 10_000 });
    const client = kit.acquiring(pool);
    const server = client.linkedServer;
    const waiting = kit.acquiring(pool);
    const outcome = cancel(client);
    kit.connector.lastCarrier.connect();
    client.finish();
    kit.sweepAfter(10_000);
    expect(server.state).toBe('being_canceled');
    kit.sweepAfter(1);
    expect([outcome, kit.connector.lastCarrier.isCut]).toEqual([['cancel_wait_timeout'], true]);
    expect([server.state, server.closeReason]).toEqual(['closing', 'cancel_wait_timeout']);
    expect(waiting.heard).toEqual([]);
  });

  it('is closed at its release when that has happened during the link', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1));
    const server = client.linkedServer;
    cancel(client);
    kit.connector.lastCarrier.connect();
    kit.sweepAfter(10_001);
    expect(server.state).toBe('active');
    client.finish();
    expect([server.state, server.closeReason]).toEqual(['closing', 'close_needed']);
  });
});

describe('the queue', () => {
  it('keeps servers and carriers below twice pool_size, first come, first served', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    const client = kit.acquiring(pool);
    const outcomes = [1, 2, 3, 4].map(() => cancel(client));
    expect([kit.connector.carriers.length, pool.cancels.carrierCount, pool.cancels.waiting.length]).toEqual([
      2, 2, 4,
    ]);
    const [first, second] = kit.connector.carriers;
    first?.connect();
    expect([pool.cancels.carrierCount, kit.connector.carriers.length]).toEqual([2, 2]);
    first?.close();
    expect([kit.connector.carriers.length, pool.cancels.carrierCount]).toEqual([3, 2]);
    second?.connect();
    second?.close();
    kit.connector.carriers[2]?.connect();
    kit.connector.carriers[2]?.close();
    expect(outcomes).toEqual([[SENT], [SENT], [SENT], []]);
  });

  it('goes on when a server connection is gone', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const client = kit.acquiring(pool);
    pool.limits = { ...pool.limits, poolSize: 2 };
    const other = kit.acquiring(pool);
    const extra = kit.connector.last.ready();
    pool.limits = { ...pool.limits, poolSize: 1 };
    cancel(client);
    expect(kit.connector.carriers.length).toBe(0);
    other.disconnect();
    pool.closeServer(extra, 'too many servers in the pool');
    extra.gone();
    expect(kit.connector.carriers.length).toBe(1);
  });

  it('has no bound in an unlimited pool', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1, { poolSize: 0 }));
    for (let i = 0; i < 9; i++) cancel(client);
    expect(kit.connector.carriers.length).toBe(9);
  });

  it('gives up a cancel that waits too long, and its carrier cannot send any more', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const client = kit.acquiring(pool);
    const outcomes = [cancel(client), cancel(client)];
    kit.sweepAfter(10_001);
    expect(outcomes).toEqual([['cancel_wait_timeout'], ['cancel_wait_timeout']]);
    expect(kit.connector.lastCarrier.connect()).toBe(false);
    expect([pool.cancels.waiting.length, client.linkedServer.closeNeeded]).toEqual([0, false]);
  });

  it('keeps a pool with a cancel that hangs, though nobody else is left in it, until that is given up', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    const outcome = cancel(client);
    kit.connector.lastCarrier.connect();
    const server = client.linkedServer;
    server.clean = false;
    client.disconnect();
    server.gone();
    kit.sweepAfter(333);
    expect([pool.clients.count, pool.servers.slotsTaken, pool.emptySinceMs]).toEqual([0, 0, 0]);
    kit.sweepAfter(10_001);
    expect([outcome, pool.emptySinceMs]).toEqual([['cancel_wait_timeout'], kit.clock.nowMs()]);
  });

  it('has cancels wait for ever when cancel_wait_timeout is 0, but not with a connection, nor keep a server', () => {
    const kit = new PoolKit();
    const limits = { cancelWaitTimeoutMs: 0, serverConnectTimeoutMs: 15_000, serverCancelTimeoutMs: 5000 };
    const pool = kit.warmPool(1, { poolSize: 1, ...limits });
    const client = kit.acquiring(pool);
    const [connecting, sent, waiting] = [cancel(client), cancel(client), cancel(client)];
    kit.sweepAfter(15_000);
    expect(connecting).toEqual([]);
    kit.sweepAfter(1);
    expect(connecting).toEqual(['cancel_wait_timeout']);
    kit.clock.advance(14_000);
    kit.connector.lastCarrier.connect();
    kit.sweepAfter(5000);
    expect([sent, client.linkedServer.closeNeeded]).toEqual([[], false]);
    kit.sweepAfter(1);
    expect([sent, client.linkedServer.closeNeeded]).toEqual([['cancel_wait_timeout'], true]);
    expect(waiting).toEqual([]);
    pool.limits = { ...pool.limits, poolSize: 0, serverConnectTimeoutMs: 0 };
    kit.sweepAfter(3_600_000);
    expect(waiting).toEqual([]);
  });

  it('goes on while the pool is paused: cancels are how a PAUSE gets done', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const client = kit.acquiring(pool);
    pool.setPaused(true);
    cancel(client);
    expect(kit.connector.lastCarrier.connect()).toBe(true);
  });

  it('survives carriers that fail before they are there', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const client = kit.acquiring(pool);
    const outcomes = [cancel(client), cancel(client), cancel(client), cancel(client)];
    const first = kit.connector.lastCarrier;
    kit.connector.onOpenCancel = (carrier) => carrier.close();
    first.close();
    expect(outcomes).toEqual(Array(4).fill(['failed to send cancel request']));
    expect([pool.cancels.waiting.length, pool.cancels.carrierCount]).toEqual([0, 0]);
  });

  it('of any length survives them', () => {
    const kit = new PoolKit();
    const client = kit.acquiring(kit.warmPool(1, { poolSize: 1 }));
    let ended = 0;
    for (let i = 0; i < 20_000; i++)
      client.pool.cancels.request(client, client.linkedServer, () => void ended++);
    kit.connector.onOpenCancel = (carrier) => carrier.close();
    kit.connector.lastCarrier.close();
    expect(ended).toBe(20_000);
  });

  it('goes on at the next sweep when pool_size has been raised', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const client = kit.acquiring(pool);
    cancel(client);
    cancel(client);
    expect(kit.connector.carriers.length).toBe(1);
    pool.limits = { ...pool.limits, poolSize: 2 };
    kit.sweepAfter(333);
    expect(kit.connector.carriers.length).toBe(2);
  });

  it('drops those of a link although one of another link ends on the way', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(3, { poolSize: 3 });
    pool.limits = { ...pool.limits, poolSize: 2 };
    const [client, other] = [kit.acquiring(pool), kit.acquiring(pool)];
    const outcomes = [cancel(client), cancel(other), cancel(client)];
    expect(pool.cancels.carrierCount).toBe(1);
    kit.connector.onOpenCancel = (carrier) => {
      if (carrier.server === other.server) carrier.close();
    };
    client.finish();
    expect(outcomes).toEqual([[UNSENT], ['failed to send cancel request'], [UNSENT]]);
    expect(kit.connector.carriers.map((carrier) => carrier.connect())).toEqual([false, false, false]);
  });

  it('drops all cancels of a link at once', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    const [client, other] = [kit.acquiring(pool), kit.acquiring(pool)];
    const theirs = cancel(other);
    const outcomes = [cancel(client), cancel(client), cancel(client)];
    client.finish();
    expect([outcomes, theirs]).toEqual([[[UNSENT], [UNSENT], [UNSENT]], []]);
    expect(pool.cancels.waiting.length).toBe(1);
  });
});
