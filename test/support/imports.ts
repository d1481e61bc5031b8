/** One import, export from, or dynamic import with a literal name. */
export interface ImportFound {
  readonly line: number;
  readonly specifier: string;
  /** Only types: nothing is left of it at run time. */
  readonly typeOnly: boolean;
}

/** What `scanModule` finds. */
export interface ModuleScan {
  readonly imports: readonly ImportFound[];
  /** Lines with a default export. */
  readonly defaultExports: readonly number[];
}

interface Token {
  readonly kind: 'word' | 'string' | 'sign';
  readonly text: string;
  readonly line: number;
}

/**
 * Comments, strings, templates and regular expressions as wholes, then names and single signs. Templates are
 * taken without their `${}` parts' insides, which hold no import in this project.
 */
const TOKEN =
  /(?<skip>\s+|\/\/.*|\/\*[^]*?\*\/|`(?:\\[^]|[^\\`])*`)|(?<string>'(?:\\.|[^\\'\n])*'|"(?:\\.|[^\\"\n])*")|(?<word>[\p{ID_Start}$_#][\p{ID_Continue}$]*|\d[\w.]*)|(?<sign>[^])/uy;
const REGEX = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/uy;
/** Words after which a slash begins a regular expression and divides nothing. */
const BEFORE_REGEX = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'void',
  'delete',
  'await',
  'yield',
  'else',
]);

/**
 * Finds what a module imports and whether it has a default export, with a tokenizer in place of a parser:
 * TypeScript 7 has no API to ask.
 */
export function scanModule(source: string): ModuleScan {
  const tokens = tokenize(source);
  const imports: ImportFound[] = [];
  const defaultExports: number[] = [];
  tokens.forEach((token, index) => {
    if (token.kind !== 'word' || tokens[index - 1]?.text === '.') return;
    if (token.text === 'import') {
      const found = importAt(tokens, index);
      if (found !== null) imports.push(found);
    } else if (token.text === 'export') {
      const next = tokens[index + 1]?.text;
      if (next === 'default' || exportsAsDefault(tokens, index)) defaultExports.push(token.line);
      const found = next === '*' || next === '{' || next === 'type' ? fromClause(tokens, index) : null;
      if (found !== null) imports.push(found);
    }
  });
  return { imports, defaultExports };
}

function importAt(tokens: readonly Token[], index: number): ImportFound | null {
  const line = tokens[index]?.line ?? 0;
  const next = tokens[index + 1];
  if (next?.kind === 'string') return { line, specifier: next.text, typeOnly: false };
  if (next?.text === '(') {
    const name = tokens[index + 2];
    return name?.kind === 'string' ? { line, specifier: name.text, typeOnly: false } : null;
  }
  return fromClause(tokens, index);
}

/** Reads names, braces, commas and stars up to `from 'name'`; anything else means it is another statement. */
function fromClause(tokens: readonly Token[], index: number): ImportFound | null {
  const line = tokens[index]?.line ?? 0;
  const typeOnly = tokens[index + 1]?.text === 'type' && tokens[index + 2]?.text !== 'from';
  for (let at = index + 1; at < tokens.length; at++) {
    const token = tokens[at];
    const name = tokens[at + 1];
    if (token?.text === 'from' && name?.kind === 'string') return { line, specifier: name.text, typeOnly };
    if (token === undefined || (token.kind !== 'word' && !['{', '}', ',', '*'].includes(token.text)))
      return null;
  }
  return null;
}

function exportsAsDefault(tokens: readonly Token[], index: number): boolean {
  if (tokens[index + 1]?.text !== '{') return false;
  for (let at = index + 2; at < tokens.length && tokens[at]?.text !== '}'; at++) {
    if (tokens[at]?.text === 'default' && tokens[at - 1]?.text === 'as') return true;
  }
  return false;
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  let position = 0;
  while (position < source.length) {
    const last = tokens.at(-1);
    REGEX.lastIndex = position;
    TOKEN.lastIndex = position;
    const comment = source.startsWith('//', position) || source.startsWith('/*', position);
    const regex = source[position] === '/' && !comment && beginsRegex(last) ? REGEX.exec(source) : null;
    const match = regex ?? TOKEN.exec(source);
    if (match === null) break;
    const text = match[0];
    const groups = regex === null ? match.groups : undefined;
    if (groups?.['string'] !== undefined) tokens.push({ kind: 'string', text: text.slice(1, -1), line });
    else if (groups?.['word'] !== undefined) tokens.push({ kind: 'word', text, line });
    else if (groups?.['sign'] !== undefined) tokens.push({ kind: 'sign', text, line });
    line += text.split('\n').length - 1;
    position += text.length;
  }
  return tokens;
}

function beginsRegex(last: Token | undefined): boolean {
  if (last === undefined) return true;
  if (last.kind === 'string') return false;
  return last.kind === 'word' ? BEFORE_REGEX.has(last.text) : !')]}'.includes(last.text);
}
