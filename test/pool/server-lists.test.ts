import { describe, expect, it } from 'vitest';
import { type FakeServer, PoolKit } from './kit.ts';

describe('a rest', () => {
  it('is one, whether the server counts as idle or as used', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { serverCheckQuery: '', serverCheckDelayMs: 1000 });
    const server = kit.connector.last;
    const sinceMs = kit.clock.nowMs();
    kit.sweepAfter(2000);
    expect([server.state, server.stateSinceMs]).toEqual(['used', sinceMs]);
    kit.acquiring(pool);
    expect([server.state, server.stateSinceMs]).toEqual(['tested', sinceMs + 2000]);
  });

  it('the longest one is found among idle and used servers', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { serverCheckQuery: '', serverCheckDelayMs: 1000 });
    const [a, b] = kit.connector.opened;
    kit.sweepAfter(2000);
    const client = kit.acquiring(pool);
    const tested = pool.servers.tested.first;
    const other = tested === a ? b : a;
    pool.serverTested(tested as FakeServer, true, '');
    client.finish();
    expect([pool.servers.idle.first, pool.servers.used.first]).toEqual([tested, other]);
    expect(pool.servers.mostIdle()).toBe(other);
  });
});

describe('counting', () => {
  it('a closing server is not usable and still holds its slot', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    pool.closeServer(kit.connector.last, 'evicted');
    expect([pool.servers.usable, pool.servers.slotsTaken]).toEqual([1, 2]);
    kit.connector.last.gone();
    expect([pool.servers.usable, pool.servers.slotsTaken]).toEqual([1, 1]);
  });

  it('a server in login holds a slot and is not usable yet', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    kit.joined(pool);
    expect([pool.servers.usable, pool.servers.slotsTaken]).toEqual([0, 1]);
  });
});
