import { Token } from '../prepared/sql-scan.ts';
import { type Cell, type Column, TypeOid } from '../wire/result.ts';
import { driverSettings } from './driver-settings.ts';
import type { SqlStatement, SqlToken } from './sql-text.ts';

/** What a SELECT of a driver's own comes to. */
export interface SelectAnswer {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
  /** Highest `$n` in it. */
  readonly parameters: number;
}

/** What its functions say, beside what {@link driverSettings} has. */
export interface SelectFacts {
  readonly user: string;
  readonly database: string;
  /** The text of `version()`. */
  readonly version: string;
}

interface Value {
  readonly name: string;
  readonly type: TypeOid;
  readonly cell: Cell;
}

/** Functions without arguments; SQL has some of these without parentheses, too. */
const FUNCTIONS: Readonly<Record<string, (facts: SelectFacts) => [TypeOid, Cell]>> = {
  version: ({ version }) => [TypeOid.text, version],
  current_schema: () => [TypeOid.text, 'public'],
  current_database: ({ database }) => [TypeOid.text, database],
  current_catalog: ({ database }) => [TypeOid.text, database],
  current_user: ({ user }) => [TypeOid.text, user],
  session_user: ({ user }) => [TypeOid.text, user],
  user: ({ user }) => [TypeOid.text, user],
  pg_is_in_recovery: () => [TypeOid.bool, 'f'],
  pg_advisory_unlock_all: () => [TypeOid.text, ''],
};
const WITHOUT_PARENTHESES = new Set([
  'current_schema',
  'current_catalog',
  'current_user',
  'session_user',
  'user',
]);

const INTEGERS: ReadonlySet<string> = new Set(['int', 'int4', 'integer']);
const TEXTS: ReadonlySet<string> = new Set(['text', 'varchar', 'name']);

/**
 * Answers a SELECT that drivers and their users' health checks send to see whether somebody is there, and to load
 * types: constants, some functions, and the catalogs of types. Null for any other: the console has no tables.
 */
export function answerSelect(statement: SqlStatement, facts: SelectFacts): SelectAnswer | null {
  const [first, ...rest] = statement.tokens;
  if (first?.type !== Token.Word || first.text !== 'select' || rest.length === 0) return null;
  const from = topLevel(rest, (token) => isWord(token, 'from'))[0];
  if (from !== undefined) return readCatalog(rest.slice(0, from), rest.slice(from + 1));
  const items = splitList(rest);
  if (items.length > MAX_COLUMNS) return null;
  const values = items.map((tokens) => new ValueReader(tokens, facts).read());
  if (!values.every((value) => value !== null)) return null;
  return {
    columns: values.map(({ name, type }) => ({ name, type })),
    rows: [values.map(({ cell }) => cell)],
    parameters: 0,
  };
}

/** `primary [::type] [/ integer] [[AS] name]`, as far as drivers go. */
class ValueReader {
  readonly #tokens: readonly SqlToken[];
  readonly #facts: SelectFacts;
  #at = 0;

  constructor(tokens: readonly SqlToken[], facts: SelectFacts) {
    this.#tokens = tokens;
    this.#facts = facts;
  }

