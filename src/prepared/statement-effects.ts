import { isGuessed } from './read-otherwise.ts';
import { setsIdentity } from './sql-identity.ts';
import { mayConcernStatements } from './sql-prefilter.ts';
import { readingChange } from './sql-reading.ts';
import { isUnreadable, type ReadingOptions, readForm } from './sql-statements.ts';
import type { Statement } from './statement.ts';

/** Notes what executing `statement` does to the session, whose text `bytes[start..end)` is. */
export function readEffects(
  statement: Statement,
  bytes: Buffer,
  start: number,
  end: number,
  options: ReadingOptions,
): void {
  statement.isGuess = isGuessed(statement.text, statement.reading);
  statement.setsReading ??= readingChange(bytes, start, end, false, options, true);
  if (statement.isGuess) return;
  statement.spoilsSession ||= setsIdentity(bytes, start, end, false, options);
  if (statement.sql !== null || !mayConcernStatements(bytes, start, end)) return;
  statement.sql = readForm(bytes.subarray(start, end), 0, end - start, options);
  if (statement.sql === null) statement.spoilsSession ||= isUnreadable(bytes, start, end, options);
}
