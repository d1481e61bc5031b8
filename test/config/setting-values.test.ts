import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bool, int, items, names, oneOf, text, time } from '../../src/config/setting-rows.ts';
import { formatG, formatSetting, parseInteger, parseSetting } from '../../src/config/setting-values.ts';

test.each([
  ['0', 0],
  ['42', 42],
  ['+7', 7],
  ['-3', -3],
  ['-0', 0],
  ['0x1F', 31],
  ['0X1f', 31],
  ['0777', 511],
  ['00', 0],
])('the integer %s is %d, as strtol with base 0 reads it', (written, value) => {
  expect(parseInteger(written)).toBe(value);
});

test.each([
  '',
  ' ',
  '08',
  '0x',
  '1.5',
  '12abc',
  'on',
  'true',
  'yes',
  '1 2',
  '--1',
  '0b1',
  '1e3',
  '٣',
])('the text %j is no integer', (written) => {
  expect(parseInteger(written)).toBe(null);
  expect(parseSetting(bool('0', 'x'), written).ok).toBe(false);
});

test('an integer out of range names the range', () => {
  const row = int('1', 'x', { min: 1, max: 65535 });
  expect(parseSetting(row, '0')).toEqual({ ok: false, expected: 'an integer from 1 to 65535' });
  expect(parseSetting(row, '65536').ok).toBe(false);
  expect(parseSetting(row, '99999999999999999999').ok).toBe(false);
  expect(parseSetting(row, '0xffff')).toEqual({ ok: true, value: 65535 });
});

test('a switch is on for every integer but zero', () => {
  expect(parseSetting(bool('0', 'x'), '2')).toEqual({ ok: true, value: true });
  expect(parseSetting(bool('1', 'x'), '00')).toEqual({ ok: true, value: false });
});

test.each([
  ['0', 0],
  ['0.5', 0.5],
  ['.25', 0.25],
  ['3.', 3],
  ['+1', 1],
  ['1e+06', 1e6],
])('the time %s is %d seconds', (written, value) => {
  expect(parseSetting(time('0', 'x'), written)).toEqual({ ok: true, value });
});

test.each([
  '',
  '-1',
  '5s',
  '1,5',
  '.',
  'inf',
  'nan',
  '0x10',
  '1e999',
  '1 min',
])('the text %j is no time', (written) => {
  expect(parseSetting(time('0', 'x'), written).ok).toBe(false);
});

test('keywords ignore case, others are refused with what there is', () => {
  const row = oneOf(['one', 'two'], 'one', 'x', { refused: ['three'] });
  expect(parseSetting(row, 'TWO')).toEqual({ ok: true, value: 'two' });
  expect(parseSetting(row, 'four')).toEqual({ ok: false, expected: 'one or two' });
  expect(parseSetting(row, 'Three')).toEqual({
    ok: false,
    expected: 'one or two (three is not supported yet)',
  });
});

test('items are split at commas and trimmed, names at commas and blanks', () => {
  expect(parseSetting(items('', 'x'), ' a, b c ,,d ')).toEqual({ ok: true, value: ['a', 'b c', 'd'] });
  expect(parseSetting(names('', 'x'), ' a, b c\t,,d ')).toEqual({ ok: true, value: ['a', 'b', 'c', 'd'] });
  expect(parseSetting(items('', 'x'), '')).toEqual({ ok: true, value: [] });
});

test('SHOW CONFIG prints integers in decimal, times as %g, keywords as the table has them, texts as written', () => {
  expect(formatSetting(int('0777', 'x'), '0777')).toBe('511');
  expect(formatSetting(bool('0', 'x'), '0x2')).toBe('2');
  expect(formatSetting(time('0', 'x'), '3600.000')).toBe('3600');
  expect(formatSetting(oneOf(['one'], 'one', 'x'), 'ONE')).toBe('one');
  expect(formatSetting(text('', 'x'), "'a' ")).toBe("'a' ");
  expect(formatSetting(items('', 'x'), 'a,  b')).toBe('a,  b');
  expect(formatSetting(text(null, 'x'), null)).toBe(null);
});

test.each([
  [0, '0'],
  [1, '1'],
  [0.5, '0.5'],
  [3600, '3600'],
  [100000, '100000'],
  [999999.4, '999999'],
  [999999.5, '1e+06'],
  [1e6, '1e+06'],
  [1234567, '1.23457e+06'],
  [0.0001, '0.0001'],
  [0.00001, '1e-05'],
  [1e100, '1e+100'],
  [0.1 + 0.2, '0.3'],
])('%d is printed as %s', (value, printed) => {
  expect(formatG(value)).toBe(printed);
});

test('%g keeps six significant digits of any time', () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-9, max: 1e12, noNaN: true }), (value) => {
      expect(Number(formatG(value))).toBe(Number(value.toPrecision(6)));
    }),
  );
});