  read(): Value | null {
    let value = this.#primary();
    while (value !== null && this.#takeSymbols('::')) value = this.#cast(value);
    if (value !== null && value.type === TypeOid.int4 && this.#takeSymbols('/')) value = this.#divide(value);
    if (value === null) return null;
    this.#takeWord('as');
    const alias = this.#tokens[this.#at];
    if (alias === undefined) return value;
    if (this.#at !== this.#tokens.length - 1 || !isName(alias)) return null;
    return { ...value, name: alias.text };
  }

  #primary(): Value | null {
    const token = this.#tokens[this.#at++];
    if (token === undefined) return null;
    if (token.type === Token.Number && /^[0-9]{1,9}$/.test(token.text)) {
      return { name: '?column?', type: TypeOid.int4, cell: token.text };
    }
    if (token.type === Token.String) {
      const text = plainString(token.text);
      return text === null ? null : { name: '?column?', type: TypeOid.text, cell: text };
    }
    if (token.type !== Token.Word) return null;
    if (token.text === 'pg_catalog' && this.#takeSymbols('.')) return this.#primary();
    if (WITHOUT_PARENTHESES.has(token.text) && !isSymbol(this.#tokens[this.#at], '('))
      return this.#call(token.text);
    if (!this.#takeSymbols('(')) return null;
    const argument = this.#tokens[this.#at];
    if (token.text === 'current_setting' && argument?.type === Token.String) {
      this.#at++;
      const setting = driverSettings.get(plainString(argument.text)?.toLowerCase() ?? '');
      if (setting === undefined || !this.#takeSymbols(')')) return null;
      return { name: token.text, type: TypeOid.text, cell: setting };
    }
    return this.#takeSymbols(')') ? this.#call(token.text) : null;
  }

  #call(name: string): Value | null {
    const made = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name]?.(this.#facts) : undefined;
    return made === undefined ? null : { name, type: made[0], cell: made[1] };
  }

  #cast({ name, cell }: Value): Value | null {
    const type = this.#tokens[this.#at++];
    if (type?.type !== Token.Word) return null;
    if (TEXTS.has(type.text)) return { name, type: TypeOid.text, cell };
    if (!INTEGERS.has(type.text) || !/^[0-9]{1,9}$/.test(String(cell))) return null;
    return { name, type: TypeOid.int4, cell };
  }

  #divide({ cell }: Value): Value | null {
    const divisor = this.#tokens[this.#at++];
    if (divisor?.type !== Token.Number || Number(divisor.text) === 0) return null;
    return { name: '?column?', type: TypeOid.int4, cell: Math.trunc(Number(cell) / Number(divisor.text)) };
  }

  #takeSymbols(symbols: string): boolean {
    for (let i = 0; i < symbols.length; i++) {
      if (!isSymbol(this.#tokens[this.#at + i], symbols.charAt(i))) return false;
    }
    this.#at += symbols.length;
    return true;
  }

  #takeWord(word: string): void {
    const token = this.#tokens[this.#at];
    if (token !== undefined && isWord(token, word)) this.#at++;
  }
}

/** Catalogs about which there is something true to say here: no extension, no enum, no array, and few types. */
const KNOWN_CATALOGS: ReadonlySet<string> = new Set([
  'pg_attribute',
  'pg_class',
  'pg_enum',
  'pg_extension',
  'pg_namespace',
  'pg_proc',
  'pg_range',
  'pg_show_all_settings',
  'pg_type',
]);
/** One of these has to be among them: what others say of tables is nobody's business here. */
const TYPE_CATALOGS: ReadonlySet<string> = new Set([
  'pg_enum',
  'pg_extension',
  'pg_show_all_settings',
  'pg_type',
]);

/**
 * A look into the catalogs of types: the columns as named, in text, and the types that the console's own columns have
 * where it asks for all types with names and OIDs; no row where it asks for anything else, or by a parameter.
 */
function readCatalog(list: readonly SqlToken[], source: readonly SqlToken[]): SelectAnswer | null {
  const catalogs = source.filter((token) => token.type === Token.Word && /^pg_(?!catalog$)/.test(token.text));
  const names = catalogs.map((token) => token.text);
  if (!names.every((name) => KNOWN_CATALOGS.has(name)) || !names.some((name) => TYPE_CATALOGS.has(name)))
    return null;
  const columns = splitList(list).map(columnName);
  if (columns.length > MAX_COLUMNS) return null;
  if (!columns.every((name) => name !== null)) return null;
  const parameters = [...list, ...source]
    .filter(({ type }) => type === Token.Parameter)
    .reduce((highest, { text }) => Math.max(highest, Number(text.slice(1))), 0);
  if (parameters > MAX_PARAMETERS) return null;
  const isTypeList =
    parameters === 0 && names.includes('pg_type') && columns.includes('typname') && columns.includes('oid');
  return {
    columns: columns.map((name) => ({ name, type: TypeOid.text })),
    rows: isTypeList ? TYPE_ROWS.map((row) => columns.map((name) => row[name] ?? null)) : [],
    parameters,
  };
}

/** More than any driver asks for; a console may keep many answers. */
const MAX_COLUMNS = 64;

/** A Bind carries at most as many. */
const MAX_PARAMETERS = 65535;

/** What `pg_type` says of the types that there are here. */
const TYPE_ROWS: readonly Readonly<Record<string, string>>[] = Object.entries(TypeOid).map(
  ([typname, oid]) => ({
    oid: String(oid),
    typname,
    nspname: 'pg_catalog',
    typnamespace: '11',
    typtype: 'b',
    typnotnull: 'f',
    typelem: '0',
    typarray: '0',
    typrelid: '0',
    typdelim: ',',
  }),
);

/** The name that PostgreSQL gives to an expression of a SELECT list; null for `*`. */
function columnName(tokens: readonly SqlToken[]): string | null {
  const last = tokens.at(-1);
  if (last === undefined || (isSymbol(last, '*') && (tokens.length === 1 || isSymbol(tokens.at(-2), '.'))))
    return null;
  // With or without AS, an alias is a name that comes last; so is a column, behind its table's name or alone.
  if (isName(last) && !isSymbol(tokens.at(-2), ':')) return isWord(last, 'end') ? 'case' : last.text;
  const [first] = tokens;
  const call = first?.text === 'pg_catalog' ? tokens[2] : first;
  return call?.type === Token.Word ? call.text : '?column?';
}

/** The parts of a list between its commas. */
function splitList(tokens: readonly SqlToken[]): SqlToken[][] {
  const commas = topLevel(tokens, (token) => isSymbol(token, ','));
  const starts = [0, ...commas.map((at) => at + 1)];
  return starts.map((start, i) => tokens.slice(start, commas[i] ?? tokens.length));
}

/** Where the tokens stand that are meant, outside of parentheses. */
function topLevel(tokens: readonly SqlToken[], isMeant: (token: SqlToken) => boolean): number[] {
  const found: number[] = [];
  let depth = 0;
  tokens.forEach((token, i) => {
    if (isSymbol(token, '(')) depth++;
    else if (isSymbol(token, ')')) depth--;
    else if (depth === 0 && isMeant(token)) found.push(i);
  });
  return found;
}

function isWord(token: SqlToken, word: string): boolean {
  return token.type === Token.Word && token.text === word;
}

function isSymbol(token: SqlToken | undefined, symbol: string): boolean {
  return token?.type === Token.Symbol && token.text === symbol;
}

function isName(token: SqlToken): boolean {
  return token.type === Token.Word || token.type === Token.QuotedName;
}

/** What a string between plain quotes says; null for the other forms. */
function plainString(source: string): string | null {
  return /^'(?:[^']|'')*'$/.test(source) ? source.slice(1, -1).replaceAll("''", "'") : null;
}
