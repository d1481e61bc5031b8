/**
 * The console's grammar: `word [word] [;]` or `SET key (= | TO) value [;]`, keywords in any case, one statement,
 * no comments. A word is letters, digits and `_`, or anything in double quotes (`""` for a quote). SET's value
 * is a word or a single-quoted string (`''` for a quote).
 */
export type Statement =
  /** Nothing but blanks and at most one semicolon. */
  | { readonly kind: 'empty' }
  /** `word` is in lower case, `arg` as written. */
  | { readonly kind: 'command'; readonly word: string; readonly arg: string | null }
  | { readonly kind: 'set'; readonly key: string; readonly value: string }
  /** Well formed, but a part is longer than allowed. */
  | { readonly kind: 'tooLong' }
  | { readonly kind: 'invalid' };

/** The longest parts in bytes, as PgBouncer's console has them. */
const MAX_COMMAND_BYTES = 15;
const MAX_ARGUMENT_BYTES = 63;
const MAX_VALUE_BYTES = 255;

/** Blank space, or one token. The quoted forms are unrolled so that no input makes them backtrack. */
const TOKEN =
  /(?<blank>[ \t\r\n\f\v]+)|(?<word>[0-9A-Za-z_]+)|"(?<quoted>[^"]*(?:""[^"]*)*)"|'(?<string>[^']*(?:''[^']*)*)'|(?<sign>[=;])/y;

interface Token {
  readonly kind: 'word' | 'quoted' | 'string' | '=' | ';';
  readonly text: string;
  readonly afterBlank: boolean;
}

const invalid: Statement = Object.freeze({ kind: 'invalid' });

/** Parses one query text. Never throws; costs time linear in the text's length. */
export function parseStatement(text: string): Statement {
  const tokens = tokenize(text);
  if (tokens === null) return invalid;
  if (tokens.at(-1)?.kind === ';') tokens.pop();
  const [first, second, third, fourth] = tokens;
  if (first === undefined) return { kind: 'empty' };
  if (!isWord(first)) return invalid;
  if (tokens.length === 1) return command(first.text, null);
  // An empty name between quotes must not pass for no name: `PAUSE ""` would pause everything.
  if (second === undefined || !isWord(second) || !second.afterBlank || second.text === '') return invalid;
  if (tokens.length === 2) return command(first.text, second.text);
  if (tokens.length !== 4 || third === undefined || fourth === undefined) return invalid;
  if (!isKeyword(first, 'set')) return invalid;
  if (third.kind !== '=' && !(isKeyword(third, 'to') && third.afterBlank && fourth.afterBlank))
    return invalid;
  if (!isWord(fourth) && fourth.kind !== 'string') return invalid;
  if (isLonger(second.text, MAX_ARGUMENT_BYTES) || isLonger(fourth.text, MAX_VALUE_BYTES)) {
    return { kind: 'tooLong' };
  }
  return { kind: 'set', key: second.text, value: fourth.text };
}

function command(word: string, arg: string | null): Statement {
  if (isLonger(word, MAX_COMMAND_BYTES) || isLonger(arg ?? '', MAX_ARGUMENT_BYTES)) {
    return { kind: 'tooLong' };
  }
  return { kind: 'command', word: word.toLowerCase(), arg };
}

function tokenize(text: string): Token[] | null {
  const tokens: Token[] = [];
  let afterBlank = false;
  let position = 0;
  while (position < text.length) {
    TOKEN.lastIndex = position;
    const groups = TOKEN.exec(text)?.groups;
    if (groups === undefined) return null;
    position = TOKEN.lastIndex;
    if (groups['blank'] !== undefined) {
      afterBlank = true;
      continue;
    }
    tokens.push({ ...tokenOf(groups), afterBlank });
    afterBlank = false;
  }
  return tokens;
}

function tokenOf(groups: Record<string, string | undefined>): Omit<Token, 'afterBlank'> {
  if (groups['word'] !== undefined) return { kind: 'word', text: groups['word'] };
  if (groups['quoted'] !== undefined) return { kind: 'quoted', text: groups['quoted'].replaceAll('""', '"') };
  if (groups['string'] !== undefined) return { kind: 'string', text: groups['string'].replaceAll("''", "'") };
  return { kind: groups['sign'] === ';' ? ';' : '=', text: '' };
}

function isWord(token: Token): boolean {
  return token.kind === 'word' || token.kind === 'quoted';
}

function isKeyword(token: Token, keyword: string): boolean {
  return token.kind === 'word' && token.text.toLowerCase() === keyword;
}

function isLonger(text: string, bytes: number): boolean {
  return Buffer.byteLength(text) > bytes;
}
