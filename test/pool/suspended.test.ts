import { expect, test } from 'vitest';
import { PoolKit } from './kit.ts';

test('while it is suspended a pool gives nobody a server, opens none and keeps those it has', () => {
  const kit = new PoolKit();
  const pool = kit.warmPool(1, { poolSize: 3 });
  const busy = kit.acquiring(pool);
  kit.isSuspended = true;
  const late = kit.acquiring(pool);
  const opened = kit.connector.opened.length;
  pool.service();
  busy.finish();
  expect([late.state, late.server, kit.connector.opened.length]).toEqual(['waiting', null, opened]);
  expect(pool.servers.idle.length).toBe(1);
  kit.isSuspended = false;
  pool.service();
  expect(late.server).toBe(kit.connector.last);
});
