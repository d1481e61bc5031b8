import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { splitAuthLine } from '../../src/config/auth-lines.ts';
import { ConfigError } from '../../src/config/config-error.ts';
import { type HbaRule, parseHbaLines } from '../../src/config/hba.ts';
import { findHbaRule, type HbaApplicant, isQuestion } from '../../src/config/hba-match.ts';
import { parseIdentLines } from '../../src/config/ident.ts';
import { parseIp } from '../../src/config/ip-address.ts';
import { anyText } from '../support/any-text.ts';

const maps = parseIdentLines([
  { fields: splitAuthLine('m sys pg', { file: 'i', line: 1 }, ''), at: { file: 'i', line: 1 } },
]);

function rulesOf(text: string, hasAuthUser = true): { rules: HbaRule[]; warnings: string[] } {
  const warnings: string[] = [];
  const lines = text.split('\n').flatMap((line, index) => {
    const at = { file: 'hba', line: index + 1 };
    const fields = splitAuthLine(line, at, '');
    return fields.length === 0 ? [] : [{ fields, at }];
  });
  return { rules: parseHbaLines(lines, { maps, hasAuthUser, warn: (w) => void warnings.push(w) }), warnings };
}

type Who = Partial<Omit<HbaApplicant, 'ip'>> & { ip?: string | null };

/** The line of the rule that fits, `none`, or what is asked. */
function found(text: string, who: Who = {}, answers: Record<string, boolean | null> = {}): string {
  const { ip = '192.168.1.7', ...rest } = who;
  const applicant: HbaApplicant = {
    database: 'd',
    user: 'u',
    replication: 'none',
    isTls: false,
    isOwn: () => false,
    ...rest,
    ip: ip === null ? null : parseIp(ip),
  };
  const rule = findHbaRule(rulesOf(text).rules, applicant, new Map(Object.entries(answers)));
  if (rule === null) return 'none';
  return isQuestion(rule) ? `? ${rule.key}` : `${rule.at.line} ${rule.method}`;
}

const REST = '0.0.0.0/0 trust';

describe('which rule fits', () => {
  test.each<readonly [string, Who, string]>([
    ['host all all 0.0.0.0/0 md5', {}, '1 md5'],
    ['host all all 0.0.0.0/0 password', {}, '1 plain'],
    [`host a all ${REST}\nhost d all ${REST}`, {}, '2 trust'],
    [`host a,d all ${REST}`, {}, '1 trust'],
    [`host all v,u ${REST}`, {}, '1 trust'],
    [`host "all" all ${REST}`, {}, 'none'],
    [`host "all" all ${REST}`, { database: 'all' }, '1 trust'],
    [`host all "all" ${REST}`, {}, 'none'],
    [`host sameuser all ${REST}`, {}, 'none'],
    [`host sameuser all ${REST}`, { database: 'u' }, '1 trust'],
    [`host "sameuser" all ${REST}`, { database: 'u' }, 'none'],
    [`host /^d all ${REST}`, {}, '1 trust'],
    [`host /^D all ${REST}`, {}, 'none'],
    [`host all "/^[a,u]$" ${REST}`, {}, '1 trust'],
    [`local all all trust`, {}, 'none'],
    [`local all all trust`, { ip: null }, '1 trust'],
    [`host all all all trust`, { ip: null }, 'none'],
    [`hostssl all all ${REST}\nhostnossl all all ${REST}`, {}, '2 trust'],
    [`hostnossl all all ${REST}\nhostssl all all ${REST}`, { isTls: true }, '2 trust'],
    [`host all all ${REST}`, { replication: 'physical' }, 'none'],
    [`host replication all ${REST}`, { replication: 'physical' }, '1 trust'],
    [`host "replication" all ${REST}`, { replication: 'physical' }, 'none'],
    [`host replication all ${REST}`, {}, 'none'],
    [`host replication all ${REST}`, { database: 'replication' }, 'none'],
    [`host "replication" all ${REST}`, { database: 'replication' }, '1 trust'],
    [`host d all ${REST}`, { replication: 'logical' }, '1 trust'],
    ['host all all 192.168.1.0/24 trust', {}, '1 trust'],
    ['host all all 192.168.2.0/24 trust', {}, 'none'],
    ['host all all 192.168.1.7/32 trust', {}, '1 trust'],
    ['host all all 192.168.1.6/31 trust', {}, '1 trust'],
    ['host all all 192.168.1.8/31 trust', {}, 'none'],
    ['host all all 192.168.0.0 255.255.0.0 trust', {}, '1 trust'],
    ['host all all 192.168.0.7 255.255.0.255 trust', {}, '1 trust'],
    ['host all all ::/0 trust', {}, 'none'],
    ['host all all all trust', { ip: 'fe80::1' }, '1 trust'],
    ['host all all ::ffff:192.168.1.0/120 trust', {}, '1 trust'],
    ['host all all 192.168.1.0/24 trust', { ip: '::ffff:192.168.1.9' }, '1 trust'],
    ['host all all 2001:db8::/33 trust', { ip: '2001:db8:7fff::1' }, '1 trust'],
    ['host all all 2001:db8::/33 trust', { ip: '2001:db8:8000::1' }, 'none'],
    ['host all all ::1/128 trust', { ip: '::1' }, '1 trust'],
    ['host all all fe80::1 ffff:ffff:ffff:ffff:: trust', { ip: 'fe80::2' }, '1 trust'],
    ['host all all samehost trust', { isOwn: (what) => what === 'host' }, '1 trust'],
    ['host all all samenet trust', { isOwn: (what) => what === 'host' }, 'none'],
    ['host all all 192.168.1.7/32 reject\nhost all all all trust', {}, '1 reject'],
  ])('%j for %j: %s', (text, who, expected) => {
    expect(found(text, who)).toBe(expected);
  });
});

