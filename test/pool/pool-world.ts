import { strict as assert } from 'node:assert';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { PoolClient } from '../../src/pool/peers.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { fatal } from '../../src/wire/pg-error.ts';
import {
  type FakeCarrier,
  type FakeClient,
  FakeDedicatedClient,
  type FakeServer,
  PoolKit,
  wakeUps,
} from './kit.ts';

/** What a client does from inside the call that links it (or welcomes it). */
const REACTIONS = ['stays', 'stays', 'stays', 'acquires', 'finishes', 'again', 'leaves', 'fails'] as const;

/** How the connector answers, until told otherwise. */
const OPENINGS = ['later', 'later', 'later', 'ready', 'ready', 'fails', 'throws'] as const;

export const STEPS = [
  'arrive',
  'arriveDedicated',
  'acquire',
  'finish',
  'leave',
  'vanish',
  'drained',
  'drainFails',
  'loginReady',
  'loginFails',
  'loginRefused',
  'break',
  'gone',
  'test',
  'testFails',
  'dirty',
  'unsure',
  'cancel',
  'carrierConnects',
  'carrierEnds',
  'time',
  'pause',
  'resume',
  'reconnect',
  'reload',
  'opening',
] as const;

/** One step: what, to which of the candidates, and how. */
export interface Step {
  readonly kind: (typeof STEPS)[number];
  readonly pick: number;
  readonly flavor: number;
}

/** What a model remembers of a server that the pool has no business to know. */
interface ServerFacts {
  /** It has served a client, and no reset query has been answered since. */
  needsReset: boolean;
}

/**
 * How often clients ask for more from inside the link in one step: with servers that are ready at once, two of them
 * would go on for ever.
 */
const AGAIN_PER_STEP = 50;

/**
 * Two pools of one database, clients, servers and a PostgreSQL that does as the steps say, with what must hold
 * after every one of them.
 */
export class PoolWorld {
  #againLeft = 0;
  readonly kit = new PoolKit();
  readonly pools: readonly Pool[];
  readonly #clients: FakeClient[] = [];
  readonly #facts = new Map<FakeServer, ServerFacts>();
  /** Who must be served next, per pool. */
  readonly #queues = new Map<Pool, FakeClient[]>();
  readonly #targets = new Map<FakeCarrier, PoolClient | null>();
  /** Carriers that PostgreSQL has not closed, whatever the pool thinks of them. */
  readonly #openCarriers = new Set<FakeCarrier>();
  #opening: (typeof OPENINGS)[number] = 'later';
  #goesAtOnce = false;
  #links = 0;

  constructor(limits: Partial<PoolLimits>) {
    const { connector } = this.kit;
    connector.onOpen = (server) => this.#opened(server);
    connector.onOpenCancel = (carrier) => {
      this.#openCarriers.add(carrier);
      this.#targets.set(carrier, carrier.server.link);
    };
    this.pools = ['a', 'b'].map((user) => this.kit.pool(limits, { user }));
    for (const pool of this.pools) this.#queues.set(pool, []);
  }

  async step(step: Step): Promise<void> {
    const before = this.pools.map((pool) => pool.servers.slotsTaken);
    const databaseBefore = this.kit.budget.count('server', { database: 'db' });
    this.#againLeft = AGAIN_PER_STEP;
    this.#do(step);
    this.#check();
    await wakeUps(this.kit.budget);
    this.#check();
    this.pools.forEach((pool, i) => {
      const { poolSize, reservePoolSize } = pool.limits;
      assert(pool.servers.slotsTaken <= Math.max(before[i] ?? 0, poolSize + reservePoolSize), 'pool_size');
      this.#checkProgress(pool);
    });
    const { maxDbConnections } = (this.pools[0] as Pool).limits;
    const taken = this.kit.budget.count('server', { database: 'db' });
    if (maxDbConnections > 0)
      assert(taken <= Math.max(databaseBefore, maxDbConnections), 'max_db_connections');
  }

