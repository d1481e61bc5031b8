import { NAME_BYTES } from './client-statements.ts';

/** Where the zero-terminated name that begins at `from` ends (the zero's position); -1: not before `end`. */
export function nameEnd(bytes: Buffer, from: number, end: number): number {
  // Names are short: a loop costs less than a call to indexOf.
  for (let i = from; i < end; i++) if (bytes[i] === 0) return i;
  return -1;
}

/** The name in `bytes[from, to)` as far as PostgreSQL looks at it, latin1. */
export function nameOf(bytes: Buffer, from: number, to: number): string {
  return bytes.toString('latin1', from, Math.min(to, from + NAME_BYTES));
}

/**
 * The beginning of a message of `type` up to and with a name that takes the place of another, in one new buffer:
 * header, `bytes[body, nameStart)`, the new name with its zero. The rest of the body follows unchanged.
 * `bodyBytes`: length of the original body; `nameBytes`: new name with zero; the old one ends at `oldEnd`, where
 * its zero is.
 */
export function renamed(
  type: number,
  bytes: Buffer,
  body: number,
  bodyBytes: number,
  nameStart: number,
  oldEnd: number,
  nameBytes: Buffer,
): Buffer {
  const before = nameStart - body;
  const head = Buffer.allocUnsafe(5 + before + nameBytes.length);
  head[0] = type;
  head.writeInt32BE(4 + bodyBytes - (oldEnd + 1 - nameStart) + nameBytes.length, 1);
  bytes.copy(head, 5, body, nameStart);
  nameBytes.copy(head, 5 + before);
  return head;
}
