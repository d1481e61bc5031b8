import { type CarriedCancel, CarrierQueue, newCarriedCancel } from './carrier-queue.ts';
import type { CancelCarrier } from './peers.ts';

/** More than this do not wait for one peer: whoever floods us with other poolers' keys gets no memory for it. */
const MAX_WAITING = 1000;

/** A CancelRequest for a client of another pooler. */
interface PeerJob extends CarriedCancel {
  /** As it is to be sent. */
  readonly key: Buffer;
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
    else this.add({ ...newCarriedCancel(this.#host.nowMs, finish), key });
  }

  /** `cancel_wait_timeout`, 0 = none: for those that wait, and for peers that take or close no connection. */
  sweep(nowMs: number, cancelWaitTimeoutMs: number): void {
    if (cancelWaitTimeoutMs > 0) {
      for (const job of [...this.sent, ...this.waiting]) {
        if (nowMs - job.sinceMs > cancelWaitTimeoutMs) this.finish(job, 'cancel_wait_timeout');
      }
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
    return this.#host.openCancel(job.key, maySend, done);
  }

  protected override sending(): void {}

  protected override over(): void {}
}
