import { describe, expect, it } from 'vitest';
import { backendKeyData, isCancelKeyLength } from '../../src/wire/backend-key-data.ts';

describe('backendKeyData', () => {
  it('is process ID and secret as given', () => {
    expect(backendKeyData(Buffer.from('0102030405060708', 'hex')).toString('hex')).toBe(
      '4b0000000c0102030405060708',
    );
  });

  it('takes a long key', () => {
    expect(backendKeyData(Buffer.alloc(36, 1)).toString('hex')).toBe(`4b00000028${'01'.repeat(36)}`);
  });
});

describe('isCancelKeyLength', () => {
  it('takes a process ID with 4 to 256 bytes behind it', () => {
    for (const secret of [4, 5, 32, 255, 256]) expect(isCancelKeyLength(4 + secret), `${secret}`).toBe(true);
    for (const secret of [-4, -1, 0, 1, 2, 3, 257, 65_000]) {
      expect(isCancelKeyLength(4 + secret), `${secret}`).toBe(false);
    }
  });
});