describe('what has to be asked', () => {
  test.each<readonly [string, Record<string, boolean | null>, string]>([
    ['host all +g all trust', {}, '? member g'],
    ['host all +g all trust', { 'member g': true }, '1 trust'],
    ['host all +g all trust', { 'member g': false }, 'none'],
    ['host all "+g" all trust', {}, 'none'],
    ['host all u,+g all trust', {}, '1 trust'],
    ['host samerole all all trust', {}, '? member d'],
    ['host samegroup all all trust', { 'member d': true }, '1 trust'],
    ['host x +g all trust', {}, 'none'],
    ['host all all db.example.org trust', {}, '? host db.example.org'],
    ['host all all .Example.org. trust', {}, '? host .example.org'],
    ['host all all .example.org trust', { 'host .example.org': true }, '1 trust'],
    ['host all v db.example.org trust', {}, 'none'],
    // What nobody can tell lets nobody in.
    ['host all +g all reject\nhost all all all trust', { 'member g': null }, '1 reject'],
    ['host all +g all trust\nhost all all all md5', { 'member g': null }, '2 md5'],
    ['host all all bad.example reject\nhost all all all trust', { 'host bad.example': null }, '1 reject'],
    [
      'host all +g bad.example reject\nhost all all all trust',
      { 'member g': null, 'host bad.example': false },
      '2 trust',
    ],
    ['host all +g,+h all trust', { 'member g': null }, '? member h'],
    ['host all +g,+h all trust', { 'member g': null, 'member h': true }, '1 trust'],
  ])('%j with %j: %s', (text, answers, expected) => {
    expect(found(text, {}, answers)).toBe(expected);
  });
});