  /** Everybody leaves, every connection ends: nothing may be left. */
  async end(): Promise<void> {
    for (const client of this.#clients) if (client.state !== 'gone') client.disconnect();
    for (const carrier of this.#openCarriers) carrier.close();
    this.#opening = 'fails';
    for (let i = 0; i < 3; i++) {
      await wakeUps(this.kit.budget);
      for (const server of this.#servers()) {
        if (server.state !== 'closing') this.#pool(server).closeServer(server, 'end');
        server.gone();
      }
    }
    this.#check();
    this.kit.sweepAfter(1);
    for (const pool of this.pools) {
      assert.equal(pool.clients.count + pool.servers.slotsTaken, 0, 'somebody is left');
      assert.notEqual(pool.emptySinceMs, 0, 'the pool does not know that it is empty');
      assert.equal(pool.cancels.waiting.length + pool.cancels.sent.length, 0, 'a cancel is left');
    }
    assert.equal(this.kit.budget.count('server'), 0, 'a grant is left');
    const links = this.pools.reduce((sum, pool) => sum + pool.stats.serverAssignmentCount, 0);
    assert.equal(links, this.#links, 'server_assignment_count');
    assert.deepEqual(this.#unexpectedLines(), []);
  }

  // --- steps -----------------------------------------------------------------------------------------------

  #do({ kind, pick, flavor }: Step): void {
    const pool = this.pools[pick % this.pools.length] as Pool;
    const one = <T>(all: readonly T[]): T | undefined => all[pick % Math.max(1, all.length)];
    const client = (isFit: (client: FakeClient) => boolean) => one(this.#clients.filter(isFit));
    const server = (...states: string[]) =>
      one(this.#servers().filter((each) => states.includes(each.state)));
    switch (kind) {
      case 'arrive':
        return this.#arrive(pool, flavor);
      case 'arriveDedicated':
        return this.#arriveDedicated(pool, flavor);
      case 'acquire': {
        const found = client((each) => each.state === 'active' && each.server === null);
        if (found !== undefined) this.#acquire(found);
        return;
      }
      case 'finish':
        return client((each) => each.server?.isClean() === true)?.finish();
      case 'leave':
        return client((each) => each.state !== 'gone')?.disconnect();
      case 'vanish': {
        const found = client((each) => each.server?.clean === false);
        if (found === undefined) return;
        found.linkedServer.countable = true;
        found.graceMs = flavor % 3 === 0 ? 1000 : 0;
        return found.disconnect();
      }
      case 'drained':
      case 'drainFails': {
        const found = one(this.#servers().filter(({ abandoned }) => abandoned !== null));
        found?.drained(kind === 'drained');
        return;
      }
      case 'loginReady':
        return void server('new')?.ready();
      case 'loginFails':
        return server('new')?.failConnect();
      case 'loginRefused':
        return server('new')?.refuseLogin('no');
      case 'break': {
        const found = server('idle', 'active', 'dedicated', 'used', 'tested', 'being_canceled');
        if (found === undefined) return;
        this.#pool(found).serverBroke(found, 'server conn crashed?', 'server conn crashed?');
        if (flavor % 2 === 0) found.gone();
        return;
      }
      case 'gone':
        return server('closing')?.gone();
      case 'test':
      case 'testFails': {
        const found = server('tested');
        if (found?.tests.at(-1)?.startsWith('reset') === true) this.#factsOf(found).needsReset = false;
        return found?.answerTest(kind === 'test');
      }
      case 'dirty': {
        const found = server('active');
        if (found !== undefined) found.clean = !found.clean;
        return;
      }
      case 'unsure': {
        const found = server('active');
        if (found !== undefined) found.unsure = true;
        return;
      }
      case 'cancel': {
        const found = client((each) => each.server !== null);
        if (found !== undefined) found.pool.cancels.request(found, found.linkedServer, () => {});
        return;
      }
      case 'carrierConnects': {
        const found = one([...this.#openCarriers].filter((each) => !each.isSent));
        if (found?.connect() !== true) return;
        assert.equal(found.server.link, this.#targets.get(found), 'a late cancel');
        assert(found.server.link !== null || found.server.abandoned !== null, 'a cancel for nobody');
        return;
      }
      case 'carrierEnds': {
        const found = one([...this.#openCarriers]);
        if (found === undefined) return;
        this.#openCarriers.delete(found);
        return found.close();
      }
      case 'time':
        return this.kit.sweepAfter([1, 1, 333, 333, 1100, 1100, 6000, 16_000][flavor % 8] as number);
      case 'pause':
        return pool.setPaused(true);
      case 'resume':
        return pool.setPaused(false);
      case 'reconnect':
        return pool.markAllCloseNeeded(flavor % 2 === 0);
      case 'reload':
        return this.#reload(pick, flavor);
      case 'opening':
        this.#opening = OPENINGS[pick % OPENINGS.length] as (typeof OPENINGS)[number];
        this.#goesAtOnce = flavor % 2 === 0;
        return;
    }
  }

  #arrive(pool: Pool, flavor: number): void {
    const client = this.kit.client(pool);
    this.#clients.push(client);
    const reaction = REACTIONS[flavor % REACTIONS.length] as (typeof REACTIONS)[number];
    client.onLinked = () => this.#linked(client, reaction);
    client.onWelcome = () => {
      assert.equal(client.state, 'active');
      if (reaction === 'acquires') this.#acquire(client);
      if (reaction === 'leaves' && flavor % 2 === 0) client.disconnect();
    };
    if (pool.join(client)) client.onWelcome();
  }

  #arriveDedicated(pool: Pool, flavor: number): void {
    const client = this.kit.dedicatedClient(pool);
    this.#clients.push(client);
    client.onLinked = () => {
      assert.equal(client.linkedServer.dedicatedTo, client, 'linked to what is not its own');
      if (flavor % 8 === 0) client.disconnect();
    };
    client.onWelcome = () => {
      assert.deepEqual([client.state, client.server?.link], ['active', client]);
      if (flavor % 8 === 1) client.disconnect();
    };
    pool.dedicated.join(client);
  }

  #acquire(client: FakeClient): void {
    this.#queueOf(client.pool).push(client);
    client.acquire();
  }

  #linked(client: FakeClient, reaction: (typeof REACTIONS)[number]): void {
    const { pool, linkedServer: server } = client;
    this.#links++;
    const queue = this.#queueOf(pool).filter((each) => each.state !== 'gone');
    assert.equal(queue.shift(), client, 'served out of turn');
    this.#queues.set(pool, queue);
    const facts = this.#factsOf(server);
    assert.equal(server.dedicatedTo, null, 'linked to what is another client’s own');
    assert(!pool.paused, 'linked in a paused pool');
    assert(!server.closeNeeded, 'linked to a server that is to be replaced');
    assert(!server.unsure, 'linked to a server whose answers are not counted');
    assert(!facts.needsReset, 'linked without a reset query');
    assert(server.abandoned === null, 'linked while it is drained');
    assert(server.clean, 'linked to a server that is not at rest');
    server.countable = false;
    if (pool.limits.poolMode === 'session') facts.needsReset = true;
    if (reaction === 'finishes' || reaction === 'again') client.finish();
    // A client with more to ask, while the pool is still busy with linking this one.
    if (reaction === 'again' && pool.clients.waiting.length > 0 && this.#againLeft-- > 0)
      this.#acquire(client);
    if (reaction === 'leaves') client.disconnect();
    else if (reaction === 'fails') client.refused(fatal('unknown pkt'));
  }

  #opened(server: FakeServer): void {
    server.closesAtOnce = this.#goesAtOnce;
    if (this.#opening === 'ready') server.ready();
    else if (this.#opening === 'fails') server.failConnect();
    else if (this.#opening === 'throws') throw new Error('as told');
  }

  #reload(pick: number, flavor: number): void {
    const changes: Partial<PoolLimits>[] = [
      { poolSize: 1 + (pick % 4) },
      { reservePoolSize: pick % 3 },
      { maxDbConnections: (pick % 4) + 1 },
      { minPoolSize: pick % 3 },
      { serverCheckQuery: pick % 2 === 0 ? null : '' },
      { serverRoundRobin: pick % 2 === 0 },
    ];
    const change = changes[flavor % changes.length];
    for (const pool of this.pools) {
      pool.limits = { ...pool.limits, ...change };
      pool.service();
    }
  }

  // --- what must hold --------------------------------------------------------------------------------------

  #check(): void {
    let taken = 0;
    for (const pool of this.pools) {
      taken += pool.servers.slotsTaken;
      const { idle, used, tested } = pool.servers;
      const waiting = pool.clients.waiting.length;
      if (!pool.paused) assert(waiting === 0 || idle.length === 0, 'a client waits beside an idle server');
      if (!pool.paused)
        assert(waiting <= tested.length || used.length === 0, 'a client waits beside a used server');
      const queue = this.#queueOf(pool).filter((each) => each.state !== 'gone');
      assert.deepEqual(
        [...pool.clients.waiting].map((each) => each.id),
        queue.map((each) => each.id),
      );
    }
    assert.equal(this.kit.budget.count('server'), taken, 'the budget has another count');
    for (const { database, user, servers } of this.pools) {
      const logins = [...servers.new].filter(({ dedicatedTo }) => dedicatedTo === null).length;
      const serving = this.kit.budget.serving(database, user);
      assert.equal(serving, servers.usable + logins, 'the budget has another count of those that serve');
    }
    for (const server of this.#servers()) {
      const pool = this.#pool(server);
      assert(server.state !== 'gone' && pool.servers[server.state].has(server), 'a server in the wrong list');
      const isLinked = server.state === 'active' || server.state === 'dedicated';
      assert.equal(server.link !== null, isLinked, `a link in state ${server.state}`);
      if (server.dedicatedTo !== null) {
        assert(['new', 'dedicated', 'closing'].includes(server.state), `one of its own is ${server.state}`);
        if (isLinked) assert.equal(server.link, server.dedicatedTo, 'a link to what is another client’s own');
        if (server.state !== 'closing') assert.notEqual(server.dedicatedTo.state, 'gone', 'one for nobody');
      }
      if (server.abandoned !== null) assert.equal(server.state, 'being_canceled');
      if (server.link !== null)
        assert.equal((server.link as FakeClient).server, server, 'a link of one side only');
    }
    for (const client of this.#clients) {
      if (client.server !== null) assert.equal(client.server.link, client, 'a link of one side only');
      assert.equal(client.waitStartMs !== 0, client.state.startsWith('waiting'));
      if (client.server !== null && client instanceof FakeDedicatedClient)
        assert.equal(client.state, 'active');
    }
    for (const carrier of this.#openCarriers) {
      const { isSent, server } = carrier;
      if (isSent && server.link !== null) {
        assert.equal(server.link, this.#targets.get(carrier), 'a cancel may strike another client');
      }
    }
  }

  /** With room and nothing in the way, somebody who waits has a connection on its way. */
  #checkProgress(pool: Pool): void {
    const { servers, limits } = pool;
    const needs =
      pool.clients.waiting.length > servers.tested.length ||
      (pool.clients.waiting_login.length > 0 && pool.welcome === null);
    const isDatabaseFull =
      limits.maxDbConnections > 0 &&
      this.kit.budget.count('server', { database: 'db' }) >= limits.maxDbConnections;
    const isFull = servers.slotsTaken >= limits.poolSize;
    const isBlocked = pool.paused || isFull || isDatabaseFull;
    const needsOwn = pool.clients.waiting_dedicated.length > 0;
    if ((needs && pool.launcher.failure === null && !isBlocked) || (needsOwn && !isBlocked))
      assert.ok(servers.new.length > 0, 'a wake-up was lost');
    assert.ok(servers.new.length <= 8, 'a herd of logins');
    // Another pool's connection that is on its way out makes room in the database, too.
    const isRoomComing =
      servers.closing.length > 0 ||
      (isDatabaseFull && this.pools.some((each) => each.servers.closing.length > 0));
    if (needsOwn && !pool.paused && isFull && servers.new.length === 0 && !isRoomComing)
      assert.equal(servers.idle.length + servers.used.length, 0, 'a server rests that could make room');
  }

  #unexpectedLines(): string[] {
    return this.kit.logged.filter(
      (line) => line.startsWith('ERROR') && !line.endsWith('cannot open a server connection: Error: as told'),
    );
  }

  /** All servers that hold a slot. */
  #servers(): FakeServer[] {
    return this.kit.connector.opened.filter((server) => server.state !== 'gone');
  }

  #pool(server: FakeServer): Pool {
    return server.pool;
  }

  #queueOf(pool: Pool): FakeClient[] {
    return this.#queues.get(pool) ?? [];
  }

  #factsOf(server: FakeServer): ServerFacts {
    const known = this.#facts.get(server);
    if (known !== undefined) return known;
    const facts = { needsReset: false };
    this.#facts.set(server, facts);
    return facts;
  }
}
