import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileNameRegex, MAX_MATCHED_LENGTH, matchName } from '../../src/config/name-regex.ts';
import { anyText } from '../support/any-text.ts';

function compiled(source: string): RegExp {
  const result = compileNameRegex(source);
  if ('expected' in result) throw new Error(result.expected);
  return result.regex;
}

test.each([
  ['^db[0-9]+$', 'db12', 'xdb12'],
  ['db', 'mydb', 'd'],
  ['^(dev|test)_.*$', 'dev_x', 'prod_x'],
  ['^(.*)@example\\.com$', 'a@example.com', 'a@exampleXcom'],
  ['^a{2,3}$', 'aaa', 'aaaa'],
  ['^[^_]+$', 'ab', 'a_b'],
  ['^\\w+$', 'a_1', 'a-1'],
  ['^a.b$', 'a\nb', 'ab'],
  ['^(ab)*$', 'abab', 'aba'],
  ['^(?:a|b)?c$', 'bc', 'abc'],
  ['^x\\$\\.$', 'x$.', 'x.'],
  ['^a.*|^b.*', 'ba', 'ca'],
  ['^[\\w\\-\\]\\\\]+$', 'a-]\\', 'a b'],
])('%s fits %j and not %j', (source, yes, no) => {
  const regex = compiled(source);
  expect([matchName(regex, yes) !== null, matchName(regex, no) !== null]).toEqual([true, false]);
});

test('the first group is given', () => {
  expect(matchName(compiled('^(.*)@x$'), 'me@x')).toEqual({ group: 'me' });
  expect(matchName(compiled('^a(b)?$'), 'a')).toEqual({ group: null });
  expect(matchName(compiled('^a'), 'abc')).toEqual({ group: null });
});

test('a name longer than any user’s fits nothing', () => {
  const any = compiled('.*');
  expect(matchName(any, 'x'.repeat(MAX_MATCHED_LENGTH))).not.toBeNull();
  expect(matchName(any, 'x'.repeat(MAX_MATCHED_LENGTH + 1))).toBeNull();
});

describe('refused', () => {
  test.each([
    '',
    '(',
    ')',
    'a)',
    '[',
    '[]',
    '[]a]',
    '*',
    '+a',
    '(*a)',
    'a**',
    'a{',
    'a{2',
    '{2}',
    '^*',
    'a|*',
    '\\',
    '(?=a)',
    '(?<x>a)',
  ])('what is no expression in both kinds: %s', (source) => {
    expect(compileNameRegex(source)).toHaveProperty('expected');
  });

  test.each([
    '\\bword',
    '\\mword',
    '\\yx',
    'a\\Z',
    '[[:alpha:]]',
    '\\1',
    '(a)\\1',
    '\\x41',
    '\\u0041',
    '[\\p{L}]',
    '[a\\b]',
    '[\\\\\\B]',
    '***:a',
    '(?i)a',
  ])('what means something else in PostgreSQL: %s', (source) => {
    expect(compileNameRegex(source)).toHaveProperty('expected');
  });

  test.each([
    '^(a+)+$',
    '^(a*)*$',
    '^(a|a)*$',
    '^(a|aa)+$',
    '^((a)b)*$',
    '^(a?){30}$',
    '(.*)(.*)(.*)(.*)x',
    `^${'a?'.repeat(30)}${'a'.repeat(30)}$`,
    `^${'(a|a)'.repeat(30)}$`,
    '^(x+x+)+y$',
    '^(?:a|b?)+c$',
    '.*.*.*=.*',
    // The start of one alternative is not that of the others.
    '^z|a*a*a?a?a?a?b',
    '^z|.{1,99}.{1,99}a?a?b',
    '^z|^y|.*.*(?:a|b)b',
  ])('what can take for ever: %s', (source) => {
    expect(compileNameRegex(source)).toMatchObject({ expected: expect.stringContaining('very long') });
  });
});

test('whatever expression is taken, it is quick on every name', () => {
  const piece = fc.constantFrom(
    'a',
    'b',
    '.',
    '[ab]',
    '[^b]',
    '\\w',
    '(a)',
    '(ab)',
    '(a|b)',
    '(?:a|ab)',
    'a?',
    '(a)?',
    '^',
    '$',
    '|',
  );
  const times = fc.constantFrom('', '', '', '*', '+', '?', '*?', '{2,5}', '{3}', '{1,}');
  const source = fc
    .array(fc.tuple(piece, times), { maxLength: 9 })
    .map((parts) => parts.map(([what, often]) => `${what}${often}`).join(''));
  const name = fc
    .tuple(fc.constantFrom('a', 'ab', 'b', 'aab'), fc.constantFrom('', 'x', 'b'))
    .map(([unit, end]) => unit.repeat(MAX_MATCHED_LENGTH).slice(0, MAX_MATCHED_LENGTH - end.length) + end);
  let taken = 0;
  // Not a time that is asserted: an expression that takes for ever is one that the test's own deadline ends.
  fc.assert(
    fc.property(source, name, (text, tried) => {
      const result = compileNameRegex(text);
      if ('expected' in result) return;
      taken++;
      matchName(result.regex, tried);
    }),
    { numRuns: 3000 },
  );
  expect(taken).toBeGreaterThan(300);
});

test.each([
  ['a long text', 'a'.repeat(200_000)],
  ['many groups', '(a)'.repeat(30_000)],
])('what the engine finds too large only when it is tried is refused: %s', (_what, source) => {
  expect(compileNameRegex(source)).toEqual({ expected: 'a regular expression' });
});

test('whatever text comes, nothing is thrown', () => {
  fc.assert(
    fc.property(anyText, (text) => void compileNameRegex(text)),
    { numRuns: 1000 },
  );
});

test.each([
  4, 127, 128, 250, 1000, 10_000,
])('%d repetitions are too many, however many more there are than characters', (count) => {
  expect(compileNameRegex(`^(${'.*'.repeat(count)})$`)).toEqual({
    expected:
      'a regular expression with fewer repetitions, alternatives and ?, which together can take very long',
  });
});
