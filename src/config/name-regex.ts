/**
 * Regular expressions of HBA and ident files. PostgreSQL has its own kind, which takes linear time; JavaScript's can
 * take for ever on a name that somebody has made up for that. So only what means the same in both, and is quick on
 * every name that there can be, is taken.
 */

/** Longest name that an expression is tried on, in characters: what is longer matches none. A user's is 127 bytes. */
export const MAX_MATCHED_LENGTH = 127;

/**
 * Ways in which an expression may try to match a name before it gives up, at the most: some milliseconds. A repetition
 * (and the place where a match may begin, without `^`) goes through all lengths, `?` doubles, alternatives multiply.
 */
const MAX_WAYS = 500_000;

/** An expression, or what was expected in its place. */
export type NameRegex = { readonly regex: RegExp } | { readonly expected: string };

/** Escapes that mean the same in both. */
const ESCAPES = /^[dDsSwWtnrfv]$/;

/** One of each kind of text that V8 has code of its own for, and one twice: what it runs first it runs slowly. */
const WARM_UP = ['a', 'a', '\u0100'];

/** Compiles what stands behind the slash. Never throws, nor does trying the expression. */
export function compileNameRegex(source: string): NameRegex {
  const problem = problemOf(source);
  if (problem !== null) return { expected: problem };
  try {
    // PostgreSQL's dot stands for a line feed, too.
    const regex = new RegExp(source, 'su');
    // One that is too large is found out when it is first tried.
    for (const text of WARM_UP) regex.exec(text);
    return { regex };
  } catch {
    return { expected: 'a regular expression' };
  }
}

/** Whether `regex` finds something in `name`; gives the first group. */
export function matchName(regex: RegExp, name: string): { readonly group: string | null } | null {
  if (name.length > MAX_MATCHED_LENGTH) return null;
  const match = regex.exec(name);
  return match === null ? null : { group: match[1] ?? null };
}

interface Group {
  /** There is a repetition, an alternative or another group in it. */
  isComplex: boolean;
  alternatives: number;
}

function problemOf(source: string): string | null {
  if (source === '') return 'a regular expression behind the slash';
  const open: Group[] = [{ isComplex: false, alternatives: 1 }];
  /** Of the alternative at hand, outside of all groups: the ways of one add to those of the others. */
  let spans = source.startsWith('^') ? 0 : 1;
  let ways = 1;
  let waysBefore = 0;
  /** What a repetition would repeat. */
  let last: 'nothing' | 'atom' | 'group' = 'nothing';
  let lastGroup: Group | null = null;
  for (let pos = 0; pos < source.length; pos++) {
    const char = source[pos] as string;
    if (char === '\\') {
      const escaped = source[++pos] ?? '';
      if (/[A-Za-z0-9]/.test(escaped) && !ESCAPES.test(escaped)) {
        return `a regular expression without \\${escaped}`;
      }
      last = 'atom';
    } else if (char === '[') {
      const end = endOfBrackets(source, pos);
      if (end < 0) return 'a regular expression with ] behind [';
      const inside = source.slice(pos + 1, end);
      if (/\[[:.=]/.test(inside)) return 'a regular expression without [: :], [. .] or [= =]';
      const escaped = /\\([A-Za-z0-9])/.exec(inside.replace(/\\([dDsSwWtnrfv]|[^A-Za-z0-9])/gs, ''))?.[1];
      if (escaped !== undefined) return `a regular expression without \\${escaped}`;
      pos = end;
      last = 'atom';
    } else if (char === '(') {
      if (source[pos + 1] === '?' && source[pos + 2] !== ':') return 'a regular expression without (?';
      for (const group of open) group.isComplex = true;
      if (source[pos + 1] === '?') pos += 2;
      open.push({ isComplex: false, alternatives: 1 });
      last = 'nothing';
    } else if (char === ')') {
      if (open.length === 1) return 'a regular expression with ( before )';
      lastGroup = open.pop() as Group;
      ways *= lastGroup.alternatives;
      last = 'group';
    } else if (char === '|') {
      for (const group of open) group.isComplex = true;
      if (open.length > 1) (open.at(-1) as Group).alternatives++;
      else {
        waysBefore += waysOf(ways, spans);
        ways = 1;
        spans = source[pos + 1] === '^' ? 0 : 1;
      }
      last = 'nothing';
    } else if ('*+?{'.includes(char)) {
      const repeat = /^(?:[*+?]|\{(\d{1,3})(,(\d{0,3}))?\})\??/.exec(source.slice(pos));
      if (repeat === null || last === 'nothing') return 'a regular expression';
      const isOnce =
        char === '?' || (char === '{' && Number(repeat[3] ?? repeat[1]) <= 1 && repeat[3] !== '');
      if (isOnce) ways *= 2;
      else {
        spans++;
        if (last === 'group' && lastGroup?.isComplex === true) {
          return 'a regular expression that repeats no group with repetitions or alternatives in it, which can take very long';
        }
      }
      for (const group of open) group.isComplex = true;
      if (last === 'group' && lastGroup !== null) lastGroup.isComplex = true;
      pos += repeat[0].length - 1;
      last = 'nothing';
    } else last = char === '^' || char === '$' ? 'nothing' : 'atom';
  }
  if (open.length > 1) return 'a regular expression with ) behind (';
  return waysBefore + waysOf(ways, spans) > MAX_WAYS
    ? 'a regular expression with fewer repetitions, alternatives and ?, which together can take very long'
    : null;
}

/** With so many spans, each of which goes through all lengths. */
function waysOf(ways: number, spans: number): number {
  let all = ways;
  // More of them than characters make it no quicker.
  for (let i = 1; i <= spans; i++) all *= Math.max(1, MAX_MATCHED_LENGTH / i);
  return all;
}

/** Where the brackets that open at `start` close; -1: nowhere. A `]` that comes first is one of the characters. */
function endOfBrackets(source: string, start: number): number {
  let pos = start + 1;
  if (source[pos] === '^') pos++;
  // JavaScript has it otherwise: there it would close.
  if (source[pos] === ']') return -1;
  for (; pos < source.length; pos++) {
    if (source[pos] === '\\') pos++;
    else if (source[pos] === ']') return pos;
  }
  return -1;
}
