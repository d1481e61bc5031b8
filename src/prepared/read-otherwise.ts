import { dependsOn, isKnown, type Reading, readingOf } from './reading.ts';
import { isOfMessages } from './sql-reading.ts';
import type { Statement } from './statement.ts';

/** Whether its bytes are not read any more as they were when it was prepared. */
export function isLexedOtherwise({ text, reading }: Statement, now: Reading): boolean {
  return reading.values.some((value, i) => isOfMessages(i) && value !== now.values[i] && dependsOn(text, i));
}

/** Whether nobody knows how the bytes of `text` (latin1) are read, as they come. */
export function isGuessed(text: string, { values }: Reading): boolean {
  return values.some((value, i) => isOfMessages(i) && !isKnown(value) && dependsOn(text, i));
}

/**
 * How a PREPARE is read that was parsed as `statement` and is executed as the session reads `now`: constants only then.
 * Null: as it was to be.
 */
export function executedBy({ text, reading: parsed }: Statement, now: Reading): Reading | null {
  const reading = readingOf(
    parsed.values.map((value, i) => {
      const later = now.values[i] ?? value;
      return isOfMessages(i) || (!isKnown(value) && !isKnown(later)) ? value : later;
    }),
  );
  const isOther = reading.values.some((value, i) => value !== parsed.values[i] && dependsOn(text, i));
  return isOther ? reading : null;
}
