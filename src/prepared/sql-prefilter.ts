/** The keywords of the statements in question; one of them stands in each, and a keyword has no other spelling. */
const SEMICOLON = 0x3b;

const WORDS = ['prepare', 'execute', 'deallocate', 'discard'].map((word) => Buffer.from(word));
const SETS = ['set', 'reset'].map((word) => Buffer.from(word));
/** With what ends a transaction, or goes back in it. */
const SETS_AND_ENDS = [
  ...SETS,
  ...['commit', 'end', 'rollback', 'abort', 'prepare'].map((word) => Buffer.from(word)),
];
/**
 * What PostgreSQL does not analyze before it carries it out, by the first word (CREATE may be TABLE … AS, which it does).
 * Source: `stmt_requires_parse_analysis`.
 */
const UTILITIES = (
  'abort alter analyse analyze begin checkpoint close cluster comment commit copy deallocate discard do drop end fetch ' +
  'grant import listen load lock move notify prepare reassign refresh reindex release reset revoke rollback savepoint ' +
  'security set show start truncate unlisten vacuum'
)
  .split(' ')
  .map((word) => Buffer.from(word));
/** What their statements begin with. */
const FIRST_WORDS = [...WORDS, ...['explain', 'create'].map((word) => Buffer.from(word))];
/** Pairs of neighbouring bytes in the first seven of a word, which all of them have. */
const PAIRS = 6;
/** By {@link pair}: at which places of a word's first six pairs this one occurs, as bits. 0 for most. */
const PLACES = places();

/** Two bytes as an index below 1024: what is left of a letter is the same in both cases. */
function pair(first: number, second: number): number {
  return ((first & 31) << 5) | (second & 31);
}

function places(): Uint8Array {
  const table = new Uint8Array(1024);
  for (const word of WORDS) {
    for (let at = 0; at < PAIRS; at++) {
      const index = pair(word[at] as number, word[at + 1] as number);
      table[index] = (table[index] as number) | (1 << at);
    }
  }
  return table;
}

/**
 * Whether the SQL text `bytes[start..end)` has to be read because a statement in it may be PREPARE, EXECUTE (also
 * in EXPLAIN or CREATE TABLE), DEALLOCATE or DISCARD. False is certain, in every encoding and for any text. This is
 * asked for each simple query: it allocates nothing, and of most texts it looks at every sixth pair of bytes only.
 *
 * It searches for the words themselves. One in the text's first statement counts only if that begins as one of them
 * would: `SELECT … WHERE action = 'execute'` does not.
 */
export function mayConcernStatements(bytes: Buffer, start: number, end: number): boolean {
  const found = findWord(bytes, start, end);
  if (found < 0) return false;
  if (indexOfStop(bytes, start, found) >= 0) return true;
  const first = firstToken(bytes, start, end);
  if (first >= 0 && isAnyOf(FIRST_WORDS, bytes, first, end)) return true;
  const stop = indexOfStop(bytes, found, end);
  return stop >= 0 && findWord(bytes, stop, end) >= 0;
}

/**
 * Whether a statement of the SQL text `bytes[start..end)` may begin with SET or RESET, or with `orEnds` end a transaction,
 * which may be its first only unless `several`. False is certain, as with {@link mayConcernStatements}, and it
 * allocates nothing either.
 */
export function mayBeginWithSet(
  bytes: Buffer,
  start: number,
  end: number,
  several: boolean,
  orEnds = false,
): boolean {
  const words = orEnds ? SETS_AND_ENDS : SETS;
  if (!several) {
    const first = firstWord(bytes, start, end);
    return first >= 0 && isAnyOf(words, bytes, first, end);
  }
  // A `;` in a string may have anything behind it, long comments included that others are in: so often, and no more.
  let left = 4 * (end - start) + 64;
  for (let stop = start - 1; stop >= start - 1; stop = indexOfStop(bytes, stop + 1, end)) {
    const first = firstToken(bytes, stop + 1, end);
    if (first >= 0 && isAnyOf(words, bytes, first, end)) return true;
    left -= (first < 0 ? end : first) - stop;
    if (left < 0) return true;
  }
  return false;
}

/**
 * Whether the single statement that the SQL text `bytes[start..end)` begins with is one whose constants PostgreSQL reads
 * only when it is carried out, not when it is prepared. True is certain, in every encoding.
 */
export function isUtility(bytes: Buffer, start: number, end: number): boolean {
  const first = firstToken(bytes, start, end);
  return first >= 0 && isAnyOf(UTILITIES, bytes, first, end);
}

