import type { Budget } from './budget.ts';
import type { ClientLists } from './client-lists.ts';
import type { ServerLists } from './server-lists.ts';

/**
 * Tells the budget since when a pool's oldest client waits: at once when the first one begins to and when the last
 * one has stopped, and with each sweep. A busy pool has another oldest client many thousand times a second, of which nobody
 * hears: what others see in between is since when the queue lasts. So servers that rest there come here though each client
 * waits for less than what a move is made for. Where there are other event loops, they learn whether a server rests here,
 * too: nobody asks for one where there is none.
 */
export class WaitReport {
  readonly #clients: ClientLists;
  readonly #servers: ServerLists;
  readonly #budget: Budget;
  readonly #owner: string;
  readonly #key: string;
  readonly #hasOthers: boolean;
  #publishedMs = 0;
  #publishedRest = false;

  constructor(
    pool: { readonly clients: ClientLists; readonly servers: ServerLists; readonly key: string },
    parts: { budget: Budget; owner: string; exchange?: unknown },
  ) {
    this.#clients = pool.clients;
    this.#servers = pool.servers;
    this.#budget = parts.budget;
    this.#owner = parts.owner;
    this.#key = pool.key;
    this.#hasOthers = parts.exchange !== undefined;
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

  /** A client has begun or stopped to wait, or a server to rest. */
  changed(): void {
    if (this.sinceMs > 0 !== this.#publishedMs > 0) this.refresh();
    // Where each release is tested, a server rests for a moment ahead of each client: the queue lasts all the same.
    else this.#publish(this.#publishedMs);
  }

  /** The sweep's part. */
  refresh(): void {
    this.#publish(this.sinceMs);
  }

  #publish(sinceMs: number): void {
    const hasRest = this.#hasRest;
    if (sinceMs === this.#publishedMs && hasRest === this.#publishedRest) return;
    this.#publishedMs = sinceMs;
    this.#publishedRest = hasRest;
    this.#budget.publishWait(this.#owner, this.#key, sinceMs, hasRest);
  }

  /** Those that must be checked first count as well: one is closed for another loop where none can go. */
  get #hasRest(): boolean {
    const { idle, used } = this.#servers;
    return this.#hasOthers && idle.length + used.length > 0;
  }
}
