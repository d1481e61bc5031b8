import { describe, expect, it } from 'vitest';
import { SqlScanner, Token } from '../../src/prepared/sql-scan.ts';

/** The tokens of a text with a letter each for their type; `Bad` at the end when it cannot be read. */
function tokens(sql: string, standardConformingStrings = true): string[] {
  const bytes = Buffer.from(`'"${sql}'"*/`);
  const scanner = new SqlScanner(bytes, 2, bytes.length - 4, standardConformingStrings);
  const found: string[] = [];
  for (;;) {
    const type = scanner.next();
    if (type === Token.End) return found;
    if (type === Token.Bad) return [...found, 'Bad'];
    found.push(`${LETTERS[type]}:${bytes.toString('utf8', scanner.start, scanner.end)}`);
  }
}

const LETTERS = ['', '', 'w', 'q', 'u', 's', 'p', 'n', 'o'];

describe('SqlScanner', () => {
  it.each([
    ['', []],
    [' \t\n\r\f\v', []],
    ['a', ['w:a']],
    ['a b\tc\nd\re\ff\vg', ['w:a', 'w:b', 'w:c', 'w:d', 'w:e', 'w:f', 'w:g']],
    ['_a1$b$ é€', ['w:_a1$b$', 'w:é€']],
    ['a\u00a0b', ['w:a\u00a0b']],
    ['a.b;c', ['w:a', 'o:.', 'w:b', 'o:;', 'w:c']],
    ['f(a[1],2)', ['w:f', 'o:(', 'w:a', 'o:[', 'n:1', 'o:]', 'o:,', 'n:2', 'o:)']],
  ])('finds words and symbols in %j', (sql, found) => {
    expect(tokens(sql)).toEqual(found);
  });

  it.each([
    ['--', []],
    ['-- a', []],
    ['-- a\nb', ['w:b']],
    ['-- a\rb', ['w:b']],
    ['--/*\nb', ['w:b']],
    ['a--b', ['w:a']],
    ['- -', ['o:-', 'o:-']],
    ['/**/a', ['w:a']],
    ['a/*b*/c', ['w:a', 'w:c']],
    ['/*--*/a', ['w:a']],
    ['/*;\'"$$*/a', ['w:a']],
    ['/*/**/*/a', ['w:a']],
    ['/*/*/*/**/*/*/*/a', ['w:a']],
    ['/***/a', ['w:a']],
    ['/*/*/ */ */a', ['w:a']],
    ['/*//**/*/a', ['w:a']],
    ['/*', ['Bad']],
    ['/*/', ['Bad']],
    ['a/*', ['w:a', 'Bad']],
    ['/*/**/', ['Bad']],
    ['*/', ['o:*', 'o:/']],
    ['+--a\n+', ['o:+', 'o:+']],
    ['+/*a*/+', ['o:+', 'o:+']],
    ['**/*a*/', ['o:*', 'o:*']],
    ['@-/*a*/-@', ['o:@', 'o:-', 'o:-', 'o:@']],
  ])('passes over comments in %j', (sql, found) => {
    expect(tokens(sql)).toEqual(found);
  });

  it.each([
    ["'a'", ["s:'a'"]],
    ["''", ["s:''"]],
    ["''''", ["s:''''"]],
    ["'a''b'c", ["s:'a''b'", 'w:c']],
    ["'a'b'c'", ["s:'a'", "s:b'c'"]],
    ["'\\'a", ["s:'\\'", 'w:a']],
    ["'a;--/*\"$$'", ["s:'a;--/*\"$$'"]],
    ["E'\\''", ["s:E'\\''"]],
    ["e'\\\\'a", ["s:e'\\\\'", 'w:a']],
    ["E'a''\\'b'", ["s:E'a''\\'b'"]],
    ["E'\\é'", ["s:E'\\é'"]],
    ["E 'a'", ['w:E', "s:'a'"]],
    ["ee'\\'", ['w:ee', "s:'\\'"]],
    ["B'01'x'fF'", ["s:B'01'", "s:x'fF'"]],
    ["b'\\'", ["s:b'\\'"]],
    ["b'0''1'", ["s:b'0'", "s:'1'"]],
    ["N'a''b'n'\\'", ["s:N'a''b'", "s:n'\\'"]],
    ["U&'\\0061'u&'''\\'", ["s:U&'\\0061'", "s:u&'''\\'"]],
    ["U&'a' UESCAPE '!'", ["s:U&'a'", 'w:UESCAPE', "s:'!'"]],
    ["U &'a'", ['w:U', 'o:&', "s:'a'"]],
    ["xu&'\\'", ['w:xu', 'o:&', "s:'\\'"]],
    ['u&a', ['w:u', 'o:&', 'w:a']],
    ["'", ['Bad']],
    ["'a''", ['Bad']],
    ["E'\\'", ['Bad']],
    ["E'\\", ['Bad']],
    ["b'", ['Bad']],
    ["U&'a", ['Bad']],
  ])('finds strings in %j', (sql, found) => {
    expect(tokens(sql)).toEqual(found);
  });

  it.each([
    ["'a'\n'b'", ["s:'a'\n'b'"]],
    ["'a' \t\r\f 'b'", ["s:'a' \t\r\f 'b'"]],
    ["'a'\n\n'b'\n'c'd", ["s:'a'\n\n'b'\n'c'", 'w:d']],
    ["'a' -- x\n'b'", ["s:'a' -- x\n'b'"]],
    ["'a' -- x\n-- y\r\n 'b'", ["s:'a' -- x\n-- y\r\n 'b'"]],
    ["E'a'\n'\\''", ["s:E'a'\n'\\''"]],
    ["b'0'\n'1'", ["s:b'0'\n'1'"]],
    ["U&'a'\n'b\\'", ["s:U&'a'\n'b\\'"]],
    ["'a' 'b'", ["s:'a'", "s:'b'"]],
    ["'a'/*\n*/'b'", ["s:'a'", "s:'b'"]],
    ["'a'\n/**/'b'", ["s:'a'", "s:'b'"]],
    ["'a'\n-'b'", ["s:'a'", 'o:-', "s:'b'"]],
    ["'a'\nE'b'", ["s:'a'", "s:E'b'"]],
    ["'a' -- 'b'", ["s:'a'"]],
    ["'a'\n'b", ['Bad']],
    ['"a"\n"b"', ['q:"a"', 'q:"b"']],
    ["$$a$$\n'b'", ['s:$$a$$', "s:'b'"]],
  ])('goes on with a string on another line in %j', (sql, found) => {
    expect(tokens(sql)).toEqual(found);
  });

  it.each([
    ["'\\''", ["s:'\\''"]],
    ["n'\\''", ["s:n'\\''"]],
    ["'\\\\'a", ["s:'\\\\'", 'w:a']],
    ["'a'\n'\\''", ["s:'a'\n'\\''"]],
    ["b'\\'", ["s:b'\\'"]],
    ['"\\"', ['q:"\\"']],
    ['$$\\$$', ['s:$$\\$$']],
    ["'\\'", ['Bad']],
  ])('takes a backslash in %j for an escape without standard_conforming_strings', (sql, found) => {
    expect(tokens(sql, false)).toEqual(found);
  });

  it.each([
    ['"a"', ['q:"a"']],
    ['"a""b"c', ['q:"a""b"', 'w:c']],
    ['"a;\'--/*$$\n"', ['q:"a;\'--/*$$\n"']],
    ['U&"d\\0061""t"', ['u:U&"d\\0061""t"']],
    ['u&"a" uescape', ['u:u&"a"', 'w:uescape']],
    ['uu&"a"', ['w:uu', 'o:&', 'q:"a"']],
    ['E"a\\"', ['w:E', 'q:"a\\"']],
    ['"', ['Bad']],
    ['"a""', ['Bad']],
    ['U&"', ['Bad']],
  ])('finds quoted names in %j', (sql, found) => {
    expect(tokens(sql)).toEqual(found);
  });

  it.each([
    ['$$$$', ['s:$$$$']],
    ['$$a$$b', ['s:$$a$$', 'w:b']],
    ['$$a$b$$', ['s:$$a$b$$']],
    ["$$'\\;$$", ["s:$$'\\;$$"]],
    ['$a$b$a$', ['s:$a$b$a$']],
    ['$a$b$A$$a$', ['s:$a$b$A$$a$']],
    ['$a$b$$c$$a$', ['s:$a$b$$c$$a$']],
    ['$a$x$a$', ['s:$a$x$a$']],
    ['$a$b$ba$a$', ['s:$a$b$ba$a$']],
    ['$a$$b$a$', ['s:$a$$b$a$']],
    ['$_é1$b$_é1$', ['s:$_é1$b$_é1$']],
    ['"a"$$b$$', ['q:"a"', 's:$$b$$']],
    ['($$b$$)', ['o:(', 's:$$b$$', 'o:)']],
    ['1$$b$$', ['n:1', 's:$$b$$']],
    ['$1$$b$$', ['p:$1', 's:$$b$$']],
    ['a$$b', ['w:a$$b']],
    ['a$b$;', ['w:a$b$', 'o:;']],
    ['1a$b$;', ['n:1', 'w:a$b$', 'o:;']],
    ['$$', ['Bad']],
    ['$$a$', ['Bad']],
    ['$a$$', ['Bad']],
    ['$a$b$c$', ['Bad']],
    ['$a b$', ['Bad']],
    ['$', ['Bad']],
    ['$a', ['Bad']],
    ['$a-b$', ['Bad']],
  ])('finds dollar quotes in %j', (sql, found) => {
    expect(tokens(sql)).toEqual(found);
  });

  it.each([
    ['$1', ['p:$1']],
    ['$12,$3', ['p:$12', 'o:,', 'p:$3']],
    ['1 1.5 .5 1.', ['n:1', 'n:1', 'o:.', 'n:5', 'o:.', 'n:5', 'n:1', 'o:.']],
    ['1_000 0xFf 1e5', ['n:1', 'w:_000', 'n:0', 'w:xFf', 'n:1', 'w:e5']],
    ['1e-5;', ['n:1', 'w:e', 'o:-', 'n:5', 'o:;']],
    ['1..2', ['n:1', 'o:.', 'o:.', 'n:2']],
    ['1and 2', ['n:1', 'w:and', 'n:2']],
    ['a::b:=c', ['w:a', 'o::', 'o::', 'w:b', 'o::', 'o:=', 'w:c']],
    ['~!@#^&|`?+*/%<>=', Array.from('~!@#^&|`?+*/%<>=', (char) => `o:${char}`)],
  ])('finds parameters, numbers and operators in %j', (sql, found) => {
    expect(tokens(sql)).toEqual(found);
  });

  it.each(['\\', '{', '}', '\0', '\x01', '\x7f'])('cannot read %j outside of quotes', (char) => {
    expect(tokens(`a ${char} b`)).toEqual(['w:a', 'Bad']);
    expect(tokens(`"${char}"`)).toEqual([`q:"${char}"`]);
  });

  it('stays at what it cannot read', () => {
    const scanner = new SqlScanner(Buffer.from("a 'b"), 0, 4, true);
    const types = Array.from({ length: 4 }, () => scanner.next());
    expect(types).toEqual([Token.Word, Token.Bad, Token.Bad, Token.Bad]);
  });

  it('tells keywords in any case, and never a quoted one', () => {
    const bytes = Buffer.from('eXECute executes "execute" execut\u0065 [XECUTE');
    const scanner = new SqlScanner(bytes, 0, bytes.length, true);
    const are: boolean[] = [];
    while (scanner.next() !== Token.End) are.push(scanner.isWord('execute'));
    expect(are).toEqual([true, false, false, true, false, false]);
  });
});
