import { describe, expect, it } from 'vitest';
import { query, terminate } from '../../src/wire/frontend.ts';

describe('query', () => {
  it('is the text and a zero byte', () => {
    expect(query('SELECT 1').toString('latin1')).toBe('Q\0\0\0\x0dSELECT 1\0');
  });

  it('counts bytes, not characters', () => {
    expect(query("SELECT 'ü😀'").toString('latin1')).toBe("Q\0\0\0\x14SELECT '\xc3\xbc\xf0\x9f\x98\x80'\0");
  });

  it('can be empty', () => {
    expect([...query('')]).toEqual([0x51, 0, 0, 0, 5, 0]);
  });
});

describe('terminate', () => {
  it('is X without a body', () => {
    expect([...terminate]).toEqual([0x58, 0, 0, 0, 4]);
  });
});
