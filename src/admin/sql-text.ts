import { SqlScanner, Token } from '../prepared/sql-scan.ts';

/** A token of a statement: words in lower case, quoted names without their quotes, everything else as written. */
export interface SqlToken {
  readonly type: Token;
  readonly text: string;
}

/** One statement of a text. */
export interface SqlStatement {
  readonly tokens: readonly SqlToken[];
  /** Its text without comments; blanks stand where blanks or comments stood. */
  readonly source: string;
}

/**
 * Takes a text apart at its semicolons; empty statements are left out. Null when it cannot be read as SQL (a quote
 * without its end, say). Costs time linear in the text's length.
 */
export function splitStatements(text: string): readonly SqlStatement[] | null {
  const bytes = Buffer.from(text);
  // Strings are as `standard_conforming_strings` of the console's welcome says.
  const scanner = new SqlScanner(bytes, 0, bytes.length, true);
  const statements: SqlStatement[] = [];
  let tokens: SqlToken[] = [];
  let parts: string[] = [];
  let lastEnd = 0;
  const finish = (): void => {
    if (tokens.length > 0) statements.push({ tokens, source: parts.join('') });
    tokens = [];
    parts = [];
  };
  for (let type = scanner.next(); type !== Token.End; type = scanner.next()) {
    if (type === Token.Bad) return null;
    if (scanner.isSymbol(';')) {
      finish();
    } else {
      const source = bytes.toString('utf8', scanner.start, scanner.end);
      if (scanner.start > lastEnd && tokens.length > 0) parts.push(' ');
      parts.push(source);
      tokens.push({ type, text: textOf(type, source) });
    }
    lastEnd = scanner.end;
  }
  finish();
  return statements;
}

function textOf(type: Token, source: string): string {
  if (type === Token.Word) return source.toLowerCase();
  if (type === Token.QuotedName) return source.slice(1, -1).replaceAll('""', '"');
  return source;
}
