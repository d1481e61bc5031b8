import { FrontendType as F } from '../wire/codes.ts';
import { isAlone } from './copy-marks.ts';
import type { RequestTracker } from './request-tracker.ts';

/** More requests are not under way at once: far more than drivers pipeline, and few enough to be kept count of. */
const MOST = 65_536;

/** Who waits for room is woken when no more than so many are under way: each time costs what it holds back. */
const ROOM = 32_768;

/** This many requests may be on their way before {@link isFull}. */
const FULL = 4096;

/**
 * Whether a message of `type` may be sent ahead of further answers. Where no answer comes before the client has sent more,
 * it may: the tracker keeps nothing more of that.
 */
export function hasRoom(tracker: RequestTracker, type: number): boolean {
  const { queue } = tracker;
  if (queue.length < MOST) return true;
  // What nobody answers is dropped at the head, when that is asked.
  if (tracker.owesNothing || queue.length < MOST) return true;
  if (tracker.isSkipped) return type === F.Sync || !tracker.isUnsure;
  if (!tracker.isCopyIn || queue.copyEnds > 0) return false;
  // Syncs and data behind it bring no answer: the server goes on, or fails, by what comes next, whatever that is.
  return isAlone(queue) || (type !== F.Sync && !isAnswered(type));
}

/** Whether there is still no room for who waits for that, and what has come does not let him go on by itself. */
export function lacksRoom(tracker: RequestTracker): boolean {
  if (tracker.owesNothing || tracker.queue.length <= ROOM) return false;
  return !tracker.isCopyIn && !tracker.isSkipped && !tracker.isUnsure;
}

/**
 * So much is owed that no more should be asked for, were it that answers of ours pile up behind it. Never while
 * requests are skipped: then nothing is answered before the Sync.
 */
export function isFull(tracker: RequestTracker): boolean {
  return tracker.queue.length >= FULL && !tracker.isSkipped;
}

/**
 * Whether PostgreSQL answers such a message, so that it needs a server and begins a query. Late COPY messages,
 * after the COPY's error, are the client's leftovers: without a link they are dropped (PostgreSQL ignores them
 * too), and on one they are nothing that could take too long. Flush has nothing to flush there.
 */
export function isAnswered(type: number): boolean {
  return type !== F.CopyData && type !== F.CopyDone && type !== F.CopyFail && type !== F.Flush;
}
