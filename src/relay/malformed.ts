import { FrontendType as F } from '../wire/codes.ts';

/** Longest body that PostgreSQL reads of messages that are small by nature. Source: `PQ_SMALL_MESSAGE_LIMIT`, less the length itself. */
const SMALL_BYTES = 10_000 - 4;

const NAMES: Readonly<Record<number, string>> = {
  [F.Bind]: 'Bind',
  [F.Close]: 'Close',
  [F.CopyDone]: 'CopyDone',
  [F.CopyFail]: 'CopyFail',
  [F.Describe]: 'Describe',
  [F.Execute]: 'Execute',
  [F.Flush]: 'Flush',
  [F.Parse]: 'Parse',
  [F.Query]: 'Query',
};

/** What is said of a message of this type whose body is not what it has to be. */
export function brokenText(type: number): string {
  return `broken ${NAMES[type] ?? 'unknown'} packet`;
}

/**
 * Whether a message that has no answer of its own would have one, for PostgreSQL refuses its length: an error that the
 * requests ahead of it have no part in, perhaps when the server serves somebody else.
 */
export function isMalformed(type: number, bodyBytes: number): boolean {
  if (type === F.Flush || type === F.CopyDone) return bodyBytes !== 0;
  return type === F.CopyFail && bodyBytes > SMALL_BYTES;
}
