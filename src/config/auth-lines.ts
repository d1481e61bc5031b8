/**
 * Reads the texts of `auth_hba_file` and `auth_ident_file` into lines of fields, as PostgreSQL does: comments,
 * quotes, continued lines, includes and lists of names in files. This layer must not know what a field means.
 * Source: manual, `auth-pg-hba-conf`, `auth-username-maps`.
 */
import { isUtf8 } from 'node:buffer';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { ConfigError, type SourcePosition } from './config-error.ts';

/** One word. A quoted one is no keyword. */
export interface AuthToken {
  readonly text: string;
  readonly isQuoted: boolean;
}

/** What stands between blanks: words with commas between them. Never empty. */
export type AuthField = readonly AuthToken[];

/** One line that says something; never without a field. */
export interface AuthLine {
  readonly fields: readonly AuthField[];
  readonly at: SourcePosition;
}

/** The files, for tests to stand in. */
export interface AuthFiles {
  read(path: string): Buffer;
  list(folder: string): string[];
}

const systemFiles: AuthFiles = { read: (path) => readFileSync(path), list: (folder) => readdirSync(folder) };

/** Files inside files; PostgreSQL's limit. */
const MAX_DEPTH = 10;
/** A file of rules is a few kB; one that fills the memory is none. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
/** Lines of all files together: includes can multiply. */
const MAX_LINES = 200_000;

/**
 * Reads a file and all that it includes. Throws {@link ConfigError} with file and line for one that cannot be read and
 * for a line that cannot be taken apart.
 */
export function readAuthFile(path: string, key: string, files: AuthFiles = systemFiles): AuthLine[] {
  const reader = new AuthFileReader(key, files);
  reader.readFile(path, { file: path, line: 0 }, 0);
  return reader.lines;
}

/** The fields of a single line of text, such as a string of options. Throws as {@link readAuthFile}. */
export function splitAuthLine(text: string, at: SourcePosition, key: string): AuthField[] {
  return splitLine(text, at, key).fields;
}

/** Whether an option of that name is to hold a password, be it mistyped. */
export function namesPassword(option: string): boolean {
  return /pass|pw/i.test(option);
}

function isPasswordOption(text: string): boolean {
  const length = text.indexOf('=');
  return length > 0 && namesPassword(text.slice(0, length));
}

class AuthFileReader {
  readonly lines: AuthLine[] = [];
  readonly #key: string;
  readonly #files: AuthFiles;
  #lineCount = 0;

  constructor(key: string, files: AuthFiles) {
    this.#key = key;
    this.#files = files;
  }

  readFile(path: string, from: SourcePosition, depth: number): void {
    for (const { text, at } of this.#linesOf(path, from, depth)) {
      const { fields } = splitLine(text, at, this.#key);
      if (fields.length > 0) this.#take(fields, at, depth);
    }
  }

  #take(fields: AuthField[], at: SourcePosition, depth: number): void {
    const [first, second, third] = fields;
    const word = first?.[0];
    const isInclude =
      first?.length === 1 && word?.isQuoted === false && /^include(_if_exists|_dir)?$/.test(word.text);
    if (!isInclude) {
      // A password that should stand in quotes may go on with `@`: no error is to name that for a file.
      const password = fields.findIndex((field) => field.some(({ text }) => isPasswordOption(text)));
      const expanded = fields.map((field, index) =>
        password >= 0 && index >= password ? field : this.#expand(field, at, depth),
      );
      this.lines.push({ fields: expanded, at });
      return;
    }
    const name = second?.[0]?.text ?? '';
    if (name === '' || second?.length !== 1 || third !== undefined) {
      throw new ConfigError(at, word.text, 'one file name');
    }
    const path = beside(at.file, name);
    if (word.text === 'include_dir') this.#readFolder(path, at, depth);
    else if (word.text === 'include' || this.#exists(path)) this.readFile(path, at, depth + 1);
  }

  #readFolder(path: string, at: SourcePosition, depth: number): void {
    let names: string[];
    try {
      names = this.#files.list(path);
    } catch (cause) {
      throw new ConfigError(at, 'include_dir', `a readable folder${codeOf(cause)}`, { cause });
    }
    for (const name of names.filter((each) => /^[^.].*\.conf$/.test(each)).sort()) {
      this.readFile(join(path, name), at, depth + 1);
    }
  }

