import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { Reader } from '../../src/wire/reader.ts';

const body = Buffer.from('\x2a\xff\xfe\x80\x00\x00\x01gr\xc3\xbc\xc3\x9f\x00\x00\x01\x02\x03', 'latin1');

function readAll(reader: Reader): unknown[] {
  return [
    reader.byte(),
    reader.int16(),
    reader.int32(),
    reader.cstring(),
    reader.cstring(),
    [...reader.bytes(3)],
  ];
}

describe('Reader', () => {
  it('reads numbers in network order with sign, and text as UTF-8', () => {
    const reader = new Reader(body);
    expect(readAll(reader)).toEqual([0x2a, -2, -0x7fff_ffff, 'grüß', '', [1, 2, 3]]);
    expect(reader.remaining).toBe(0);
  });

  it('reads the same from the middle of a chunk', () => {
    const chunk = Buffer.concat([Buffer.from('before\0'), body, Buffer.from('\0after\0')]);
    expect(readAll(new Reader(chunk, 7, 7 + body.length))).toEqual(readAll(new Reader(body)));
  });

  it('reports a body cut at any byte as a protocol violation', () => {
    for (let cut = 0; cut < body.length; cut++) {
      // The rest of the message stands behind the end: it must not be read.
      expect(() => readAll(new Reader(body, 0, cut)), `cut at ${cut}`).toThrow(ProtocolViolation);
    }
  });

  it('does not take a zero byte behind the end for a terminator', () => {
    expect(() => new Reader(Buffer.from('abc\0'), 0, 3).cstring()).toThrow('string without terminator');
  });

  it('refuses a negative and an oversized number of bytes', () => {
    expect(() => new Reader(body).bytes(-1)).toThrow(new ProtocolViolation('negative length'));
    expect(() => new Reader(body).bytes(0x7fff_ffff)).toThrow(
      new ProtocolViolation('message body too short'),
    );
    expect(() => new Reader(body).bytes(body.length + 1)).toThrow(ProtocolViolation);
  });

  it('hands out bytes as a view of the body', () => {
    const own = Buffer.from(body);
    const view = new Reader(own, 1).bytes(2);
    own[1] = 7;
    expect(view[0]).toBe(7);
  });

  it('throws nothing but protocol violations on random bytes', () => {
    const steps = fc.array(fc.constantFrom('byte', 'int16', 'int32', 'cstring'), { maxLength: 12 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), steps, (bytes, calls) => {
        const reader = new Reader(Buffer.from(bytes));
        let left = reader.remaining;
        try {
          for (const call of calls) {
            reader[call]();
            expect(reader.remaining).toBeLessThan(left);
            left = reader.remaining;
          }
          reader.bytes(left);
          expect(reader.remaining).toBe(0);
        } catch (error) {
          if (!(error instanceof ProtocolViolation)) throw error;
        }
      }),
    );
  });
});
