import assert from 'node:assert';
import type { Clock } from '../base/clock.ts';
import { IntrusiveList } from '../base/list.ts';
import type { Logger } from '../base/log.ts';
import { fatal } from '../wire/pg-error.ts';
import type { Budget, Grant } from './budget.ts';
import { poolKey } from './budget.ts';
import { CancelQueue } from './cancels.ts';
import { decideRelease } from './decide.ts';
import { Launcher } from './launcher.ts';
import type { PoolLimits } from './limits.ts';
import type { LoginFailure, PoolClient, PoolServer, ServerConnector, ServerState } from './peers.ts';
import { ServerLists } from './server-lists.ts';
import { emptyStats, type PoolStats } from './stats.ts';

/** What every server of a pool reports at login: ParameterStatus in the server's order. Plain data. */
export type WelcomeData = readonly (readonly [name: string, value: string])[];

/** What pools share, given by the daemon. */
export interface PoolContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly budget: Budget;
  /** Name of this event loop in the budget. */
  readonly owner: string;
  readonly connector: ServerConnector<Pool>;
}

/**
 * The connections of one (database, pool user) pair. It knows who waits, what is free and what may be opened;
 * it has never seen a socket. A connection's state is the list it stands in, and the two `#move…` methods are
 * the only code that changes it. Waiting clients are served first come, first served.
 */
export class Pool {
  readonly database: string;
  readonly user: string;
  readonly key: string;
  limits: PoolLimits;
  readonly stats: PoolStats = emptyStats();
  /** Forced user: the pool lives and fills without clients. */
  readonly isForcedUser: boolean;
  /** PAUSE, global or of the database. */
  paused = false;

  /** Logged in: linked to a server or idle. */
  readonly activeClients = new IntrusiveList<PoolClient>();
  /** Waiting for a server, oldest first. */
  readonly waitingClients = new IntrusiveList<PoolClient>();
  /** Authenticated, waiting for the pool's first welcome data. */
  readonly loginClients = new IntrusiveList<PoolClient>();

  readonly servers = new ServerLists();
  readonly cancels: CancelQueue;

  /** Monotonic ms since when neither a client nor a server has been here; 0 while one is. */
  emptySinceMs = 0;

  #welcome: WelcomeData | null = null;
  readonly #launcher: Launcher;
  #lastLifetimeCloseMs = Number.NEGATIVE_INFINITY;
  readonly #context: PoolContext;

  constructor(
    context: PoolContext,
    identity: { database: string; user: string; isForcedUser: boolean },
    limits: PoolLimits,
  ) {
    this.#context = context;
    this.database = identity.database;
    this.user = identity.user;
    this.isForcedUser = identity.isForcedUser;
    this.key = poolKey(identity.database, identity.user);
    this.limits = limits;
    this.#launcher = new Launcher(this, context);
    this.cancels = new CancelQueue(this, context);
  }

  get welcome(): WelcomeData | null {
    return this.#welcome;
  }

  /** The last attempt to connect or log in failed. */
  get hasFailure(): boolean {
    return this.#launcher.failure !== null;
  }

  get nowMs(): number {
    return this.#context.clock.nowMs();
  }

  /** Since the last close for `server_lifetime`; Infinity when there was none. */
  get sinceLifetimeCloseMs(): number {
    return this.nowMs - this.#lastLifetimeCloseMs;
  }

  get clientCount(): number {
    return this.activeClients.length + this.waitingClients.length + this.loginClients.length;
  }

  // --- clients -------------------------------------------------------------------------------------------

  /**
   * An authenticated client joins. True when welcome data is there and its login can be finished at once;
   * otherwise it waits and hears `welcomeReady` or `refused`.
   */
  join(client: PoolClient): boolean {
    if (this.#welcome !== null) {
      this.#moveClient(client, 'active');
      return true;
    }
    this.#moveClient(client, 'waiting_login');
    this.service();
    return false;
  }

  /**
   * A logged-in client needs a server. Either `client.linked` or `client.refused` is called before this
   * returns, or the client waits (first come, first served) and hears one of them later.
   */
  acquire(client: PoolClient): void {
    assert(client.state === 'active', 'acquire by a client that is not active');
    if (!this.paused && this.waitingClients.length === 0) {
      const server = this.#pickIdle();
      if (server !== null) {
        this.#assign(client, server);
        return;
      }
      const { failure } = this.#launcher;
      if (failure !== null && this.servers.usable === 0) {
        client.refused(fatal(`server login has been failing, cached error: ${failure} (server_login_retry)`));
        this.service();
        this.#launcher.launch(null);
        return;
      }
    }
    this.#moveClient(client, 'waiting');
    this.service();
  }

  /** The link of `server` ended at a clean point: it goes back to where it can be used again. */
  release(server: PoolServer): void {
    this.#unlink(server);
    this.#settle(server, false);
  }

