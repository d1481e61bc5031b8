import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  parameterDescription,
  readBind,
  readExecute,
  readParse,
  readTarget,
} from '../../src/wire/extended-query.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { frontend, int16, int32, message } from '../support/peer-messages.ts';

/** A whole message's body. */
const bodyOf = (bytes: Buffer): Buffer => bytes.subarray(5);

test('Parse has a name, a text and the number of its types', () => {
  expect(readParse(bodyOf(frontend.parse('s', 'SHOW ä')))).toEqual({
    name: 's',
    text: 'SHOW ä',
    typeCount: 0,
  });
  const typed = message('P', 's', 'SHOW', int16(2), int32(23), int32(0));
  expect(readParse(bodyOf(typed))).toEqual({ name: 's', text: 'SHOW', typeCount: 2 });
});

test('Bind has its names, the number of its values, and formats', () => {
  const value = [int32(2), Buffer.from('ab'), int32(-1)];
  const bytes = message('B', 'p', 's', int16(1), int16(1), int16(2), ...value, int16(2), int16(0), int16(1));
  expect(readBind(bodyOf(bytes))).toEqual({
    portal: 'p',
    statement: 's',
    parameterFormats: [1],
    parameterCount: 2,
    resultFormats: [0, 1],
  });
});

test('Describe, Close and Execute name what they are about', () => {
  expect(readTarget(bodyOf(frontend.describe('S', 'x')))).toEqual({ kind: 0x53, name: 'x' });
  expect(readTarget(bodyOf(frontend.close('P', '')))).toEqual({ kind: 0x50, name: '' });
  expect(readExecute(bodyOf(frontend.execute('p', 7)))).toEqual({ portal: 'p', maxRows: 7 });
});

test('ParameterDescription has an OID for each', () => {
  expect(parameterDescription([25, 23]).toString('hex')).toBe('740000000e00020000001900000017');
});

const readers = { readParse, readBind, readTarget, readExecute } as const;
const samples: Readonly<Record<keyof typeof readers, Buffer>> = {
  readParse: bodyOf(message('P', 's', 'SHOW', int16(1), int32(23))),
  readBind: bodyOf(frontend.bindTexts('p', 's', ['x', 'yz'])),
  readTarget: bodyOf(frontend.describe('S', 'x')),
  readExecute: bodyOf(frontend.execute('p')),
};

test.each(
  Object.keys(readers) as (keyof typeof readers)[],
)('%s refuses a body that is cut short or goes on, and throws nothing else at any bytes', (name) => {
  const read = readers[name];
  const sample = samples[name];
  for (let end = 0; end < sample.length; end++) {
    expect(() => read(sample.subarray(0, end)), `cut at ${end}`).toThrow(ProtocolViolation);
  }
  expect(() => read(Buffer.concat([sample, Buffer.of(0)]))).toThrow(ProtocolViolation);
  const near = fc.tuple(fc.nat(sample.length - 1), fc.nat(255)).map(([at, byte]) => {
    const changed = Buffer.from(sample);
    changed[at] = byte;
    return changed;
  });
  fc.assert(
    fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 60 })), (bytes) => {
      try {
        read(Buffer.from(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolViolation);
      }
    }),
    { numRuns: 1000 },
  );
});
