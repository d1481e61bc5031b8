import type { Budget } from './budget.ts';
import type { ClientLists } from './client-lists.ts';

/**
 * Tells the budget since when a pool's oldest client waits: at once when the first one begins to and when the last
 * one has stopped, and with each sweep. A busy pool has another oldest client many thousand times a second.
 */
export class WaitReport {
  readonly #clients: ClientLists;
  readonly #budget: Budget;
  readonly #owner: string;
  readonly #key: string;
  #publishedMs = 0;

  constructor(clients: ClientLists, parts: { budget: Budget; owner: string }, key: string) {
    this.#clients = clients;
    this.#budget = parts.budget;
    this.#owner = parts.owner;
    this.#key = key;
  }

  /** A client has begun or stopped to wait. */
  changed(): void {
    if (this.#clients.isWaiting !== this.#publishedMs > 0) this.refresh();
  }

  /** The sweep's part. */
  refresh(): void {
    const { oldestWaitStartMs } = this.#clients;
    if (oldestWaitStartMs === this.#publishedMs) return;
    this.#publishedMs = oldestWaitStartMs;
    this.#budget.publishWait(this.#owner, this.#key, oldestWaitStartMs);
  }
}
