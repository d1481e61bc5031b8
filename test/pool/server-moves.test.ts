import { describe, expect, it, test } from 'vitest';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { MovedServer } from '../../src/pool/moved-server.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { Pools } from '../../src/pool/pools.ts';
import type { ServerExchange } from '../../src/pool/context.ts';
import { type FakeServer, PoolKit, QUIET_LIMITS, WELCOME } from './kit.ts';

/** The pool of another loop over the kit's budget and clock. */
class Elsewhere implements ServerExchange<Pool> {
  readonly pools: Pools;
  readonly pool: Pool;
  readonly sent: MovedServer[] = [];
  readonly forgotten: Pool[] = [];
  isWanted = false;
  /** How often a server was left at rest. */
  stayed = 0;
  isReopening = false;
  ownEra = 0;

  constructor(kit: PoolKit, owner = 'loop-1') {
    this.pools = new Pools({
      clock: kit.clock,
      log: { enabled: () => false, log: () => {} },
      budget: kit.budget,
      owner,
      connector: kit.connector,
      isSuspended: () => kit.isSuspended,
      exchange: this,
    });
    this.pool = this.pools.open(
      { database: 'db', user: 'app', isForcedUser: false },
      { ...QUIET_LIMITS, poolSize: 2 },
    );
  }

  era(): number {
    return this.ownEra;
  }

  wants(): boolean {
    return this.isWanted;
  }

  stays(): void {
    this.stayed++;
  }

  mayReopen(): boolean {
    return this.isReopening;
  }

  send(_pool: Pool, moved: MovedServer): void {
    this.sent.push(moved);
  }

  forget(pool: Pool): void {
    this.forgotten.push(pool);
  }

  adopt(moved: MovedServer): void {
    this.pool.moves.adopt(moved, { ...moved.grant, owner: 'loop-1' });
  }
}

function taken(pool: Pool): MovedServer {
  const moved = pool.moves.surrender();
  if (moved === null) throw new Error('no server may go');
  return structuredClone(moved);
}

test('of a pool that is removed nothing is to be remembered', () => {
  const { pools, pool, forgotten } = new Elsewhere(new PoolKit());
  pools.remove(pool);
  expect(forgotten).toEqual([pool]);
});

test('what rests is to be offered again, and not what has gone on to a client', () => {
  const kit = new PoolKit();
  const pool = kit.warmPool(2);
  const elsewhere = new Elsewhere(kit);
  elsewhere.adopt(taken(pool));
  expect(elsewhere.stayed).toBe(1);
  const [first, second] = [kit.acquiring(elsewhere.pool), kit.acquiring(elsewhere.pool)];
  first.finish();
  expect([second.linkedServer !== null, elsewhere.stayed]).toEqual([true, 1]);
  second.finish();
  expect(elsewhere.stayed).toBe(2);
});

test('the budget is told whether servers rest where another loop may want them, and not of each transaction more', () => {
  const kit = new PoolKit();
  const pool = kit.warmPool(2);
  const rests: boolean[] = [];
  kit.budget.publishWait = (owner: string, _key: string, _sinceMs: number, hasRest?: boolean) => {
    if (owner === 'loop-1') rests.push(hasRest === true);
  };
  const elsewhere = new Elsewhere(kit);
  const there = elsewhere.pool;
  elsewhere.adopt(taken(pool));
  elsewhere.adopt(taken(pool));
  expect(rests).toEqual([true]);
  const first = kit.acquiring(there);
  expect(rests.length).toBe(1);
  const second = kit.acquiring(there);
  expect(rests.splice(1)).toEqual([false]);
  first.finish();
  second.finish();
  expect(rests.splice(1)).toEqual([true]);
  // What must be checked first rests as well.
  for (const server of [...there.servers.idle]) there.retireToUsed(server);
  expect(rests.splice(1)).toEqual([]);
  for (const server of [...there.servers.used]) there.closeServer(server, 'end');
  expect(rests.splice(1)).toEqual([false]);
});

