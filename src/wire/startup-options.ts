import type { StartupParameter } from './startup-packet.ts';

const UNSUPPORTED =
  "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed";
const WHITESPACE = ' \t\n\v\f\r';

/**
 * Reads the `options` startup parameter, a command line for the server process. Only settings are understood:
 * `-c name=value`, `-cname=value`, `--name=value`, separated by white space; a backslash makes the next character
 * literal. Dashes in a name become underscores, as PostgreSQL has it. Returns the settings in their order, or,
 * when anything else stands in it, the text of the error for the client (08P01).
 * Source: manual, `libpq-connect-options`; PgBouncer's `ignore_startup_parameters`.
 */
export function parseStartupOptions(options: string): readonly StartupParameter[] | string {
  const words = splitWords(options);
  const settings: StartupParameter[] = [];
  for (let i = 0; i < words.length; i++) {
    const setting = parseSetting(words[i] as string, words[i + 1]);
    if (setting === null) return UNSUPPORTED;
    settings.push(setting.parameter);
    i += setting.extraWords;
  }
  return settings;
}

/** The setting in `word`, which takes `next` with it when it is a bare `-c`; null when it is none. */
function parseSetting(
  word: string,
  next: string | undefined,
): { parameter: StartupParameter; extraWords: number } | null {
  if (word === '-c') return next === undefined ? null : withName(next, 1);
  if (word.startsWith('-c') || word.startsWith('--')) return withName(word.slice(2), 0);
  return null;
}

function withName(assignment: string, extraWords: number) {
  const equals = assignment.indexOf('=');
  // 0 is a value without a name, which no server could make sense of either.
  if (equals <= 0) return null;
  const name = assignment.slice(0, equals).replaceAll('-', '_');
  return { parameter: [name, assignment.slice(equals + 1)] as const, extraWords };
}

/** Splits at white space and takes the backslashes out. One pass; every round consumes a character. */
function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  for (let i = 0; i < text.length; i++) {
    let char = text[i] as string;
    if (WHITESPACE.includes(char)) {
      if (word !== null) words.push(word);
      word = null;
      continue;
    }
    // A backslash at the very end stands for nothing, but it makes a word, if an empty one.
    if (char === '\\') char = text[++i] ?? '';
    word = (word ?? '') + char;
  }
  if (word !== null) words.push(word);
  return words;
}
