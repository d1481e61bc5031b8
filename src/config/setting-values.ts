import type { SettingRow } from './setting-rows.ts';

/** A parsed value, or what the file should have said instead. */
export type ParsedValue =
  | { readonly ok: true; readonly value: number | boolean | string | readonly string[] }
  | { readonly ok: false; readonly expected: string };

/**
 * Reads a setting's text as its row wants it. Never throws.
 * Source: PgBouncer's value syntax: integers are those of C's `strtol` with base 0 over the whole text, times
 * are decimal seconds without a unit, keywords ignore case.
 */
export function parseSetting(row: SettingRow, text: string): ParsedValue {
  switch (row.type) {
    case 'int':
      return parseRange(parseInteger(text), row.min, row.max);
    case 'bool': {
      const value = parseInteger(text);
      return value === null
        ? { ok: false, expected: 'an integer, 0 or 1' }
        : { ok: true, value: value !== 0 };
    }
    case 'time': {
      const value = parseSeconds(text);
      return value === null
        ? { ok: false, expected: 'seconds as a decimal number without a unit, not negative' }
        : { ok: true, value };
    }
    case 'enum':
      return parseKeyword(row.values, row.refused, text);
    case 'items':
      return { ok: true, value: splitItems(text) };
    case 'names':
      return { ok: true, value: text.split(/[,\s]+/).filter((name) => name !== '') };
    case 'text':
      return { ok: true, value: text };
  }
}

/**
 * A setting's text as `SHOW CONFIG` prints it: integers in decimal (0777 is 511), times as C's `%g`, keywords
 * as the table spells them, everything else as written. Null stays null. The text must be one that
 * {@link parseSetting} takes.
 */
export function formatSetting(row: SettingRow, text: string | null): string | null {
  if (text === null) return null;
  switch (row.type) {
    case 'int':
    case 'bool':
      return String(parseInteger(text) ?? text);
    case 'time':
      return formatG(parseSeconds(text) ?? 0);
    case 'enum':
      return text.toLowerCase();
    default:
      return text;
  }
}

/** C's `strtol` with base 0 over the whole text; null for anything else. A leading zero means octal. */
export function parseInteger(text: string): number | null {
  const match = /^([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))$/.exec(text);
  if (match === null) return null;
  const [, sign, hex, octal, decimal] = match;
  const size =
    hex !== undefined
      ? Number.parseInt(hex, 16)
      : octal !== undefined
        ? Number.parseInt(octal, 8)
        : Number(decimal);
  // No -0: it would print as 0 but compare oddly.
  return sign === '-' && size !== 0 ? -size : size;
}

function parseRange(value: number | null, min: number, max: number): ParsedValue {
  if (value === null) return { ok: false, expected: 'an integer' };
  if (value < min || value > max) return { ok: false, expected: `an integer from ${min} to ${max}` };
  return { ok: true, value };
}

function parseSeconds(text: string): number | null {
  if (!/^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/.test(text)) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

function parseKeyword(values: readonly string[], refused: readonly string[], text: string): ParsedValue {
  const keyword = text.toLowerCase();
  if (values.includes(keyword)) return { ok: true, value: keyword };
  const known = refused.includes(keyword) ? ` (${keyword} is not supported yet)` : '';
  return { ok: false, expected: `${listOf(values)}${known}` };
}

/** `a, b or c`: for texts that say what was expected. */
export function listOf(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`;
}

function splitItems(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** C's `%g` with its six significant digits, for finite numbers. */
export function formatG(value: number): string {
  if (value === 0) return '0';
  const [mantissa = '', exponentText = '0'] = value.toExponential(5).split('e');
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < 6) return dropZeros(value.toFixed(5 - exponent));
  const digits = String(Math.abs(exponent)).padStart(2, '0');
  return `${dropZeros(mantissa)}e${exponent < 0 ? '-' : '+'}${digits}`;
}

function dropZeros(digits: string): string {
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits;
}
