import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  negotiateProtocolVersion,
  parseNegotiateProtocolVersion,
} from '../../src/wire/negotiate-protocol-version.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { message } from '../support/peer-messages.ts';

describe('negotiateProtocolVersion', () => {
  it('offers 3.2 when only the version was too new', () => {
    expect(negotiateProtocolVersion(2, []).toString('hex')).toBe('760000000c0003000200000000');
  });

  it('names every protocol option that was asked for, in its own bytes', () => {
    const names = ['_pq_.a', '_pq_.b\xff'].map((name) => Buffer.from(name, 'latin1'));
    expect(negotiateProtocolVersion(0, names).toString('latin1')).toBe(
      'v\0\0\0\x1b\0\x03\0\0\0\0\0\x02_pq_.a\0_pq_.b\xff\0',
    );
  });
});

describe('parseNegotiateProtocolVersion', () => {
  const body = (...parts: Parameters<typeof message> extends [string, ...infer P] ? P : never) =>
    message('v', ...parts).subarray(5);

  it.each([
    [0x30000, 2, 0],
    [0x30002, 2, 2],
    [0x30000, 0, 0],
    [0x30002, 5, 2],
  ])('takes %i where 3.%i was asked for', (version, asked, minor) => {
    expect(parseNegotiateProtocolVersion(body(version, 0), asked)).toBe(minor);
  });

  it.each([
    ['a newer version than was asked for', body(0x30003, 0)],
    ['the newest there could be', body(0x3ffff, 0)],
    ['3.1, which nobody speaks', body(0x30001, 0)],
    ['version 2.0', body(0x20000, 0)],
    ['version 4.0', body(0x40000, 0)],
    ['a minor version alone', body(0, 0)],
    ['a negative version', body(-1, 0)],
    ['an option that nobody asked for', body(0x30000, 1, '_pq_.x')],
    ['a count without options', body(0x30000, 1)],
    ['a huge count', body(0x30000, 0x7fffffff)],
    ['a negative count', body(0x30000, -1)],
    ['options without a count', body(0x30000, 0, '_pq_.x')],
    ['a byte too many', body(0x30000, 0, Buffer.of(0))],
    ['no count', body(0x30000)],
    ['nothing', body()],
  ])('refuses %s', (_what, bytes) => {
    expect(() => parseNegotiateProtocolVersion(bytes, 2)).toThrow(ProtocolViolation);
  });

  it('refuses an answer cut at any byte', () => {
    const whole = body(0x30000, 0);
    for (let cut = 0; cut < whole.length; cut++) {
      expect(() => parseNegotiateProtocolVersion(whole.subarray(0, cut), 2), `cut at ${cut}`).toThrow(
        ProtocolViolation,
      );
    }
  });

  it('throws nothing but protocol violations on random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(3), (bytes, asked) => {
        try {
          expect(parseNegotiateProtocolVersion(Buffer.from(bytes), asked)).toBeLessThanOrEqual(asked);
        } catch (error) {
          if (!(error instanceof ProtocolViolation)) throw error;
        }
      }),
    );
  });
});
