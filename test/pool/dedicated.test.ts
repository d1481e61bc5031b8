import { describe, expect, it } from 'vitest';
import { PoolKit, wakeUps } from './kit.ts';

const OWN_WELCOME = [['server_version', '18.2']] as const;
const WELCOMED = `welcomed ${JSON.stringify(OWN_WELCOME)}`;

describe('a client with a server connection of its own', () => {
  it('waits for that to log in, is linked to it, and then hears what it reported', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    const server = kit.connector.last;
    expect([client.state, client.waitStartMs > 0, server.dedicatedTo]).toEqual([
      'waiting_dedicated',
      true,
      client,
    ]);
    server.ready(OWN_WELCOME);
    expect(client.heard).toEqual(['linked', WELCOMED]);
    expect([client.state, client.waitStartMs, server.state, server.link]).toEqual([
      'active',
      0,
      'dedicated',
      client,
    ]);
  });

  it('is given no idle server, nor does its own count as an assignment or as what others are welcomed with', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1);
    const before = pool.stats.serverAssignmentCount;
    const client = kit.dedicated(pool);
    expect([client.server, pool.servers.idle.length, pool.servers.new.length]).toEqual([null, 1, 1]);
    kit.connector.last.ready(OWN_WELCOME);
    expect(pool.stats.serverAssignmentCount).toBe(before);
    expect(pool.welcome).not.toEqual(OWN_WELCOME);
  });

  it('takes its server with it', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    const server = kit.connector.last.ready();
    client.disconnect();
    expect([server.state, server.tests, pool.servers.slotsTaken]).toEqual(['closing', [], 1]);
    server.gone();
    expect([pool.servers.slotsTaken, pool.clients.count, kit.budget.count('server')]).toEqual([0, 0, 0]);
  });

  it('that leaves while its server logs in leaves nothing behind', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    const server = kit.connector.last;
    client.disconnect();
    expect([server.state, server.closeReason]).toEqual(['closing', 'replication client was closed']);
    server.ready();
    expect([server.state, client.heard]).toEqual(['closing', []]);
  });

  it('that leaves while its server logs in makes way for the next login', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    const pooled = kit.joined(pool);
    client.disconnect();
    kit.connector.last.ready();
    expect(pooled.heard).toEqual(['welcome']);
  });

  it('alone hears that its server could not log in, and why', async () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const other = kit.joined(pool);
    kit.connector.last.ready();
    const client = kit.dedicated(pool);
    const refused = kit.connector.last;
    const waiting = kit.dedicated(pool);
    refused.refuseLogin('no walsender for you');
    expect(client.error).toEqual({
      severity: 'FATAL',
      sqlstate: '28P01',
      message: 'login failed',
      detail: 'no walsender for you',
    });
    expect([other.error, waiting.error, pool.launcher.failure !== null]).toEqual([null, null, false]);
    await wakeUps();
    kit.connector.last.ready();
    expect(waiting.state).toBe('active');
    expect(other.acquire().heard).toEqual(['welcome', 'linked']);
  });

  it('is refused when nobody can be connected to', () => {
    const kit = new PoolKit();
    const client = kit.dedicated(kit.pool());
    kit.connector.last.failConnect();
    expect(client.error).toMatchObject({
      sqlstate: '08P01',
      message: 'login failed',
      detail: 'connect failed',
    });
  });

  it('is refused when its connection cannot even be begun', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    kit.connector.onOpen = () => {
      throw new Error('no descriptors');
    };
    const client = kit.dedicated(pool);
    expect(client.error).toMatchObject({ message: 'login failed', detail: 'connect failed' });
    expect([kit.budget.count('server'), pool.launcher.failure !== null]).toEqual([0, false]);
  });

  it('tries although the last login of the pool has failed', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    kit.joined(pool);
    kit.connector.last.failConnect();
    expect(pool.launcher.failure !== null).toBe(true);
    const client = kit.dedicated(pool);
    kit.connector.last.ready();
    expect([client.state, pool.launcher.failure !== null]).toEqual(['active', true]);
  });

  it('is refused when its login takes too long', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ serverConnectTimeoutMs: 1000 });
    const client = kit.dedicated(pool);
    kit.sweepAfter(1001);
    expect(client.error).toMatchObject({ message: 'login failed', detail: 'connect timeout' });
    expect(kit.connector.last.closeReason).toBe('connect timeout');
  });

  it('waits while another login is under way, and so do the others for its own', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ poolSize: 5 });
    const pooled = kit.joined(pool);
    const client = kit.dedicated(pool);
    expect(kit.connector.opened.length).toBe(1);
    kit.connector.last.ready();
    expect([pooled.heard, kit.connector.opened.length]).toEqual([['welcome'], 2]);
    pooled.acquire();
    const late = kit.acquiring(pool);
    expect([late.server, kit.connector.opened.length]).toEqual([null, 2]);
    kit.connector.last.ready();
    expect([client.state, kit.connector.opened.length]).toEqual(['active', 3]);
    kit.connector.last.ready();
    expect(late.server).not.toBe(null);
  });

  it('ends what began in the welcome: a client may leave from inside it', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    client.onLinked = () => client.disconnect();
    const server = kit.connector.last.ready();
    expect([client.heard, server.state]).toEqual([['linked', 'unlinked'], 'closing']);
  });
});

