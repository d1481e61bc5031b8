import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isParameterName, quoteLiteral, setStatement } from '../../src/wire/sql-quote.ts';

/** Reads one literal as PostgreSQL's lexer does, or null when the text isn't exactly one. */
function readLiteral(sql: string): string | null {
  const isEscape = sql.startsWith('E');
  let pos = isEscape ? 1 : 0;
  if (sql[pos++] !== "'") return null;
  let value = '';
  while (pos < sql.length) {
    const char = sql[pos++] as string;
    if (char === "'") {
      if (sql[pos] !== "'") return pos === sql.length ? value : null;
      pos++;
      value += "'";
    } else if (char === '\\' && isEscape) {
      const octal = /^[0-7]{3}/.exec(sql.slice(pos))?.[0];
      if (octal === undefined && sql[pos] !== '\\') return null;
      value += octal === undefined ? '\\' : String.fromCharCode(Number.parseInt(octal, 8));
      pos += octal === undefined ? 1 : 3;
    } else {
      // Outside E'…' a backslash depends on standard_conforming_strings: it must not be there.
      if (char === '\\') return null;
      value += char;
    }
  }
  return null;
}

describe('quoteLiteral', () => {
  it.each([
    ['', "''"],
    ['UTF8', "'UTF8'"],
    ["O'Hara", "'O''Hara'"],
    ["'", "''''"],
    ["'; DROP TABLE t; --", "'''; DROP TABLE t; --'"],
    ['a\\b', "E'a\\\\b'"],
    ["\\'", "E'\\\\'''"],
    ['\\', "E'\\\\'"],
    ['café', "'café'"],
    ['あ\\', "E'あ\\134'"],
    ['line\nbreak', "'line\nbreak'"],
    ['a\0b', "'a'"],
    ['$&', "'$&'"],
    ['\\$&', "E'\\\\$&'"],
  ])('writes %j as %s', (value, literal) => {
    expect(quoteLiteral(value)).toBe(literal);
  });

  it('gives any text back to a reader of SQL', () => {
    const nasty = fc
      .array(fc.constantFrom("'", '\\', 'E', 'a', 'あ', '$', '&', ' ', ';'))
      .map((l) => l.join(''));
    fc.assert(
      fc.property(fc.oneof(nasty, fc.string({ unit: 'grapheme' })), (text) => {
        const value = text.replaceAll('\0', '');
        expect(readLiteral(quoteLiteral(value))).toBe(value);
      }),
    );
  });

  it('stays one literal when the server reads our bytes as SJIS, where a backslash can end a character', () => {
    const bytes = Buffer.from(quoteLiteral("あ\\'; DROP TABLE t; --"));
    // Every byte that leads a pair in SJIS swallows the next one.
    let ascii = '';
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      const leads = (byte >= 0x81 && byte <= 0x9f) || (byte >= 0xe0 && byte <= 0xfc);
      if (leads) i++;
      ascii += leads ? 'x' : String.fromCharCode(byte);
    }
    expect(readLiteral(ascii)).toMatch(/'; DROP TABLE t; --$/);
  });
});

describe('isParameterName', () => {
  it.each([
    'DateStyle',
    'client_encoding',
    'a',
    '_x1',
    'my.setting',
    'a$b.c2',
    'a'.repeat(127),
  ])('accepts %s', (name) => {
    expect(isParameterName(name)).toBe(true);
  });

  it.each([
    '',
    '1a',
    '$a',
    'a b',
    'a=b',
    "a'b",
    'a"b',
    'a;b',
    'a-b',
    'a\\b',
    'a\n',
    '\na',
    'a\0',
    'a.',
    '.a',
    'a..b',
    'a.1',
    'ü',
    'x; DROP TABLE t',
    '/*a*/',
    'a'.repeat(128),
  ])('refuses %j', (name) => {
    expect(isParameterName(name)).toBe(false);
  });
});

describe('setStatement', () => {
  it('sets one parameter', () => {
    expect(setStatement('application_name', "it's")).toBe("SET application_name='it''s';");
  });

  it('asserts that the name is one', () => {
    expect(() => setStatement("x='1'; DROP TABLE t; SET y", 'z')).toThrow('not a parameter name');
  });
});
