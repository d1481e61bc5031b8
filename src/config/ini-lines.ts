/**
 * Reads the text of a `pgbouncer.ini` into statements: which key of which section got which value, and where.
 * This layer knows lines, sections and includes. It must not know what a key means.
 */
import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { ConfigError, type SourcePosition } from './config-error.ts';
import { shownWord } from './connect-string.ts';

/** How many `%include` may be nested inside each other. Source: PgBouncer, `%include`. */
export const MAX_INCLUDE_DEPTH = 10;

/**
 * One statement of the file, in file order. `section` is the header in force, empty before the first one.
 * `own` is a line `;pgweir key = value`, which stands for itself wherever it is. Values are literal: the rest
 * of the line without trailing blanks, quotes and `#` and `;` included.
 */
export type IniStatement =
  | { readonly kind: 'section'; readonly section: string; readonly at: SourcePosition }
  | {
      readonly kind: 'setting' | 'own';
      readonly section: string;
      readonly key: string;
      readonly value: string;
      readonly at: SourcePosition;
    };

/** Gives a file's bytes; throws when it cannot. Relative paths mean the working directory of the process. */
export type ReadFile = (path: string) => Buffer;

/**
 * Reads a file and all that it includes. Throws {@link ConfigError} for a file that cannot be read, a line
 * that is no statement, and includes nested deeper than {@link MAX_INCLUDE_DEPTH}.
 * Source: PgBouncer's configuration file format.
 */
export function readIni(path: string, readFile: ReadFile = (name) => readFileSync(name)): IniStatement[] {
  const reader = new IniReader(readFile);
  reader.readFile(path, 0, { file: path, line: 0 }, '');
  return reader.statements;
}

// C's isspace() without the newline, in the two places where PgBouncer asks it; elsewhere a blank is ' ' or \t.
const leadingSpace = /^[ \t\r\v\f]+/;
const trailingSpace = /[ \t\r\v\f]+$/;
const includeLine = /^%include[ \t]+(.*)$/s;
const ownLine = /^;pgweir[ \t]+(.*)$/s;
const plainKey = /^[A-Za-z0-9_.*-]+/;

class IniReader {
  readonly statements: IniStatement[] = [];
  readonly #read: ReadFile;
  // Carried into and out of included files, as the format wants it.
  #section = '';

  constructor(read: ReadFile) {
    this.#read = read;
  }

  readFile(path: string, depth: number, from: SourcePosition, key: string): void {
    let bytes: Buffer;
    try {
      bytes = this.#read(path);
    } catch (cause) {
      const why = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
      throw new ConfigError(from, key, `a readable file${why}`, { cause });
    }
    // One character per byte until a line turns out to be a statement: comments may be in any encoding.
    const lines = bytes.toString('latin1').split('\n');
    for (const [index, line] of lines.entries()) {
      this.#readLine(line.replace(leadingSpace, ''), depth, { file: path, line: index + 1 });
    }
  }

  #readLine(bytes: string, depth: number, at: SourcePosition): void {
    const own = ownLine.exec(bytes);
    if (own !== null) {
      this.#addSetting('own', decode(own[1] ?? '', at), at);
      return;
    }
    if (bytes === '' || bytes.startsWith(';') || bytes.startsWith('#')) return;
    const include = includeLine.exec(bytes);
    if (include !== null) {
      this.#include(decode(include[1] ?? '', at), depth, at);
    } else if (bytes.startsWith('[')) {
      this.#enterSection(bytes, depth, at);
    } else {
      this.#addSetting('setting', decode(bytes, at), at);
    }
  }

  #include(text: string, depth: number, at: SourcePosition): void {
    const path = text.replace(trailingSpace, '');
    if (path === '') throw new ConfigError(at, '%include', 'a file name');
    if (depth >= MAX_INCLUDE_DEPTH) {
      throw new ConfigError(at, '%include', `at most ${MAX_INCLUDE_DEPTH} nested includes`);
    }
    this.readFile(path, depth + 1, at, '%include');
  }

  #enterSection(bytes: string, depth: number, at: SourcePosition): void {
    const end = bytes.indexOf(']');
    if (end < 0) throw new ConfigError(at, '', '] at the end of the section name');
    this.#section = decode(bytes.slice(1, end), at);
    this.statements.push({ kind: 'section', section: this.#section, at });
    // What follows the header on its line is read like a line of its own: people write comments there.
    this.#readLine(bytes.slice(end + 1).replace(leadingSpace, ''), depth, at);
  }

  #addSetting(kind: 'setting' | 'own', text: string, at: SourcePosition): void {
    const { key, rest } = splitKey(text, at);
    const value = /^[ \t]*=[ \t]*(.*)$/s.exec(rest);
    if (value === null) throw new ConfigError(at, shownWord(key), '= after the key');
    this.statements.push({
      kind,
      section: this.#section,
      key,
      value: (value[1] ?? '').replace(trailingSpace, ''),
      at,
    });
  }
}

function splitKey(text: string, at: SourcePosition): { key: string; rest: string } {
  if (text.startsWith("'")) {
    const end = text.indexOf("'", 1);
    if (end < 0) throw new ConfigError(at, '', "' at the end of the quoted key");
    if (end === 1) throw new ConfigError(at, '', 'a key between the quotes');
    return { key: text.slice(1, end), rest: text.slice(end + 1) };
  }
  const key = plainKey.exec(text)?.[0];
  if (key === undefined) {
    throw new ConfigError(at, '', 'key = value, the key of letters, digits and _ . - *, or in single quotes');
  }
  return { key, rest: text.slice(key.length) };
}

function decode(bytes: string, at: SourcePosition): string {
  const buffer = Buffer.from(bytes, 'latin1');
  // A mangled name or password would be worse than a refusal: it would match nothing, silently.
  if (!isUtf8(buffer)) throw new ConfigError(at, '', 'text in UTF-8');
  if (buffer.includes(0)) throw new ConfigError(at, '', 'text without a zero byte');
  return buffer.toString('utf8');
}
