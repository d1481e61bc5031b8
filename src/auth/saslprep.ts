/**
 * SASLprep (RFC 4013) in the way of PostgreSQL: both ends of a SCRAM login must derive the same key from one
 * password, so the quirks of PostgreSQL's preparation are part of the protocol.
 */
import {
  leftToRight,
  mappedToNothing,
  nonAsciiSpaces,
  prohibited,
  rightToLeft,
  unassigned,
} from './saslprep-tables.ts';

/** Sorted, disjoint ranges: first and last code point of each. */
interface RangeTable {
  readonly firsts: readonly number[];
  readonly lasts: readonly number[];
}

function unpack(text: string): RangeTable {
  const firsts: number[] = [];
  const lasts: number[] = [];
  let first = 0;
  for (const range of text.split(' ')) {
    const [step = '', span = '0'] = range.split('-');
    first += Number.parseInt(step, 36);
    firsts.push(first);
    lasts.push(first + Number.parseInt(span, 36));
  }
  return { firsts, lasts };
}

function contains(table: RangeTable, codePoint: number): boolean {
  let low = 0;
  let high = table.firsts.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (codePoint < (table.firsts[middle] as number)) high = middle - 1;
    else if (codePoint > (table.lasts[middle] as number)) low = middle + 1;
    else return true;
  }
  return false;
}

const tables = {
  nonAsciiSpaces: unpack(nonAsciiSpaces),
  mappedToNothing: unpack(mappedToNothing),
  prohibited: unpack(prohibited),
  unassigned: unpack(unassigned),
  rightToLeft: unpack(rightToLeft),
  leftToRight: unpack(leftToRight),
};

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text of valid UTF-8, or null. */
function decode(bytes: Buffer): string | null {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return null;
  }
}

/**
 * RFC 3454, section 6: text with a right-to-left character starts and ends with one and holds no left-to-right
 * character.
 */
function directionsAgree(codePoints: readonly number[]): boolean {
  if (!codePoints.some((code) => contains(tables.rightToLeft, code))) return true;
  if (codePoints.some((code) => contains(tables.leftToRight, code))) return false;
  const first = codePoints[0] as number;
  const last = codePoints[codePoints.length - 1] as number;
  return contains(tables.rightToLeft, first) && contains(tables.rightToLeft, last);
}

/**
 * Longer text beyond ASCII is not prepared: it comes from strangers, and normalizing a run of combining marks takes
 * time that grows with the square of its length (a third of a second for 64 kB). PostgreSQL has no such limit.
 */
const MAX_PREPARED_BYTES = 4096;

/**
 * The bytes that stand for a password in SCRAM. Plain ASCII comes back as it is; so does, as in PostgreSQL,
 * every password that SASLprep refuses: invalid UTF-8, prohibited or unassigned characters, mixed directions,
 * nothing left after mapping; and one that is longer than {@link MAX_PREPARED_BYTES}.
 * Ownership: may return `password` itself. Source: RFC 4013; manual, `sasl-authentication`.
 */
export function saslprep(password: Buffer): Buffer {
  if (password.every((byte) => byte < 0x80)) return password;
  const text = password.length > MAX_PREPARED_BYTES ? null : decode(password);
  if (text === null) return password;

  const mapped: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    // U+200B stands in both tables; the space wins in PostgreSQL.
    if (contains(tables.nonAsciiSpaces, code)) mapped.push(0x20);
    else if (!contains(tables.mappedToNothing, code)) mapped.push(code);
  }
  if (mapped.length === 0) return password;
  // PostgreSQL looks for forbidden characters ahead of the normalization, not behind it.
  const forbidden = (code: number) => contains(tables.prohibited, code) || contains(tables.unassigned, code);
  if (mapped.some(forbidden) || !directionsAgree(mapped)) return password;
  let prepared = '';
  for (const code of mapped) prepared += String.fromCodePoint(code);
  return Buffer.from(prepared.normalize('NFKC'), 'utf8');
}
