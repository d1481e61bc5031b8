import { describe, expect, it } from 'vitest';
import { backendKeyData } from '../../src/wire/backend-key-data.ts';

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
