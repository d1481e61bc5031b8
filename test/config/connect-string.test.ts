import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConfigError } from '../../src/config/config-error.ts';
import { atoi, parseConnectString } from '../../src/config/connect-string.ts';
import { configErrorOf } from './files.ts';

const at = { file: 'a.ini', line: 7 };

function pairs(text: string): string[] {
  return parseConnectString(text, 'db', at).map(({ key, value }) => `${key}:${value}`);
}

test('pairs are parted by spaces, which may also stand around =', () => {
  expect(pairs('  host=a  port = 5433   dbname =x ')).toEqual(['host:a', 'port:5433', 'dbname:x']);
});

test('an empty text has no pairs', () => {
  expect(pairs('')).toEqual([]);
  expect(pairs('   ')).toEqual([]);
});

test('a quoted value holds spaces and doubled quotes', () => {
  expect(pairs("password='it''s a = b' user=u")).toEqual(["password:it's a = b", 'user:u']);
  expect(pairs("password=''''")).toEqual(["password:'"]);
});

test('a tab is part of the value', () => {
  expect(pairs('host=a\tport=1')).toEqual(['host:a\tport=1']);
});

test('a quote inside an unquoted value is literal', () => {
  expect(pairs("password=a'b")).toEqual(["password:a'b"]);
});

test.each([
  'host',
  'host=',
  'host= ',
  "host=''",
  "host='a",
  "host='a''",
  "host='a'b=c",
  '=a',
  'host=a =b',
  "'host'",
])('the text %j is an error on its entry', (text) => {
  const error = configErrorOf(() => pairs(text));
  expect([error.file, error.line, error.key]).toEqual(['a.ini', 7, 'db']);
});

test('error texts never hold what may be a part of a password', () => {
  for (const text of [
    'password=a Hunter2',
    "password='Hunter2",
    'password=a Hunter2=',
    "password=a Hunter2='",
  ]) {
    expect(configErrorOf(() => pairs(text)).message).not.toContain('Hunter2');
  }
});

test.each([
  ['12', 12, true],
  ['-1', -1, true],
  ['12abc', 12, false],
  ['abc', 0, false],
  ['', 0, false],
  ['0x10', 0, false],
  ['99999999999', 2147483647, false],
])('atoi reads %j as %d', (text, value, exact) => {
  expect(atoi(text)).toEqual({ value, exact });
});

test('what is quoted comes back, whatever it is', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (value) => {
      const quoted = `password='${value.replaceAll("'", "''")}'`;
      expect(parseConnectString(quoted, 'db', at)).toEqual([{ key: 'password', value }]);
    }),
  );
});

test('random texts give pairs or a ConfigError', () => {
  const piece = fc.oneof(fc.string(), fc.constantFrom(' ', '=', "'", 'host', '\t'));
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      try {
        for (const { key, value } of parseConnectString(pieces.join(''), 'db', at)) {
          expect(key.length).toBeGreaterThan(0);
          expect(value.length).toBeGreaterThan(0);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
      }
    }),
  );
});
