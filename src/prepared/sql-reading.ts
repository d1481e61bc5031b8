import { READING_PARAMETERS } from './reading.ts';
import { mayBeginWithSet } from './sql-prefilter.ts';
import { type ReadingOptions, readStatements, type SqlStatement } from './sql-statements.ts';

/** SET or RESET (also by DISCARD ALL) of what decides how later texts are read. */
export interface ReadingChange {
  /** Of {@link READING_PARAMETERS}. */
  readonly indexes: readonly number[];
  /** It may end with the transaction. */
  readonly isLocal: boolean;
}

const NAMES = READING_PARAMETERS.map((name) => name.toLowerCase());
const ALL = NAMES.map((_name, i) => i);

/** A whole message is read by what holds ahead of it of the first two: the others count from statement to statement. */
export function inParts({
  indexes,
  isLocal,
}: ReadingChange): readonly [within: ReadingChange, behind: ReadingChange] {
  return [
    { indexes: indexes.filter((index) => index >= OF_MESSAGES), isLocal },
    { indexes: indexes.filter((index) => index < OF_MESSAGES), isLocal },
  ];
}

const OF_MESSAGES = 2;

/** What a statement changes of that; null: nothing. */
export function changeOf(form: SqlStatement): ReadingChange | null {
  if (form.kind === 'discard-all') return { indexes: ALL, isLocal: false };
  if (form.kind !== 'set' && form.kind !== 'reset') return null;
  if (form.name === 'all') return { indexes: ALL, isLocal: false };
  const index = NAMES.indexOf(form.name);
  return index < 0 ? null : { indexes: [index], isLocal: form.kind === 'set' && form.isLocal };
}

/**
 * What the SQL text `bytes[start..end)` changes of that; null: nothing. Where it cannot be read with certainty it may
 * be all. Not seen is what functions and DO do. `several`: it may be several statements.
 */
export function readingChange(
  bytes: Buffer,
  start: number,
  end: number,
  several: boolean,
  options: ReadingOptions,
): ReadingChange | null {
  if (!mayBeginWithSet(bytes, start, end, several)) return null;
  const statements = readStatements(bytes, start, end, options);
  if (statements === null) return { indexes: ALL, isLocal: true };
  const changes = statements.map(changeOf).filter((change) => change !== null);
  if (changes.length === 0) return null;
  return {
    indexes: [...new Set(changes.flatMap(({ indexes }) => indexes))],
    isLocal: changes.some(({ isLocal }) => isLocal),
  };
}
