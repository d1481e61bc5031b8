import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { splitAuthLine } from '../../src/config/auth-lines.ts';
import { ConfigError } from '../../src/config/config-error.ts';
import { isQuestion } from '../../src/config/hba-match.ts';
import { type IdentMaps, parseIdentLines } from '../../src/config/ident.ts';
import { identFits } from '../../src/config/ident-match.ts';
import { anyText } from '../support/any-text.ts';

function mapsOf(text: string): IdentMaps {
  const lines = text.split('\n').flatMap((line, index) => {
    const at = { file: 'ident', line: index + 1 };
    const fields = splitAuthLine(line, at, '');
    return fields.length === 0 ? [] : [{ fields, at }];
  });
  return parseIdentLines(lines);
}

function fits(text: string, names: string[], user: string, answers: Record<string, boolean | null> = {}) {
  const verdict = identFits(mapsOf(text).get('m') ?? [], names, user, new Map(Object.entries(answers)));
  return isQuestion(verdict) ? verdict.key : verdict;
}

test('without a map the names have to be the same', () => {
  expect(identFits(null, ['a', 'b'], 'b', new Map())).toBe(true);
  expect(identFits(null, ['a', '*', '*.b'], 'x.b', new Map())).toBe(false);
});

test.each<readonly [string, string[], string, unknown]>([
  ['m joe app', ['joe'], 'app', true],
  ['m joe app', ['joe'], 'joe', false],
  ['m joe app', ['joe2'], 'app', false],
  ['m joe all', ['joe'], 'postgres', true],
  ['m joe "all"', ['joe'], 'postgres', false],
  ['m joe "all"', ['joe'], 'all', true],
  ['n joe app', ['joe'], 'app', false],
  ['m joe a\nm joe b', ['joe'], 'b', true],
  ['m joe app', ['x', 'joe'], 'app', true],
  ['m /^(.*)@x\\.org$ \\1', ['joe@x.org'], 'joe', true],
  ['m /^(.*)@x\\.org$ \\1', ['joe@y.org'], 'joe', false],
  ['m /^(.*)@x\\.org$ \\1_ro', ['joe@x.org'], 'joe_ro', true],
  ['m /^(.*)@x\\.org$ \\1', ['@x.org'], '', true],
  ['m /^(a)?x$ \\1', ['x'], '', false],
  ['m /^(.*)$ \\1', ['$&'], '$&', true],
  ['m /@x\\.org$ guest', ['joe@x.org'], 'guest', true],
  ['m joe /^app_', ['joe'], 'app_1', true],
  ['m joe /^app_', ['joe'], 'my_app_1', false],
  ['m joe +staff', ['joe'], 'x', 'member staff'],
  ['m joe +staff\nm joe x', ['joe'], 'x', true],
  ['m *.x app', ['a.x'], 'app', false],
])('%j: %j as %s: %s', (text, names, user, expected) => {
  expect(fits(text, names, user)).toBe(expected);
});

test('members of roles are asked for', () => {
  expect(fits('m joe +staff', ['joe'], 'x', { 'member staff': true })).toBe(true);
  expect(fits('m joe +staff', ['joe'], 'x', { 'member staff': null })).toBe(null);
});

describe('refused', () => {
  test.each([
    'm joe',
    'm',
    'm joe app more',
    'm joe,jim app',
    'm joe ""',
    'm /( app',
    'm joe \\1',
    'm /x \\1',
    'm joe /^(a+)+$',
  ])('%s', (text) => {
    expect(() => mapsOf(`m a b\n${text}`)).toThrow(ConfigError);
    expect(() => mapsOf(`m a b\n${text}`)).toThrow('ident:2: ');
  });
});

test('whatever a line is made of, it is a rule or a ConfigError', () => {
  const word = fc.oneof(fc.constantFrom('m', '/^(.*)$', '\\1', 'all', '+g', '/', '""'), anyText);
  fc.assert(
    fc.property(fc.array(word, { maxLength: 5 }), anyText, (words, name) => {
      try {
        for (const rules of mapsOf(words.join(' ').replaceAll('\n', ' ')).values()) {
          identFits(rules, [name], 'u', new Map());
        }
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
      }
    }),
    { numRuns: 1000 },
  );
});