  /**
   * A client is gone. Its link, if it had one, was ended by {@link release} or {@link closeServer} before.
   */
  leave(client: PoolClient): void {
    this.cancels.detachClient(client);
    this.#moveClient(client, 'gone');
  }

  // --- servers -------------------------------------------------------------------------------------------

  /** Login finished: the server can be used. `welcome` is what it reported. */
  serverReady(server: PoolServer, welcome: WelcomeData): void {
    this.#launcher.succeeded();
    this.#welcome = welcome;
    for (const client of this.loginClients) {
      this.#moveClient(client, 'active');
      client.welcomeReady();
    }
    if (server.state === 'new') this.#settle(server, true);
  }

  /** Connect or login failed. The server connection is on its way out; `serverGone` follows. */
  serverFailed(server: PoolServer, failure: LoginFailure): void {
    this.#launcher.failed(failure.message);
    if (server.state === 'new') this.#moveServer(server, 'closing');
    if (!failure.failWaiting || this.servers.usable > 0) return;
    const error = failure.serverError ?? fatal(failure.message);
    for (const client of this.loginClients) client.refused(error);
    for (const client of this.waitingClients) client.refused(error);
  }

  /** A connection that doesn't get through its login in time. */
  giveUpLogin(server: PoolServer, reason: string): void {
    this.serverFailed(server, { message: reason, serverError: null, failWaiting: false });
    server.beginClose(reason);
  }

  /** The reset, check or resync query was answered; `ok` false when the connection cannot be trusted. */
  serverTested(server: PoolServer, ok: boolean, reason: string): void {
    if (server.state !== 'tested') return;
    if (ok) this.#settle(server, true);
    else this.closeServer(server, reason);
  }

  /** A server connection broke, or its peer broke the protocol. `clientText` goes to the linked client. */
  serverBroke(server: PoolServer, reason: string, clientText: string): void {
    if (server.state === 'closing' || server.state === 'gone') return;
    this.closeLinked(server, reason, clientText);
  }

  /** The server's end of the connection is gone: the slot is free. */
  serverGone(server: PoolServer): void {
    if (server.state === 'gone') return;
    assert(server.link === null, 'a linked server is gone');
    this.#moveServer(server, 'gone');
    this.#context.budget.giveBack(server.grant);
  }

  /** Ends a link from our side: the client is told `clientText` (FATAL), the server is closed. */
  closeLinked(server: PoolServer, reason: string, clientText: string): void {
    const client = server.link;
    this.closeServer(server, reason);
    if (client !== null) client.refused(fatal(clientText));
  }

  /**
   * Says goodbye to a server connection. Its slot stays taken until PostgreSQL's end is gone (see
   * docs/decisions/0002-slot-ownership.md).
   */
  closeServer(server: PoolServer, reason: string): void {
    if (server.state === 'closing' || server.state === 'gone') return;
    if (server.link !== null) this.#unlink(server);
    if (reason === 'server lifetime over') this.#lastLifetimeCloseMs = this.nowMs;
    this.#moveServer(server, 'closing');
    server.beginClose(reason);
  }

  /**
   * A CancelRequest for what `server` runs for `client` (they are linked). `finish` tells the requester.
   * Up to 2 × pool_size connections may exist with cancels among them; beyond that a cancel waits.
   */
  cancel(client: PoolClient, server: PoolServer, finish: (reason: string) => void): void {
    this.cancels.add(client, server, finish);
  }

  /** All cancels aimed at `server` are done: if it was waiting for that, it goes on to its release. */
  cancelFinished(server: PoolServer): void {
    if (server.state === 'being_canceled' && server.cancelsInFlight === 0) this.#settle(server, false);
  }

  /** Every server is to be replaced: idle ones now, active ones on release. */
  markAllCloseNeeded(dropWelcome: boolean): void {
    if (dropWelcome) this.#welcome = null;
    const { servers } = this;
    for (const list of [servers.active, servers.tested, servers.being_canceled]) {
      for (const server of list) server.closeNeeded = true;
    }
    for (const list of [servers.idle, servers.used]) {
      for (const server of list) this.closeServer(server, 'database configuration changed');
    }
    for (const server of servers.new) this.closeServer(server, 'connect string changed');
    this.service();
  }

  /** Enters or leaves PAUSE: unused connections are closed, active ones when they are released. */
  setPaused(paused: boolean): void {
    this.paused = paused;
    if (!paused) {
      this.service();
      return;
    }
    const { servers } = this;
    for (const list of [servers.idle, servers.used, servers.new]) {
      for (const server of list) this.closeServer(server, 'pause mode');
    }
  }

  // --- matching ------------------------------------------------------------------------------------------