  #exists(path: string): boolean {
    try {
      this.#files.read(path);
      return true;
    } catch (error) {
      // One that is there and cannot be read holds rules that would be missing.
      return !(error instanceof Error && 'code' in error && error.code === 'ENOENT');
    }
  }

  /** `@file` stands for the names in that file. */
  #expand(field: AuthField, at: SourcePosition, depth: number): AuthField {
    if (!field.some((token) => isFileOfNames(token))) return field;
    const names: AuthToken[] = [];
    for (const token of field) {
      if (isFileOfNames(token)) this.#addNames(names, beside(at.file, token.text.slice(1)), at, depth + 1);
      else names.push(token);
    }
    if (names.length === 0) throw new ConfigError(at, this.#key, 'at least one name in the files of a list');
    return names;
  }

  #addNames(names: AuthToken[], path: string, from: SourcePosition, depth: number): void {
    for (const { text, at } of this.#linesOf(path, from, depth)) {
      for (const token of splitLine(text, at, this.#key).fields.flat()) {
        if (isFileOfNames(token)) this.#addNames(names, beside(path, token.text.slice(1)), at, depth + 1);
        else names.push(token);
      }
    }
  }

  /** Lines with those that end in a backslash joined to the next. */
  #linesOf(path: string, from: SourcePosition, depth: number): { text: string; at: SourcePosition }[] {
    if (depth > MAX_DEPTH)
      throw new ConfigError(from, this.#key, `at most ${MAX_DEPTH} files inside each other`);
    let bytes: Buffer;
    try {
      bytes = this.#files.read(path);
    } catch (cause) {
      throw new ConfigError(from, this.#key, `a readable file ${path}${codeOf(cause)}`, { cause });
    }
    if (bytes.length > MAX_FILE_BYTES) throw new ConfigError(from, this.#key, 'a file of at most 8 MiB');
    const joined: { text: string; at: SourcePosition }[] = [];
    let begun: { text: string; at: SourcePosition } | null = null;
    let end: Open = 'nothing';
    // One character per byte until a line turns out to say something: comments may be in any encoding.
    for (const [index, raw] of bytes.toString('latin1').split('\n').entries()) {
      if (++this.#lineCount > MAX_LINES) throw new ConfigError(from, this.#key, `at most ${MAX_LINES} lines`);
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
      const isContinued = line.endsWith('\\');
      const text = isContinued ? line.slice(0, -1) : line;
      if (begun === null) {
        begun = { text, at: { file: path, line: index + 1 } };
        end = 'nothing';
      } else {
        if (end === 'comment' && /^[ \t]*[^# \t]/.test(text)) {
          const expected =
            'no backslash at the end of the comment above: with it this line would be part of that';
          throw new ConfigError({ file: path, line: index + 1 }, this.#key, expected);
        }
        begun.text += text;
      }
      end = endOf(text, end);
      if (isContinued) continue;
      joined.push(begun);
      begun = null;
    }
    if (begun !== null) joined.push(begun);
    return joined.map(({ text, at }) => ({ text: decode(text, at, this.#key), at }));
  }
}

/** What is open at the end of a piece of a line. */
type Open = 'nothing' | 'quotes' | 'comment';

/** What is open behind `text`, with `open` ahead of it. */
function endOf(text: string, open: Open): Open {
  for (let pos = 0; pos < text.length && open !== 'comment'; pos++) {
    if (text[pos] === '"') open = open === 'quotes' ? 'nothing' : 'quotes';
    else if (text[pos] === '#' && open === 'nothing') open = 'comment';
  }
  return open;
}

function isFileOfNames({ text, isQuoted }: AuthToken): boolean {
  return !isQuoted && text.length > 1 && text.startsWith('@');
}

function beside(file: string, name: string): string {
  return isAbsolute(name) ? name : join(dirname(file), name);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
}

function decode(text: string, at: SourcePosition, key: string): string {
  const comment = text.trimStart().startsWith('#');
  const bytes = Buffer.from(text, 'latin1');
  if (comment) return '';
  // A name that was mangled would match nothing, or somebody else.
  if (!isUtf8(bytes)) throw new ConfigError(at, key, 'text in UTF-8');
  if (bytes.includes(0)) throw new ConfigError(at, key, 'text without a zero byte');
  return bytes.toString('utf8');
}

/** Blanks part fields, commas part the words of one; `"` quotes, `""` inside quotes is one quote, `#` begins a comment. */
function splitLine(line: string, at: SourcePosition, key: string): { fields: AuthField[] } {
  const fields: AuthToken[][] = [];
  let pos = 0;
  let joins = false;
  while (pos < line.length) {
    while (pos < line.length && /[ \t,]/.test(line[pos] as string)) pos++;
    if (pos >= line.length || line[pos] === '#') break;
    const isQuoted = line[pos] === '"';
    let text = '';
    let inQuotes = false;
    for (; pos < line.length; pos++) {
      const char = line[pos] as string;
      if (char === '"') {
        if (inQuotes && line[pos + 1] === '"') {
          text += '"';
          pos++;
        } else inQuotes = !inQuotes;
      } else if (!inQuotes && /[ \t,#]/.test(char)) break;
      else text += char;
    }
    if (inQuotes) throw new ConfigError(at, key, 'a second " on the line');
    const token = { text, isQuoted };
    if (joins) fields.at(-1)?.push(token);
    else fields.push([token]);
    joins = line[pos] === ',';
  }
  return { fields };
}
