/**
 * SQL text as PostgreSQL's own lexer takes it apart, as far as it matters where a statement begins and ends and
 * what its first words are. This folder knows SQL as bytes and names of statements: no connection, no message.
 */

/** What {@link SqlScanner.next} found. */
export const Token = {
  /** Nothing is left. */
  End: 0,
  /** Something that is not closed, or that no token begins with: the text cannot be read with certainty. */
  Bad: 1,
  /** An identifier without quotes, or a keyword. */
  Word: 2,
  /** `"…"` */
  QuotedName: 3,
  /** `U&"…"`, without a UESCAPE that may follow. */
  UnicodeName: 4,
  /** A string of any kind, from its letter or `$` to its last quote, continuations included. */
  String: 5,
  /** `$1` */
  Parameter: 6,
  /** The leading digits of a number. What follows them (`.5`, `e5`, `xff`, `_000`) comes as tokens of its own. */
  Number: 7,
  /** One byte of an operator, or one of `,()[].;:`. */
  Symbol: 8,
} as const;
export type Token = (typeof Token)[keyof typeof Token];

const QUOTE = 0x27;
const DOUBLE_QUOTE = 0x22;
const DOLLAR = 0x24;
const AMPERSAND = 0x26;
const STAR = 0x2a;
const DASH = 0x2d;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const LF = 0x0a;
const CR = 0x0d;

/** Classes of bytes, as bits. */
const SPACE = 1;
/** May begin an identifier; all bytes from 0x80 may. */
const LETTER = 2;
const DIGIT = 4;
const SYMBOL = 8;
const CLASS = classes();

function classes(): Uint8Array {
  const table = new Uint8Array(256).fill(LETTER, 0x80);
  const mark = (chars: string, bit: number): void => {
    for (const char of chars) table[char.charCodeAt(0)] = bit;
  };
  mark(' \t\n\r\f\v', SPACE);
  mark('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_', LETTER);
  mark('0123456789', DIGIT);
  mark('~!@#^&|`?+-*/%<>=,()[].;:', SYMBOL);
  return table;
}

/** How a string ends: bits at the first quote; plain ones know `''`, escaped ones also a backslash. */
const BITS = 0;
const PLAIN = 1;
const ESCAPED = 2;
type StringForm = typeof BITS | typeof PLAIN | typeof ESCAPED;

/**
 * Walks over the tokens of `bytes` from `start` to `end`, and reads nothing beyond. `type`, `start` and `end` hold
 * until the following {@link next} (flyweight). Every byte is looked at a fixed number of times at most.
 *
 * Bytes are taken one by one: the caller keeps away from encodings in which an ASCII byte can be the second half of
 * a character. Tokens end where PostgreSQL's do, in every version that accepts the text: PostgreSQL up to 14 reads
 * `1and` as two tokens, later ones refuse it, so that reading two is never wrong.
 * Source: manual, `sql-syntax-lexical`.
 */
export class SqlScanner {
  type: Token = Token.End;
  /** First byte of the token, and the byte behind it. */
  start: number;
  end: number;
  readonly #bytes: Uint8Array;
  readonly #limit: number;
  readonly #plainForm: StringForm;

  /** Borrows `bytes`. Standard-conforming strings take a backslash as it is. */
  constructor(bytes: Uint8Array, start: number, end: number, standardConformingStrings: boolean) {
    this.#bytes = bytes;
    this.#limit = end;
    this.#plainForm = standardConformingStrings ? PLAIN : ESCAPED;
    this.start = start;
    this.end = start;
  }

  /** Steps to the next token and returns its type. Bad is for good. */
  next(): Token {
    if (this.type === Token.Bad) return Token.Bad;
    const start = this.#skipSpace(this.end);
    this.start = start < 0 ? this.#limit : start;
    this.end = this.#limit;
    if (start === this.#limit) {
      this.type = Token.End;
      return Token.End;
    }
    // The readers below set the type; they return where the token ends, or -1.
    const end = start < 0 ? -1 : this.#read(start);
    if (end < 0) this.type = Token.Bad;
    else this.end = end;
    return this.type;
  }

  /** True when the token is this keyword, given in lower case. A quoted name never is. */
  isWord(keyword: string): boolean {
    if (this.type !== Token.Word || this.end - this.start !== keyword.length) return false;
    for (let i = 0; i < keyword.length; i++) {
      // Of all bytes only a letter's two cases become that letter.
      if (((this.#bytes[this.start + i] as number) | 0x20) !== keyword.charCodeAt(i)) return false;
    }
    return true;
  }

  /** True when the token is this symbol. */
  isSymbol(char: string): boolean {
    return this.type === Token.Symbol && this.#at(this.start) === char.charCodeAt(0);
  }

  #read(start: number): number {
    const byte = this.#at(start);
    const kind = CLASS[byte] as number;
    if ((kind & LETTER) !== 0) return this.#word(start, byte);
    if ((kind & SYMBOL) !== 0) return this.#take(Token.Symbol, start + 1);
    if ((kind & DIGIT) !== 0) return this.#take(Token.Number, this.#skip(start + 1, DIGIT));
    if (byte === QUOTE) return this.#string(start, this.#plainForm);
    if (byte === DOUBLE_QUOTE) return this.#take(Token.QuotedName, this.#closing(start, DOUBLE_QUOTE, PLAIN));
    return byte === DOLLAR ? this.#dollar(start) : -1;
  }

  /** The byte at `pos`, or -1 at the end of the text. */
  #at(pos: number): number {
    return pos < this.#limit ? (this.#bytes[pos] as number) : -1;
  }

  #take(type: Token, end: number): number {
    this.type = type;
    return end;
  }

