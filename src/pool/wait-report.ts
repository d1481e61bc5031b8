import type { Budget } from './budget.ts';
import type { ClientLists } from './client-lists.ts';
import type { ServerLists } from './server-lists.ts';

/**
 * Tells the budget since when a pool's oldest client waits: at once when the first one begins to and when the last
 * one has stopped, and with each sweep. A busy pool has another oldest client many thousand times a second.
 */
export class WaitReport {
  readonly #clients: ClientLists;
  readonly #servers: ServerLists;
  readonly #budget: Budget;
  readonly #owner: string;
  readonly #key: string;
  #publishedMs = 0;

  constructor(
    pool: { readonly clients: ClientLists; readonly servers: ServerLists; readonly key: string },
    parts: { budget: Budget; owner: string },
  ) {
    this.#clients = pool.clients;
    this.#servers = pool.servers;
    this.#budget = parts.budget;
    this.#owner = parts.owner;
    this.#key = pool.key;
  }

  /**
   * Since when somebody waits for what others may have, in monotonic ms; 0: nobody does. Whose own server connection is
   * logging in waits for nothing else, however long that takes.
   */
  get sinceMs(): number {
    const clients = this.#clients;
    if (clients.waiting_dedicated.length > 0)
      for (const { dedicatedTo } of this.#servers.new)
        if (dedicatedTo !== null) return clients.oldestPooledWaitStartMs;
    return clients.oldestWaitStartMs;
  }

  /** A client has begun or stopped to wait. */
  changed(): void {
    if (this.sinceMs > 0 !== this.#publishedMs > 0) this.refresh();
  }

  /** The sweep's part. */
  refresh(): void {
    const { sinceMs } = this;
    if (sinceMs === this.#publishedMs) return;
    this.#publishedMs = sinceMs;
    this.#budget.publishWait(this.#owner, this.#key, sinceMs);
  }
}
