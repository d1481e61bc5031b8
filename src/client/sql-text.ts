import { firstWord, mayBeginWithSet, mayConcernStatements } from '../prepared/sql-prefilter.ts';
import { ReplyAction, type RequestNote } from '../relay/outstanding.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F, HEADER_BYTES } from '../wire/codes.ts';

/** A text that comes in pieces is held up to here to be read; a longer one only if it begins as one that concerns us. */
export const HELD_TEXT_LIMIT = 64 * 1024;

/** And that one up to here. Bytes. */
const TEXT_LIMIT = 64 * 1024 * 1024;

/** More than the longest word that matters, and the byte behind it. */
const LONGEST_WORD = 32;

/**
 * How much of a message has to be seen whose text is `chunk[text, stop)` as far as it is there; 0: it passes.
 * `several`: of a Query, which may be several statements. `orEnds`: the end of a transaction is to be seen, too. 1 of one
 * that is longer: it passes, and nobody knows what it says.
 */
export function lookAtText(
  chunk: Buffer,
  text: number,
  stop: number,
  body: number,
  bodyBytes: number,
  several: boolean,
  orEnds = false,
): number {
  const isWhole = stop - body === bodyBytes;
  if (!isWhole && bodyBytes <= HELD_TEXT_LIMIT) return bodyBytes;
  const end = Math.max(text, stop - 1);
  if (mayConcernStatements(chunk, text, end) || mayBeginWithSet(chunk, text, end, several, orEnds))
    return isUnread(bodyBytes) ? 1 : bodyBytes;
  if (isWhole) return 0;
  // The rest may hold further statements.
  if (several) return 1;
  // Ahead of what it begins with there may be comments, and empty statements.
  const word = firstWord(chunk, text, end);
  const isSeen = word >= 0 && word + LONGEST_WORD < end;
  if (isSeen) return 0;
  return isUnread(bodyBytes) ? 1 : Math.min(bodyBytes, 2 * (stop - body) + 1);
}

/** Whether a text that is one of ours by its beginning passes unread. */
export function isUnread(bodyBytes: number): boolean {
  return bodyBytes > TEXT_LIMIT;
}

/** A Query that is not there as a whole, of which {@link lookAtText} wanted one byte, passes; gives where it goes on. */
export function passUnread(
  body: number,
  bodyBytes: number,
  out: RunWriter,
  tracker: RequestTracker,
  note: RequestNote,
): number {
  return asItIs(F.Query, body, body + bodyBytes, out, () =>
    tracker.sent(F.Query, ReplyAction.Forward, null, note),
  );
}

/** The message passes as it is: its header, and `count` notes that it is sent. Gives where the rest begins. */
export function asItIs(type: number, body: number, end: number, out: RunWriter, count: () => void): number {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header[0] = type;
  header.writeInt32BE(4 + end - body, 1);
  out.put(header);
  count();
  return body;
}
