import { readdirSync, readFileSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import { ConfigError, type SourcePosition } from '../config/config-error.ts';
import { type IniStatement, type ReadFile, readIni } from '../config/ini-lines.ts';
import { loadConfig } from '../config/load.ts';

/** So many errors of one file are told; then it is no such file. */
const MOST_ERRORS = 50;

/** The line of an error that is about a whole file. */
const WHOLE = 0;

/** A set-up as far as it can be read. */
export interface ReadSetUp {
  /** Without the lines that are wrong; null: not even so. */
  readonly config: Config | null;
  readonly errors: readonly ConfigError[];
  readonly statements: readonly IniStatement[];
  readonly positions: ReadonlyMap<string, SourcePosition>;
  /** All files that were read, in order. */
  readonly files: readonly string[];
}

/**
 * Reads a configuration for all that is wrong with it, where the daemon stops at the first error: a line that is wrong,
 * also one of rules and maps of logins, is noted, taken for a comment, and all is read again. So is a file of rules that
 * cannot be read, taken for an empty one.
 */
export function readSetUp(path: string, readFile: ReadFile = (name) => readFileSync(name)): ReadSetUp {
  const wrong = new Map<string, Set<number>>();
  const files = new Set<string>();
  const reader = (goesOn: boolean) => (name: string) => {
    if (wrong.get(name)?.has(WHOLE) === true) return Buffer.alloc(0);
    const bytes = readFile(name);
    files.add(name);
    const lines = wrong.get(name);
    return lines === undefined ? bytes : withoutLines(bytes, lines, goesOn);
  };
  const read: ReadFile = reader(false);
  const authFiles = { read: reader(true), list: (folder: string) => readdirSync(folder) };
  const errors: ConfigError[] = [];
  for (;;) {
    try {
      const statements = readIni(path, read);
      const config = loadConfig(path, null, read, authFiles);
      return { config, errors, statements, positions: positionsOf(statements), files: [...files] };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      errors.push(error);
      const lines = wrong.get(error.file) ?? new Set();
      const isFatal = error.line === WHOLE && error.file === path;
      if (isFatal || lines.has(error.line) || errors.length >= MOST_ERRORS) {
        return { config: null, errors, statements: [], positions: new Map(), files: [...files] };
      }
      wrong.set(error.file, lines.add(error.line));
    }
  }
}

/** `goesOn`: a line that ends in a backslash goes on in the next one, which is left out with it. */
function withoutLines(bytes: Buffer, lines: ReadonlySet<number>, goesOn: boolean): Buffer {
  const kept = bytes.toString('latin1').split('\n');
  for (const line of lines) {
    let at = line - 1;
    let isContinued = true;
    while (isContinued && at < kept.length) {
      isContinued = goesOn && /\\\r?$/.test(kept[at] ?? '');
      kept[at++] = '#';
    }
  }
  return Buffer.from(kept.join('\n'), 'latin1');
}

function positionsOf(statements: readonly IniStatement[]): Map<string, SourcePosition> {
  const positions = new Map<string, SourcePosition>();
  for (const statement of statements) {
    if (statement.kind === 'section') continue;
    const { section, key, at, kind } = statement;
    const isSetting = kind === 'own' || section === 'pgbouncer' || section === 'pgweir';
    positions.set(isSetting ? key : `[${section}] ${key}`, at);
  }
  return positions;
}
