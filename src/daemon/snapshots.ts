import { ADMIN_DATABASE } from '../admin/access.ts';
import { StatsWindow, zeroCounters } from '../admin/averages.ts';
import type {
  DatabaseSnapshot,
  DnsHostSnapshot,
  ListsSnapshot,
  PeerPoolSnapshot,
  PeerSnapshot,
  PoolSnapshot,
  SnapshotKind,
  Snapshots,
  StatsSnapshot,
  UserSnapshot,
  WorkerSnapshot,
} from '../admin/snapshot.ts';
import { poolLimits } from '../config/effective.ts';
import type { Config } from '../config/config.ts';
import { configRows } from '../config/show.ts';
import type { DnsCache } from '../net/dns-cache.ts';
import type { Pool } from '../pool/pool.ts';
import type { PeerPool } from '../pool/peer-pool.ts';
import type { PoolStats } from '../pool/stats.ts';
import type { PoolerState } from './context.ts';
import type { DatabaseState } from './databases.ts';
import { type Peers, peerPoolSize } from './peers.ts';
import { memSnapshots } from './snapshot-mem.ts';
import { clientSnapshots, fdSnapshots, serverSnapshots } from './snapshot-sockets.ts';
import { NO_MOVES } from './worker-rows.ts';

/** The averaging windows of all pools, which turn together; the console counts as one. */
export class StatsWindows {
  readonly #windows = new WeakMap<PoolStats, StatsWindow>();
  #olderMs: number;
  #newerMs: number;

  /** `startMs` is the pooler's start, as monotonic time. */
  constructor(startMs: number) {
    this.#olderMs = startMs;
    this.#newerMs = startMs;
  }

