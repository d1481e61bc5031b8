import type { Logger } from '../base/log.ts';
import type { Budget, Grant, Refusal } from './budget.ts';
import { decideLaunch } from './decide.ts';
import type { PoolLimits } from './limits.ts';
import type { ServerLists } from './server-lists.ts';

/** What the launcher sees of its pool. */
export interface LaunchHost {
  readonly database: string;
  readonly user: string;
  readonly limits: PoolLimits;
  readonly paused: boolean;
  readonly servers: ServerLists;
  readonly nowMs: number;
  /** Permission is there: opens the connection. */
  open(grant: Grant): void;
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
   * Opens one connection if the limits allow. `firstWaitMs`: how long the first client has waited, null without
   * one. With `mayEvict` false nobody else's idle connection is asked for (min_pool_size).
   */
  launch(firstWaitMs: number | null, mayEvict = true): void {
    const host = this.#host;
    const decision = decideLaunch(
      {
        paused: host.paused,
        loginsInProgress: host.servers.new.length,
        sinceFailureMs: this.#failure === null ? null : host.nowMs - this.#failure.atMs,
        slotsTaken: host.servers.slotsTaken,
        firstWaitMs,
      },
      host.limits,
    );
    if (decision.action === 'wait') return;
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
      if (mayEvict) this.#evictFor(grant);
      return;
    }
    if (decision.isReserve)
      this.#log.log('WARNING', `${database}/${user}: taking connection from reserve_pool`);
    host.open(grant);
  }

  #evictFor(refusal: Refusal): void {
    const { database, user } = this.#host;
    if (refusal === 'database') this.#budget.requestYield({ kind: 'database', name: database });
    if (refusal === 'user') this.#budget.requestYield({ kind: 'user', name: user });
  }
}
