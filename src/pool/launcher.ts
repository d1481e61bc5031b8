import type { Logger } from '../base/log.ts';
import type { Budget, Grant, Refusal } from './budget.ts';
import type { ClientLists } from './client-lists.ts';
import { decideLaunch, isBelowMinimum } from './decide.ts';
import type { DedicatedServers } from './dedicated.ts';
import type { PoolLimits } from './limits.ts';
import type { DedicatedClient } from './peers.ts';
import type { ServerLists } from './server-lists.ts';

/** What the launcher sees of its pool. */
export interface LaunchHost {
  readonly database: string;
  readonly user: string;
  readonly limits: PoolLimits;
  readonly isForcedUser: boolean;
  readonly isHeld: boolean;
  readonly clients: ClientLists;
  readonly servers: ServerLists;
  readonly dedicated: Pick<DedicatedServers, 'makeRoom'>;
  readonly nowMs: number;
  /** Permission is there: opens the connection. Throws when that is not possible; nothing is open then. */
  open(grant: Grant, dedicatedTo: DedicatedClient | null): void;
}

/**
 * Decides on new server connections of one pool and remembers how the last attempt ended: after a failure there
 * is no other one for `server_login_retry`, and clients meanwhile hear the cached reason.
 */
export class Launcher {
  readonly #host: LaunchHost;
  readonly #budget: Budget;
  readonly #owner: string;
  readonly #log: Logger;
  #failure: { readonly message: string; readonly atMs: number } | null = null;

  constructor(host: LaunchHost, parts: { budget: Budget; owner: string; log: Logger }) {
    this.#host = host;
    this.#budget = parts.budget;
    this.#owner = parts.owner;
    this.#log = parts.log;
  }

  /** Why the last attempt failed; null when it did not. */
  get failure(): string | null {
    return this.#failure === null ? null : this.#failure.message;
  }

  failed(message: string): void {
    this.#failure = { message, atMs: this.#host.nowMs };
  }

  succeeded(): void {
    this.#failure = null;
  }

  /**
   * Opens one connection if the limits allow. To fill up to min_pool_size nobody else's is asked for; for a client
   * that gets it for itself the pool's own are, too, and earlier failures say nothing.
   */
  launch(purpose: 'client' | 'min_pool_size' | DedicatedClient): void {
    const host = this.#host;
    const dedicatedTo = typeof purpose === 'string' ? null : purpose;
    const failure = dedicatedTo === null ? this.#failure : null;
    const decision = decideLaunch(
      {
        paused: host.isHeld,
        loginsInProgress: host.servers.new.length,
        sinceFailureMs: failure === null ? null : host.nowMs - failure.atMs,
        slotsTaken: host.servers.slotsTaken,
        firstWaitMs: host.limits.reservePoolSize > 0 ? this.#firstWaitMs() : null,
      },
      host.limits,
    );
    if (decision.action === 'wait') {
      if (dedicatedTo !== null && decision.reason === 'pool is full') host.dedicated.makeRoom();
      return;
    }
    const { database, user, limits } = host;
    const grant = this.#budget.askServer({
      owner: this.#owner,
      database,
      user,
      poolLimit: decision.poolLimit,
      databaseLimit: limits.maxDbConnections,
      userLimit: limits.maxUserConnections,
    });
    if (typeof grant === 'string') {
      if (purpose !== 'min_pool_size') this.#evictFor(grant);
      return;
    }
    if (decision.isReserve) {
      this.#log.log('WARNING', `${database}/${user}: taking connection from reserve_pool`);
    }
    try {
      host.open(grant, dedicatedTo);
    } catch (error) {
      this.#log.log('ERROR', `${database}/${user}: cannot open a server connection: ${String(error)}`);
      if (dedicatedTo === null) this.failed('connect failed');
      this.#budget.giveBack(grant);
      dedicatedTo?.notOpened({ message: 'connect failed', serverError: null, failWaiting: false });
    }
  }

  /** `min_pool_size`: opens one more connection when the pool is below it. */
  fillToMinimum(): void {
    const { clients, isForcedUser, servers, limits } = this.#host;
    const connected = servers.usable + servers.new.length;
    const clientCount = clients.count - clients.waiting_dedicated.length - servers.dedicated.length;
    if (isBelowMinimum({ connected, clientCount, isForcedUser }, limits)) {
      this.launch('min_pool_size');
    }
  }

  #firstWaitMs(): number | null {
    const { oldestWaitStartMs } = this.#host.clients;
    return oldestWaitStartMs === 0 ? null : this.#host.nowMs - oldestWaitStartMs;
  }

  #evictFor(refusal: Refusal): void {
    const { database, user } = this.#host;
    if (refusal === 'database') this.#budget.requestYield({ kind: 'database', name: database });
    if (refusal === 'user') this.#budget.requestYield({ kind: 'user', name: user });
  }
}
