import { FrontendType as F } from '../wire/codes.ts';
import { isCopyEnd, isCopyMark } from './copy-marks.ts';
import { type OutstandingQueue, ReplyAction } from './outstanding.ts';

/** What a server may still do, for all that is known, of what an {@link OutstandingQueue} does not hold any more. */
export class LostRequests {
  /** It owes at most so many ReadyForQuery. */
  readies = 0;
  /** Syncs of ours were sent into the COPY IN under way, which ignores them unless it fails before it has read them. */
  isCopyProbed = false;
  /** It has failed: how many of them are answered nobody can tell. */
  isCountLost = false;
  /** A COPY IN has begun, and no ReadyForQuery has come since: a Sync behind its request may be swallowed. */
  hasCopied = false;
  #areAny = false;
  #endACopy = false;

  /** One of {@link readies} has come. */
  ready(): void {
    if (this.readies > 0) this.readies--;
    this.hasCopied = false;
  }

  /** ReadyForQuery ends the skipping: takes out what was skipped. Gives the action of the Sync that ended it. */
  endSkipping(queue: OutstandingQueue, doubts: { isUnsure: boolean }): ReplyAction {
    const sync = queue.indexOf(F.Sync);
    if (sync < 0) {
      // The Sync was one that we took for swallowed: what is in the queue came behind it and was not skipped.
      doubts.isUnsure = true;
      if (queue.length > 0) queue.pop();
      return ReplyAction.Forward;
    }
    const action = queue.actionAt(sync) as ReplyAction;
    if (doubts.isUnsure) this.#skipped(queue, sync);
    for (let i = 0; i <= sync; i++) queue.pop();
    return action;
  }

  /** Those behind the one that failed, up to the Sync, count as skipped and may not be. */
  #skipped(queue: OutstandingQueue, sync: number): void {
    for (let i = 1; i < sync; i++) {
      const type = queue.typeAt(i);
      if (isCopyEnd(type)) this.#copyEnded();
      else if (!isCopyMark(type)) this.#areAny = true;
    }
  }

  /** A COPY IN has failed amid doubts: what was taken for its own may have been another's. */
  copyFailed(): void {
    this.#areAny = true;
    this.#endACopy = true;
    this.isCountLost ||= this.isCopyProbed;
  }

  /** Marks at the head have nothing more to wait for. */
  dropMarks(queue: OutstandingQueue): void {
    for (let type = queue.headType; isCopyMark(type); type = queue.headType) {
      if (isCopyEnd(type)) this.#copyEnded();
      queue.pop();
    }
  }

  #copyEnded(): void {
    if (this.#areAny) this.#endACopy = true;
  }

  /** Whether the end was sent of a COPY IN that the server has just begun. */
  isCopyEnded(queue: OutstandingQueue): boolean | 'unknown' {
    const isOwed = queue.copyEnds > 0;
    return this.#areAny && (isOwed || this.#endACopy) ? 'unknown' : isOwed;
  }

  /** There are none. */
  end(): void {
    this.readies = 0;
    this.isCopyProbed = false;
    this.isCountLost = false;
    this.hasCopied = false;
    this.#areAny = false;
    this.#endACopy = false;
  }
}
