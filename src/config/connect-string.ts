import { ConfigError, type SourcePosition } from './config-error.ts';

/** One `key=value` of an entry in `[databases]`, `[users]` or `[peers]`. */
export interface ConnectPair {
  readonly key: string;
  readonly value: string;
}

/**
 * Splits an entry into its pairs, in order. Pairs are parted by spaces, and only by spaces: a tab belongs to
 * the value. Spaces may stand around `=`. A value in single quotes may hold spaces, and `''` for a quote.
 * An empty text has no pairs; an empty value is an error. Throws {@link ConfigError} on the entry's key.
 * Source: PgBouncer, connection strings of `[databases]`.
 */
export function parseConnectString(text: string, entry: string, at: SourcePosition): ConnectPair[] {
  const pairs: ConnectPair[] = [];
  let pos = skipSpaces(text, 0);
  while (pos < text.length) {
    const keyEnd = endOf(text, pos, ' =');
    const key = text.slice(pos, keyEnd);
    const equals = skipSpaces(text, keyEnd);
    if (key === '' || text[equals] !== '=') {
      throw new ConfigError(at, entry, 'key=value pairs with spaces between them');
    }
    const start = skipSpaces(text, equals + 1);
    const quoted = text[start] === "'";
    const end = quoted ? endOfQuoted(text, start + 1) : endOf(text, start, ' ');
    if (end < 0) throw new ConfigError(at, entry, `' at the end of the value of ${shownKey(key)}`);
    const value = quoted ? text.slice(start + 1, end - 1).replaceAll("''", "'") : text.slice(start, end);
    if (value === '') throw new ConfigError(at, entry, `a value for ${shownKey(key)} that is not empty`);
    if (quoted && end < text.length && text[end] !== ' ') {
      throw new ConfigError(at, entry, `a space after the quoted value of ${shownKey(key)}`);
    }
    pairs.push({ key, value });
    pos = skipSpaces(text, end);
  }
  return pairs;
}

/**
 * A pair's key for an error text. What stands in a key's place may be the rest of an unquoted password, so
 * only words that look like keys are shown.
 */
export function shownKey(key: string): string {
  return shownWord(key) || 'something else';
}

/** The key where it looks like one, else nothing. */
export function shownWord(key: string): string {
  return /^[a-z_]{1,30}$/.test(key) ? key : '';
}

/** A number as C's `atoi` reads it: leading digits count, garbage is 0. `exact` is false if anything was odd. */
export function atoi(text: string): { value: number; exact: boolean } {
  const digits = /^[ \t]*([+-]?[0-9]+)/.exec(text)?.[1];
  const value = Math.trunc(Number(digits ?? 0)) || 0;
  const clamped = Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, value));
  return { value: clamped, exact: digits === text && clamped === value };
}

/**
 * Reads the integers of one entry, with a warning for each that is none: PgBouncer takes garbage for 0 without
 * a word, and 0 often means no limit.
 */
export class EntryNumbers {
  readonly #entry: string;
  readonly #at: SourcePosition;
  readonly #warn: (warning: string) => void;

  constructor(entry: string, at: SourcePosition, warn: (warning: string) => void) {
    this.#entry = entry;
    this.#at = at;
    this.#warn = warn;
  }

  read(pair: ConnectPair): number {
    const { value, exact } = atoi(pair.value);
    if (!exact) {
      const where = `${this.#at.file}:${this.#at.line}: ${this.#entry}`;
      this.#warn(`${where}: ${pair.key} is not an integer in range, taken as ${value}`);
    }
    return value;
  }

  /** A number that means "inherit" below `least`, as null. */
  atLeast(pair: ConnectPair, least: number): number | null {
    const value = this.read(pair);
    return value < least ? null : value;
  }
}

function skipSpaces(text: string, from: number): number {
  let pos = from;
  while (text[pos] === ' ') pos++;
  return pos;
}

function endOf(text: string, from: number, stops: string): number {
  let pos = from;
  while (pos < text.length && !stops.includes(text.charAt(pos))) pos++;
  return pos;
}

/** The place behind the closing quote, or -1. */
function endOfQuoted(text: string, from: number): number {
  let pos = from;
  while (pos < text.length) {
    if (text[pos] !== "'") pos++;
    else if (text[pos + 1] === "'") pos += 2;
    else return pos + 1;
  }
  return -1;
}