describe('a server that leaves a pool', () => {
  it('is the one that has rested longest, and may go', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    kit.clock.advance(10);
    const [first, second] = kit.connector.opened as [FakeServer, FakeServer];
    const client = kit.acquiring(pool);
    client.finish();
    const oldest = [first, second].sort((a, b) => a.stateSinceMs - b.stateSinceMs)[0] as FakeServer;
    oldest.mayMove = false;
    const other = oldest === first ? second : first;
    expect(taken(pool).id).toBe(other.id);
    expect(pool.moves.surrender()).toBe(null);
    oldest.mayMove = true;
    expect(taken(pool).id).toBe(oldest.id);
    expect([pool.servers.slotsTaken, kit.budget.count('server')]).toEqual([0, 2]);
  });

  it('stays where what it has just said is the end of it, or the pool is held', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const server = kit.connector.last;
    kit.isSuspended = true;
    expect(pool.moves.surrender()).toBe(null);
    kit.isSuspended = false;
    server.onCatchUp = () => pool.serverBroke(server, 'SV_IDLE server got dirty', '');
    expect(pool.moves.surrender()).toBe(null);
    expect(server.state).toBe('closing');
  });

  it('is none that turns out to be gone, which is closed', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const server = kit.connector.last;
    server.isLost = true;
    expect(pool.moves.surrender()).toBe(null);
    expect(server.state).toBe('closing');
  });
});

describe('a server that comes to a pool', () => {
  it('serves who waits longest, and takes the place that it had', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    const elsewhere = new Elsewhere(kit);
    elsewhere.pool.welcome = WELCOME;
    const [first, second] = [kit.acquiring(elsewhere.pool), kit.acquiring(elsewhere.pool)];
    expect(elsewhere.pool.servers.slotsTaken).toBe(0);
    elsewhere.adopt(taken(pool));
    expect([first.heard, second.heard]).toEqual([['linked'], []]);
    expect([kit.budget.count('server'), elsewhere.pool.servers.slotsTaken]).toEqual([2, 1]);
    const server = first.linkedServer;
    first.finish();
    expect(second.linkedServer).toBe(server);
    second.finish();
    elsewhere.pool.closeServer(server, 'end');
    server.gone();
    expect(kit.budget.count('server')).toBe(1);
  });

  it('serves nobody amid SUSPEND, and whoever waits afterwards', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    const elsewhere = new Elsewhere(kit);
    elsewhere.pool.welcome = WELCOME;
    const client = kit.acquiring(elsewhere.pool);
    const moved = taken(pool);
    kit.isSuspended = true;
    elsewhere.adopt(moved);
    expect([client.heard, elsewhere.pool.servers.idle.length]).toEqual([[], 1]);
    kit.isSuspended = false;
    elsewhere.pool.service();
    expect(client.heard).toEqual(['linked']);
  });

  it('brings what a login needs', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2);
    const elsewhere = new Elsewhere(kit);
    const client = kit.joined(elsewhere.pool);
    expect(client.heard).toEqual([]);
    elsewhere.adopt(taken(pool));
    expect([client.heard, elsewhere.pool.welcome]).toEqual([['welcome'], WELCOME]);
  });

  it('goes on resting, but for a client', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const elsewhere = new Elsewhere(kit);
    kit.clock.advance(5000);
    const moved = taken(pool);
    expect(moved.restMs).toBe(5000);
    elsewhere.adopt(moved);
    const { idle } = elsewhere.pool.servers;
    expect(idle.first?.stateSinceMs).toBe(kit.clock.nowMs() - 5000);
  });

  it.each<[string, (elsewhere: Elsewhere, kit: PoolKit) => void]>([
    ['is paused', ({ pool }) => pool.setPaused(true)],
    [
      'has replaced its servers since',
      (elsewhere) => {
        elsewhere.ownEra++;
      },
    ],
    [
      'hears from it that it ends',
      ({ pool }, kit) => {
        kit.connector.onAdopt = (server) => {
          server.onCatchUp = () => pool.serverBroke(server, 'SV_IDLE server got dirty', '');
        };
      },
    ],
    [
      'finds it gone',
      (_elsewhere, kit) => {
        kit.connector.onAdopt = (server) => {
          server.isLost = true;
        };
      },
    ],
  ])('is closed where the pool %s, and its place is taken until it is gone', (_name, happens) => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const elsewhere = new Elsewhere(kit);
    const moved = taken(pool);
    happens(elsewhere, kit);
    elsewhere.adopt(moved);
    const server = kit.connector.last;
    expect([server.state, server.closeReason !== null, kit.budget.count('server')]).toEqual([
      'closing',
      true,
      1,
    ]);
    server.gone();
    expect(kit.budget.count('server')).toBe(0);
  });
});