describe('a line that is refused', () => {
  test.each([
    ['hots all all all trust', 'hba:1: expected a line that begins with local, host, hostssl or hostnossl'],
    ['host,local all all all trust', 'hba:1: '],
    ['host', 'hba:1: database: '],
    ['host all', 'hba:1: user: '],
    ['host all all', 'hba:1: expected an address'],
    ['host all all all', 'hba:1: expected a method'],
    ['host all all all gss', 'hba:1: method: expected trust, reject, md5'],
    ['host all all all "trust" x', 'hba:1: expected options as name=value'],
    ['local all all 127.0.0.1/32 trust', 'hba:1: method: '],
    ['host all all 127.0.0.1 trust', 'hba:1: address: expected a mask'],
    ['host all all 127.0.0.1/33 trust', 'hba:1: address: '],
    ['host all all 127.0.0.1/ trust', 'hba:1: address: '],
    ['host all all 127.0.0.1/x trust', 'hba:1: address: '],
    ['host all all ::1/129 trust', 'hba:1: address: '],
    ['host all all 127.0.0.1 ffff:: trust', 'hba:1: address: '],
    ['host all all 127.0.0.300/32 trust', 'hba:1: address: '],
    ['host all all 127.0.0 trust', 'hba:1: address: '],
    ['host all all example.org/24 trust', 'hba:1: address: '],
    ['host all all exa_mple..org trust', 'hba:1: address: '],
    ['host all all all cert map=nobody', 'hba:1: map: expected the name of a map of auth_ident_file'],
    ['host all all all md5 map=m', 'hba:1: map: expected an option of md5'],
    ['host all all all cert clientcert=1', 'hba:1: clientcert: expected an option of cert'],
    ['host all all all cert map=m map=m', 'hba:1: map: expected each option once'],
    ['host all all all ldap ldapbindpasswd=a hush=b', 'hba:1: expected an option of ldap'],
    ['host all all all ldap ldapbindpw=a hush=b hush=c', 'hba:1: expected each option once'],
    ['host all all all ldap hush4=a', 'hba:1: expected an option of ldap'],
    ['host all all all ldap', 'hba:1: ldapbasedn: '],
    ['host all all all ldap ldapserver=a ldapprefix=x ldapbasedn=y', 'hba:1: ldapprefix: '],
    ['host all + all trust', 'hba:1: user: '],
    ['host /( all all trust', 'hba:1: database: '],
    ['host all /^(a+)+$ all reject', 'hba:1: user: '],
  ])('%s', (text, message) => {
    expect(() => rulesOf(`${text}\n`)).toThrow(ConfigError);
    expect(() => rulesOf(`${text}\n`)).toThrow(message);
    // Wherever it stands: the rules in front of it don't count either.
    expect(() => rulesOf(`host all all all reject\n${text}`)).toThrow(message.replace('hba:1', 'hba:2'));
  });

  test('members can be asked for with auth_user alone', () => {
    for (const text of ['host samerole all all trust', 'host all +g all trust']) {
      expect(() => rulesOf(text, false)).toThrow('auth_user');
    }
  });
});

test('address bits outside of the mask are warned about', () => {
  expect(rulesOf('host all all 10.1.2.3/8 trust').warnings).toEqual([
    'hba:1: the address has bits that its mask leaves out',
  ]);
  expect(rulesOf('host all all 10.0.0.0/8 trust').warnings).toEqual([]);
});

test('maps and options end up in the rule', () => {
  const { rules } = rulesOf(
    'local all all peer map=m\nhost all all all ldap ldapserver="a b" ldapbasedn="dc=x, dc=y" ldaptls=1',
  );
  expect(rules[0]?.map).toEqual(maps.get('m'));
  expect(rules[1]?.ldap).toMatchObject({ servers: ['a', 'b'], baseDn: 'dc=x, dc=y', startTls: true });
});

test('whatever a line is made of, it is a rule or refused by a ConfigError without a value in it', () => {
  const word = fc.oneof(
    fc.constantFrom(
      'local',
      'host',
      'hostssl',
      'all',
      'sameuser',
      'samerole',
      '+g',
      '/x',
      '/(',
      '"all"',
      '@x',
      ',',
    ),
    fc.constantFrom(
      '10.0.0.0/8',
      '::1/128',
      '255.0.0.0',
      'samenet',
      '.org',
      'trust',
      'reject',
      'ldap',
      'cert',
      'map=m',
    ),
    anyText.map((text) => `ldapbindpasswd=${text.replace(/[\s"#,\n]/g, '')}SECRET`),
    anyText.map((text) => text.replaceAll('\n', ' ')),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 9 }), (words) => {
      try {
        rulesOf(words.join(' '));
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
        expect((error as Error).message).not.toContain('SECRET');
      }
    }),
    { numRuns: 2000 },
  );
});