  /** The window of these counters. A pool that is younger than the window had nothing to count when it began. */
  of(stats: PoolStats): StatsWindow {
    let window = this.#windows.get(stats);
    if (window === undefined) {
      window = new StatsWindow(this.#olderMs, zeroCounters, this.#newerMs);
      this.#windows.set(stats, window);
    }
    return window;
  }

  /** The statistics period has turned, for all of these at once. */
  turn(nowMs: number, all: readonly PoolStats[]): void {
    for (const stats of all) this.of(stats).turn(nowMs, stats);
    this.#olderMs = this.#newerMs;
    this.#newerMs = nowMs;
  }
}

const MAKERS: {
  readonly [K in SnapshotKind]: (state: PoolerState, windows: StatsWindows) => Snapshots[K];
} = {
  stats: statsSnapshots,
  clients: clientSnapshots,
  servers: serverSnapshots,
  pools: (state) => [consolePool(state), ...state.pools.all().map((pool) => poolSnapshot(state, pool))],
  peerPools: (state) => peerPoolSnapshots(state.peers),
  peers: ({ config }) => peerSnapshots(config),
  databases: (state) => [
    consoleDatabase(state),
    ...state.databases.all().map((database) => databaseSnapshot(state, database)),
  ],
  users: userSnapshots,
  lists: (state) => [listsSnapshot(state)],
  config: (state) => configRows(state.config),
  mem: (state) => memSnapshots(state),
  dnsHosts: ({ dns }) => dnsSnapshots(dns),
  // Zones are not looked at: there is no `dns_zone_check_period` here.
  dnsZones: () => [],
  fds: fdSnapshots,
  state: (state) => [{ paused: state.isPaused, suspended: state.isSuspended }],
  workers: (state) => [onlyWorker(state)],
};

/** Facts of the given kind as of now, as plain data. */
export function snapshotOf<K extends SnapshotKind>(
  kind: K,
  state: PoolerState,
  windows: StatsWindows,
): Snapshots[K] {
  return MAKERS[kind](state, windows);
}

export function peerSnapshots({ peers, settings }: Config): PeerSnapshot[] {
  return [...peers].map(([peerId, peer]) => ({
    peerId,
    host: peer.host,
    port: peer.port,
    poolSize: peerPoolSize(peer, settings),
  }));
}

export function peerPoolSnapshots(peers: Peers): PeerPoolSnapshot[] {
  return [...peers.pools].map(([peerId, pool]) => peerPoolSnapshot(peerId, pool));
}

export function dnsSnapshots(dns: DnsCache): DnsHostSnapshot[] {
  return dns.entries().map(({ name, ttlMs, addresses }) => ({
    hostname: name,
    ttlSec: Math.ceil(ttlMs / 1000),
    addresses,
  }));
}

function statsSnapshots(state: PoolerState, windows: StatsWindows): StatsSnapshot[] {
  const nowMs = state.clock.nowMs();
  const of = (database: string, stats: PoolStats): StatsSnapshot => {
    const window = windows.of(stats);
    return { database, totals: { ...stats }, since: window.since, windowUs: window.lengthUs(nowMs) };
  };
  return [
    of(ADMIN_DATABASE, state.consoleStats),
    ...state.pools.all().map((pool) => of(pool.database, pool.stats)),
  ];
}

/** The one event loop there is: nothing goes from it to others. */
function onlyWorker({ budget, startWallMs }: PoolerState): WorkerSnapshot {
  const { user, system } = process.threadCpuUsage();
  return {
    worker: 1,
    state: 'serving',
    startWallMs,
    clients: budget.count('client'),
    servers: budget.count('server'),
    cpuUs: user + system,
    moves: NO_MOVES,
    since: NO_MOVES,
    windowUs: 0,
  };
}

function poolSnapshot(state: PoolerState, pool: Pool): PoolSnapshot {
  const { servers } = pool;
  const oldest = pool.clients.waiting.first;
  const maxWaitMs = oldest === null ? 0 : state.clock.nowMs() - (oldest.queryStartMs || oldest.waitStartMs);
  const entry = state.databases.get(pool.database)?.entry;
  return {
    database: pool.database,
    user: pool.user,
    clActive: pool.clients.active.length - lookupCount(pool),
    clWaiting: pool.clients.waitingCount,
    clActiveCancelReq: pool.cancels.requestsIn(pool.cancels.sent),
    clWaitingCancelReq: pool.cancels.requestsIn(pool.cancels.waiting),
    svActive: servers.active.length + servers.dedicated.length,
    svActiveCancel: pool.cancels.carrierCount,
    svBeingCanceled: servers.being_canceled.length,
    svIdle: servers.idle.length,
    svUsed: servers.used.length,
    svTested: servers.tested.length,
    svLogin: servers.new.length,
    maxWaitUs: Math.round(maxWaitMs * 1000),
    poolMode: pool.limits.poolMode,
    loadBalanceHosts: entry !== undefined && entry.hosts.length > 1 ? entry.loadBalanceHosts : null,
  };
}

function peerPoolSnapshot(peerId: number, pool: PeerPool): PeerPoolSnapshot {
  return {
    peerId,
    clActiveCancelReq: pool.sent.length,
    clWaitingCancelReq: pool.waiting.length,
    svActiveCancel: pool.sent.length,
    svLogin: pool.connecting,
  };
}

/** Connections for lookups: a client's place stands behind each, but no client. */
function lookupCount({ servers }: Pool): number {
  let count = 0;
  for (const { dedicatedTo } of servers.dedicated) if (dedicatedTo?.replication === 'none') count++;
  return count;
}

/** The console counts as a pool: user and database `pgbouncer`. */
function consolePool(state: PoolerState): PoolSnapshot {
  return {
    database: ADMIN_DATABASE,
    user: ADMIN_DATABASE,
    clActive: state.consoleClients.size,
    clWaiting: 0,
    clActiveCancelReq: 0,
    clWaitingCancelReq: 0,
    svActive: 0,
    svActiveCancel: 0,
    svBeingCanceled: 0,
    svIdle: 0,
    svUsed: 0,
    svTested: 0,
    svLogin: 0,
    maxWaitUs: 0,
    poolMode: 'statement',
    loadBalanceHosts: null,
  };
}

function databaseSnapshot(state: PoolerState, { entry, paused, disabled }: DatabaseState): DatabaseSnapshot {
  const limits = poolLimits(state.config, entry, entry.user ?? '');
  return {
    name: entry.name,
    host: entry.host,
    port: entry.port,
    database: entry.dbname,
    forceUser: entry.user,
    poolSize: entry.poolSize ?? state.config.settings.default_pool_size,
    minPoolSize: limits.minPoolSize,
    reservePoolSize: entry.reservePoolSize ?? state.config.settings.reserve_pool_size,
    serverLifetimeSec: limits.serverLifetimeMs / 1000,
    poolMode: entry.poolMode,
    loadBalanceHosts: entry.hosts.length > 1 ? entry.loadBalanceHosts : null,
    maxConnections: limits.maxDbConnections,
    currentConnections: state.budget.count('server', { database: entry.name }),
    maxClientConnections: entry.maxDbClientConnections ?? state.config.settings.max_db_client_connections,
    currentClientConnections: state.budget.count('client', { database: entry.name }),
    paused,
    disabled,
  };
}

function consoleDatabase(state: PoolerState): DatabaseSnapshot {
  const { settings } = state.config;
  return {
    name: ADMIN_DATABASE,
    host: null,
    port: settings.listen_port,
    database: ADMIN_DATABASE,
    forceUser: ADMIN_DATABASE,
    poolSize: 2,
    minPoolSize: 0,
    reservePoolSize: 0,
    serverLifetimeSec: settings.server_lifetime,
    poolMode: 'statement',
    loadBalanceHosts: null,
    maxConnections: settings.max_db_connections,
    currentConnections: 0,
    maxClientConnections: settings.max_db_client_connections,
    currentClientConnections: state.consoleClients.size,
    paused: false,
    disabled: false,
  };
}

/** Users of the files, those that pools are made for, and the console's. */
function userSnapshots(state: PoolerState): UserSnapshot[] {
  const { config, budget } = state;
  const names = new Set([ADMIN_DATABASE, ...config.userlist.keys(), ...config.users.keys()]);
  for (const pool of state.pools.all()) names.add(pool.user);
  return [...names].map((name) => {
    const entry = config.users.get(name);
    return {
      name,
      poolSize: entry?.poolSize ?? null,
      reservePoolSize: entry?.reservePoolSize ?? null,
      poolMode: entry?.poolMode ?? null,
      maxUserConnections: entry?.maxUserConnections ?? config.settings.max_user_connections,
      currentConnections: budget.count('server', { user: name }),
      maxUserClientConnections:
        entry?.maxUserClientConnections ?? config.settings.max_user_client_connections,
      currentClientConnections: budget.count('client', { user: name }),
    };
  });
}

function listsSnapshot(state: PoolerState): ListsSnapshot {
  const pools = state.pools.all();
  const sum = (count: (pool: Pool) => number) => pools.reduce((total, pool) => total + count(pool), 0);
  let usedClients = 0;
  let loginClients = 0;
  for (const { isClosing, isLoggedIn } of state.connections) {
    if (isClosing) continue;
    if (isLoggedIn) usedClients++;
    else loginClients++;
  }
  return {
    databases: state.databases.all().length + 1,
    users: userSnapshots(state).length,
    peers: state.config.peers.size,
    pools: pools.length + 1,
    peerPools: state.peers.pools.size,
    freeClients: 0,
    usedClients,
    loginClients,
    freeServers: 0,
    usedServers: sum((pool) => pool.servers.slotsTaken),
    dnsNames: state.dns.entries().length,
    dnsZones: 0,
    dnsQueries: state.dns.pending,
  };
}
