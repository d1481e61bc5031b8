import { expect, it } from 'vitest';
import { replaceServers } from '../../src/pool/replace.ts';
import { fatal } from '../../src/wire/pg-error.ts';
import { PoolKit } from './kit.ts';

it('of servers that are to be replaced resting ones go at once, others when they are released', () => {
  const kit = new PoolKit();
  const pool = kit.warmPool(2, { poolSize: 4 });
  const client = kit.acquiring(pool);
  const busy = client.linkedServer;
  const [idle] = [...pool.servers.idle];
  const kept = kit.acquiring(pool).linkedServer;
  expect(kept).toBe(idle);
  kept.pool.release(kept);
  replaceServers(pool, (server) => server === busy);
  expect([busy.closeNeeded, busy.state, kept.state]).toEqual([true, 'active', 'idle']);
  client.finish();
  expect([busy.state, busy.closeReason]).toEqual(['closing', 'close_needed']);
  replaceServers(pool, () => true);
  expect([kept.state, kept.closeReason]).toEqual(['closing', 'database configuration changed']);
});

it('of servers that are to be replaced one in login serves nobody, and one of a client alone is cut', () => {
  const kit = new PoolKit();
  const pool = kit.pool({ poolSize: 4 });
  const replicating = kit.dedicated(pool);
  const own = kit.connector.last.ready();
  const client = kit.joined(pool);
  const inLogin = kit.connector.last;
  replaceServers(pool, () => true);
  expect([replicating.error, own.closeReason]).toEqual([
    fatal('database configuration changed'),
    'database configuration changed',
  ]);
  expect(inLogin.state).toBe('new');
  inLogin.ready();
  // Its client has its welcome, and gets another server.
  expect([client.heard, inLogin.closeReason]).toEqual([['welcome'], 'close_needed']);
});
