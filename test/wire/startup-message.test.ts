import { describe, expect, it } from 'vitest';
import { cancelRequest, startupMessage } from '../../src/wire/startup-message.ts';
import { parseStartupPacket } from '../../src/wire/startup-packet.ts';

describe('startupMessage', () => {
  it('is protocol 3.0, the pairs in their order and one terminator', () => {
    const bytes = startupMessage(0, [
      ['user', 'ann'],
      ['database', 'ü'],
    ]);
    expect(bytes.toString('latin1')).toBe('\0\0\0\x1e\0\x03\0\0user\0ann\0database\0\xc3\xbc\0\0');
  });

  it('is read back by the startup parser', () => {
    const parameters = new Map([
      ['database', 'shop'],
      ['user', 'ann'],
      ['application_name', ''],
    ]);
    expect(parseStartupPacket(startupMessage(0, parameters))).toEqual({
      kind: 'startup',
      protocolMinor: 0,
      parameters: [...parameters],
      unsupportedOptions: [],
    });
  });

  it('asks for the minor version that it is told', () => {
    expect(startupMessage(2, [['user', 'ann']]).toString('latin1')).toBe(
      '\0\0\0\x12\0\x03\0\x02user\0ann\0\0',
    );
  });

  it('does not let a zero character start another parameter', () => {
    expect(parseStartupPacket(startupMessage(0, [['user', 'ann\0database\0postgres']]))).toMatchObject({
      parameters: [['user', 'ann']],
    });
  });

  it('asserts that names are not empty, because an empty one would end the list', () => {
    expect(() => startupMessage(0, [['', 'x']])).toThrow('startup parameter without a name');
    expect(() => startupMessage(0, [['\0a', 'x']])).toThrow('startup parameter without a name');
  });
});

describe('cancelRequest', () => {
  it('carries a key of protocol 3.0 in 16 bytes', () => {
    expect(cancelRequest(Buffer.from('01020304a1a2a3a4', 'hex')).toString('hex')).toBe(
      '0000001004d2162e01020304a1a2a3a4',
    );
  });

  it('carries a long key whole', () => {
    const key = Buffer.alloc(260, 7);
    const bytes = cancelRequest(key);
    expect(bytes.length).toBe(268);
    expect(parseStartupPacket(bytes)).toEqual({ kind: 'cancel', key });
  });
});
