import { describe, expect, it } from 'vitest';
import { textEncoding } from '../../src/prepared/sql-name.ts';
import { read, UTF8 } from './kit.ts';

/** The name that `EXECUTE name` has; null when it cannot be read. */
function nameIn(written: string | Buffer, clientEncoding = 'UTF8'): string | null {
  const sql = Buffer.concat([Buffer.from('EXECUTE '), Buffer.from(written as string)]);
  const [statement] = read(sql, { ...UTF8, clientEncoding }) ?? [];
  if (statement === undefined) return null;
  expect(statement).toMatchObject({ kind: 'execute', nameStart: 8, nameEnd: sql.length });
  return statement.kind === 'execute' ? Buffer.from(statement.name, 'latin1').toString() : null;
}

const a63 = 'a'.repeat(63);

describe('names', () => {
  it.each([
    ['Abc_1$', 'abc_1$'],
    ['"Abc"', 'Abc'],
    ['"a""b"', 'a"b'],
    ['""""', '"'],
    ['ÉÀ', 'ÉÀ'],
    ['prepare', 'prepare'],
    ['"ALL"', 'ALL'],
    [`${a63}b`, a63],
    [`"${a63}b"`, a63],
    [`"${a63.slice(1)}""b"`, `${a63.slice(1)}"`],
    [`${a63.slice(1)}é`, a63.slice(1)],
    [`${a63.slice(2)}é`, `${a63.slice(2)}é`],
    [`${a63.slice(2)}€`, a63.slice(2)],
    [`${a63.slice(3)}😀`, a63.slice(3)],
    ['é'.repeat(40), 'é'.repeat(31)],
    ['€'.repeat(40), '€'.repeat(21)],
  ])('reads %s as PostgreSQL does', (written, name) => {
    expect(nameIn(written)).toBe(name);
  });

  it.each([
    ['U&"d\\0061t\\+000061"', 'data'],
    ['u&"\\00E9\\+01F600"', 'é😀'],
    ['U&"\\D83D\\DE00"', '😀'],
    ['U&"\\+00D83D\\DE00"', '😀'],
    ['U&"\\\\"', '\\'],
    ['U&"\\\\0061"', '\\0061'],
    ['U&"a""b"', 'a"b'],
    ['U&"Abc"', 'Abc'],
    ['U&"d!0061\\" UESCAPE \'!\'', 'da\\'],
    ['U&"d!!"/**/uescape--\n\'!\'', 'd!'],
    ['U&"d\\0061" UESCAPE \'\\\'', 'da'],
    [`U&"${a63}\\0061"`, a63],
    [`U&"${a63.slice(1)}\\00e9"`, a63.slice(1)],
  ])('resolves the escapes in %s', (written, name) => {
    expect(nameIn(written)).toBe(name);
  });

  it.each([
    'U&"\\"',
    'U&"\\006"',
    'U&"\\+00006"',
    'U&"\\g061"',
    'U&"\\0000"',
    'U&"\\+110000"',
    'U&"\\D83D"',
    'U&"\\D83Da"',
    'U&"\\D83Da\\DE00"',
    'U&"\\D83D\\\\"',
    'U&"\\D83D\\0061"',
    'U&"\\DE00"',
    'U&"a" UESCAPE',
    'U&"a" UESCAPE \'a\'',
    'U&"a" UESCAPE \'+\'',
    'U&"a" UESCAPE \' \'',
    "U&\"a\" UESCAPE ''''",
    'U&"a" UESCAPE \'!!\'',
    'U&"a" UESCAPE E\'!\'',
    'U&"a" UESCAPE $$!$$',
    'U&"a" UESCAPE "!"',
  ])('cannot read %s with certainty', (written) => {
    expect(nameIn(written)).toBeNull();
  });

  it('keeps bytes of another encoding, but leaves open where PostgreSQL would cut them', () => {
    const name = (bytes: number) => Buffer.alloc(bytes, 0xe9);
    const read21 = read(Buffer.concat([Buffer.from('EXECUTE '), name(21)]), {
      ...UTF8,
      clientEncoding: 'LATIN1',
    });
    expect(read21).toMatchObject([{ kind: 'execute', name: 'é'.repeat(21) }]);
    expect(nameIn(name(22), 'LATIN1')).toBeNull();
    expect(nameIn(`${a63}b`, 'LATIN1')).toBe(a63);
    expect(nameIn(Buffer.concat([Buffer.from(a63), name(1)]), 'LATIN1')).toBe(a63);
    expect(nameIn('U&"\\0061"', 'LATIN1')).toBe('a');
    expect(nameIn('U&"\\00e9"', 'LATIN1')).toBeNull();
  });
});

describe('textEncoding', () => {
  it.each(['UTF8', 'utf-8', 'Unicode', ' "UTF_8"'])('knows %s as UTF8', (name) => {
    expect(textEncoding(name)).toEqual({ isUtf8: true, hasAsciiTrails: false });
  });

  it.each([
    ...['SJIS', 'Shift_JIS', 'SHIFT_JIS_2004', 'big5', 'GBK', 'UHC', 'GB18030', 'gb-18030', 'JOHAB'],
    ...['WIN949', 'Windows-936', 'win950', 'mskanji'],
  ])('knows that ASCII bytes can end a character in %s', (name) => {
    expect(textEncoding(name)).toEqual({ isUtf8: false, hasAsciiTrails: true });
  });

  it.each(['LATIN1', 'EUC_JP', 'SQL_ASCII', 'WIN1252', 'KOI8R', ''])('knows that %s has no such', (name) => {
    expect(textEncoding(name)).toEqual({ isUtf8: false, hasAsciiTrails: false });
  });
});
