import { quoteLiteral } from '../wire/sql-quote.ts';
import { isUtility } from './sql-prefilter.ts';

/** What decides how a text's bytes and its constants are read when it is prepared. */
export const READING_PARAMETERS = [
  'client_encoding',
  'standard_conforming_strings',
  'DateStyle',
  'TimeZone',
  'IntervalStyle',
] as const;

/** These and those behind matter to constants of types that have them. */
const FIRST_OF_CONSTANTS = READING_PARAMETERS.indexOf('DateStyle');

/** Values of {@link READING_PARAMETERS}, in their order; empty: the server's own. */
export interface Reading {
  readonly values: readonly string[];
  /** The same for all that read alike. */
  readonly key: string;
}

export const READ_ANYHOW: Reading = { values: [], key: '' };

export function readingOf(values: readonly string[]): Reading {
  return { values, key: values.join('\0') };
}

/** Requests of ours around the preparing of a text, as queries. ASCII. */
export interface ReadingSwitch {
  readonly there: string;
  readonly back: string;
  /** Between the two PostgreSQL speaks in another encoding than the client. */
  readonly changesEncoding: boolean;
}

/** Also `\'`, which PostgreSQL refuses in encodings that have the backslash's byte in other characters. */
const BYTES = /[\u0080-\u00ff]|\\'/;
/** Also `U&'…'`, which PostgreSQL refuses while backslashes have a meaning in all strings. */
const ESCAPES = /\\|&'/;
/** In quotes of either kind. A `$` with a digit behind it is a parameter's. */
const CONSTANTS = /'|\$(?!\d)/;
/** What a text has in it that a parameter matters to, of those ahead of {@link FIRST_OF_CONSTANTS}. */
const SIGNS = [BYTES, ESCAPES];
/** Longer texts have constants where they may have any: their first word is not looked for. Bytes. */
const LOOKED_AT = 1024;

/** How constants are read: the same for all that read alike. What isn't known is as `unknown` says. */
export function constantsKey({ values }: Reading, unknown: string): string {
  const known = values.slice(FIRST_OF_CONSTANTS).map((value) => (isKnown(value) ? value : unknown));
  return known.join('\0');
}

/** Whether constants that were read by `then` are read otherwise now; false: how they were read isn't known. */
export function readsConstantsOtherwise(then: Reading, now: Reading): boolean {
  let isOther = false;
  for (let i = FIRST_OF_CONSTANTS; i < then.values.length; i++) {
    const value = then.values[i] as string;
    if (!isKnown(value)) return false;
    isOther ||= value !== now.values[i];
  }
  return isOther;
}

/** Whether any matters to `text` (latin1) by its constants, of which a transaction's end, VACUUM and the like have none. */
export function hasConstants(text: string): boolean {
  if (!CONSTANTS.test(text)) return false;
  return text.length > LOOKED_AT || !isUtility(Buffer.from(text, 'latin1'), 0, text.length);
}

/** Whether the value at `index` matters to `text` (latin1). */
export function dependsOn(text: string, index: number): boolean {
  return index < FIRST_OF_CONSTANTS ? SIGNS[index]?.test(text) === true : hasConstants(text);
}

/**
 * What makes a server that reads as `now` read `text` (latin1) as `then`, and undoes that; null: it does already.
 * `own`: the server's own value of a parameter where that is not what RESET leads to.
 *
 * All of it is done for the transaction only, so that an error undoes it; and back to what was there before, be that
 * what it may, for a client's SET on its way is not known yet.
 */
export function readingSwitch(
  text: string,
  then: Reading,
  now: Reading,
  own: (name: string) => string | undefined,
): ReadingSwitch | null {
  const there: string[] = [];
  const back: string[] = [];
  READING_PARAMETERS.forEach((name, i) => {
    const value = then.values[i];
    if (value === undefined || (value === now.values[i] && isKnown(value)) || !dependsOn(text, i)) return;
    const kept = `pgweir.${name.toLowerCase()}`;
    const saved = `pg_catalog.set_config('${kept}',pg_catalog.current_setting('${name}'),true)`;
    const meant = value === '' ? own(name) : value;
    // CASE, for it looks at its condition first.
    there.push(
      `CASE WHEN ${saved} IS NOT NULL THEN pg_catalog.set_config('${name}',${valueSql(meant)},true) END`,
    );
    back.push(`pg_catalog.set_config('${name}',pg_catalog.current_setting('${kept}'),true)`);
  });
  if (there.length === 0) return null;
  return {
    there: `SELECT ${there.join()}`,
    back: `SELECT ${back.join()}`,
    changesEncoding: then.values[0] !== now.values[0] && BYTES.test(text),
  };
}

/** A value that nobody knows begins with a zero. */
export function isKnown(value: string): boolean {
  return !value.startsWith('\0');
}

/** NULL is what RESET leads to. What is not known becomes what no parameter takes. */
function valueSql(value: string | undefined): string {
  if (value === undefined) return 'NULL';
  return isKnown(value) ? quoteLiteral(value) : "'not known when the statement was prepared'";
}
