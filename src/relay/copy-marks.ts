import { FrontendType as F } from '../wire/codes.ts';
import { type OutstandingQueue, ReplyAction } from './outstanding.ts';

/** CopyDone or CopyFail. */
export function isCopyEnd(type: number): boolean {
  return type === F.CopyDone || type === F.CopyFail;
}

/** An entry without an answer of its own. */
export function isCopyMark(type: number): boolean {
  return type === F.CopyData || isCopyEnd(type);
}

/** Whether anything stands behind the COPY IN at the head that a server does not take during one, and fails it for. */
export function endsCopy(queue: OutstandingQueue): boolean {
  for (let i = 1; i < queue.length; i++) {
    const type = queue.typeAt(i);
    if (type !== F.Sync && !isCopyMark(type) && queue.actionAt(i) !== ReplyAction.Synthesize) return true;
  }
  return false;
}

/**
 * A Sync or CopyData of the COPY IN under way, whose end was not sent: whether `queue` holds all that it can tell. That is
 * whether a Sync stands ahead of data, and one behind; a server in COPY IN reads more of them for as long as they come.
 * Behind any other request each counts: where the COPY has failed already, all of them are answered.
 */
export function tellsNothing(queue: OutstandingQueue, type: number): boolean {
  if (!isAlone(queue)) return false;
  return type === F.Sync ? queue.lastType === F.Sync : queue.copyData > 0;
}

/** Behind the COPY IN at the head stand Syncs and data alone. */
export function isAlone(queue: OutstandingQueue): boolean {
  return queue.length === 1 + queue.syncs + queue.copyData;
}

/**
 * The COPY IN of the request at the head has completed. All that was sent before the CopyDone was read during the COPY; a
 * Sync among it has no answer.
 */
export function copyCompleted(queue: OutstandingQueue): void {
  for (let i = 1; i < queue.length; i++) {
    if (!isCopyEnd(queue.typeAt(i))) continue;
    queue.removeBehindHead(i, true);
    return;
  }
}

/**
 * The COPY IN of the request at the head has failed at an unknown place of what was sent. Syncs up to its CopyDone or
 * CopyFail were swallowed, most likely; those ahead of the first data all but certainly, for it had to be read. Any other
 * request cannot have been read during the COPY (that would have ended the connection): it and all behind it are
 * answered. Sets what cannot be told in `doubts`.
 */
export function copyFailed(
  queue: OutstandingQueue,
  doubts: { isUnsure: boolean; isAmbiguous: boolean },
): void {
  let end = 1;
  let hasData = false;
  for (; end < queue.length; end++) {
    // Nothing that the server was sent.
    if (queue.actionAt(end) === ReplyAction.Synthesize) continue;
    const type = queue.typeAt(end);
    if (type === F.CopyData) {
      hasData = true;
    } else if (type === F.Sync) {
      doubts.isUnsure = true;
      if (hasData) doubts.isAmbiguous = true;
    } else {
      break;
    }
  }
  if (queue.length > end && isCopyEnd(queue.typeAt(end))) {
    if (doubts.isUnsure && !hasData) doubts.isAmbiguous = true;
    end++;
  }
  // Behind an Execute ours are skipped with all else.
  if (end > 1) queue.removeBehindHead(end - 1, queue.headType === F.Query);
}
