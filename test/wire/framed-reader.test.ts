import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FramedReader } from '../../src/wire/framed-reader.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { lyingMessage, message } from '../support/peer-messages.ts';

const CAP = 16;
const messages = [
  message('1'),
  message('C', 'SELECT 1'),
  message('D', Buffer.alloc(300, 7)),
  message('Z', Buffer.from('I')),
];
const stream = Buffer.concat(messages);

/** A reader that keeps what it is given as text, and skips DataRow. */
function reading(stopsAt = ''): { reader: FramedReader; seen: string[] } {
  const seen: string[] = [];
  const reader = new FramedReader(
    CAP,
    (type) => type !== 0x44,
    (type, body) => {
      seen.push(`${String.fromCharCode(type)} ${body.toString('latin1')}`);
      return String.fromCharCode(type) !== stopsAt;
    },
  );
  return { reader, seen };
}

describe('FramedReader', () => {
  it('gives the messages that are wanted, whole, however they are cut', () => {
    for (const { name, chunks } of cuttings(stream)) {
      const { reader, seen } = reading();
      feedBorrowed(chunks, (chunk) => expect(reader.feed(chunk, 0, chunk.length)).toBe(chunk.length));
      expect(seen, name).toEqual(['1 ', 'C SELECT 1\0', 'Z I']);
      expect(reader.atBoundary, name).toBe(true);
    }
  });

  it('stops right behind a message when told so, and goes on there', () => {
    const end = (messages[0] as Buffer).length + (messages[1] as Buffer).length;
    const { reader, seen } = reading('C');
    expect(reader.feed(stream, 0, stream.length)).toBe(end);
    expect(seen).toEqual(['1 ', 'C SELECT 1\0']);
    expect(reader.atBoundary).toBe(true);
    expect(reader.feed(stream, end, stream.length)).toBe(stream.length);
    expect(seen).toHaveLength(3);
  });

  it('reads the given part of a chunk only', () => {
    const { reader, seen } = reading();
    const chunk = Buffer.concat([Buffer.from('xx'), stream, Buffer.from('xx')]);
    expect(reader.feed(chunk, 2, chunk.length - 2)).toBe(chunk.length - 2);
    expect(seen).toHaveLength(3);
  });

  it('is inside a message from its first byte to its last, skipped ones too', () => {
    const { reader } = reading();
    const ends = new Set<number>();
    let end = 0;
    for (const each of messages) ends.add((end += each.length));
    for (const [i, byte] of stream.entries()) {
      reader.feed(Buffer.of(byte), 0, 1);
      expect(reader.atBoundary).toBe(ends.has(i + 1));
    }
  });

  it('takes a message of the greatest size allowed, and none above', () => {
    const fits = message('C', Buffer.alloc(CAP, 0x61));
    const { reader, seen } = reading();
    reader.feed(fits, 0, fits.length);
    expect(seen).toEqual([`C ${'a'.repeat(CAP)}`]);
    const above = lyingMessage('C', CAP + 5);
    expect(() => reader.feed(above, 0, above.length)).toThrow(new ProtocolViolation('bad pkt header'));
  });

  it.each([
    0, 3, -1, -0x8000_0000, 0x8000_0000, 0xffff_ffff,
  ])('refuses a length of %i, also of what it skips', (length) => {
    for (const type of ['C', 'D']) {
      for (const { chunks, name } of cuttings(lyingMessage(type, length))) {
        const { reader } = reading();
        expect(() => feedBorrowed(chunks, (chunk) => reader.feed(chunk, 0, chunk.length)), name).toThrow(
          new ProtocolViolation('bad pkt header'),
        );
      }
    }
  });

  it('skips a message of any size without keeping it', () => {
    const { reader, seen } = reading();
    const header = lyingMessage('D', 0x7fff_fffe);
    const piece = Buffer.alloc(1 << 16);
    reader.feed(header, 0, header.length);
    for (let left = 0x7fff_fffe - 4; left > 0; left -= piece.length)
      reader.feed(piece, 0, Math.min(left, piece.length));
    reader.feed(stream, 0, stream.length);
    expect(seen).toHaveLength(3);
  });

  it('words a bad header as its owner wants it', () => {
    const reader = new FramedReader(
      CAP,
      () => true,
      () => true,
      (headerHex) => `bad packet header: '${headerHex}'`,
    );
    for (const [bad, hex] of [
      [lyingMessage('p', -1), '70ffffffff'],
      [lyingMessage('p', CAP + 5), '7000000015'],
    ] as const) {
      expect(() => reader.feed(bad, 0, bad.length)).toThrow(
        new ProtocolViolation(`bad packet header: '${hex}'`),
      );
    }
  });

  it('throws nothing but violations, whatever it is fed', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 30 })), (parts) => {
        const { reader } = reading();
        try {
          for (const part of parts) expect(reader.feed(Buffer.from(part), 0, part.length)).toBe(part.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation);
        }
      }),
    );
  });
});