/**
 * Where the first statement of the SQL text `bytes[start..end)` begins that is not empty, for PostgreSQL allows any number of
 * those ahead of a single one; -1: it is not in sight.
 */
export function firstWord(bytes: Buffer, start: number, end: number): number {
  let at = firstToken(bytes, start, end);
  while (at >= 0 && bytes[at] === SEMICOLON) at = firstToken(bytes, at + 1, end);
  return at;
}

/** Where the first of the words stands, as a word of its own; -1: nowhere. */
function findWord(bytes: Buffer, start: number, end: number): number {
  // Wherever a word begins, one of its first six pairs is among these.
  for (let at = start + PAIRS - 1; at < end - 1; at += PAIRS) {
    const places = PLACES[pair(bytes[at] as number, bytes[at + 1] as number)] as number;
    if (places === 0) continue;
    const word = wordAround(bytes, start, at, end, places);
    if (word >= 0) return word;
  }
  return -1;
}

/** Where a word stands whose pair at one of these places is the one at `at`; -1: nowhere. */
function wordAround(bytes: Buffer, start: number, at: number, end: number, places: number): number {
  // Both neighbours must be the pair before and behind in a word, as far as it has them.
  const before = at > start ? (PLACES[pair(bytes[at - 1] as number, bytes[at] as number)] as number) : 0;
  const behind =
    at + 2 < end ? (PLACES[pair(bytes[at + 1] as number, bytes[at + 2] as number)] as number) : 0;
  const likely = places & ((before << 1) | 1) & ((behind >> 1) | (1 << (PAIRS - 1)));
  if (likely === 0) return -1;
  for (let place = 0; place < PAIRS; place++) {
    const word = at - place;
    if ((likely & (1 << place)) === 0 || word < start) continue;
    const isInWord = word > start && isWordByte(bytes[word - 1] as number);
    if (!isInWord && isAnyOf(WORDS, bytes, word, end)) return word;
  }
  return -1;
}

/** The first `;`, also one in a string or comment; -1: there is none. */
function indexOfStop(bytes: Buffer, start: number, end: number): number {
  for (let at = start; at < end; at++) if (bytes[at] === SEMICOLON) return at;
  return -1;
}

/** The first byte that is neither space nor in a comment; -1: there is none. */
function firstToken(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const byte = bytes[at] as number;
    const next = at + 1 < end ? (bytes[at + 1] as number) : 0;
    if (byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)) at++;
    else if (byte === 0x2d && next === 0x2d) at = lineEnd(bytes, at, end);
    else if (byte === 0x2f && next === 0x2a) at = commentEnd(bytes, at, end);
    else return at;
  }
  return -1;
}

function lineEnd(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== 0x0a && bytes[at] !== 0x0d) at++;
  return at;
}

/** The position behind a comment that opens at `start`, which may hold others; `end` when it isn't closed. */
function commentEnd(bytes: Buffer, start: number, end: number): number {
  let depth = 1;
  let at = start + 2;
  while (at + 1 < end && depth > 0) {
    const isClosing = bytes[at] === 0x2a && bytes[at + 1] === 0x2f;
    const isOpening = bytes[at] === 0x2f && bytes[at + 1] === 0x2a;
    if (isClosing) depth--;
    if (isOpening) depth++;
    at += isClosing || isOpening ? 2 : 1;
  }
  return depth > 0 ? end : at;
}

/** Whether one of the words stands at `at` and is no beginning of a longer one. */
function isAnyOf(words: readonly Buffer[], bytes: Buffer, at: number, end: number): boolean {
  for (let i = 0; i < words.length; i++) if (isWordAt(words[i] as Buffer, bytes, at, end)) return true;
  return false;
}

function isWordAt(word: Buffer, bytes: Buffer, at: number, end: number): boolean {
  const behind = at + word.length;
  if (behind > end || (behind < end && isWordByte(bytes[behind] as number))) return false;
  for (let i = 0; i < word.length; i++) {
    if (((bytes[at + i] as number) | 0x20) !== word[i]) return false;
  }
  return true;
}

/** Letters, digits, `_`, `$` and all from 0x80: what makes a keyword next to it another word. */
function isWordByte(byte: number): boolean {
  const lower = byte | 0x20;
  if (lower >= 0x61 && lower <= 0x7a) return true;
  return (byte >= 0x30 && byte <= 0x39) || byte === 0x5f || byte === 0x24 || byte >= 0x80;
}
