import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseDataRow } from '../../src/wire/data-row.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';

it('gives the columns as text, and NULL', () => {
  const body = Buffer.from([0, 3, 0, 0, 0, 2, 0xc3, 0xa4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
  expect(parseDataRow(body)).toEqual(['ä', null, '']);
  expect(parseDataRow(Buffer.of(0, 0))).toEqual([]);
});

it('throws nothing but ProtocolViolation', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        parseDataRow(Buffer.from(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolViolation);
      }
    }),
  );
});
