import assert from 'node:assert';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import { type Grant, poolKey } from './budget.ts';
import { CancelQueue } from './cancels.ts';
import { ClientLists } from './client-lists.ts';
import type { PoolContext, PoolIdentity, WelcomeData } from './context.ts';
import { decideRelease } from './decide.ts';
import { DedicatedServers } from './dedicated.ts';
import { Launcher } from './launcher.ts';
import type { PoolLimits } from './limits.ts';
import type { DedicatedClient, LoginFailure, PoolClient, PoolServer, ServerState } from './peers.ts';
import { ServerLists } from './server-lists.ts';
import { ServerMoves } from './server-moves.ts';
import { emptyStats, type PoolStats } from './stats.ts';
import { WaitReport } from './wait-report.ts';

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
  /** Forced user: the pool lives and fills without clients. RELOAD may change it. */
  isForcedUser: boolean;
  /** PAUSE, global or of the database. */
  paused = false;

  readonly clients = new ClientLists();
  readonly servers = new ServerLists();
  readonly dedicated: DedicatedServers;
  readonly cancels: CancelQueue;
  readonly launcher: Launcher;
  readonly moves: ServerMoves<Pool>;
  readonly waits: WaitReport;
  /** What servers report at login; null: not known. Written by the pool only. */
  welcome: WelcomeData | null = null;
  /** Monotonic ms since when neither a client nor a server has been here; 0 while one is. */
  emptySinceMs = 0;
  #lastLifetimeCloseMs = Number.NEGATIVE_INFINITY;
  /** Servers whose running test is the resync query. */
  readonly #resyncing = new WeakSet<PoolServer>();
  readonly #context: PoolContext;

  constructor(context: PoolContext, identity: PoolIdentity, limits: PoolLimits) {
    this.#context = context;
    this.database = identity.database;
    this.user = identity.user;
    this.isForcedUser = identity.isForcedUser;
    this.key = poolKey(identity.database, identity.user);
    this.limits = limits;
    this.launcher = new Launcher(this, context);
    this.cancels = new CancelQueue(this, context);
    const server = (it: PoolServer, to: ServerState) => this.#moveServer(it, to);
    const client = (it: PoolClient, to: PoolClient['state']) => this.#moveClient(it, to);
    this.dedicated = new DedicatedServers(this, this.launcher, { client, server });
    this.moves = new ServerMoves(this, context, {
      move: server,
      settle: (it) => this.#settle(it, 'test'),
      check: (it) => this.#check(it),
    });
    this.waits = new WaitReport(this, context);
  }

  /** Nobody is given a server now, and none is opened. */
  get isHeld(): boolean {
    return this.paused || this.#context.isSuspended();
  }

  get nowMs(): number {
    return this.#context.clock.nowMs();
  }

  /** Since the last close for `server_lifetime`; Infinity when there was none. */
  get sinceLifetimeCloseMs(): number {
    return this.nowMs - this.#lastLifetimeCloseMs;
  }

  /**
   * An authenticated client joins. True when welcome data is there and its login can be finished at once;
   * otherwise it waits and hears `welcomeReady` or `refused`.
   */
  join(client: PoolClient): boolean {
    if (this.welcome !== null) {
      this.#moveClient(client, 'active');
      return true;
    }
    this.#moveClient(client, 'waiting_login');
    this.service();
    return false;
  }

  /**
   * A logged-in client needs a server: it hears `linked` or `refused` before this returns, or waits (`isFirst`: ahead of all).
   */
  acquire(client: PoolClient, isFirst = false): void {
    if (client.state !== 'active') assert.fail('acquire by a client that is not active');
    if (!this.isHeld) {
      const server = isFirst || this.clients.waiting.length === 0 ? this.#pickIdle() : null;
      if (server !== null) {
        this.#assign(client, server);
        return;
      }
      const { failure } = this.launcher;
      // Whoever waits already stays, but nobody joins a queue in front of a server that cannot be reached.
      if (failure !== null && !this.launcher.hasUsable && !this.launcher.retry()) {
        client.refused(fatal(`server login has been failing, cached error: ${failure} (server_login_retry)`));
        return;
      }
    }
    this.#moveClient(client, 'waiting', isFirst);
    this.service();
  }

  /** A waiting client does not need a server any more. */
  stopWaiting(client: PoolClient): void {
    this.#moveClient(client, 'active');
  }

  /** The link of `server` ended at a clean point: it goes back to where it can be used again. */
  release(server: PoolServer): void {
    this.#unlink(server);
    this.#settle(server, 'nothing');
  }

  /**
   * The client of `server` is gone in the middle of what it asked for: that is cancelled (after `graceMs`), and the
   * server used again if all of it gets answered in time. `reason` is for the log if it has to be closed.
   */
  abandon(server: PoolServer, reason: string, graceMs: number): void {
    this.#unlink(server);
    server.abandoned = { reason, cancelFromMs: this.nowMs + graceMs };
    this.#moveServer(server, 'being_canceled');
    server.drain();
    this.cancels.cancelAbandoned(server);
  }

  /** An abandoned server owes nothing any more, or (not `isClean`) is in a state that nobody else may have. */
  drained(server: PoolServer, isClean: boolean): void {
    if (server.state !== 'being_canceled' || server.abandoned === null) return;
    const { reason } = server.abandoned;
    this.cancels.detach(server);
    server.abandoned = null;
    if (isClean) this.#settle(server, 'nothing');
    else this.closeServer(server, reason);
  }

  /**
   * A client is gone. Its link, if it had one, was ended by {@link release}, {@link abandon} or {@link closeServer}.
   */
  leave(client: PoolClient): void {
    this.#moveClient(client, 'gone');
    this.dedicated.left(client);
  }

  /** Login finished: the server can be used. `welcome` is what it reported. */
  serverReady(server: PoolServer, welcome: WelcomeData): void {
    if (server.state !== 'new') return;
    if (server.dedicatedTo !== null) return this.dedicated.ready(server, server.dedicatedTo, welcome);
    server.readyMs = this.nowMs;
    this.launcher.succeeded(welcome);
    this.introduce(welcome);
    if (server.state === 'new') this.#settle(server, 'test');
    this.launcher.served();
  }

  /** What servers report at login is known: logins that wait for it end, those in SUSPEND when that does. */
  introduce(welcome: WelcomeData): void {
    this.welcome = welcome;
    const { waiting_login: waiting } = this.clients;
    for (let client = waiting.first; client !== null; client = waiting.first) {
      if (this.#context.isSuspended()) return;
      this.#moveClient(client, 'active');
      client.welcomeReady();
    }
  }

  /** Connect or login failed. The server connection is on its way out; `serverGone` follows. */
  serverFailed(server: PoolServer, failure: LoginFailure): void {
    // Closed by us (PAUSE, RECONNECT): that says nothing about whether PostgreSQL can be reached.
    if (server.state !== 'new') return;
    if (server.dedicatedTo !== null) return this.dedicated.failed(server, server.dedicatedTo, failure);
    this.#moveServer(server, 'closing');
    this.launcher.failed(failure);
  }

  /** The reset, check or resync query was answered; `ok` false when the connection cannot be trusted. */
  serverTested(server: PoolServer, ok: boolean, reason: string): void {
    if (server.state !== 'tested') return;
    const wasResync = this.#resyncing.delete(server);
    if (ok) this.#settle(server, wasResync ? 'resync' : 'test');
    else this.closeServer(server, reason);
    this.#serveWaiting();
  }

  /** A server connection broke, or its peer broke the protocol. `clientText` goes to the linked client. */
  serverBroke(server: PoolServer, reason: string, clientText: string): void {
    if (server.state === 'closing' || server.state === 'gone') return;
    this.closeLinked(server, reason, clientText);
    this.#serveWaiting();
  }

  /** The server's end of the connection is gone: the slot is free. */
  serverGone(server: PoolServer): void {
    if (server.state === 'gone') return;
    assert(server.link === null, 'a linked server is gone');
    this.#moveServer(server, 'gone');
    this.#context.budget.giveBack(server.grant);
    if (this.cancels.waiting.length > 0) this.cancels.pump();
  }

  /** Ends a link from our side: the client is told `clientText` (FATAL), the server is closed. */
  closeLinked(server: PoolServer, reason: string, error: string | PgErrorFields): void {
    const client = server.link;
    this.closeServer(server, reason);
    if (client !== null) client.refused(typeof error === 'string' ? fatal(error) : error);
  }

  /** Says goodbye to a server connection. Its slot stays taken until PostgreSQL's end is gone: decision 2. */
  closeServer(server: PoolServer, reason: string): void {
    if (server.state === 'closing' || server.state === 'gone') return;
    if (server.link !== null) this.#unlink(server);
    else this.cancels.detach(server);
    server.abandoned = null;
    if (reason === 'server lifetime over') this.#lastLifetimeCloseMs = this.nowMs;
    this.#moveServer(server, 'closing');
    server.beginClose(reason);
  }

  /** A cancel aimed at `server` is done: if it was waiting for the last of them, it goes on. */
  cancelFinished(server: PoolServer): void {
    if (server.cancelsInFlight > 0) return;
    if (server.state === 'active') server.cancelsOver();
    else if (server.state === 'being_canceled' && server.abandoned === null) this.#settle(server, 'nothing');
  }

  /** Every server is to be replaced: idle ones now, active ones on release. */
  markAllCloseNeeded(dropWelcome: boolean): void {
    if (dropWelcome) this.welcome = null;
    const { active, tested, being_canceled, idle, used } = this.servers;
    for (const server of [...active, ...tested, ...being_canceled]) server.closeNeeded = true;
    this.#closeAll([...idle, ...used], 'database configuration changed');
    this.#closeAll([...this.servers.new], 'connect string changed');
    this.dedicated.cut();
    this.service();
  }

  /** Enters or leaves PAUSE: unused connections are closed, active ones when they are released. */
  setPaused(paused: boolean, reason = 'pause mode'): void {
    this.paused = paused;
    if (paused) this.#closeAll([...this.servers.idle, ...this.servers.used, ...this.servers.new], reason);
    else this.service();
  }

  #closeAll(servers: readonly PoolServer[], reason: string): void {
    for (const server of servers) this.closeServer(server, reason);
  }

  /** Serves waiting clients as far as idle servers go, then starts checks and new connections for the rest. */
  service(): void {
    if (this.isHeld) return;
    // Each step may come back here by way of the client or server it calls: nothing is remembered across one.
    while (this.clients.waiting.length > 0) {
      const server = this.#pickIdle();
      const client = server === null ? null : this.clients.firstHere();
      if (server === null || client === null) break;
      this.#assign(client, server);
    }
    const { tested, used } = this.servers;
    while (this.clients.waiting.length > tested.length && used.first !== null) this.#check(used.first);
    if (this.clients.isDedicatedFirst) this.dedicated.launch();
    this.launcher.launchForClients();
    this.dedicated.launch();
  }

  /** Opens a connection with a permission from the budget. Throws when the connector does. */
  open(grant: Grant, dedicatedTo: DedicatedClient | null): void {
    const server = this.#context.connector.open(this, grant, dedicatedTo);
    // It may have got further, or failed, already.
    if (server.state === 'new') this.#moveServer(server, 'new');
    if (dedicatedTo !== null) this.waits.refresh();
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
      this.#settle(server, 'test');
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
    if (client === null) assert.fail('release of a server that is not linked');
    server.link = null;
    server.unlinked();
    client.unlinked();
    this.cancels.detach(server);
  }

  /**
   * Finds the place of a server that nobody uses. `done`: what has been run on it since its last client; the
   * resync query only restores the count, so that the reset query may still be due.
   */
  #settle(server: PoolServer, done: 'nothing' | 'resync' | 'test'): void {
    const decision = decideRelease(
      {
        ageMs: this.nowMs - server.connectMs,
        sinceLifetimeCloseMs: this.sinceLifetimeCloseMs,
        isClean: server.isClean(),
        closeNeeded: server.closeNeeded,
        paused: this.paused,
        cancelsInFlight: server.cancelsInFlight,
        needsResync: done === 'nothing' && server.needsResync(),
        isTested: done === 'test',
      },
      this.limits,
    );
    switch (decision.action) {
      case 'close':
        this.closeServer(server, decision.reason);
        break;
      case 'wait-for-cancels':
        this.#moveServer(server, 'being_canceled');
        break;
      case 'test':
        this.#moveServer(server, 'tested');
        if (decision.purpose === 'resync') this.#resyncing.add(server);
        server.test(decision.sql, decision.purpose);
        break;
      case 'used':
      case 'idle':
        if (this.dedicated.claimsSlot || this.#context.claims.take(this, server))
          this.closeServer(server, 'evicted');
        else if (decision.action === 'idle' && done === 'nothing' && this.#handOver(server)) return;
        else this.#moveServer(server, decision.action);
        if (server.state === 'idle') this.moves.offer();
        break;
    }
    this.#serveWaiting();
  }

  /** Gives a server that nobody uses to the client that waits longest. False when none waits or others are idle. */
  #handOver(server: PoolServer): boolean {
    const client = this.servers.idle.length === 0 && !this.isHeld ? this.clients.firstHere() : null;
    if (client === null || this.moves.areWanted) return false;
    this.#assign(client, server);
    return true;
  }

  #serveWaiting(): void {
    if (this.clients.waiting.length > 0 || this.clients.waiting_dedicated.length > 0) this.service();
  }

  /** The only place that changes a server's state. */
  #moveServer(server: PoolServer, to: ServerState): void {
    this.servers.move(server, to, this.nowMs, this.limits.serverRoundRobin);
    if (to !== 'active') this.#context.claims.moves++;
    if (to === 'closing') this.#context.budget.setAside(server.grant);
    this.waits.changed();
  }

  /** The only place that changes a client's state. */
  #moveClient(client: PoolClient, to: PoolClient['state'], isFirst = false): void {
    const waitedMs = this.clients.move(client, to, this.nowMs, isFirst);
    this.stats.waitTimeUs += Math.round(waitedMs * 1000);
    this.waits.changed();
  }
}
