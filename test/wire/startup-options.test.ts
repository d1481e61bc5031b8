import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseStartupOptions } from '../../src/wire/startup-options.ts';

const UNSUPPORTED =
  "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed";

describe('parseStartupOptions', () => {
  it.each([
    ['-c a=b', [['a', 'b']]],
    ['-ca=b', [['a', 'b']]],
    ['--a=b', [['a', 'b']]],
    [
      '  -c  a=b\t--c=d\n-ce=f ',
      [
        ['a', 'b'],
        ['c', 'd'],
        ['e', 'f'],
      ],
    ],
    [
      '-c a=b -c a=c',
      [
        ['a', 'b'],
        ['a', 'c'],
      ],
    ],
    ['--a=b=c', [['a', 'b=c']]],
    ['--a=', [['a', '']]],
    ['--search-path=x', [['search_path', 'x']]],
    ['-c my.name=-c', [['my.name', '-c']]],
    ['-c a=b\\ c', [['a', 'b c']]],
    ['-c a=\\\\', [['a', '\\']]],
    ['-c a=b\\', [['a', 'b']]],
    ['-c a=\\b', [['a', 'b']]],
    ["-c a='b", [['a', "'b"]]],
    [
      '-c a=\\\tb --ü=\\ü',
      [
        ['a', '\tb'],
        ['ü', 'ü'],
      ],
    ],
    ['', []],
    [' \t\n\v\f\r ', []],
  ])('reads %j', (options, settings) => {
    expect(parseStartupOptions(options)).toEqual(settings);
  });

  it.each([
    '-c',
    '-c ',
    '-c=',
    '-c=x',
    '-c =x',
    '-c \\',
    '-ca',
    '-c a',
    '--',
    '--=',
    '--=x',
    '--a',
    '-',
    '-d 5',
    '-B 1',
    'a=b',
    '\\',
    '-c a=b c',
    '--a=b -c=',
  ])('refuses %j with one text', (options) => {
    expect(parseStartupOptions(options)).toBe(UNSUPPORTED);
  });

  it('trap: an empty -c=, alone or by the thousand, ends in a refusal', () => {
    expect(parseStartupOptions('-c='.repeat(20_000))).toBe(UNSUPPORTED);
    expect(parseStartupOptions('-c= '.repeat(16_000))).toBe(UNSUPPORTED);
    expect(parseStartupOptions('--a= '.repeat(13_000))).toHaveLength(13_000);
  });

  it('reads back any settings whose values are escaped', () => {
    const name = fc.stringMatching(/^[a-z_.][a-z_.0-9]*$/);
    const form = fc.constantFrom('-c ', '-c', '--');
    fc.assert(
      fc.property(fc.array(fc.tuple(form, name, fc.string({ unit: 'grapheme' }))), (settings) => {
        const line = settings.map(
          ([lead, key, value]) => `${lead}${key}=${value.replace(/[\s\\]/g, '\\$&')}`,
        );
        expect(parseStartupOptions(line.join(' '))).toEqual(settings.map(([, key, value]) => [key, value]));
      }),
    );
  });

  it('never throws and never gives an empty name, on random text', () => {
    const text = fc
      .array(fc.constantFrom('-', 'c', '-c', '--', '=', ' ', '\\', 'a', '\t'))
      .map((l) => l.join(''));
    fc.assert(
      fc.property(fc.oneof(fc.string(), text), (options) => {
        const settings = parseStartupOptions(options);
        if (typeof settings === 'string') expect(settings).toBe(UNSUPPORTED);
        else for (const [name] of settings) expect(name).not.toBe('');
      }),
    );
  });
});
