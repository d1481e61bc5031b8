/**
 * What the console's SHOW commands are made from: plain records without functions, buffers or references, so
 * that they can be sent between threads. Where each thread has things of its own (stats, clients, servers,
 * pools, lists, mem, fds, state), the threads' arrays are laid end to end and SHOW adds up what belongs
 * together; the other kinds describe the process and are given once. Absent values are null. Wall times are
 * milliseconds since the epoch (`…WallMs`), spans are microseconds (`…Us`), ids are the numbers of the one
 * allocator for clients and servers.
 */
import type { ConfigRow } from '../config/show.ts';
import type { PoolStats } from '../pool/stats.ts';
import type { Replication } from '../wire/replication.ts';

/** Counters since a pool's start. */
export type StatCounters = Readonly<PoolStats>;

/** One pool's counters; SHOW sums those of a database. The console counts as a pool of database `pgbouncer`. */
export interface StatsSnapshot {
  readonly database: string;
  readonly totals: StatCounters;
  /** `totals` as they were when the averaging window began. */
  readonly since: StatCounters;
  /** Length of the averaging window. */
  readonly windowUs: number;
}

/** What clients and servers have in common, login to close. */
export interface SocketSnapshot {
  readonly id: number;
  /** null until the login says it. */
  readonly user: string | null;
  readonly database: string | null;
  readonly replication: Replication;
  /** IP address, or `unix`. */
  readonly addr: string;
  readonly port: number;
  readonly localAddr: string;
  readonly localPort: number;
  readonly connectWallMs: number;
  /** When the latest request began; the connect time before the first one. */
  readonly requestWallMs: number;
  /** For a client with an open query, the time since the query began; else 0. */
  readonly waitUs: number;
  readonly closeNeeded: boolean;
  /** Id of the connection at the other end of the link. */
  readonly linkId: number | null;
  /** The unix socket peer's process, or the process ID in a server's BackendKeyData, or 0. */
  readonly remotePid: number;
  /** `TLSv1.3/CIPHER` or `TLSv1.3/CIPHER/ECDH=curve`; empty without TLS. */
  readonly tls: string;
  readonly applicationName: string;
  readonly preparedStatements: number;
  /** Bytes of the receive buffer filled so far, and where in it the current message begins. */
  readonly recvPos: number;
  readonly pktPos: number;
  /** Bytes of the current message that are still to come. */
  readonly pktRemain: number;
  readonly sendPos: number;
  /** Bytes received and not looked at yet, and bytes looked at and not sent yet. */
  readonly pktAvail: number;
  readonly sendAvail: number;
}

export type ClientState =
  | 'login'
  | 'waiting_login'
  | 'active'
  | 'idle'
  | 'waiting'
  | 'active_cancel_req'
  | 'waiting_cancel_req';

export interface ClientSnapshot extends SocketSnapshot {
  readonly state: ClientState;
}

/** `new`: connecting or logging in. `closing`: told goodbye, but PostgreSQL's end is still there; ours alone. */
export type ServerState =
  | 'active'
  | 'idle'
  | 'used'
  | 'tested'
  | 'new'
  | 'active_cancel'
  | 'being_canceled'
  | 'closing';

export interface ServerSnapshot extends SocketSnapshot {
  readonly state: ServerState;
}

export interface PoolSnapshot {
  readonly database: string;
  readonly user: string;
  readonly clActive: number;
  readonly clWaiting: number;
  readonly clActiveCancelReq: number;
  readonly clWaitingCancelReq: number;
  readonly svActive: number;
  readonly svActiveCancel: number;
  readonly svBeingCanceled: number;
  readonly svIdle: number;
  readonly svUsed: number;
  readonly svTested: number;
  readonly svLogin: number;
  /** How long the first waiting client has waited with an open query; 0 without one. */
  readonly maxWaitUs: number;
  readonly poolMode: string;
  /** null for an entry with a single host. */
  readonly loadBalanceHosts: string | null;
}

export interface PeerPoolSnapshot {
  readonly peerId: number;
  readonly clActiveCancelReq: number;
  readonly clWaitingCancelReq: number;
  readonly svActiveCancel: number;
  readonly svLogin: number;
}

export interface PeerSnapshot {
  readonly peerId: number;
  readonly host: string | null;
  readonly port: number;
  readonly poolSize: number | null;
}

/** One database with the values in effect. Automatic ones are listed only while in use. */
export interface DatabaseSnapshot {
  readonly name: string;
  readonly host: string | null;
  readonly port: number;
  readonly database: string;
  readonly forceUser: string | null;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  readonly serverLifetimeSec: number;
  /** null when the database doesn't set one. */
  readonly poolMode: string | null;
  readonly loadBalanceHosts: string | null;
  readonly maxConnections: number;
  readonly currentConnections: number;
  readonly maxClientConnections: number;
  readonly currentClientConnections: number;
  readonly paused: boolean;
  readonly disabled: boolean;
}

