import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { parseStartupPacket, startupPacketLength } from '../../src/wire/startup-packet.ts';

const BAD_LAYOUT = 'invalid startup packet layout: expected terminator as last byte';

/** A packet with a right length field; `body` in Latin-1, one character per byte. */
function packet(code: number, body: string): Buffer {
  const bytes = Buffer.alloc(8 + body.length);
  bytes.writeInt32BE(bytes.length, 0);
  bytes.writeInt32BE(code, 4);
  bytes.write(body, 8, 'latin1');
  return bytes;
}

function startup(body: string, minor = 0) {
  return parseStartupPacket(packet(0x0003_0000 + minor, body));
}

function lengthHead(length: number): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(length >>> 0);
  return head;
}

describe('startupPacketLength', () => {
  it.each([8, 9, 0x1234, 0xffff])('accepts %i', (length) => {
    expect(startupPacketLength(lengthHead(length))).toBe(length);
  });

  it.each([
    ['', 0],
    ['', 4],
    ['', 7],
    ['', 0x1_0000],
    ['', 0x7fff_ffff],
    ['trap: a length of 2³¹ or more, ', 0x8000_0000],
    ['trap: a length of 2³¹ or more, ', 0x8000_0008],
    ['trap: a length of 2³¹ or more, ', 0xffff_ffff],
  ])('refuses %s%i', (_, length) => {
    const head = lengthHead(length);
    expect(() => startupPacketLength(head)).toThrow(
      new ProtocolViolation(`bad packet header: '${head.toString('hex')}'`),
    );
  });

  it('reads the length as soon as its four bytes are there, whatever follows', () => {
    expect(startupPacketLength(Buffer.from([0, 0, 0, 40, 9, 9]))).toBe(40);
    expect(() => startupPacketLength(Buffer.from([0, 0, 0]))).toThrow(ProtocolViolation);
  });

  it('shows at most length and code of a bad packet', () => {
    expect(() => startupPacketLength(Buffer.from('GET / HTTP/1.1'))).toThrow(
      "bad packet header: '474554202f204854'",
    );
  });
});

