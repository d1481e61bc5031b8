import type { Grant } from './budget.ts';
import type { CancelQueue } from './cancels.ts';
import type { PoolContext, PoolIdentity, ServerExchange, WelcomeData } from './context.ts';
import type { PoolLimits } from './limits.ts';
import type { MovedServer } from './moved-server.ts';
import type { PoolServer, ServerConnector, ServerState } from './peers.ts';
import type { ServerLists } from './server-lists.ts';

/** A check that has taken so long may hang: the next server is checked beside it. */
const CHECK_MS = 100;

/** What the moves see of their pool. */
export interface MovesHost extends PoolIdentity {
  readonly limits: PoolLimits;
  readonly servers: ServerLists;
  readonly cancels: Pick<CancelQueue, 'waiting' | 'pump'>;
  readonly welcome: WelcomeData | null;
  readonly launcher: { readonly failure: string | null; readonly isAtLimit: boolean };
  readonly isHeld: boolean;
  readonly nowMs: number;
  closeServer(server: PoolServer, reason: string): void;
  /** Clients that wait for what servers report at login need not any more. */
  introduce(welcome: WelcomeData): void;
}

/** What the pool does for its moves alone. */
export interface MovesActs {
  /** Puts a server into another state. */
  move(server: PoolServer, to: ServerState): void;
  /** Finds the place of a server that nobody uses and that needs no test, and serves whoever waits. */
  settle(server: PoolServer): void;
  /** Has a used server prove that it is alive, and settles it then. */
  check(server: PoolServer): void;
}

/** The servers of a pool that come from other event loops, or go there. */
export class ServerMoves<P extends MovesHost> {
  readonly #host: P;
  readonly #acts: MovesActs;
  readonly #connector: Pick<ServerConnector<P>, 'adopt'>;
  readonly #exchange: ServerExchange<P> | null;

  constructor(host: P, context: PoolContext<P>, acts: MovesActs) {
    this.#host = host;
    this.#acts = acts;
    this.#connector = context.connector;
    this.#exchange = context.exchange ?? null;
  }

  /** A server that comes to rest now is to serve another event loop's clients, whoever waits here. */
  get areWanted(): boolean {
    return this.#exchange?.wants(this.#host) === true;
  }

  /** An idle server goes where it is wanted, or is closed for another one there, but over TLS where logins fail. */
  get mayServeOthers(): boolean {
    const { launcher, servers } = this.#host;
    return launcher.failure === null || [...servers.idle].some(({ opening }) => opening.tls === null);
  }

  /**
   * Sends an idle server to where it is wanted, if it is and there is one; one that must be checked first is, and offered
   * behind that; one that cannot go is closed for another, where that may be.
   */
  offer(mayClose = true): void {
    const exchange = this.#exchange;
    const host = this.#host;
    if (exchange === null) return;
    if (!exchange.wants(host)) {
      exchange.stays(host);
      return;
    }
    const moved = this.surrender();
    if (moved !== null) {
      exchange.send(host, moved);
      return;
    }
    if (host.isHeld || this.#checksOne()) return;
    // Where logins fail there would be no other, and where there is room one is opened there without this.
    const isClosing = mayClose && host.launcher.failure === null && host.launcher.isAtLimit;
    const idle = isClosing ? host.servers.mostIdle() : null;
    if (idle !== null && exchange.mayReopen(host)) host.closeServer(idle, 'wanted by another thread');
  }

  /** One that could go is being checked: one at a time, as long as they answer, for nobody waits here. */
  #checksOne(): boolean {
    const { servers, nowMs } = this.#host;
    const server = [...servers.used].find(({ opening }) => opening.tls === null);
    if (server === undefined) return false;
    const isAnswering = [...servers.tested].some(({ stateSinceMs }) => nowMs - stateSinceMs < CHECK_MS);
    if (!isAnswering) this.#acts.check(server);
    return true;
  }

  /**
   * Takes an idle server out of the pool: the one that has rested longest, for the others are what the pool has needed
   * lately. Null: none may go. The caller has its descriptor and its grant from now on.
   */
  surrender(): MovedServer | null {
    const host = this.#host;
    const { servers, cancels, limits, welcome } = host;
    if (host.isHeld) return null;
    for (const server of [...servers.idle].sort((a, b) => a.stateSinceMs - b.stateSinceMs)) {
      // What an earlier one has led to may have changed that.
      if (server.state !== 'idle') continue;
      if (!server.catchUp()) host.closeServer(server, 'server conn crashed?');
      const restMs = host.nowMs - server.stateSinceMs;
      const parts = isIdle(server) ? server.surrender() : null;
      if (parts === null) continue;
      this.#acts.move(server, 'gone');
      if (cancels.waiting.length > 0) cancels.pump();
      const { database, user, isForcedUser } = host;
      const identity = { database, user, isForcedUser };
      const { id, grant } = server;
      return { id, grant, identity, limits, era: this.#era, welcome, restMs, parts };
    }
    return null;
  }

  /**
   * Takes up a server that another event loop has surrendered; it may be closed at once, and its slot comes back as ever.
   * The caller has seen to it that `grant` is this loop's. As ServerConnector.adopt it throws, and the grant is the
   * caller's to keep until PostgreSQL's end is gone.
   */
  adopt(moved: MovedServer, grant: Grant): void {
    const host = this.#host;
    const server = this.#connector.adopt(host, grant, moved.id, moved.parts);
    this.#acts.move(server, 'idle');
    // What has come on the way is nobody's, not the next client's.
    if (!server.catchUp()) host.closeServer(server, 'server conn crashed?');
    // It has missed what was to replace it, here and there.
    if (moved.era < this.#era) host.closeServer(server, 'obsolete connection');
    if (server.state !== 'idle') return;
    if (host.welcome === null && moved.welcome !== null && !host.isHeld) {
      host.introduce(moved.welcome);
      if (server.state !== 'idle') return;
    }
    this.#acts.settle(server);
    // Used by nobody yet, it goes on resting.
    if (isIdle(server)) server.stateSinceMs = host.nowMs - moved.restMs;
  }

  get #era(): number {
    return this.#exchange?.era() ?? 0;
  }
}

/** It may have changed in a call that the compiler doesn't suspect. */
function isIdle({ state }: PoolServer): boolean {
  return state === 'idle';
}
