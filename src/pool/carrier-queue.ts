import { IntrusiveList, type ListNode } from '../base/list.ts';
import type { CancelCarrier } from './peers.ts';

/** One CancelRequest that needs a connection of its own to get where it belongs. */
export interface CarriedCancel extends ListNode {
  readonly sinceMs: number;
  /** waiting = not sent yet; sent = the other side has it, and its end of that connection is still open. */
  state: 'waiting' | 'sent' | 'done';
  /** It has been given a connection. */
  isCarried: boolean;
  /** That connection, once whoever opens it has handed it over. */
  carrier: CancelCarrier | null;
  /** The job is over; `reason` is the contract's log text. The requester's socket is closed then. Null: it is ours. */
  readonly finish: ((reason: string) => void) | null;
}

/** A job as it begins: waiting, for nobody yet. */
export function newCarriedCancel(nowMs: number, finish: CarriedCancel['finish']): CarriedCancel {
  return {
    sinceMs: nowMs,
    state: 'waiting',
    isCarried: false,
    carrier: null,
    finish,
    listPrev: null,
    listNext: null,
    listOwner: null,
  };
}

/** Cancel requests with one bound on the connections that carry them: first come, first served. */
export abstract class CarrierQueue<J extends CarriedCancel> {
  readonly waiting = new IntrusiveList<J>();
  readonly sent = new IntrusiveList<J>();
  #carrierCount = 0;
  #isPumping = false;
  #pumpsAgain = false;

  /** Connections that carry cancels now. */
  get carrierCount(): number {
    return this.#carrierCount;
  }

  /** Whether one more connection may be opened. */
  protected abstract hasRoom(): boolean;
  /** Opens the connection for `job`; as `OpenCancel.openCancel`. */
  protected abstract open(job: J, maySend: () => boolean, done: (reason: string) => void): CancelCarrier;
  /** `job` is about to be sent. */
  protected abstract sending(job: J): void;
  /** `job` is over, and its requester has heard so. */
  protected abstract over(job: J, wasSent: boolean): void;

  /** Opens connections for waiting cancels as far as there is room. */
  pump(): void {
    // A job that ends while its connection is opened asks for the next one: that is this loop's to do.
    this.#pumpsAgain = true;
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (this.#pumpsAgain && this.hasRoom()) {
        this.#pumpsAgain = false;
        for (const job of [...this.waiting]) {
          if (!this.hasRoom()) break;
          if (job.state === 'waiting' && !job.isCarried) this.#carry(job);
        }
      }
    } finally {
      this.#isPumping = false;
    }
  }

  protected add(job: J): void {
    this.waiting.pushBack(job);
    this.pump();
  }

  #carry(job: J): void {
    job.isCarried = true;
    this.#carrierCount++;
    try {
      job.carrier = this.open(
        job,
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
  #markSent(job: J): boolean {
    if (job.state !== 'waiting') return false;
    this.waiting.remove(job);
    job.state = 'sent';
    this.sent.pushBack(job);
    this.sending(job);
    return true;
  }

  /** The other side has closed the connection that carried the cancel, or it could not be opened. */
  finish(job: J, reason: string): void {
    if (job.state === 'done') return;
    const wasSent = job.state === 'sent';
    (wasSent ? this.sent : this.waiting).remove(job);
    job.state = 'done';
    if (job.isCarried) this.#carrierCount--;
    job.carrier?.cut();
    job.finish?.(reason);
    this.over(job, wasSent);
  }
}
