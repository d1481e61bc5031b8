import { expect, test } from 'vitest';
import { fewRandomBytes } from '../../src/base/random.ts';

test('no byte is handed out twice, however many are asked for at a time', () => {
  const seen = new Set<string>();
  let count = 0;
  for (let round = 0; round < 2000; round++) {
    const bytes = fewRandomBytes(8 + (round % 90));
    expect(bytes.length).toBe(8 + (round % 90));
    for (let i = 0; i + 8 <= bytes.length; i += 8) {
      seen.add(bytes.toString('hex', i, i + 8));
      count++;
    }
  }
  expect(seen.size).toBe(count);
});

test('what was handed out is the taker’s own: writing to it changes nothing that comes later', () => {
  fewRandomBytes(16).fill(7);
  for (let i = 0; i < 600; i++) expect(fewRandomBytes(16).equals(Buffer.alloc(16, 7))).toBe(false);
});

test('more than a few are refused', () => {
  expect(() => fewRandomBytes(4097)).toThrow(RangeError);
  expect(fewRandomBytes(4096).length).toBe(4096);
});
