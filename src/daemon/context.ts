import { ADMIN_DATABASE, type Role } from '../admin/access.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { CancelKeys } from '../client/cancel-keys.ts';
import type { ClientConnection } from '../client/connection.ts';
import { Doorkeeper } from '../client/doorkeeper.ts';
import { PeerLines } from '../client/peer-lines.ts';
import type { ClientLimits } from '../client/services.ts';
import type { ClientSession } from '../client/session.ts';
import type { LoginCredentials } from '../auth/credentials.ts';
import { SecretTally } from '../auth/mock-profile.ts';
import type { Config } from '../config/config.ts';
import { clientLimits, doorLimits, poolLimits, unixDoorLimits } from '../config/effective.ts';
import type { DnsCache } from '../net/dns-cache.ts';
import type { ListenerFd } from '../net/listening-socket.ts';
import type { Budget } from '../pool/budget.ts';
import type { PoolIdentity } from '../pool/context.ts';
import type { PoolLimits } from '../pool/limits.ts';
import type { Pool } from '../pool/pool.ts';
import type { Pools } from '../pool/pools.ts';
import { emptyStats, type PoolStats } from '../pool/stats.ts';
import type { TlsContexts } from '../tls/contexts.ts';
import type { Databases } from './databases.ts';
import type { Peers } from './peers.ts';

/** How far a shutdown has come. */
export type ShutdownState = 'no' | 'wait_for_servers' | 'wait_for_clients';

/** A SUSPEND; `attempt`: which one of a process with several threads. */
export type CurrentSuspension = PromiseWithResolvers<void> & { readonly attempt: number | null };

/**
 * The state of an event loop that its parts share: the configuration in force, pools, databases and who is connected.
 * Created once by `createLoop`; nothing outside `daemon/` sees it.
 */
export class PoolerState {
  readonly clock: Clock;
  readonly log: Logger;
  readonly budget: Budget;
  /** Those who have not logged in yet. */
  readonly door: Doorkeeper;
  readonly unixDoor: Doorkeeper;
  /** The event loop's name in the budget. */
  readonly owner: string;
  /** One allocator numbers clients and servers; ids are never used again. */
  readonly nextId: () => number;
  readonly databases: Databases;
  readonly pools: Pools;
  readonly peers: Peers;
  readonly dns: DnsCache;
  /** Every accepted connection whose socket is still there. */
  readonly connections = new Set<ClientConnection>();
  /** Authenticated sessions by id. */
  readonly sessions = new Map<number, ClientSession>();
  /** Clients of the console. */
  readonly consoleClients = new Set<ClientConnection>();
  /** Of sessions, and of the console's clients by their roles. */
  readonly cancelKeys = new CancelKeys<ClientSession | Role>();
  /** The console counts as a pool of its own in the statistics. */
  readonly consoleStats: PoolStats = emptyStats();
  readonly startWallMs: number;
  /** TLS towards clients and servers, for connections that begin now. */
  readonly tls: TlsContexts;
  /** Pools to forget once their last server connection is gone. */
  readonly doomedPools = new Set<Pool>();
  /** The listeners that are bound now. */
  listening: () => readonly ListenerFd[] = () => [];
  /** What kinds of secret users have. */
  readonly tally = new SecretTally();
  isPaused = false;
  /** SUSPEND is under way or in force; settles when it ends. */
  suspension: CurrentSuspension | null = null;
  shutdown: ShutdownState = 'no';
  /** A shutdown is under way, and connections from before it may still come out of a listener's queue. */
  isRetiring = false;
  #config: Config;
  #credentials = new Map<string, LoginCredentials>();
  /** By user within a database: there is one text less to put together at each login. */
  #limits = new Map<string, Map<string, ClientLimits>>();
  #limitsCount = 0;

