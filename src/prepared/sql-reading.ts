import { READING_PARAMETERS } from './reading.ts';
import { mayBeginWithSet } from './sql-prefilter.ts';
import { type ReadingOptions, readStatements, type SqlStatement } from './sql-statements.ts';

/** SET or RESET (also by DISCARD ALL) of what decides how later texts are read. */
export interface ReadingChange {
  /** Of {@link READING_PARAMETERS}. */
  readonly indexes: readonly number[];
  /** It may end with the transaction. */
  readonly isLocal: boolean;
  /** It ends a transaction, or goes back in it: what was changed in there may be as it was before; null: it doesn't. */
  readonly end: 'commit' | 'rollback' | null;
}

const NAMES = READING_PARAMETERS.map((name) => name.toLowerCase());
const ALL = NAMES.map((_name, i) => i);

/** What a text changes that nobody has read. */
export const ANYTHING: ReadingChange = { indexes: ALL, isLocal: true, end: 'rollback' };

/** A whole message is read by what holds ahead of it of the first two: the others count from statement to statement. */
export function isOfMessages(index: number): boolean {
  return index < 2;
}

export function isOfStatements(index: number): boolean {
  return !isOfMessages(index);
}

/** What a statement changes of that; null: nothing. */
export function changeOf(form: SqlStatement): ReadingChange | null {
  if (form.kind === 'commit' || form.kind === 'rollback')
    return { indexes: [], isLocal: false, end: form.kind };
  if (form.kind === 'discard-all') return { indexes: ALL, isLocal: false, end: null };
  if (form.kind !== 'set' && form.kind !== 'reset') return null;
  if (form.name === 'all') return { indexes: ALL, isLocal: false, end: null };
  const index = NAMES.indexOf(form.name);
  return index < 0 ? null : { indexes: [index], isLocal: form.kind === 'set' && form.isLocal, end: null };
}

/**
 * What the SQL text `bytes[start..end)` changes of that; null: nothing. Where it cannot be read with certainty it may
 * be all. Not seen is what functions and DO do. `several`: it may be several statements. `orEnds`: the end of a
 * transaction counts, too.
 */
export function readingChange(
  bytes: Buffer,
  start: number,
  end: number,
  several: boolean,
  options: ReadingOptions,
  orEnds: boolean,
): ReadingChange | null {
  if (!mayBeginWithSet(bytes, start, end, several, orEnds)) return null;
  const statements = readStatements(bytes, start, end, options);
  if (statements === null) return ANYTHING;
  const changes = statements.map(changeOf).filter((change) => change !== null);
  if (changes.length === 0) return null;
  return {
    indexes: [...new Set(changes.flatMap(({ indexes }) => indexes))],
    isLocal: changes.some(({ isLocal }) => isLocal),
    end: changes.reduce<ReadingChange['end']>(
      (all, { end: each }) => (all === 'rollback' ? all : (each ?? all)),
      null,
    ),
  };
}
