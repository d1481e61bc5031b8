import { lowerAscii } from './sql-name.ts';
import type { StatementCursor } from './statement-cursor.ts';

/** What a statement does to a parameter. Its name is in lower case, latin1; short forms have the one they stand for. */
export type ParameterForm =
  | { readonly kind: 'set'; readonly name: string; readonly isLocal: boolean }
  /** `all` for RESET ALL. */
  | { readonly kind: 'reset'; readonly name: string };

/**
 * What follows SET, to where the parameter is known; null when it sets none. Nearly every word that has a meaning
 * here is also a name that a parameter can have: what follows it decides. Source: manual, `sql-set`, `sql-set-role`,
 * `sql-set-session-authorization`, `sql-set-transaction`, `sql-set-constraints`.
 */
export function readSet(cursor: StatementCursor): ParameterForm | null {
  const isLocal = cursor.isWord('local');
  if (!isLocal && !cursor.isWord('session')) return readSetRest(cursor, false);
  const scope = cursor.takeName();
  if (scope === null || isAssigned(cursor)) return set(readParameter(cursor, scope?.name), false);
  if (isLocal) return readSetRest(cursor, true);
  if (cursor.isWord('authorization')) return set('session_authorization', false);
  return readSetRest(cursor, false);
}

function readSetRest(cursor: StatementCursor, isLocal: boolean): ParameterForm | null {
  const word = SHORT_FORMS.find((form) => cursor.isWord(form.word));
  const first = cursor.takeName();
  if (first === null) return null;
  if (word === undefined || isAssigned(cursor)) return set(readParameter(cursor, first.name), isLocal);
  if (word.second !== null && !cursor.isWord(word.second)) return null;
  return word.parameter === null ? null : set(word.parameter, isLocal);
}

/** SET with these words and without `=` or TO; those without a parameter set none. */
const SHORT_FORMS = [
  { word: 'time', second: 'zone', parameter: 'timezone' },
  { word: 'names', second: null, parameter: 'client_encoding' },
  { word: 'schema', second: null, parameter: 'search_path' },
  { word: 'role', second: null, parameter: 'role' },
  { word: 'session', second: 'authorization', parameter: 'session_authorization' },
  { word: 'xml', second: 'option', parameter: 'xmloption' },
  { word: 'transaction', second: null, parameter: null },
  { word: 'characteristics', second: null, parameter: null },
  { word: 'constraints', second: null, parameter: null },
  { word: 'catalog', second: null, parameter: null },
] as const;

/** What follows RESET; null when it names no parameter. Source: manual, `sql-reset`. */
export function readReset(cursor: StatementCursor): ParameterForm | null {
  if (cursor.isWord('all')) return { kind: 'reset', name: 'all' };
  const form = RESET_FORMS.find((each) => cursor.isWord(each.word));
  const first = cursor.takeName();
  if (first === null) return null;
  if (form !== undefined && cursor.isWord(form.second)) return { kind: 'reset', name: form.parameter };
  const name = readParameter(cursor, first.name);
  // Written in quotes it is a parameter, which doesn't exist.
  return name === null || name === 'all' ? null : { kind: 'reset', name };
}

const RESET_FORMS = [
  { word: 'time', second: 'zone', parameter: 'timezone' },
  { word: 'session', second: 'authorization', parameter: 'session_authorization' },
  { word: 'transaction', second: 'isolation', parameter: 'transaction_isolation' },
] as const;

/** Whether the name before was a parameter's, or the first part of one. */
function isAssigned(cursor: StatementCursor): boolean {
  return cursor.isSymbol('=') || cursor.isSymbol('.') || cursor.isWord('to') || cursor.isWord('from');
}

/** The parameter whose name begins with `first`, with the parts that follow, in lower case; null when one lacks. */
function readParameter(cursor: StatementCursor, first: string | undefined): string | null {
  if (first === undefined) return null;
  let name = first;
  while (cursor.isSymbol('.')) {
    cursor.advance();
    const part = cursor.takeName();
    if (part === null) return null;
    name += `.${part.name}`;
  }
  return lowerAscii(name);
}

function set(name: string | null, isLocal: boolean): ParameterForm | null {
  return name === null ? null : { kind: 'set', name, isLocal };
}
