import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parameterStatus, parseParameterStatus } from '../../src/wire/parameter-status.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';

const bytes = parameterStatus('TimeZone', 'Europe/Zürich');

describe('parameterStatus', () => {
  it('is name and value', () => {
    expect(bytes.toString('latin1')).toBe('S\0\0\0\x1cTimeZone\0Europe/Z\xc3\xbcrich\0');
  });
});

describe('parseParameterStatus', () => {
  it('reads name and value from the middle of a chunk', () => {
    expect(parseParameterStatus(bytes, 5, bytes.length)).toEqual(['TimeZone', 'Europe/Zürich']);
  });

  it('reports a body cut at any byte as a protocol violation', () => {
    for (let end = 5; end < bytes.length; end++) {
      expect(() => parseParameterStatus(bytes, 5, end), `cut at ${end}`).toThrow(ProtocolViolation);
    }
  });

  it('throws nothing but protocol violations on random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), (random) => {
        try {
          const [name, value] = parseParameterStatus(Buffer.from(random), 0, random.length);
          expect(name + value).toEqual(expect.not.stringContaining('\0'));
        } catch (error) {
          if (!(error instanceof ProtocolViolation)) throw error;
        }
      }),
    );
  });
});
