import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../../src/wire/scanner.ts';

interface Seen {
  type: number;
  body: string;
}

/** Reads whole messages the way a relay does, from chunks cut anywhere; ends at a bad header. */
function scan(scanner: HeaderScanner, chunks: Iterable<Buffer>): { seen: Seen[]; bad: boolean } {
  const seen: Seen[] = [];
  for (const chunk of chunks) {
    let pos = 0;
    while (pos < chunk.length) {
      if (scanner.bodyLeft === 0) {
        pos = scanner.readHeader(chunk, pos, chunk.length);
        if (pos === HEADER_INCOMPLETE) break;
        if (pos === HEADER_BAD) return { seen, bad: true };
        expect(scanner.bodyLeft).toBeGreaterThanOrEqual(0);
        seen.push({ type: scanner.type, body: '' });
      }
      const take = Math.min(scanner.bodyLeft, chunk.length - pos);
      const current = seen.at(-1);
      if (current !== undefined) current.body += chunk.toString('hex', pos, pos + take);
      scanner.bodyLeft -= take;
      pos += take;
    }
  }
  return { seen, bad: false };
}

function message(type: number, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head[0] = type;
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function header(type: number, length: number): Buffer {
  const head = Buffer.alloc(5);
  head[0] = type;
  head.writeUInt32BE(length >>> 0, 1);
  return head;
}

function singly(bytes: Buffer): Buffer[] {
  return Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
}

const messages: Seen[] = [
  { type: 0x53, body: '' },
  { type: 0x44, body: Buffer.from('some row').toString('hex') },
  { type: 0x31, body: '' },
  { type: 0x43, body: Buffer.from('SELECT 1\0').toString('hex') },
  { type: 0x5a, body: '49' },
];
const stream = Buffer.concat(messages.map((m) => message(m.type, Buffer.from(m.body, 'hex'))));

describe('HeaderScanner', () => {
  it('finds every message in one chunk', () => {
    const scanner = new HeaderScanner();
    expect(scan(scanner, [stream])).toEqual({ seen: messages, bad: false });
    expect(scanner.atBoundary).toBe(true);
  });

  it('finds the same messages when the stream is cut at any byte', () => {
    for (let cut = 1; cut < stream.length; cut++) {
      const chunks = [stream.subarray(0, cut), stream.subarray(cut)];
      expect(scan(new HeaderScanner(), chunks).seen, `cut at ${cut}`).toEqual(messages);
    }
  });

  it('finds the same messages when the bytes come one at a time', () => {
    expect(scan(new HeaderScanner(), singly(stream)).seen).toEqual(messages);
  });

  it('finds the same messages in any cut of any stream', () => {
    const anyMessage = fc.record({ type: fc.nat({ max: 255 }), body: fc.uint8Array({ maxLength: 30 }) });
    fc.assert(
      fc.property(fc.array(anyMessage), fc.array(fc.integer({ min: 1, max: 12 })), (list, sizes) => {
        const bytes = Buffer.concat(list.map((m) => message(m.type, Buffer.from(m.body))));
        const chunks: Buffer[] = [];
        let pos = 0;
        for (const size of [...sizes, bytes.length]) {
          chunks.push(bytes.subarray(pos, pos + size));
          pos += size;
        }
        const scanner = new HeaderScanner();
        expect(scan(scanner, chunks).seen).toEqual(
          list.map((m) => ({ type: m.type, body: Buffer.from(m.body).toString('hex') })),
        );
        expect(scanner.atBoundary).toBe(true);
      }),
    );
  });

  it('starts in the middle of a chunk and stops at the given end', () => {
    const chunk = Buffer.concat([Buffer.from('xx'), message(0x5a, Buffer.from('I')), Buffer.from('yy')]);
    const scanner = new HeaderScanner();
    expect(scanner.readHeader(chunk, 2, 8)).toBe(7);
    expect([scanner.type, scanner.length, scanner.bodyLeft, scanner.isSplit]).toEqual([0x5a, 5, 1, false]);
    expect(new HeaderScanner().readHeader(chunk, 2, 6)).toBe(HEADER_INCOMPLETE);
  });

  it('keeps the bytes of a split header and says that it was split', () => {
    const head = header(0x44, 0x0102_0304);
    for (let cut = 1; cut < 5; cut++) {
      const scanner = new HeaderScanner();
      expect(scanner.readHeader(head, 0, cut)).toBe(HEADER_INCOMPLETE);
      expect(scanner.headHave).toBe(cut);
      expect(scanner.atBoundary).toBe(false);
      expect(scanner.readHeader(head.subarray(cut), 0, 5 - cut)).toBe(5 - cut);
      expect([scanner.type, scanner.length, scanner.isSplit]).toEqual([0x44, 0x0102_0304, true]);
      expect(scanner.head.equals(head)).toBe(true);
    }
  });

  it('is not at a boundary while body bytes are owed', () => {
    const scanner = new HeaderScanner();
    scanner.readHeader(header(0x44, 5), 0, 5);
    expect(scanner.atBoundary).toBe(false);
    scanner.bodyLeft = 0;
    expect(scanner.atBoundary).toBe(true);
  });

  it.each([
    0, 1, 3, -1, -0x8000_0000, 0xffff_ffff, 0x8000_0004,
  ])('refuses length %i, whole or split, and shows the header', (length) => {
    const head = header(0x51, length);
    const scanner = new HeaderScanner();
    expect(scanner.readHeader(head, 0, 5)).toBe(HEADER_BAD);
    expect(scanner.headerHex()).toBe(head.toString('hex'));
    for (const chunks of [singly(head), [head.subarray(0, 3), head.subarray(3)]]) {
      const split = new HeaderScanner();
      expect(scan(split, chunks)).toEqual({ seen: [], bad: true });
      expect(split.headerHex()).toBe(head.toString('hex'));
      expect(split.bodyLeft).toBe(0);
    }
  });

  it('accepts lengths up to the cap and none above it', () => {
    for (const chunks of [(b: Buffer) => [b], singly]) {
      expect(scan(new HeaderScanner(100), chunks(header(0x51, 100))).bad).toBe(false);
      expect(scan(new HeaderScanner(100), chunks(header(0x51, 101))).bad).toBe(true);
    }
  });

  it('refuses 2³¹-1, for the type byte is not counted in it', () => {
    expect(scan(new HeaderScanner(0x7fff_ffff), [header(0x51, 0x7fff_ffff)]).bad).toBe(true);
    expect(scan(new HeaderScanner(), [header(0x51, 0x7fff_ffff)]).bad).toBe(true);
  });

  it('sets no memory aside for a message that claims 2 GiB', () => {
    const head = header(0x44, 0x7fff_fffe);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 50; i++) {
      const scanner = new HeaderScanner();
      expect(scanner.readHeader(head, 0, 5)).toBe(5);
      expect(scanner.bodyLeft).toBe(0x7fff_fffa);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
  });

  it('reads a header again after unread', () => {
    const scanner = new HeaderScanner();
    const head = header(0x50, 20);
    scanner.readHeader(head, 0, 5);
    scanner.unread();
    expect(scanner.atBoundary).toBe(true);
    expect(scanner.readHeader(head, 0, 2)).toBe(HEADER_INCOMPLETE);
    scanner.readHeader(head, 2, 5);
    scanner.unread();
    expect(scanner.isSplit).toBe(false);
    expect(scanner.readHeader(head, 0, 5)).toBe(5);
    expect([scanner.type, scanner.bodyLeft]).toEqual([0x50, 16]);
  });

  it('never throws on random bytes, and finds the same in them however they are cut', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const whole = scan(new HeaderScanner(), [Buffer.from(bytes)]);
        expect(scan(new HeaderScanner(), singly(Buffer.from(bytes)))).toEqual(whole);
      }),
    );
  });
});