describe('a server that comes to rest while it is wanted elsewhere', () => {
  it('goes there ahead of who waits here; otherwise it stays', () => {
    const kit = new PoolKit();
    const elsewhere = new Elsewhere(kit);
    const { pool } = elsewhere;
    pool.limits = { ...QUIET_LIMITS, poolSize: 1 };
    const starter = kit.joined(pool);
    kit.connector.last.ready();
    starter.acquire();
    const server = starter.linkedServer;
    const waiting = kit.acquiring(pool);
    starter.finish();
    expect([waiting.server, elsewhere.sent]).toEqual([server, []]);
    const next = kit.acquiring(pool);
    elsewhere.isWanted = true;
    waiting.finish();
    expect([next.server, elsewhere.sent.map(({ id }) => id)]).toEqual([null, [server.id]]);
    expect([pool.servers.slotsTaken, kit.budget.count('server')]).toEqual([0, 1]);
  });

  it('serves who waits here where it can’t be moved', () => {
    const kit = new PoolKit();
    const elsewhere = new Elsewhere(kit);
    const { pool } = elsewhere;
    pool.limits = { ...QUIET_LIMITS, poolSize: 1 };
    const starter = kit.joined(pool);
    kit.connector.last.ready();
    kit.connector.last.mayMove = false;
    starter.acquire();
    const next = kit.acquiring(pool);
    elsewhere.isWanted = true;
    starter.finish();
    expect([next.heard, elsewhere.sent]).toEqual([['linked'], []]);
  });

  it('is closed for another to be opened there, where it can’t be moved and that may be', () => {
    const kit = new PoolKit();
    const elsewhere = new Elsewhere(kit);
    const { pool } = elsewhere;
    pool.limits = { ...QUIET_LIMITS, poolSize: 1 };
    const client = kit.joined(pool);
    kit.connector.last.ready();
    const server = kit.connector.last;
    server.mayMove = false;
    elsewhere.isWanted = true;
    client.acquire();
    client.finish();
    expect(server.state).toBe('idle');
    elsewhere.isReopening = true;
    // Where none can be opened, it would be one less.
    pool.launcher.hearFailure({ message: 'no', serverError: null, failWaiting: false }, kit.clock.nowMs());
    pool.moves.offer();
    expect([server.state, elsewhere.sent]).toEqual(['idle', []]);
    pool.launcher.hearSuccess();
    pool.moves.offer();
    expect([server.state, elsewhere.sent]).toEqual(['closing', []]);
  });

  it.each<[string, Partial<PoolLimits>]>([
    ['pool_size', { poolSize: 1 }],
    ['max_db_connections', { maxDbConnections: 1 }],
    ['max_user_connections', { maxUserConnections: 1 }],
  ])('is closed so only when %s is reached, for else one can be opened there without that', (_, limits) => {
    const kit = new PoolKit();
    const elsewhere = new Elsewhere(kit);
    const { pool } = elsewhere;
    pool.limits = { ...QUIET_LIMITS, poolSize: 2 };
    kit.joined(pool);
    const server = kit.connector.last.ready();
    server.mayMove = false;
    elsewhere.isWanted = elsewhere.isReopening = true;
    pool.moves.offer();
    expect(server.state).toBe('idle');
    pool.limits = { ...pool.limits, ...limits };
    pool.moves.offer();
    expect(server.state).toBe('closing');
  });
});