describe('parseStartupPacket', () => {
  it('reads the parameters of a StartupMessage in their order', () => {
    expect(startup('user\0ann\0database\0shop\0options\0\0user\0bob\0\0')).toEqual({
      kind: 'startup',
      protocolMinor: 0,
      parameters: [
        ['user', 'ann'],
        ['database', 'shop'],
        ['options', ''],
        ['user', 'bob'],
      ],
      unsupportedOptions: [],
    });
  });

  it('reads a StartupMessage from its exact bytes', () => {
    const bytes = Buffer.from('000000110003000075736572006d650000', 'hex');
    expect(parseStartupPacket(bytes)).toMatchObject({ kind: 'startup', parameters: [['user', 'me']] });
  });

  it('accepts a StartupMessage without parameters', () => {
    expect(startup('\0')).toMatchObject({ kind: 'startup', parameters: [] });
  });

  it('decodes names and values as UTF-8 and marks bytes that are not', () => {
    expect(startup('user\0j\xc3\xbcrgen\0database\0a\xe9b\0\0')).toMatchObject({
      parameters: [
        ['user', 'jürgen'],
        ['database', 'a\ufffdb'],
      ],
    });
  });

  it('takes any name for a plain parameter, those of Object.prototype too', () => {
    expect(startup('__proto__\0x\0constructor\0y\0\0')).toMatchObject({
      parameters: [
        ['__proto__', 'x'],
        ['constructor', 'y'],
      ],
    });
  });

  it('lists protocol options apart from the parameters', () => {
    expect(startup('_pq_.a\x001\0user\0ann\0_pq_.b\0\0_pq_\0x\0\0')).toEqual({
      kind: 'startup',
      protocolMinor: 0,
      parameters: [
        ['user', 'ann'],
        ['_pq_', 'x'],
      ],
      unsupportedOptions: [Buffer.from('_pq_.a'), Buffer.from('_pq_.b')],
    });
  });

  it('keeps the names of protocol options as they came, whatever bytes they are, and doubles too', () => {
    const bytes = packet(0x0003_0000, '_pq_.\xff\xfe\0v\0_pq_.\0\0_pq_.\0\0\0');
    const parsed = parseStartupPacket(bytes);
    bytes.fill(0);
    expect(parsed).toMatchObject({
      parameters: [],
      unsupportedOptions: ['_pq_.\xff\xfe', '_pq_.', '_pq_.'].map((name) => Buffer.from(name, 'latin1')),
    });
  });

  it.each([1, 2, 9999, 0xffff])('accepts protocol 3.%i and says so', (minor) => {
    expect(startup('user\0ann\0\0', minor)).toMatchObject({ kind: 'startup', protocolMinor: minor });
  });

  it.each([
    ['no body', ''],
    ['no terminator behind the last pair', 'user\0ann\0'],
    ['a name without value', 'user\0'],
    ['a name without end', 'user'],
    ['a value without end', 'user\0ann'],
    ['a second terminator', 'user\0ann\0\0\0'],
    ['bytes behind the terminator', '\0user\0ann\0\0'],
    ['a terminator in the middle', 'user\0ann\0\0x'],
  ])('refuses a StartupMessage with %s', (_, body) => {
    expect(() => startup(body)).toThrow(new ProtocolViolation(BAD_LAYOUT));
  });

  it('knows SSLRequest and GSSENCRequest, with nothing behind them', () => {
    expect(parseStartupPacket(Buffer.from('0000000804d2162f', 'hex'))).toEqual({ kind: 'ssl' });
    expect(parseStartupPacket(Buffer.from('0000000804d21630', 'hex'))).toEqual({ kind: 'gssenc' });
    expect(parseStartupPacket(packet(80877103, 'x'))).toEqual({ kind: 'bad', headerHex: '0000000904d2162f' });
    expect(parseStartupPacket(packet(80877104, 'x'))).toEqual({ kind: 'bad', headerHex: '0000000904d21630' });
  });

  it('copies the key of a CancelRequest', () => {
    const bytes = Buffer.from('0000001004d2162e01020304a1a2a3a4', 'hex');
    const parsed = parseStartupPacket(bytes);
    bytes.fill(0);
    expect(parsed).toEqual({ kind: 'cancel', key: Buffer.from('01020304a1a2a3a4', 'hex') });
  });

  it('takes cancel keys of 8 to 260 bytes and no others', () => {
    for (const size of [8, 9, 36, 260]) {
      const parsed = parseStartupPacket(packet(80877102, 'k'.repeat(size)));
      expect(parsed).toEqual({ kind: 'cancel', key: Buffer.alloc(size, 'k') });
    }
    for (const size of [0, 4, 7, 261, 5000]) {
      expect(parseStartupPacket(packet(80877102, 'k'.repeat(size)))).toEqual({ kind: 'bad-cancel' });
    }
  });

  it('knows protocol 2.0', () => {
    expect(parseStartupPacket(packet(0x0002_0000, 'x'.repeat(288)))).toEqual({ kind: 'v2' });
  });

  it.each([
    0, 1, 0x0001_0000, 0x0002_0001, 0x0004_0000, 80877101, 80877105, -1, -0x8000_0000, 0x7fff_ffff,
  ])('calls code %i bad and shows length and code', (code) => {
    const bytes = packet(code, 'user\0ann\0\0');
    expect(parseStartupPacket(bytes)).toEqual({ kind: 'bad', headerHex: bytes.toString('hex', 0, 8) });
  });

  it('refuses a packet cut at any byte, with its length field as it was or made to fit', () => {
    const whole = packet(0x0003_0002, 'user\0ann\0database\0shop\0_pq_.x\x001\0\0');
    for (let cut = 0; cut < whole.length; cut++) {
      const bytes = Buffer.from(whole.subarray(0, cut));
      expect(() => parseStartupPacket(bytes), `cut at ${cut}`).toThrow(ProtocolViolation);
      if (cut < 8) continue;
      bytes.writeInt32BE(cut, 0);
      expect(() => parseStartupPacket(bytes), `cut at ${cut}`).toThrow(new ProtocolViolation(BAD_LAYOUT));
    }
  });

  it('refuses bytes behind the packet', () => {
    const bytes = Buffer.concat([packet(80877103, ''), Buffer.from('x')]);
    expect(() => parseStartupPacket(bytes)).toThrow("bad packet header: '0000000804d2162f'");
  });

  it('throws nothing but protocol violations on random bytes', () => {
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc
        .array(fc.constantFrom(0, 0, 0x61, 0x5f, 0xff), { maxLength: 30 })
        .map((list) => Uint8Array.from(list)),
    );
    const code = fc.oneof(
      fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }),
      fc.constantFrom(0x0003_0000, 0x0003_0002, 0x0002_0000, 80877102, 80877103, 80877104),
    );
    fc.assert(
      fc.property(code, body, fc.boolean(), (someCode, bytes, hasRightLength) => {
        const input = packet(someCode, Buffer.from(bytes).toString('latin1'));
        if (!hasRightLength) input.writeInt32BE(someCode, 0);
        try {
          parseStartupPacket(input);
        } catch (error) {
          if (!(error instanceof ProtocolViolation)) throw error;
        }
      }),
    );
  });

  it('reads back any parameters', () => {
    const text = fc.string({ unit: 'grapheme' }).map((s) => s.replaceAll('\0', ''));
    const name = text.filter((s) => s !== '' && !s.startsWith('_pq_.'));
    fc.assert(
      fc.property(fc.array(fc.tuple(name, text)), (pairs) => {
        const body = Buffer.from(`${pairs.map(([k, v]) => `${k}\0${v}\0`).join('')}\0`).toString('latin1');
        expect(startup(body)).toMatchObject({ parameters: pairs });
      }),
    );
  });
});
