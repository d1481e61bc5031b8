import assert from 'node:assert';
import { TypeOid } from './type-oid.ts';

/** Sign words of `numeric`, and the base of its digits. */
const NUMERIC_POSITIVE = 0x0000;
const NUMERIC_NEGATIVE = 0x4000;
const NUMERIC_BASE_DIGITS = 4;

/**
 * A value in text format as the same value in binary format, for the types that results of ours have. `numeric` takes
 * whole numbers only; `bytea` is in hex form. Throws RangeError for an integer that its type cannot hold.
 * Source: the types' send functions; manual, `protocol-overview`, Formats and Format Codes.
 */
export function binaryCell(type: TypeOid, text: string): Buffer {
  switch (type) {
    case TypeOid.bool:
      return Buffer.from([text === 't' ? 1 : 0]);
    case TypeOid.int4: {
      const bytes = Buffer.allocUnsafe(4);
      bytes.writeInt32BE(Number(text));
      return bytes;
    }
    case TypeOid.int8: {
      const bytes = Buffer.allocUnsafe(8);
      bytes.writeBigInt64BE(BigInt(text));
      return bytes;
    }
    case TypeOid.numeric:
      return numeric(text);
    case TypeOid.bytea:
      assert(text.startsWith('\\x'), 'bytea in another form than hex');
      return Buffer.from(text.slice(2), 'hex');
    case TypeOid.text:
      return Buffer.from(text, 'utf8');
  }
}

/** Int16 each: count of digits, weight of the first, sign, digits behind the point; then the digits, in base 10,000. */
function numeric(text: string): Buffer {
  const match = /^(-?)0*([0-9]*)$/.exec(text);
  assert(match !== null && text !== '' && text !== '-', 'numeric that is no whole number');
  const decimal = match[2] as string;
  const width = Math.ceil(decimal.length / NUMERIC_BASE_DIGITS) * NUMERIC_BASE_DIGITS;
  const padded = decimal.padStart(width, '0');
  const digits: number[] = [];
  for (let at = 0; at < width; at += NUMERIC_BASE_DIGITS) {
    digits.push(Number(padded.slice(at, at + NUMERIC_BASE_DIGITS)));
  }
  const weight = Math.max(0, digits.length - 1);
  while (digits.at(-1) === 0) digits.pop();
  const sign = match[1] === '-' && digits.length > 0 ? NUMERIC_NEGATIVE : NUMERIC_POSITIVE;
  const bytes = Buffer.allocUnsafe(8 + 2 * digits.length);
  [digits.length, weight, sign, 0, ...digits].forEach((word, i) => bytes.writeUInt16BE(word, 2 * i));
  return bytes;
}