export interface UserSnapshot {
  readonly name: string;
  readonly poolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly poolMode: string | null;
  readonly maxUserConnections: number;
  readonly currentConnections: number;
  readonly maxUserClientConnections: number;
  readonly currentClientConnections: number;
}

/** How many of each thing there are in one thread; SHOW LISTS adds the records up. */
export interface ListsSnapshot {
  readonly databases: number;
  readonly users: number;
  readonly peers: number;
  readonly pools: number;
  readonly peerPools: number;
  readonly freeClients: number;
  readonly usedClients: number;
  readonly loginClients: number;
  readonly freeServers: number;
  readonly usedServers: number;
  readonly dnsNames: number;
  readonly dnsZones: number;
  readonly dnsQueries: number;
}

/** One cache: bytes per item, items in use, items kept for reuse. */
export interface MemSnapshot {
  readonly name: MemCache;
  readonly sizeBytes: number;
  readonly used: number;
  readonly free: number;
  readonly totalBytes: number;
}

/** The rows of SHOW MEM in their order. */
export const MEM_CACHES = [
  'user_cache',
  'credentials_cache',
  'db_cache',
  'peer_cache',
  'peer_pool_cache',
  'pool_cache',
  'outstanding_request_cache',
  'server_cache',
  'client_cache',
  'iobuf_cache',
  'var_list_cache',
  'server_prepared_statement_cache',
] as const;
export type MemCache = (typeof MEM_CACHES)[number];

export interface DnsHostSnapshot {
  readonly hostname: string;
  /** Remaining seconds; 0 when the answer is stale. */
  readonly ttlSec: number;
  readonly addresses: readonly string[];
}

export interface DnsZoneSnapshot {
  readonly zone: string;
  readonly serial: number;
  readonly count: number;
}

/** One open socket of SHOW FDS. It holds no password, cancel key or SCRAM key: those stay in their process. */
export interface FdSnapshot {
  readonly fd: number;
  readonly task: 'pooler' | 'client' | 'server';
  readonly user: string | null;
  readonly database: string | null;
  readonly addr: string;
  readonly port: number;
  /** File descriptor of the linked socket; 0 without one. */
  readonly linkFd: number;
  readonly clientEncoding: string | null;
  readonly standardConformingStrings: string | null;
  readonly dateStyle: string | null;
  readonly timeZone: string | null;
}

/** Server connections that a thread has sent to others, taken from others, and closed so that another could open one. */
export interface MoveCounters {
  readonly sent: number;
  readonly received: number;
  readonly reopened: number;
}

/** A thread that serves clients. With `workers = 1` there is one. */
export interface WorkerSnapshot {
  /** From 1 on, as in the log. */
  readonly worker: number;
  /** `dead`: it is about to be started again. */
  readonly state: 'serving' | 'starting' | 'dead';
  /** Null when it is dead. */
  readonly startWallMs: number | null;
  /** Clients and server connections that count for limits: consoles don't. */
  readonly clients: number;
  readonly servers: number;
  /** CPU time that it has used since its start. */
  readonly cpuUs: number;
  readonly moves: MoveCounters;
  /** `moves` as they were when the averaging window began. */
  readonly since: MoveCounters;
  readonly windowUs: number;
}

export interface StateSnapshot {
  readonly paused: boolean;
  readonly suspended: boolean;
}

/** Every kind of snapshot and what it holds. */
export interface Snapshots {
  readonly stats: readonly StatsSnapshot[];
  readonly clients: readonly ClientSnapshot[];
  readonly servers: readonly ServerSnapshot[];
  readonly pools: readonly PoolSnapshot[];
  readonly peerPools: readonly PeerPoolSnapshot[];
  readonly peers: readonly PeerSnapshot[];
  readonly databases: readonly DatabaseSnapshot[];
  readonly users: readonly UserSnapshot[];
  readonly lists: readonly ListsSnapshot[];
  /** In the order to show. */
  readonly config: readonly ConfigRow[];
  readonly mem: readonly MemSnapshot[];
  readonly dnsHosts: readonly DnsHostSnapshot[];
  readonly dnsZones: readonly DnsZoneSnapshot[];
  readonly fds: readonly FdSnapshot[];
  readonly state: readonly StateSnapshot[];
  readonly workers: readonly WorkerSnapshot[];
}
export type SnapshotKind = keyof Snapshots;
