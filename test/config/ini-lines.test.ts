import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConfigError } from '../../src/config/config-error.ts';
import { type IniStatement, readIni } from '../../src/config/ini-lines.ts';
import { configErrorOf, memoryFiles } from './files.ts';

function read(text: string | Buffer, others: Record<string, string> = {}): IniStatement[] {
  return readIni('a.ini', memoryFiles({ 'a.ini': text, ...others }));
}

function values(statements: IniStatement[]): string[] {
  return statements.map((s) =>
    s.kind === 'section' ? `[${s.section}]` : `${s.section}/${s.key}=${s.value}`,
  );
}

function errorOf(text: string | Buffer, others: Record<string, string> = {}): ConfigError {
  return configErrorOf(() => read(text, others));
}

test('a value is literal to the end of the line, only blanks around it go', () => {
  const text = `[s]\na =  "x" 'y' ; not # a comment\\n = z \t\r\nb=\nc=true`;
  expect(values(read(text))).toEqual(['[s]', `s/a="x" 'y' ; not # a comment\\n = z`, 's/b=', 's/c=true']);
});

test('lines that begin with ; or # after blanks are comments, whatever their encoding', () => {
  const latin1 = Buffer.from('; caf\xe9\n  # x = 1\n\n\t;y=2\n[s]\n', 'latin1');
  expect(values(read(latin1))).toEqual(['[s]']);
});

test('a comment or a key may follow the section on its line', () => {
  expect(values(read('[a] ; comment\n[b] k = v'))).toEqual(['[a]', '[b]', 'b/k=v']);
});

test('unquoted keys take letters, digits and _ . - *', () => {
  expect(values(read('[s]\nA-z_0.9* = 1\n* = 2'))).toEqual(['[s]', 's/A-z_0.9*=1', 's/*=2']);
});

test('a key in single quotes takes anything but a quote', () => {
  expect(values(read(`[s]\n'a b="c"' = 1\n'__proto__'=2`))).toEqual(['[s]', 's/a b="c"=1', 's/__proto__=2']);
});

test.each([
  ['"db" = 1', '', 2],
  ["'db = 1", '', 2],
  ["'' = 1", '', 2],
  ['= 1', '', 2],
  ['db', 'db', 2],
  ['db x = 1', 'db', 2],
  ['é = 1', '', 2],
  ['\n[pgb', '', 3],
  ['%include', '', 2],
  ['%includefile', '', 2],
  ['%include  ', '%include', 2],
])('the line %j is an error with its place and key', (line, key, at) => {
  const error = errorOf(`[s]\n${line}\n`);
  expect([error.file, error.line, error.key]).toEqual(['a.ini', at, key]);
  expect(error.expected).not.toBe('');
});

test('a statement that is not UTF-8 or holds a zero byte is an error', () => {
  expect(errorOf(Buffer.from('a = caf\xe9\n', 'latin1')).expected).toBe('text in UTF-8');
  expect(errorOf('a = x\0y').expected).toBe('text without a zero byte');
  expect(values(read('[s]\na = café'))).toEqual(['[s]', 's/a=café']);
});

test('an included file starts in the current section and leaves its own behind', () => {
  const statements = read('[one]\na = 1\n%include b.ini \nd = 4\n', { 'b.ini': 'b = 2\n[two]\nc = 3\n' });
  expect(values(statements)).toEqual(['[one]', 'one/a=1', 'one/b=2', '[two]', 'two/c=3', 'two/d=4']);
  expect(statements.map((s) => `${s.at.file}:${s.at.line}`)).toEqual([
    'a.ini:1',
    'a.ini:2',
    'b.ini:1',
    'b.ini:2',
    'b.ini:3',
    'a.ini:4',
  ]);
});

test('an error inside an included file names that file', () => {
  expect(errorOf('%include b.ini', { 'b.ini': '\nx\n' }).message).toBe(
    'b.ini:2: x: expected = after the key',
  );
});

test('a missing include is an error at the line that asks for it', () => {
  expect(errorOf('[s]\n%include b.ini').message).toBe('a.ini:2: %include: expected a readable file (ENOENT)');
});

test('a missing main file is an error of the file as a whole', () => {
  const error = configErrorOf(() => readIni('gone.ini', memoryFiles({})));
  expect(error.message).toBe('gone.ini: expected a readable file (ENOENT)');
});

test('includes nest ten deep and no deeper', () => {
  const chain = (length: number): Record<string, string> => {
    const files: Record<string, string> = { [`${length}`]: '[end]' };
    for (let i = 1; i < length; i++) files[`${i}`] = `%include ${i + 1}`;
    return files;
  };
  expect(values(read('%include 1', chain(10)))).toEqual(['[end]']);
  const error = errorOf('%include 1', chain(11));
  expect([error.file, error.line, error.key]).toEqual(['10', 1, '%include']);
});

test('a file that includes itself ends in an error', () => {
  expect(errorOf('%include a.ini').expected).toBe('at most 10 nested includes');
});

test('a line ;pgweir key = value is ours in any section, other comments are not', () => {
  const statements = read(
    ';pgweir a = 1\n[s]\n  ;pgweir b = 2\n; pgweir c = 3\n;pgweirs d = 4\n#pgweir e = 5\n',
  );
  const own = statements.flatMap((s) => (s.kind === 'own' ? [`${s.key}=${s.value}`] : []));
  expect(own).toEqual(['a=1', 'b=2']);
  expect(statements).toHaveLength(3);
});

test('a line ;pgweir without key and value is an error', () => {
  expect(errorOf('\n;pgweir log format\n').message).toBe('a.ini:2: log: expected = after the key');
});

test('error texts never hold the value', () => {
  // The last is what a connect string looks like that goes on on the next line.
  for (const line of ["x 'hunter2", 'x hunter2', "'x hunter2", '"x" = hunter2', 'x = password=\nhunter2']) {
    expect(errorOf(line).message).not.toContain('hunter2');
  }
});

test('random bytes give statements or a ConfigError', () => {
  const line = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('[a]', '%include b.ini', 'k = v', "'k' = v", ';pgweir k=v', '[', "'", '=', '\0'),
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      try {
        expect(Array.isArray(read(lines.join('\n')))).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
      }
    }),
  );
});