  /** The first position from `pos` whose byte has none of the bits. */
  #skip(pos: number, bits: number): number {
    let at = pos;
    while (at < this.#limit && ((CLASS[this.#bytes[at] as number] as number) & bits) !== 0) at++;
    return at;
  }

  /** A word, or what a single letter directly before a quote begins. */
  #word(start: number, first: number): number {
    const letter = first | 0x20;
    const second = this.#at(start + 1);
    if (second === QUOTE) {
      if (letter === 0x65 /* e */) return this.#string(start + 1, ESCAPED);
      if (letter === 0x62 /* b */ || letter === 0x78 /* x */) return this.#string(start + 1, BITS);
      if (letter === 0x6e /* n */) return this.#string(start + 1, this.#plainForm);
    }
    if (second === AMPERSAND && letter === 0x75 /* u */) {
      const third = this.#at(start + 2);
      // PostgreSQL refuses these without standard_conforming_strings, so they have no other form to be read in.
      if (third === QUOTE) return this.#string(start + 2, PLAIN);
      if (third === DOUBLE_QUOTE)
        return this.#take(Token.UnicodeName, this.#closing(start + 2, DOUBLE_QUOTE, PLAIN));
    }
    let end = start;
    do end = this.#skip(end + 1, LETTER | DIGIT);
    while (this.#at(end) === DOLLAR);
    return this.#take(Token.Word, end);
  }

  /** A string whose first quote is at `open`, with what continues it on later lines. */
  #string(open: number, form: StringForm): number {
    let quote = open;
    for (;;) {
      const end = this.#closing(quote, QUOTE, form);
      if (end < 0) return -1;
      quote = this.#continuation(end);
      if (quote < 0) return this.#take(Token.String, end);
    }
  }

  /** The position behind the quote that closes the one at `open`, or -1. */
  #closing(open: number, quote: number, form: StringForm): number {
    for (let at = open + 1; at < this.#limit; at++) {
      const byte = this.#bytes[at];
      if (byte === BACKSLASH && form === ESCAPED) at++;
      else if (byte === quote) {
        if (form === BITS || this.#at(at + 1) !== quote) return at + 1;
        at++;
      }
    }
    return -1;
  }

  /** The quote that goes on with a string which ended before `pos`: behind space with a line's end in it. -1: none. */
  #continuation(pos: number): number {
    let sawNewline = false;
    for (let at = pos; at < this.#limit; at++) {
      const byte = this.#bytes[at] as number;
      if (byte === LF || byte === CR) sawNewline = true;
      // The line's end behind the comment is looked at next.
      else if (byte === DASH && this.#at(at + 1) === DASH) at = this.#lineEnd(at) - 1;
      else if (CLASS[byte] !== SPACE) return byte === QUOTE && sawNewline ? at : -1;
    }
    return -1;
  }

  /** `$1`, or `$tag$…$tag$`. */
  #dollar(start: number): number {
    const digits = this.#skip(start + 1, DIGIT);
    if (digits > start + 1) return this.#take(Token.Parameter, digits);
    const last = this.#skip(start + 1, LETTER | DIGIT);
    if (this.#at(last) !== DOLLAR) return -1;
    const length = last + 1 - start;
    for (let at = last + 1; at + length <= this.#limit; at++) {
      if (this.#bytes[at] !== DOLLAR) continue;
      // A tag holds no `$`, so each comparison ends at the text's next one: all of them take linear time.
      let same = 1;
      while (same < length && this.#bytes[at + same] === this.#bytes[start + same]) same++;
      if (same === length) return this.#take(Token.String, at + length);
    }
    return -1;
  }

  /** The first position from `pos` that is neither space nor comment; -1 when a comment is not closed. */
  #skipSpace(pos: number): number {
    let at = pos;
    for (;;) {
      at = this.#skip(at, SPACE);
      const byte = this.#at(at);
      const next = this.#at(at + 1);
      if (byte === DASH && next === DASH) at = this.#lineEnd(at);
      else if (byte === SLASH && next === STAR) at = this.#commentEnd(at);
      else return at;
      if (at < 0) return -1;
    }
  }

  #lineEnd(pos: number): number {
    let at = pos;
    while (at < this.#limit && this.#bytes[at] !== LF && this.#bytes[at] !== CR) at++;
    return at;
  }

  /** The position behind a comment, which may hold others; -1 when one of them is not closed. */
  #commentEnd(open: number): number {
    let depth = 1;
    for (let at = open + 2; at + 1 < this.#limit; at++) {
      const byte = this.#bytes[at];
      const next = this.#bytes[at + 1];
      if (byte === STAR && next === SLASH) depth--;
      else if (byte === SLASH && next === STAR) depth++;
      else continue;
      if (depth === 0) return at + 2;
      at++;
    }
    return -1;
  }
}