  /** Serves waiting clients as far as idle servers go, then starts checks and new connections for the rest. */
  service(): void {
    this.#publishWait();
    if (this.paused) return;
    while (this.waitingClients.first !== null) {
      const server = this.#pickIdle();
      if (server === null) break;
      this.#assign(this.waitingClients.first, server);
    }
    let unserved = this.waitingClients.length - this.servers.tested.length;
    while (unserved > 0) {
      const used = this.servers.used.first;
      if (used === null) break;
      unserved--;
      this.#check(used);
    }
    if (unserved > 0 || (this.loginClients.length > 0 && this.#welcome === null)) {
      const oldest = this.waitingClients.first;
      this.#launcher.launch(oldest === null ? null : this.nowMs - oldest.waitStartMs);
    }
    this.#publishWait();
  }

  /** Opens a connection with a permission from the budget. */
  open(grant: Grant): void {
    const server = this.#context.connector.open(this, grant);
    this.#moveServer(server, 'new');
  }

  /** `min_pool_size`: opens one more connection when the pool is below it. */
  fillToMinimum(): void {
    const { minPoolSize, poolSize } = this.limits;
    const connected = this.servers.usable + this.servers.new.length;
    if (minPoolSize === 0 || connected >= minPoolSize || connected >= poolSize) return;
    if (this.clientCount === 0 && !this.isForcedUser) return;
    this.#launcher.launch(null, false);
  }

  /** The sweep's part for a server at rest: off to the servers that must be checked first. */
  retireToUsed(server: PoolServer): void {
    this.#moveServer(server, 'used');
  }

  #pickIdle(): PoolServer | null {
    let server = this.servers.idle.first;
    while (server?.closeNeeded === true) {
      this.closeServer(server, 'obsolete connection');
      server = this.servers.idle.first;
    }
    return server;
  }

  #check(server: PoolServer): void {
    const { serverCheckQuery } = this.limits;
    if (server.closeNeeded) {
      this.closeServer(server, 'obsolete connection');
    } else if (serverCheckQuery === null) {
      this.#settle(server, true);
    } else {
      this.#moveServer(server, 'tested');
      server.test(serverCheckQuery, 'check');
    }
  }

  #assign(client: PoolClient, server: PoolServer): void {
    this.stats.serverAssignmentCount++;
    if (client.state !== 'active') this.#moveClient(client, 'active');
    this.#moveServer(server, 'active');
    server.link = client;
    server.linked(client);
    client.linked(server);
  }

  #unlink(server: PoolServer): void {
    const client = server.link;
    assert(client !== null, 'release of a server that is not linked');
    server.link = null;
    server.unlinked();
    client.unlinked();
    this.cancels.detachClient(client);
  }

  #settle(server: PoolServer, isTested: boolean): void {
    const nowMs = this.nowMs;
    const decision = decideRelease(
      {
        isFresh: server.state === 'new',
        ageMs: nowMs - server.connectMs,
        sinceLifetimeCloseMs: nowMs - this.#lastLifetimeCloseMs,
        isClean: server.isClean(),
        closeNeeded: server.closeNeeded,
        paused: this.paused,
        cancelsInFlight: server.cancelsInFlight,
        needsResync: server.needsResync(),
        isTested,
      },
      this.limits,
    );
    switch (decision.action) {
      case 'close':
        this.closeServer(server, decision.reason);
        return;
      case 'wait-for-cancels':
        this.#moveServer(server, 'being_canceled');
        return;
      case 'test':
        this.#moveServer(server, 'tested');
        server.test(decision.sql, decision.purpose);
        return;
      case 'used':
        this.#moveServer(server, 'used');
        break;
      case 'idle':
        this.#moveServer(server, 'idle');
        break;
    }
    if (this.waitingClients.length > 0) this.service();
  }

  #publishWait(): void {
    const oldest = this.waitingClients.first;
    const { budget, owner } = this.#context;
    budget.publishWait(owner, this.key, oldest === null ? 0 : oldest.waitStartMs);
  }

  /** The only place that changes a server's state. */
  #moveServer(server: PoolServer, to: ServerState): void {
    this.servers.move(server, to, this.nowMs, this.limits.serverRoundRobin);
  }

  /** The only place that changes a client's state. */
  #moveClient(client: PoolClient, to: PoolClient['state']): void {
    if (client.listOwner !== null) this.#clientList(client).remove(client);
    if (client.waitStartMs !== 0) {
      this.stats.waitTimeUs += Math.round((this.nowMs - client.waitStartMs) * 1000);
      client.waitStartMs = 0;
    }
    client.state = to;
    if (to === 'gone' || to === 'login') return;
    if (to !== 'active') client.waitStartMs = this.nowMs;
    this.#clientList(client).pushBack(client);
  }

  #clientList(client: PoolClient): IntrusiveList<PoolClient> {
    if (client.state === 'waiting') return this.waitingClients;
    return client.state === 'waiting_login' ? this.loginClients : this.activeClients;
  }
}