describe('in a full pool, a server for one client alone', () => {
  it('takes the place of the server that has rested longest, one', async () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(3, { poolSize: 3 });
    kit.clock.advance(1);
    const [busy, rested] = [kit.acquiring(pool), pool.servers.idle.last];
    busy.finish();
    const client = kit.dedicated(pool);
    pool.service();
    expect([pool.servers.closing.length, pool.servers.idle.length, pool.servers.new.length]).toEqual([
      1, 2, 0,
    ]);
    expect(pool.servers.idle.first?.stateSinceMs).toBeGreaterThan(rested?.stateSinceMs ?? Number.NaN);
    kit.connector.opened.find(({ state }) => state === 'closing')?.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect([client.state, pool.servers.slotsTaken]).toEqual(['active', 3]);
  });

  it('waits for one that is released, which is closed for it although others wait behind', async () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const busy = kit.acquiring(pool);
    const server = busy.linkedServer;
    kit.clock.advance(1);
    const client = kit.dedicated(pool);
    kit.clock.advance(1);
    const behind = kit.acquiring(pool);
    busy.finish();
    expect([server.closeReason, behind.server]).toEqual(['evicted', null]);
    server.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect([client.state, behind.state]).toEqual(['active', 'waiting']);
  });

  it('has another one closed where the first hangs on its way out', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(2, { poolSize: 2 });
    kit.dedicated(pool);
    kit.sweepAfter(499);
    expect(pool.servers.closing.length).toBe(1);
    kit.sweepAfter(1);
    expect(pool.servers.closing.length).toBe(2);
  });

  it('waits behind those who wait longer', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1 });
    const busy = kit.acquiring(pool);
    const ahead = kit.acquiring(pool);
    kit.clock.advance(1);
    const client = kit.dedicated(pool);
    busy.finish();
    expect([ahead.server === null, client.state]).toEqual([false, 'waiting_dedicated']);
  });

  it('may come from the reserve', () => {
    const kit = new PoolKit();
    const pool = kit.warmPool(1, { poolSize: 1, reservePoolSize: 1, reservePoolTimeoutMs: 1000 });
    kit.acquiring(pool);
    const client = kit.dedicated(pool);
    kit.sweepAfter(1001);
    kit.connector.last.ready();
    expect([client.state, pool.servers.slotsTaken]).toEqual(['active', 2]);
    expect(kit.logged).toContain('WARNING db/app: taking connection from reserve_pool');
  });

  it.each([
    ['max_db_connections', { maxDbConnections: 1 }, { user: 'other' }],
    ['max_user_connections', { maxUserConnections: 1 }, { database: 'other' }],
  ])('and at %s, an idle one of another pool makes room', async (_name, limits, identity) => {
    const kit = new PoolKit();
    const other = kit.warmPool(1, limits, identity);
    const pool = kit.pool(limits);
    const idle = other.servers.idle.first;
    const client = kit.dedicated(pool);
    expect([idle?.state, pool.servers.new.length]).toEqual(['closing', 0]);
    kit.connector.last.gone();
    await wakeUps();
    kit.connector.last.ready();
    expect(client.state).toBe('active');
  });
});

