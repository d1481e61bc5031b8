import { IntrusiveList, type ListNode } from '../base/list.ts';
import type { PoolLimits } from './limits.ts';
import type { CancelCarrier, OpenCancel, PoolClient, PoolServer } from './peers.ts';
import type { ServerLists } from './server-lists.ts';

/** One CancelRequest for what `server` runs now: from the network, or ours for a client that is gone. */
export interface CancelJob extends ListNode {
  readonly server: PoolServer;
  readonly sinceMs: number;
  /** waiting = not sent yet; sent = PostgreSQL has it, its end of that connection is still open. */
  state: 'waiting' | 'sent' | 'done';
  /** It has been given a connection to PostgreSQL. */
  isCarried: boolean;
  /** That connection, once the connector has handed it over. */
  carrier: CancelCarrier | null;
  /** The job is over; `reason` is the contract's log text. The requester's socket is closed then. Null: it is ours. */
  readonly finish: ((reason: string) => void) | null;
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
export class CancelQueue {
  readonly waiting = new IntrusiveList<CancelJob>();
  readonly sent = new IntrusiveList<CancelJob>();
  readonly #host: CancelHost;
  readonly #connector: OpenCancel;
  #carrierCount = 0;
  #isPumping = false;
  #pumpsAgain = false;

  constructor(host: CancelHost, parts: { connector: OpenCancel }) {
    this.#host = host;
    this.#connector = parts.connector;
  }

  /** Connections that carry cancels now. */
  get carrierCount(): number {
    return this.#carrierCount;
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

  /**
   * Opens connections for waiting cancels: up to 2 × pool_size connections may exist, cancels among them, beyond
   * that a cancel waits.
   */
  pump(): void {
    // A job that ends while its connection is opened asks for the next one: that is this loop's to do.
    this.#pumpsAgain = true;
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (this.#pumpsAgain && this.#hasRoom()) {
        this.#pumpsAgain = false;
        for (const job of [...this.waiting]) {
          if (!this.#hasRoom()) break;
          if (job.state === 'waiting' && !job.isCarried) this.#open(job);
        }
      }
    } finally {
      this.#isPumping = false;
    }
  }

  #add(server: PoolServer, finish: CancelJob['finish']): void {
    const job: CancelJob = {
      server,
      sinceMs: this.#host.nowMs,
      state: 'waiting',
      isCarried: false,
      carrier: null,
      finish,
      listPrev: null,
      listNext: null,
      listOwner: null,
    };
    this.waiting.pushBack(job);
    this.pump();
  }

  #hasRoom(): boolean {
    const { limits, servers } = this.#host;
    return limits.poolSize === 0 || servers.slotsTaken + this.carrierCount < 2 * limits.poolSize;
  }

  #open(job: CancelJob): void {
    job.isCarried = true;
    this.#carrierCount++;
    try {
      job.carrier = this.#connector.openCancel(
        job.server,
        () => this.#markSent(job),
        (reason) => {
          this.finish(job, reason);
          this.pump();
        },
      );
    } catch {
      this.finish(job, 'failed to send cancel request');
    }
  }

  /** Called right before the bytes go out: false when the job is not to be sent any more. */
  #markSent(job: CancelJob): boolean {
    if (job.state !== 'waiting') return false;
    this.waiting.remove(job);
    job.state = 'sent';
    this.sent.pushBack(job);
    job.server.cancelsInFlight++;
    return true;
  }

  /** PostgreSQL closed the connection that carried the cancel, or it could not be opened. */
  finish(job: CancelJob, reason: string): void {
    if (job.state === 'done') return;
    if (job.state === 'sent') {
      this.sent.remove(job);
      job.server.cancelsInFlight--;
    } else {
      this.waiting.remove(job);
    }
    job.state = 'done';
    if (job.isCarried) this.#carrierCount--;
    job.carrier?.cut();
    job.finish?.(reason);
    this.#host.cancelFinished(job.server);
  }

  /** What ran on `server` is over for its client: what has not been sent must not be sent. */
  detach(server: PoolServer): void {
    if (this.waiting.length === 0) return;
    for (const job of [...this.waiting]) {
      if (job.server === server) this.finish(job, 'not sending cancel request for client that is now idle');
    }
  }
}
