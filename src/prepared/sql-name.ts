import { Token } from './sql-scan.ts';

/** Longest identifier in bytes; PostgreSQL cuts longer ones (NAMEDATALEN is 64, with the terminating zero). */
const MAX_NAME = 63;
/** No identifier of so many bytes grows past {@link MAX_NAME}: one byte becomes three at most. */
const MAX_NAME_ANY_ENCODING = 21;

const BACKSLASH = 0x5c;
const DOUBLE_QUOTE = 0x22;
const PLUS = 0x2b;

/** What is to be known of a client_encoding to read SQL text in it. */
export interface TextEncoding {
  readonly isUtf8: boolean;
  /** A byte from 0x80 may have an ASCII byte behind it that is no character of its own. */
  readonly hasAsciiTrails: boolean;
}

/** PostgreSQL's names, and its aliases, of the encodings that only a client can have for that reason. */
const ASCII_TRAILS = new Set([
  ...['sjis', 'mskanji', 'shiftjis', 'win932', 'windows932', 'shiftjis2004', 'johab', 'gb18030'],
  ...['big5', 'win950', 'windows950', 'gbk', 'win936', 'windows936', 'uhc', 'win949', 'windows949'],
]);

/** The encoding that `client_encoding` names; case and punctuation mean nothing. Source: manual, `multibyte`. */
export function textEncoding(clientEncoding: string): TextEncoding {
  const name = clientEncoding.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  return { isUtf8: name === 'utf8' || name === 'unicode', hasAsciiTrails: ASCII_TRAILS.has(name) };
}

/**
 * The identifier in a token of `bytes` as PostgreSQL understands it: ASCII letters in lower case unless quoted,
 * doubled quotes and Unicode escapes resolved, cut to 63 bytes at a character's end. One character of the string
 * stands for a byte (latin1). `escape` is the byte that begins a Unicode escape.
 *
 * Null when it cannot be known: a wrong escape, or one beyond ASCII in an encoding other than UTF8; in such an
 * encoding also bytes from 0x80 in a name that might have to be cut, because PostgreSQL counts in the database's
 * encoding. That is taken to be UTF8. Source: manual, `sql-syntax-lexical`, Identifiers and Key Words.
 */
export function readName(
  bytes: Uint8Array,
  token: { readonly type: Token; readonly start: number; readonly end: number },
  escape: number,
  encoding: TextEncoding,
): string | null {
  if (token.type === Token.Word) return cut(folded(bytes, token.start, token.end), encoding);
  const isUnicode = token.type === Token.UnicodeName;
  const content = undoubled(bytes, token.start + (isUnicode ? 3 : 1), token.end - 1);
  if (!isUnicode) return cut(content, encoding);
  const unescaped = withoutEscapes(content, escape, encoding.isUtf8);
  return unescaped === null ? null : cut(unescaped, encoding);
}

/** ASCII letters in lower case, and nothing else: what bytes from 0x80 fold to depends on the server's locale. */
export function lowerAscii(text: string): string {
  return text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** `escape` when PostgreSQL takes it behind UESCAPE, else null. */
export function escapeByte(escape: number): number | null {
  const isTaken = /[^0-9a-fA-F+'"\s]/.test(String.fromCharCode(escape));
  return isTaken && escape < 0x80 ? escape : null;
}

/** UESCAPE unless it is said otherwise. */
export const DEFAULT_ESCAPE = BACKSLASH;

function folded(bytes: Uint8Array, start: number, end: number): number[] {
  const name: number[] = [];
  // One byte more than fits tells where the last character ends.
  for (let at = start; at < end && name.length <= MAX_NAME; at++) {
    const byte = bytes[at] as number;
    name.push(byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte);
  }
  return name;
}

function undoubled(bytes: Uint8Array, start: number, end: number): number[] {
  const content: number[] = [];
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    content.push(byte);
    if (byte === DOUBLE_QUOTE) at++;
  }
  return content;
}

function cut(name: readonly number[], encoding: TextEncoding): string | null {
  let length = Math.min(name.length, MAX_NAME);
  const kept = name.slice(0, length);
  if (name.length > MAX_NAME_ANY_ENCODING && !encoding.isUtf8 && kept.some((byte) => byte >= 0x80))
    return null;
  if (name.length > MAX_NAME) {
    // Not in the middle of a character: the first byte left out must begin one.
    while (length > 0 && ((name[length] as number) & 0xc0) === 0x80) length--;
  }
  return String.fromCharCode(...kept.slice(0, length));
}

/** Resolves `\XXXX`, `\+XXXXXX` and the doubled escape, with `escape` for the backslash. */
function withoutEscapes(content: readonly number[], escape: number, isUtf8: boolean): number[] | null {
  const name: number[] = [];
  /** The first of a pair of escapes in UTF-16, which the second has to follow directly; or 0. */
  let high = 0;
  for (let at = 0; at < content.length; at++) {
    const byte = content[at] as number;
    const isEscape = byte === escape && content[at + 1] !== escape;
    if (high !== 0 && !isEscape) return null;
    if (!isEscape) {
      name.push(byte);
      if (byte === escape) at++;
      continue;
    }
    const isLong = content[at + 1] === PLUS;
    const first = at + (isLong ? 2 : 1);
    const digits = String.fromCharCode(...content.slice(first, first + (isLong ? 6 : 4)));
    if (!(isLong ? /^[0-9a-fA-F]{6}$/ : /^[0-9a-fA-F]{4}$/).test(digits)) return null;
    at = first + digits.length - 1;
    let code = Number.parseInt(digits, 16);
    const isLow = code >= 0xdc00 && code <= 0xdfff;
    if (isLow !== (high !== 0)) return null;
    if (isLow) code = 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00);
    high = code >= 0xd800 && code <= 0xdbff ? code : 0;
    if (high !== 0) continue;
    if (code === 0 || code > 0x10ffff || (code >= 0x80 && !isUtf8)) return null;
    name.push(...Buffer.from(String.fromCodePoint(code)));
  }
  return high === 0 ? name : null;
}
