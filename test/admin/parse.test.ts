import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseStatement } from '../../src/admin/parse.ts';

describe('commands', () => {
  test.each([
    ['RELOAD', 'reload', null],
    ['  show\tPools ; \n', 'show', 'Pools'],
    ['PAUSE MyDb;', 'pause', 'MyDb'],
    ['pause "My ""odd"" db; drop"', 'pause', 'My "odd" db; drop'],
    ['"SHOW" "pools"', 'show', 'pools'],
    ['kill_client 17', 'kill_client', '17'],
    ['show\npools', 'show', 'pools'],
    ['pause "größe"', 'pause', 'größe'],
  ])('%j is a command', (text, word, arg) => {
    expect(parseStatement(text)).toEqual({ kind: 'command', word, arg });
  });

  test.each([
    'SHOW pools clients',
    'SHOW"pools"',
    'PAUSE ""',
    'PAUSE "open',
    "PAUSE 'db'",
    'PAUSE größe',
    'PAUSE my-db',
    'SHOW;POOLS',
    'RELOAD;;',
    'RELOAD; RELOAD',
    '-- comment',
    'SHOW pools -- comment',
    '/* c */ SHOW pools',
    'SELECT 1+1',
    '=',
    '"',
    "'",
    'SHOW\u00a0pools',
  ])('%j is invalid', (text) => {
    expect(parseStatement(text)).toEqual({ kind: 'invalid' });
  });

  test.each(['', '  \n', ';', ' ; '])('%j is empty', (text) => {
    expect(parseStatement(text)).toEqual({ kind: 'empty' });
  });
});

describe('SET', () => {
  test.each([
    ['SET a=b', 'a', 'b'],
    ['set A = "b c";', 'A', 'b c'],
    ["SET server_idle_timeout = '1.5'", 'server_idle_timeout', '1.5'],
    ["SET auth_type TO 'scram-sha-256' ;", 'auth_type', 'scram-sha-256'],
    ["SET logfile = ''", 'logfile', ''],
    ["SET k='it''s ''here'''", 'k', "it's 'here'"],
    ['SET "k k"=1', 'k k', '1'],
  ])('%s', (text, key, value) => {
    expect(parseStatement(text)).toEqual({ kind: 'set', key, value });
  });

  test.each([
    'SET a',
    'SET a =',
    'SET = b',
    'SET a = 1.5',
    'SET a = scram-sha-256',
    'SET a b',
    'SET a TO',
    'SET a TOb',
    'SET aTO b',
    "SET a = 'b",
    "SET a = 'b'c",
    'SET a == b',
    'SET a = b; SET c = d',
    'SHOW a = b',
    "SET 'a' = b",
    "SET a TO'b'",
  ])('%s is no setting', (text) => {
    expect(parseStatement(text).kind).not.toBe('set');
  });
});

describe('limits', () => {
  test.each([
    ['a command', (n: number) => 'c'.repeat(n), 15],
    ['an argument', (n: number) => `show ${'a'.repeat(n)}`, 63],
    ['a quoted argument, unquoted', (n: number) => `show "${'""'.repeat(n)}"`, 63],
    ['a key', (n: number) => `set ${'k'.repeat(n)} = v`, 63],
    ['a value', (n: number) => `set k = '${'v'.repeat(n)}'`, 255],
    ['a value, unquoted', (n: number) => `set k = '${"''".repeat(n)}'`, 255],
  ])('%s may have so many bytes and not one more', (_, make, limit) => {
    expect(['command', 'set']).toContain(parseStatement(make(limit)).kind);
    expect(parseStatement(make(limit + 1)).kind).toBe('tooLong');
  });

  test('bytes are counted, not characters', () => {
    expect(parseStatement(`pause "${'ä'.repeat(32)}"`).kind).toBe('tooLong');
  });
});

describe('any text', () => {
  const kinds = ['empty', 'command', 'set', 'tooLong', 'invalid'];

  test('parses to something without a throw', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
        expect(kinds).toContain(parseStatement(text).kind);
      }),
    );
  });

  test('made of the grammar’s own pieces parses to parts within the limits', () => {
    const piece = fc.constantFrom(
      'SET ',
      'a',
      ' ',
      '"',
      '""',
      "'",
      "''",
      '=',
      ';',
      'TO',
      'show',
      '\n',
      'ä',
      '-',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const statement = parseStatement(pieces.join(''));
        if (statement.kind === 'set') expect(Buffer.byteLength(statement.value)).toBeLessThanOrEqual(255);
        if (statement.kind === 'command') expect(statement.arg).not.toBe('');
      }),
    );
  });

  test('a quoted argument comes back as it was quoted', () => {
    const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }).filter((s) => s.isWellFormed());
    fc.assert(
      fc.property(name, (arg) => {
        const text = `pause "${arg.replaceAll('"', '""')}"`;
        expect(parseStatement(text)).toEqual({ kind: 'command', word: 'pause', arg });
      }),
    );
  });

  test('quotes without an end cost no more than their length', () => {
    for (const text of ['"'.repeat(99_999), `"${'a'.repeat(99_999)}`, `'${"''".repeat(50_000)}`]) {
      expect(parseStatement(text).kind).toBe('invalid');
    }
  });
});
