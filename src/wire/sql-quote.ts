import assert from 'node:assert';

/** Longest parameter name accepted, in characters; PostgreSQL's own stay below 40. */
const MAX_PARAMETER_NAME = 127;
const PARAMETER_NAME = /^[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)*$/;
const NON_ASCII = /[\u0080-\uffff]/;

/**
 * `value` as an SQL string literal: `'…'` with `''` for a quote, or, when it has a backslash, `E'…'` with
 * backslashes escaped, so that it reads the same whatever `standard_conforming_strings` is. A zero character,
 * which no PostgreSQL text can hold, ends the value. Source: manual, `sql-syntax-lexical`, String Constants.
 */
export function quoteLiteral(value: string): string {
  const nul = value.indexOf('\0');
  const quoted = (nul < 0 ? value : value.slice(0, nul)).replaceAll("'", "''");
  if (!quoted.includes('\\')) return `'${quoted}'`;
  // We write UTF-8, the server reads by client_encoding, and in some of those (SJIS, BIG5, GBK) a backslash can be
  // the second half of a character. Of a doubled one half could survive and escape the closing quote; of the
  // octal form nothing dangerous is left.
  const backslash = NON_ASCII.test(quoted) ? '\\134' : '\\\\';
  return `E'${quoted.replaceAll('\\', backslash)}'`;
}

/**
 * Whether `name` can stand unquoted as a parameter's name in `SET`: identifiers of ASCII letters, digits, `_` and
 * `$`, joined by dots. Anything else is refused rather than quoted: names come from clients and servers, and no
 * real one needs more.
 */
export function isParameterName(name: string): boolean {
  return name.length <= MAX_PARAMETER_NAME && PARAMETER_NAME.test(name);
}

/** `SET name='value';`. The name has passed {@link isParameterName}. Source: PgBouncer, parameters on link. */
export function setStatement(name: string, value: string): string {
  assert(isParameterName(name), 'not a parameter name');
  return `SET ${name}=${quoteLiteral(value)};`;
}
