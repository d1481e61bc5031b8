import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AuthFiles, readAuthFile, splitAuthLine } from '../../src/config/auth-lines.ts';
import { ConfigError } from '../../src/config/config-error.ts';
import { anyText } from '../support/any-text.ts';

/** Files that are not on the disk. */
export function filesOf(texts: Readonly<Record<string, string | Buffer>>): AuthFiles {
  return {
    read: (path) => {
      const text = texts[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return Buffer.from(text as string);
    },
    list: (folder) =>
      Object.keys(texts)
        .filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1)),
  };
}

function read(texts: Readonly<Record<string, string | Buffer>>): string[] {
  return readAuthFile('/etc/hba', 'key', filesOf(texts)).map(({ fields, at }) => {
    const words = fields.map((field) => field.map((t) => (t.isQuoted ? `"${t.text}"` : t.text)).join(','));
    return `${at.file}:${at.line} ${words.join(' ')}`;
  });
}

function refused(texts: Readonly<Record<string, string | Buffer>>): string {
  try {
    read(texts);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('it was taken');
}

describe('one file', () => {
  test.each([
    ['host all all', ['host all all']],
    ['  host\tall   all  \r', ['host all all']],
    ['a,b c, d ,e', ['a,b c,d e']],
    ['# a comment\n\n   # another\nx # y', ['x']],
    ['"all" "a b" "a""b" "" x"y z"', ['"all" "a b" "a"b" "" xy z']],
    ['"a,b" c"#"d', ['"a,b" c#d']],
    ['ldapsuffix=", dc=x"', ['ldapsuffix=, dc=x']],
    ['one \\\ntwo \\\r\nthree\nfour', ['one two three', 'four']],
    ['a\\', ['a']],
    ['# comment \\\n  # more\n# and more \\\n\nx', ['x']],
    ['a "#" \\\nb', ['a "#" b']],
  ])('%j', (text, lines) => {
    expect(read({ '/etc/hba': text }).map((line) => line.replace(/^\S+ /, ''))).toEqual(lines);
  });

  test('lines have their numbers, continued ones that of their first', () => {
    expect(read({ '/etc/hba': '#\n\na\nb \\\nc\nd' })).toEqual([
      '/etc/hba:3 a',
      '/etc/hba:4 b c',
      '/etc/hba:6 d',
    ]);
  });

  test.each([
    ['a quote that stays open', 'x\na "b', '/etc/hba:2: key: expected a second "'],
    ['text that is not UTF-8', Buffer.from('a \xff', 'latin1'), '/etc/hba:1: key: expected text in UTF-8'],
    [
      'a rule that a comment’s backslash would swallow',
      '# c:\\pg\\\nhost all',
      '/etc/hba:2: key: expected no backslash',
    ],
    ['one behind another rule’s comment', 'a # b \\\n# c \\\nd', '/etc/hba:3: key: expected no backslash'],
    ['a zero byte', 'a\0b', '/etc/hba:1: key: expected text without a zero byte'],
  ])('%s is refused with its line', (_what, text, message) => {
    expect(refused({ '/etc/hba': text })).toContain(message);
  });

  test('comments may be in any encoding', () => {
    expect(read({ '/etc/hba': Buffer.from('# \xff\na', 'latin1') })).toEqual(['/etc/hba:2 a']);
  });
});

describe('files in files', () => {
  test('include, include_if_exists and include_dir, relative to the file that names them', () => {
    const texts = {
      '/etc/hba': 'a\ninclude more/b.conf\ninclude_if_exists nothing\ninclude_if_exists /c\ninclude_dir d\nz',
      '/etc/more/b.conf': 'b\ninclude e',
      '/etc/more/e': 'e',
      '/c': 'c',
      '/etc/d/2.conf': 'd2',
      '/etc/d/1.conf': 'd1',
      '/etc/d/.hidden.conf': 'no',
      '/etc/d/other': 'no',
    };
    expect(read(texts).map((line) => line.replace(/^\S+ /, ''))).toEqual([
      'a',
      'b',
      'e',
      'c',
      'd1',
      'd2',
      'z',
    ]);
  });

  test('the rest of a password without quotes is not taken for a file, which an error would name', () => {
    for (const rest of ['ldapbindpasswd=a @hush', 'ldapbindpasswd=a,@hush', 'ldapBindPW=a @hush']) {
      expect(read({ '/etc/hba': `a @b ${rest}`, '/etc/b': 'c' })).toEqual([`/etc/hba:1 a c ${rest}`]);
    }
    expect(read({ '/etc/hba': 'pwdb @b', '/etc/b': 'c' })).toEqual(['/etc/hba:1 pwdb c']);
  });

  test('@file stands for the names in it, whatever parts them', () => {
    const texts = {
      '/etc/hba': 'x a,@names,z',
      '/etc/names': '# people\nb c,"@d"\n@deep/er',
      '/etc/deep/er': 'e',
    };
    expect(read(texts)).toEqual(['/etc/hba:1 x a,b,c,"@d",e,z']);
  });

  test.each([
    [
      'one that is not there',
      { '/etc/hba': 'a\ninclude b' },
      '/etc/hba:2: key: expected a readable file /etc/b (ENOENT)',
    ],
    ['names that are not there', { '/etc/hba': 'a @b' }, '/etc/hba:1: key: expected a readable file /etc/b'],
    ['no names at all', { '/etc/hba': 'a @b', '/etc/b': '#' }, '/etc/hba:1: key: expected at least one name'],
    ['itself', { '/etc/hba': 'include hba' }, 'at most 10 files inside each other'],
    ['two at once', { '/etc/hba': 'include a b' }, '/etc/hba:1: include: expected one file name'],
    ['none', { '/etc/hba': 'include_dir' }, '/etc/hba:1: include_dir: expected one file name'],
    ['a bad line', { '/etc/hba': 'include b', '/etc/b': '\n"' }, '/etc/b:2: key: expected a second "'],
  ])('%s is refused', (_what, texts, message) => {
    expect(refused(texts)).toContain(message);
  });

  test('a quoted include is a word', () => {
    expect(read({ '/etc/hba': '"include" x' })).toEqual(['/etc/hba:1 "include" x']);
  });

  test('files that double each time do not fill the memory', () => {
    const texts = Object.fromEntries(
      Array.from({ length: 12 }, (_, i) => [`/etc/${i === 0 ? 'hba' : i}`, `include ${i + 1}\n`.repeat(300)]),
    );
    expect(refused({ ...texts, '/etc/10': 'x\n'.repeat(100) })).toMatch(/at most (200000 lines|10 files)/);
  });
});

test('whatever is in a line, nothing but a ConfigError comes of it, and quoting keeps any word', () => {
  const at = { file: 'f', line: 1 };
  fc.assert(
    fc.property(anyText, (text) => {
      try {
        splitAuthLine(text, at, 'k');
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
      }
    }),
    { numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.array(anyText, { minLength: 1 }), (words) => {
      const line = words.map((word) => `"${word.replaceAll('"', '""')}"`).join(' ');
      expect(splitAuthLine(line, at, 'k')).toEqual(words.map((text) => [{ text, isQuoted: true }]));
    }),
    { numRuns: 500 },
  );
});
