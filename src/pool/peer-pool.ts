import { type CarriedCancel, CarrierQueue, newCarriedCancel } from './carrier-queue.ts';
import type { CancelCarrier } from './peers.ts';

/** More than this do not wait for one peer: whoever floods us with other poolers' keys gets no memory for it. */
const MAX_WAITING = 1000;

/** A CancelRequest for a client of another pooler. */
interface PeerJob extends CarriedCancel {
  /** As it is to be sent. */
  readonly key: Buffer;
  /** Since when it is carried, or sent, in monotonic ms. */
  stepMs: number;
}

/** What a peer's pool gets from outside. */
export interface PeerPoolHost {
  readonly nowMs: number;
  /** Opens a connection to the peer for one CancelRequest with this key; as `OpenCancel.openCancel`. */
  openCancel(key: Buffer, maySend: () => boolean, done: (reason: string) => void): CancelCarrier;
}

/**
 * Cancel requests on their way to one other pooler, each on a connection of its own, `pool_size` of them at most. Who
 * asked is told when the peer has closed that connection: then it has carried the request out, or dropped it.
 */
export class PeerPool extends CarrierQueue<PeerJob> {
  /** Connections at most; 0: no limit. */
  poolSize: number;
  readonly #host: PeerPoolHost;

  constructor(host: PeerPoolHost, poolSize: number) {
    super();
    this.#host = host;
    this.poolSize = poolSize;
  }

  /** Connections that are being opened. */
  get connecting(): number {
    return this.carrierCount - this.sent.length;
  }

  get isEmpty(): boolean {
    return this.waiting.length + this.sent.length === 0;
  }

  /** Hands a request on; `finish` gets the contract's log text once that is over. */
  request(key: Buffer, finish: (reason: string) => void): void {
    if (this.waiting.length >= MAX_WAITING) finish('failed to send cancel request');
    else this.add({ ...newCarriedCancel(this.#host.nowMs, finish), key, stepMs: 0 });
  }

  /**
   * `cancel_wait_timeout`: for those that wait, and for peers that take or close no connection. Where that is 0 they may
   * wait without end, but for the peer to take a connection no longer than `connectMs`, and to close it than `closeMs`.
   */
  sweep(nowMs: number, cancelWaitTimeoutMs: number, connectMs: number, closeMs: number): void {
    for (const job of [...this.sent, ...this.waiting]) {
      const isOver =
        cancelWaitTimeoutMs > 0
          ? nowMs - job.sinceMs > cancelWaitTimeoutMs
          : job.isCarried && nowMs - job.stepMs > (job.state === 'sent' ? closeMs : connectMs);
      if (isOver) this.finish(job, 'cancel_wait_timeout');
    }
    this.pump();
  }

  /** Ends those that have not been sent. */
  giveUpWaiting(reason: string): void {
    for (const job of [...this.waiting]) this.finish(job, reason);
  }

  /** Cuts every connection. */
  cut(): void {
    for (const job of [...this.sent, ...this.waiting]) this.finish(job, 'failed to send cancel request');
  }

  protected override hasRoom(): boolean {
    return this.poolSize === 0 || this.carrierCount < this.poolSize;
  }

  protected override open(
    job: PeerJob,
    maySend: () => boolean,
    done: (reason: string) => void,
  ): CancelCarrier {
    job.stepMs = this.#host.nowMs;
    return this.#host.openCancel(job.key, maySend, done);
  }

  protected override sending(job: PeerJob): void {
    job.stepMs = this.#host.nowMs;
  }

  protected override over(): void {}
}
