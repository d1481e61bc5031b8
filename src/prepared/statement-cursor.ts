import { DEFAULT_ESCAPE, escapeByte, readName, type TextEncoding } from './sql-name.ts';
import { SqlScanner, Token } from './sql-scan.ts';

/** An identifier in a text, as PostgreSQL understands it: see `readName`. */
export interface FoundName {
  /** One character per byte (latin1). */
  readonly name: string;
  /** Its bytes in the buffer, quotes and a UESCAPE clause included. */
  readonly nameStart: number;
  readonly nameEnd: number;
}

/**
 * Steps through a text statement by statement, and within one token by token: it knows parentheses, and which `;`
 * ends a statement. {@link begin} stands on a statement's first token; at its end {@link atEnd} is true and
 * {@link advance} stays.
 */
export class StatementCursor {
  /** True once the text cannot be read with certainty. Nothing found in it counts then. */
  failed = false;
  /** The byte behind the last token that was stepped past. */
  lastEnd: number;
  readonly #bytes: Uint8Array;
  readonly #encoding: TextEncoding;
  readonly #token: SqlScanner;
  /** Parentheses and brackets that are open behind the current token. */
  #depth = 0;
  /** In a `BEGIN ATOMIC … END`, whose `;` end statements of its own. */
  #inBody = false;

  constructor(bytes: Uint8Array, start: number, end: number, strings: boolean, encoding: TextEncoding) {
    this.#bytes = bytes;
    this.#encoding = encoding;
    this.#token = new SqlScanner(bytes, start, end, strings);
    this.lastEnd = start;
  }

  /** First byte of the current token. */
  get start(): number {
    return this.#token.start;
  }

  get atEnd(): boolean {
    if (this.failed || this.#token.type === Token.End) return true;
    return this.#depth === 0 && !this.#inBody && this.isSymbol(';');
  }

  /** Steps to the next statement that is not empty; false when there is none. The one before is at its end. */
  begin(): boolean {
    do this.#next();
    while (this.isSymbol(';') && !this.failed);
    return !this.atEnd;
  }

  advance(): void {
    if (this.atEnd) return;
    this.lastEnd = this.#token.end;
    this.#next();
  }

  isWord(keyword: string): boolean {
    return !this.atEnd && this.#token.isWord(keyword);
  }

  isSymbol(char: string): boolean {
    return this.#token.isSymbol(char);
  }

  isString(): boolean {
    return this.#token.type === Token.String;
  }

  /** Steps past the current token if it is this keyword, and tells whether it was. */
  take(keyword: string): boolean {
    const isIt = this.isWord(keyword);
    if (isIt) this.advance();
    return isIt;
  }

  /** Steps past the current token if it is an identifier, with its UESCAPE; null when it is none. */
  takeName(): FoundName | null {
    const { type, start, end } = this.#token;
    if (this.atEnd || (type !== Token.Word && type !== Token.QuotedName && type !== Token.UnicodeName))
      return null;
    this.advance();
    const escape = type === Token.UnicodeName && this.take('uescape') ? this.#takeEscape() : DEFAULT_ESCAPE;
    const name = escape === null ? null : readName(this.#bytes, { type, start, end }, escape, this.#encoding);
    if (name !== null) return { name, nameStart: start, nameEnd: this.lastEnd };
    this.failed = true;
    return null;
  }

  /** Steps past a parenthesis that opens here and all that it holds. */
  skipParentheses(): void {
    if (!this.isSymbol('(')) return;
    const outside = this.#depth - 1;
    do this.advance();
    while (this.#depth > outside && !this.atEnd);
    this.advance();
  }

  /** Steps to the first of these keywords outside of parentheses that no dot makes a name; false: there is none. */
  skipTo(keyword: string): boolean {
    let isBehindDot = false;
    while (!this.atEnd) {
      if (this.#depth === 0 && !isBehindDot && this.isWord(keyword)) return true;
      isBehindDot = this.isSymbol('.');
      this.advance();
    }
    return false;
  }

  /** Steps to the statement's end. */
  skip(): void {
    while (!this.atEnd) this.advance();
  }

  /**
   * Steps to the end of a CREATE FUNCTION or PROCEDURE, whose body may be a list of statements, each with its `;`.
   * Fails for `BEGIN ATOMIC` within a body, which PostgreSQL has no use for: it may be a column with another name.
   */
  skipRoutine(): void {
    let isBehindBegin = false;
    let isBehindStop = false;
    while (!this.atEnd) {
      const isOutside = this.#depth === 0;
      const isBody = isOutside && isBehindBegin && this.isWord('atomic');
      if (isBody && this.#inBody) this.failed = true;
      // END as a statement of its own can only be the body's: transactions don't end inside.
      if (isOutside && isBehindStop && this.isWord('end')) this.#inBody = false;
      if (isBody) this.#inBody = true;
      isBehindBegin = isOutside && this.isWord('begin');
      isBehindStop = isBody || (isOutside && this.isSymbol(';'));
      this.advance();
    }
    if (this.#inBody) this.failed = true;
  }

  /** Steps to the statement's end. Fails at `BEGIN ATOMIC`, of which it is not certain what it begins there. */
  skipWithoutBody(): void {
    let isBehindBegin = false;
    while (!this.atEnd) {
      if (isBehindBegin && this.isWord('atomic')) this.failed = true;
      isBehindBegin = this.isWord('begin');
      this.advance();
    }
  }

  #next(): void {
    const type = this.#token.next();
    if (type === Token.Symbol) {
      if (this.isSymbol('(') || this.isSymbol('[')) this.#depth++;
      else if (this.isSymbol(')') || this.isSymbol(']')) this.#depth--;
    }
    if (type === Token.Bad || this.#depth < 0 || (type === Token.End && this.#depth !== 0))
      this.failed = true;
  }

  /** The character in the string behind UESCAPE; null for one that is written in another way than `'!'`. */
  #takeEscape(): number | null {
    const { start, end } = this.#token;
    const isSimple = this.isString() && end - start === 3;
    this.advance();
    return isSimple ? escapeByte(this.#bytes[start + 1] as number) : null;
  }
}
