import { mayBeginWithSet } from './sql-prefilter.ts';
import { type ReadingOptions, readStatements } from './sql-statements.ts';

/** What a text that cannot be read has in it if it makes a session another user's. */
const SIGNS = /role|authorization|u&/i;

/**
 * Whether the SQL text `bytes[start..end)` has SET ROLE or SET SESSION AUTHORIZATION in it, by whatever name, and not
 * LOCAL: whoever has the session next would be another user. True also where it cannot be read with certainty. Not
 * seen is what functions and DO do. `several`: it may be several statements.
 */
export function setsIdentity(
  bytes: Buffer,
  start: number,
  end: number,
  several: boolean,
  options: ReadingOptions,
): boolean {
  if (!mayBeginWithSet(bytes, start, end, several)) return false;
  const statements = readStatements(bytes, start, end, options);
  if (statements === null) return SIGNS.test(bytes.toString('latin1', start, end));
  return statements.some(
    (form) =>
      form.kind === 'set' && !form.isLocal && (form.name === 'role' || form.name === 'session_authorization'),
  );
}
