import { describe, expect, it } from 'vitest';
import { PoolKit } from './kit.ts';

describe('the oldest wait of a pool', () => {
  it('is 0 when nobody waits', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    kit.acquiring(pool);
    expect(pool.clients.oldestWaitStartMs).toBe(0);
  });

  it('is that of the first in the queue, and moves on with it', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const busy = kit.acquiring(pool);
    const sinceMs = kit.clock.nowMs();
    const first = kit.acquiring(pool);
    kit.clock.advance(10);
    kit.acquiring(pool);
    expect(pool.clients.oldestWaitStartMs).toBe(sinceMs);
    busy.finish();
    expect(pool.clients.oldestWaitStartMs).toBe(sinceMs + 10);
    expect(first.waitStartMs).toBe(0);
  });

  it('is the older one of the two queues', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    kit.acquiring(pool);
    const serverWaitMs = kit.clock.nowMs();
    const waiting = kit.acquiring(pool);
    pool.markAllCloseNeeded(true);
    kit.clock.advance(5);
    const login = kit.joined(pool);
    expect(pool.clients.oldestWaitStartMs).toBe(serverWaitMs);
    waiting.disconnect();
    expect(pool.clients.oldestWaitStartMs).toBe(serverWaitMs + 5);
    login.disconnect();
    expect([pool.clients.oldestWaitStartMs, pool.clients.count]).toEqual([0, 1]);
  });
});
