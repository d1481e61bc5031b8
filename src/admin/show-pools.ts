import type {
  DatabaseSnapshot,
  PeerPoolSnapshot,
  PeerSnapshot,
  PoolSnapshot,
  UserSnapshot,
} from './snapshot.ts';
import { byName, int, seconds, type Show, show, text } from './table.ts';

/** Width of the sizes in SHOW USERS, which PgBouncer prints as right-aligned text. */
const USER_SIZE_WIDTH = 9;

function userSize(size: number | null): string {
  return size === null ? '' : String(size).padStart(USER_SIZE_WIDTH);
}

/** What two threads have of one pool, as one pool: counts add up, the longest wait counts. */
function mergePools(a: PoolSnapshot, b: PoolSnapshot): PoolSnapshot {
  return {
    ...a,
    clActive: a.clActive + b.clActive,
    clWaiting: a.clWaiting + b.clWaiting,
    clActiveCancelReq: a.clActiveCancelReq + b.clActiveCancelReq,
    clWaitingCancelReq: a.clWaitingCancelReq + b.clWaitingCancelReq,
    svActive: a.svActive + b.svActive,
    svActiveCancel: a.svActiveCancel + b.svActiveCancel,
    svBeingCanceled: a.svBeingCanceled + b.svBeingCanceled,
    svIdle: a.svIdle + b.svIdle,
    svUsed: a.svUsed + b.svUsed,
    svTested: a.svTested + b.svTested,
    svLogin: a.svLogin + b.svLogin,
    maxWaitUs: Math.max(a.maxWaitUs, b.maxWaitUs),
  };
}

/** SHOW POOLS, by database, then user. */
export const showPools: Show = show<PoolSnapshot>(
  [
    text('database', (p) => p.database),
    text('user', (p) => p.user),
    int('cl_active', (p) => p.clActive),
    int('cl_waiting', (p) => p.clWaiting),
    int('cl_active_cancel_req', (p) => p.clActiveCancelReq),
    int('cl_waiting_cancel_req', (p) => p.clWaitingCancelReq),
    int('sv_active', (p) => p.svActive),
    int('sv_active_cancel', (p) => p.svActiveCancel),
    int('sv_being_canceled', (p) => p.svBeingCanceled),
    int('sv_idle', (p) => p.svIdle),
    int('sv_used', (p) => p.svUsed),
    int('sv_tested', (p) => p.svTested),
    int('sv_login', (p) => p.svLogin),
    int('maxwait', (p) => p.maxWaitUs / 1e6),
    int('maxwait_us', (p) => p.maxWaitUs % 1e6),
    text('pool_mode', (p) => p.poolMode),
    text('load_balance_hosts', (p) => p.loadBalanceHosts),
  ],
  async ({ control }) => {
    const pools = await control.snapshot('pools');
    const byKey = Map.groupBy(pools, (pool) => JSON.stringify([pool.database, pool.user]));
    return [...byKey.values()]
      .map((parts) => parts.reduce(mergePools))
      .sort((a, b) => byName(a.database, b.database) || byName(a.user, b.user));
  },
);

/** SHOW PEER_POOLS. */
export const showPeerPools: Show = show<PeerPoolSnapshot>(
  [
    int('peer_id', (p) => p.peerId),
    int('cl_active_cancel_req', (p) => p.clActiveCancelReq),
    int('cl_waiting_cancel_req', (p) => p.clWaitingCancelReq),
    int('sv_active_cancel', (p) => p.svActiveCancel),
    int('sv_login', (p) => p.svLogin),
  ],
  async ({ control }) => {
    const pools = await control.snapshot('peerPools');
    return pools.toSorted((a, b) => a.peerId - b.peerId);
  },
);

/** SHOW PEERS. */
export const showPeers: Show = show<PeerSnapshot>(
  [
    int('peer_id', (p) => p.peerId),
    text('host', (p) => p.host),
    int('port', (p) => p.port),
    int('pool_size', (p) => p.poolSize),
  ],
  async ({ control }) => {
    const peers = await control.snapshot('peers');
    return peers.toSorted((a, b) => a.peerId - b.peerId);
  },
);

/** SHOW DATABASES, by name. */
export const showDatabases: Show = show<DatabaseSnapshot>(
  [
    text('name', (d) => d.name),
    text('host', (d) => d.host),
    int('port', (d) => d.port),
    text('database', (d) => d.database),
    text('force_user', (d) => d.forceUser),
    int('pool_size', (d) => d.poolSize),
    int('min_pool_size', (d) => d.minPoolSize),
    int('reserve_pool_size', (d) => d.reservePoolSize),
    seconds('server_lifetime', (d) => d.serverLifetimeSec),
    text('pool_mode', (d) => d.poolMode),
    text('load_balance_hosts', (d) => d.loadBalanceHosts),
    int('max_connections', (d) => d.maxConnections),
    int('current_connections', (d) => d.currentConnections),
    int('max_client_connections', (d) => d.maxClientConnections),
    int('current_client_connections', (d) => d.currentClientConnections),
    int('paused', (d) => d.paused),
    int('disabled', (d) => d.disabled),
  ],
  async ({ control }) => {
    const databases = await control.snapshot('databases');
    return databases.toSorted((a, b) => byName(a.name, b.name));
  },
);

/** SHOW USERS, by name. */
export const showUsers: Show = show<UserSnapshot>(
  [
    text('name', (u) => u.name),
    text('pool_size', (u) => userSize(u.poolSize)),
    text('reserve_pool_size', (u) => userSize(u.reservePoolSize)),
    text('pool_mode', (u) => u.poolMode),
    int('max_user_connections', (u) => u.maxUserConnections),
    int('current_connections', (u) => u.currentConnections),
    int('max_user_client_connections', (u) => u.maxUserClientConnections),
    int('current_client_connections', (u) => u.currentClientConnections),
  ],
  async ({ control }) => {
    const users = await control.snapshot('users');
    return users.toSorted((a, b) => byName(a.name, b.name));
  },
);