  constructor(parts: {
    config: Config;
    clock: Clock;
    log: Logger;
    budget: Budget;
    owner: string;
    nextId: () => number;
    loops: number;
    tls: TlsContexts;
    databases: Databases;
    pools: (state: PoolerState) => Pools;
    peers: (state: PoolerState) => Peers;
    dns: (state: PoolerState) => DnsCache;
  }) {
    this.#config = parts.config;
    this.clock = parts.clock;
    this.log = parts.log;
    this.budget = parts.budget;
    this.owner = parts.owner;
    this.nextId = parts.nextId;
    this.tls = parts.tls;
    const { clock, log, budget, owner, loops } = parts;
    const door = { clock, lines: new PeerLines(clock, log), budget, owner, loops };
    this.door = new Doorkeeper({ ...door, limits: () => doorLimits(this.#config) });
    const unixLimits = () => unixDoorLimits(this.#config);
    this.unixDoor = new Doorkeeper({ ...door, limits: unixLimits, isUnix: true, beside: this.door });
    this.databases = parts.databases;
    this.startWallMs = parts.clock.wallMs();
    this.tally.setStored(parts.config.userlist.values());
    this.dns = parts.dns(this);
    this.pools = parts.pools(this);
    this.peers = parts.peers(this);
  }

  get isSuspended(): boolean {
    return this.suspension !== null;
  }

  get config(): Config {
    return this.#config;
  }

  /** Puts another configuration in force; whoever calls it sees to pools and databases. */
  replaceConfig(config: Config): void {
    if (config.userlist !== this.#config.userlist) this.tally.setStored(config.userlist.values());
    this.#config = config;
    this.#forgetLimits();
  }

  #forgetLimits(): void {
    this.#limits.clear();
    this.#limitsCount = 0;
  }

  /** Limits of the clients of (database, login user); kept until the configuration changes. */
  clientLimits(database: string, user: string): ClientLimits {
    // However full the pooler is, its console can be reached.
    if (database === ADMIN_DATABASE)
      return { ...clientLimits(this.#config, NO_DATABASE, user), maxClientConn: 0 };
    const known = this.#limits.get(database)?.get(user);
    if (known !== undefined) return known;
    const entry = this.databases.entryFor(database);
    const limits = clientLimits(this.#config, entry ?? NO_DATABASE, user);
    // Names come from the network, and strangers make them up.
    if (this.#limitsCount >= MAX_CACHED_LIMITS) this.#forgetLimits();
    if (entry === null) return limits;
    let ofUsers = this.#limits.get(database);
    if (ofUsers === undefined) {
      ofUsers = new Map();
      this.#limits.set(database, ofUsers);
    }
    ofUsers.set(user, limits);
    this.#limitsCount++;
    return limits;
  }

  /** The pool of a database and login user, made if need be; its credentials are those of the latest login. */
  openPool(database: string, loginUser: string, credentials: LoginCredentials): Pool | null {
    const state = this.databases.resolve(database);
    if (state === null) return null;
    const { entry } = state;
    const user = entry.user ?? loginUser;
    const pool = this.pools.open(
      { database, user, isForcedUser: entry.user !== null },
      poolLimits(this.#config, entry, user),
    );
    if (entry.user === null) {
      const known = this.#credentials.get(pool.key);
      // Keys from an earlier SCRAM login stay good when this login didn't bring any.
      const scramKeys = credentials.scramKeys ?? known?.scramKeys ?? null;
      this.#credentials.set(pool.key, { secretText: credentials.secretText, scramKeys });
    }
    return this.#opened(pool);
  }

  /** The pool in which names are looked up: the user is `auth_user`, whomever the database forces its clients to be. */
  openAuthPool(database: string, user: string): Pool | null {
    const state = this.databases.probe(database);
    if (state === null) return null;
    const { entry } = state;
    const identity = { database, user, isForcedUser: entry.user === user };
    return this.#opened(this.pools.open(identity, poolLimits(this.#config, entry, user)));
  }

  /** The pool of a server that another loop has had. Where there is none of its database any more: as that had it. */
  poolOf(identity: PoolIdentity, limits: PoolLimits): Pool {
    const { database, user } = identity;
    const known = this.pools.find(database, user);
    if (known !== null) return known;
    const entry = this.databases.resolve(database)?.entry;
    if (entry === undefined) return this.#opened(this.pools.open(identity, limits));
    // Settings may have changed since it has left.
    const now = { ...identity, isForcedUser: entry.user === user };
    return this.#opened(this.pools.open(now, poolLimits(this.#config, entry, user)));
  }

  #opened(pool: Pool): Pool {
    this.doomedPools.delete(pool);
    pool.paused = this.isPoolPaused(pool);
    return pool;
  }

  credentialsOf(pool: Pool): LoginCredentials {
    const entry = this.databases.get(pool.database)?.entry;
    const fromFile = this.#config.userlist.get(pool.user) ?? null;
    if (entry?.user === pool.user) return { secretText: entry.password || fromFile, scramKeys: null };
    const known = this.#credentials.get(pool.key);
    return { secretText: fromFile ?? known?.secretText ?? null, scramKeys: known?.scramKeys ?? null };
  }

  /** For calls above which nobody catches what is thrown. */
  guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.log.log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }

  /** Forgets a pool and what belongs to it. */
  dropPool(pool: Pool): void {
    this.#credentials.delete(pool.key);
    this.doomedPools.delete(pool);
    this.pools.remove(pool);
  }

  isPoolPaused(pool: Pool): boolean {
    return this.isPaused || this.databases.get(pool.database)?.paused === true;
  }

  /** Tells the pools what PAUSE and RESUME have decided. */
  applyPause(): void {
    for (const pool of this.pools.all()) {
      const paused = this.isPoolPaused(pool) || this.doomedPools.has(pool);
      if (pool.paused !== paused) pool.setPaused(paused);
    }
  }
}

/** So many (database, user) pairs are resolved once; then it begins anew. */
const MAX_CACHED_LIMITS = 1000;

/** Stands in for a database that doesn't exist: nothing is set there. */
const NO_DATABASE = { queryWaitTimeout: null, maxDbClientConnections: null };
