import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Writer } from '../../src/wire/writer.ts';

describe('Writer', () => {
  it('fills in the length of a message without counting its type byte', () => {
    const message = new Writer().begin(0x51).cstring('hi').end().take();
    expect(message.toString('latin1')).toBe('Q\0\0\0\x07hi\0');
  });

  it('fills in the length of a packet without type byte', () => {
    expect([...new Writer().beginUntyped().int32(80877103).end().take()]).toEqual([
      0, 0, 0, 8, 4, 210, 22, 47,
    ]);
  });

  it('writes numbers in network order', () => {
    expect([...new Writer().byte(0x142).int16(-2).int32(-0x8000_0000).take()]).toEqual([
      0x42, 0xff, 0xfe, 0x80, 0, 0, 0,
    ]);
  });

  it('gives each of several messages its own length', () => {
    const w = new Writer(1);
    w.begin(0x31).end().begin(0x5a).byte(0x49).end();
    expect([...w.take()]).toEqual([0x31, 0, 0, 0, 4, 0x5a, 0, 0, 0, 5, 0x49]);
  });

  it('keeps what was written when the buffer grows in the middle of a message', () => {
    const text = 'ü'.repeat(10_000);
    const message = new Writer(0).begin(0x51).cstring(text).end().begin(0x53).end().take();
    expect(message.readInt32BE(1)).toBe(4 + 20_000 + 1);
    expect(message.length).toBe(1 + 4 + 20_001 + 5);
    expect(message.toString('utf8', 5, 20_005)).toBe(text);
    expect([...message.subarray(20_005)]).toEqual([0, 0x53, 0, 0, 0, 4]);
  });

  it('cuts text at a zero character, so that what follows cannot be taken for another field', () => {
    expect(new Writer().cstring('a\0b').cstring('\0x').take().toString('latin1')).toBe('a\0\0');
  });

  it('is empty after take, and what was taken stays as it is', () => {
    const w = new Writer(8);
    const first = w.byte(1).byte(2).take();
    expect(w.take().length).toBe(0);
    w.byte(9).byte(9);
    expect([...first]).toEqual([1, 2]);
    expect([...w.take()]).toEqual([9, 9]);
  });

  it('writes the same bytes whatever its first size', () => {
    const step = fc.oneof(
      fc.string({ unit: 'grapheme' }).map((text) => (w: Writer) => w.cstring(text)),
      fc.uint8Array().map((bytes) => (w: Writer) => w.bytes(bytes)),
      fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }).map((n) => (w: Writer) => w.int32(n)),
      fc.integer({ min: -0x8000, max: 0x7fff }).map((n) => (w: Writer) => w.int16(n)),
    );
    fc.assert(
      fc.property(fc.nat({ max: 64 }), fc.array(step), (initialBytes, steps) => {
        const small = new Writer(initialBytes).begin(0x58);
        const large = new Writer(100_000).begin(0x58);
        for (const write of steps) {
          write(small);
          write(large);
        }
        const bytes = small.end().take();
        expect(bytes.readInt32BE(1)).toBe(bytes.length - 1);
        expect(bytes.equals(large.end().take())).toBe(true);
      }),
    );
  });
});
