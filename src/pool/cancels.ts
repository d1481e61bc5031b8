import { type CarriedCancel, CarrierQueue, newCarriedCancel } from './carrier-queue.ts';
import type { PoolLimits } from './limits.ts';
import type { CancelCarrier, OpenCancel, PoolClient, PoolServer } from './peers.ts';
import type { ServerLists } from './server-lists.ts';

/** One CancelRequest for what `server` runs now: from the network, or ours for a client that is gone. */
export interface CancelJob extends CarriedCancel {
  readonly server: PoolServer;
  /** When it was given a connection, or sent; 0 before. */
  stepMs: number;
}

/** What the queue sees of its pool. */
export interface CancelHost {
  readonly limits: PoolLimits;
  readonly servers: ServerLists;
  readonly nowMs: number;
  /** No cancel is under way to `server` any more. */
  cancelFinished(server: PoolServer): void;
}

/**
 * The cancel requests of one pool. The promise: a cancel never hits another client's query. So a job that has
 * not been sent is dropped the moment its server's link ends (ours: when all is answered), and a server whose cancel was sent is not used
 * again before PostgreSQL has closed the connection that carried it (state `being_canceled`).
 */
export class CancelQueue extends CarrierQueue<CancelJob> {
  readonly #host: CancelHost;
  readonly #connector: OpenCancel;

  constructor(host: CancelHost, parts: { connector: OpenCancel }) {
    super();
    this.#host = host;
    this.#connector = parts.connector;
  }

  /** Requests from the network in `list`, {@link waiting} or {@link sent}. */
  requestsIn(list: Iterable<CancelJob>): number {
    let count = 0;
    for (const { finish } of list) if (finish !== null) count++;
    return count;
  }

  /** A CancelRequest for what `server` runs for `client`. `finish` tells the requester. */
  request(client: PoolClient, server: PoolServer, finish: (reason: string) => void): void {
    if (server.link === client) this.#add(server, finish);
    else finish('cancel request for idle client');
  }

  /** Cancels what an abandoned server still runs, unless it is too early for that or a cancel is under way. */
  cancelAbandoned(server: PoolServer): void {
    if (server.abandoned === null || this.#host.nowMs < server.abandoned.cancelFromMs) return;
    if (server.cancelsInFlight > 0) return;
    if (!server.isCancellable) return;
    for (const job of this.waiting) if (job.server === server) return;
    this.#add(server, null);
  }

  #add(server: PoolServer, finish: CancelJob['finish']): void {
    this.add({ ...newCarriedCancel(this.#host.nowMs, finish), server, stepMs: 0 });
  }

  /** Up to 2 × pool_size connections may exist, cancels among them; beyond that a cancel waits. */
  protected override hasRoom(): boolean {
    const { limits, servers } = this.#host;
    return limits.poolSize === 0 || servers.slotsTaken + this.carrierCount < 2 * limits.poolSize;
  }

  protected override open(
    job: CancelJob,
    maySend: () => boolean,
    done: (reason: string) => void,
  ): CancelCarrier {
    job.stepMs = this.#host.nowMs;
    return this.#connector.openCancel(job.server, maySend, done);
  }

  protected override sending(job: CancelJob): void {
    job.stepMs = this.#host.nowMs;
    job.server.cancelsInFlight++;
  }

  protected override over({ server }: CancelJob, wasSent: boolean): void {
    if (wasSent) server.cancelsInFlight--;
    this.#host.cancelFinished(server);
  }

  /** What ran on `server` is over for its client: what has not been sent must not be sent. */
  detach(server: PoolServer): void {
    if (this.waiting.length === 0) return;
    for (const job of [...this.waiting]) {
      if (job.server === server) this.finish(job, 'not sending cancel request for client that is now idle');
    }
  }
}
