import { expect, test } from 'vitest';
import { commandComplete, emptyQueryResponse, resultSet, TypeOid } from '../../src/wire/result.ts';

test('a result is RowDescription, DataRows and CommandComplete, byte for byte', () => {
  const bytes = resultSet(
    [
      { name: 'list', type: TypeOid.text },
      { name: 'n', type: TypeOid.int4 },
    ],
    [
      ['ä', -12],
      [null, ''],
    ],
    'SHOW',
  );
  const expected = [
    '54 00000031 0002', // T, length 49, two columns
    '6c69737400 00000000 0000 00000019 ffff ffffffff 0000', // list: text, variable length
    '6e00 00000000 0000 00000017 0004 ffffffff 0000', // n: int4, 4 bytes
    '44 00000013 0002 00000002 c3a4 00000003 2d3132', // D: bytes, not characters, are counted
    '44 0000000e 0002 ffffffff 00000000', // D: NULL is not the empty string
    '43 00000009 53484f5700', // C: SHOW
  ];
  expect(bytes.toString('hex')).toBe(expected.join('').replaceAll(' ', ''));
});

test.each([
  ['text', 25, -1],
  ['numeric', 1700, -1],
  ['bytea', 17, -1],
  ['int4', 23, 4],
  ['int8', 20, 8],
] as const)('type %s has OID %i and length %i', (type, oid, length) => {
  const bytes = resultSet([{ name: 'x', type: TypeOid[type] }], [], '');
  expect(bytes.readInt32BE(7 + 2 + 4 + 2)).toBe(oid);
  expect(bytes.readInt16BE(7 + 2 + 4 + 2 + 4)).toBe(length);
});

test('CommandComplete carries its tag, EmptyQueryResponse nothing', () => {
  expect(commandComplete('SET a=b')).toEqual(Buffer.from('C\0\0\0\x0cSET a=b\0', 'latin1'));
  expect(emptyQueryResponse).toEqual(Buffer.from('I\0\0\0\x04', 'latin1'));
});
