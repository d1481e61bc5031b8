import { describe, expect, it } from 'vitest';
import { readyForQuery, readyForQueryIdle } from '../../src/wire/ready-for-query.ts';

describe('readyForQuery', () => {
  it('carries the transaction status', () => {
    expect(readyForQuery(0x54).toString('latin1')).toBe('Z\0\0\0\x05T');
  });

  it('is idle in the shared one', () => {
    expect(readyForQueryIdle.toString('latin1')).toBe('Z\0\0\0\x05I');
  });
});
