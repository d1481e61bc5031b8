import { chmodSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fileIdentity, parseUserlist, readUserlist } from '../../src/config/userlist.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'userlist-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function parse(text: string): { users: [string, string][]; brokenLine: number } {
  const { secrets, brokenLine } = parseUserlist(Buffer.from(text));
  return { users: [...secrets], brokenLine };
}

test('each line gives a user and a secret, the rest of the line is ignored', () => {
  const text = '"a" "secret"\r\n \t"b"\t"md5abc" "more" stuff\n\n; comment\n  ; "x" "y"\n"c" ""\n';
  expect(parse(text)).toEqual({
    users: [
      ['a', 'secret'],
      ['b', 'md5abc'],
      ['c', ''],
    ],
    brokenLine: 0,
  });
});

test('a doubled quote stands for one', () => {
  expect(parse('"a""b" """"').users).toEqual([['a"b', '"']]);
});

test('a user given twice has the later secret', () => {
  expect(parse('"a" "1"\n"a" "2"\n').users).toEqual([['a', '2']]);
});

test.each([
  'a "b"',
  '"a"',
  '"a" "b',
  '"a" b',
  '"a""b"',
  '# "a" "b"',
  '"a" ; "b"',
])('reading stops at the broken line %s and keeps the earlier ones', (line) => {
  expect(parse(`"first" "1"\n\n${line}\n"last" "2"\n`)).toEqual({ users: [['first', '1']], brokenLine: 3 });
});

test('names and secrets beyond their limits break the file', () => {
  expect(parse(`"${'u'.repeat(127)}" "x"`).brokenLine).toBe(0);
  expect(parse(`"${'u'.repeat(128)}" "x"`).brokenLine).toBe(1);
  expect(parse(`"u" "${'x'.repeat(65530)}"`).brokenLine).toBe(0);
  expect(parse(`"u" "${'x'.repeat(65531)}"`).brokenLine).toBe(1);
});

test('UTF-8 is kept and anything else breaks the file', () => {
  expect(parse('"é" "ü"').users).toEqual([['é', 'ü']]);
  expect(parseUserlist(Buffer.from('"a" "1"\n"b" "\xfc"\n', 'latin1')).brokenLine).toBe(2);
});

test('what is quoted comes back', () => {
  const word = fc.string().filter((text) => !/[\n\0]/.test(text));
  fc.assert(
    fc.property(word, word, (user, secret) => {
      const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
      expect(parse(`${quote(user)} ${quote(secret)}\n`).users).toEqual([[user, secret]]);
    }),
  );
});

test('random bytes never throw', () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => parseUserlist(Buffer.from(bytes)).brokenLine >= 0));
});

test('the identity of a file changes with its bytes, time, mode and inode, and is null without a file', () => {
  const path = join(folder, 'users');
  expect(fileIdentity(path)).toBe(null);
  writeFileSync(path, 'one');
  utimesSync(path, 1000, 1000);
  const first = fileIdentity(path);
  expect(fileIdentity(path)).toBe(first);
  const seen = new Set([first]);
  utimesSync(path, 1000, 1001);
  seen.add(fileIdentity(path));
  chmodSync(path, 0o600);
  seen.add(fileIdentity(path));
  writeFileSync(path, 'longer');
  utimesSync(path, 1000, 1001);
  seen.add(fileIdentity(path));
  writeFileSync(join(folder, 'new'), 'longer', { mode: 0o600 });
  utimesSync(join(folder, 'new'), 1000, 1001);
  renameSync(join(folder, 'new'), path);
  seen.add(fileIdentity(path));
  expect(seen.size).toBe(5);
});

test('reading a file gives its users and its identity of that moment', () => {
  const path = join(folder, 'users');
  writeFileSync(path, '"a" "1"\n');
  const { secrets, identity } = readUserlist(path);
  expect([...secrets]).toEqual([['a', '1']]);
  expect(identity).toBe(fileIdentity(path));
});