describe('the server of one client alone', () => {
  it('neither makes the pool usable nor counts for min_pool_size', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ poolSize: 5, minPoolSize: 1 });
    kit.dedicated(pool);
    kit.connector.last.ready();
    pool.launcher.fillToMinimum();
    expect([pool.servers.usable, kit.connector.opened.length]).toEqual([0, 1]);
    const pooled = kit.joined(pool);
    kit.connector.last.refuseLogin('no');
    expect(pooled.error?.message).toBe('no');
  });

  it('is cut at once by RECONNECT, with the client told why', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    const server = kit.connector.last.ready();
    pool.markAllCloseNeeded(false);
    expect([client.error?.message, server.state]).toEqual(['database configuration changed', 'closing']);
  });

  it('that is still logging in is replaced at RECONNECT, and its client waits on', async () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    const old = kit.connector.last;
    pool.markAllCloseNeeded(true);
    old.gone();
    await wakeUps();
    expect([old.closeReason, client.state]).toEqual(['connect string changed', 'waiting_dedicated']);
    kit.connector.last.ready();
    expect([client.state, client.linkedServer === old]).toEqual(['active', false]);
  });

  it('outlasts a PAUSE, during which no other one is opened', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    kit.connector.last.ready();
    const opening = kit.dedicated(pool);
    const half = kit.connector.last;
    pool.setPaused(true);
    const late = kit.dedicated(pool);
    kit.sweepAfter(1000);
    expect([client.state, half.closeReason, kit.connector.opened.length]).toEqual([
      'active',
      'pause mode',
      2,
    ]);
    half.gone();
    pool.setPaused(false);
    kit.connector.last.ready();
    kit.connector.last.ready();
    expect([opening.state, late.state]).toEqual(['active', 'waiting_dedicated']);
  });

  it('has no time limit while it streams, and those of queries otherwise', () => {
    const kit = new PoolKit();
    const pool = kit.pool({ queryTimeoutMs: 1000, transactionTimeoutMs: 1000 });
    const client = kit.dedicated(pool);
    const server = kit.connector.last.ready();
    client.queryStartMs = kit.clock.nowMs();
    client.xactStartMs = client.queryStartMs;
    server.isStreaming = true;
    kit.sweepAfter(5000);
    expect(client.state).toBe('active');
    server.isStreaming = false;
    kit.sweepAfter(1);
    expect([client.error?.message, server.state]).toEqual(['query timeout', 'closing']);
  });

  it('is neither tested, nor retired, nor closed for its age', () => {
    const kit = new PoolKit();
    const pool = kit.pool({
      serverLifetimeMs: 1000,
      serverIdleTimeoutMs: 1000,
      serverCheckDelayMs: 0,
      serverCheckQuery: '',
      serverResetQueryAlways: true,
    });
    kit.dedicated(pool);
    const server = kit.connector.last.ready();
    kit.sweepAfter(10_000);
    expect([server.state, server.tests]).toEqual(['dedicated', []]);
  });

  it('ends its client when it breaks', () => {
    const kit = new PoolKit();
    const pool = kit.pool();
    const client = kit.dedicated(pool);
    const server = kit.connector.last.ready();
    pool.serverBroke(server, 'server conn crashed?', 'server conn crashed?');
    expect([client.error?.message, server.state]).toEqual(['server conn crashed?', 'closing']);
  });
});
