import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/config/config-error.ts';
import {
  hideLdapPassword,
  isLdapOption,
  type LdapOptions,
  parseLdapOptions,
} from '../../src/config/ldap-options.ts';
import { anyText } from '../support/any-text.ts';

const at = { file: 'f', line: 3 };

function parse(options: Record<string, string>): LdapOptions {
  return parseLdapOptions(new Map(Object.entries(options)), at);
}

test('a simple bind', () => {
  expect(parse({ ldapserver: 'a b', ldapprefix: 'uid=', ldapsuffix: ',dc=x' })).toEqual({
    servers: ['a', 'b'],
    port: null,
    scheme: 'ldap',
    startTls: false,
    prefix: 'uid=',
    suffix: ',dc=x',
    baseDn: null,
    bindDn: '',
    bindPassword: '',
    searchAttribute: 'uid',
    searchFilter: null,
    scope: 'sub',
  });
});

test.each<readonly [string, Partial<LdapOptions>]>([
  [
    'ldap://h/dc=x',
    { servers: ['h'], baseDn: 'dc=x', scheme: 'ldap', port: null, scope: 'base', searchAttribute: 'uid' },
  ],
  [
    'ldaps://h:63/dc=x?cn?sub',
    { servers: ['h'], scheme: 'ldaps', port: 63, scope: 'sub', searchAttribute: 'cn' },
  ],
  [
    'ldap://h/dc=x??one?(|(uid=$username)(mail=$username))',
    { scope: 'one', searchFilter: '(|(uid=$username)(mail=$username))' },
  ],
  ['ldap:///dc=example,dc=org?uid?sub', { servers: [], baseDn: 'dc=example,dc=org' }],
  ['LDAP://[::1]:389/dc%3dx', { servers: ['::1'], baseDn: 'dc=x', port: 389 }],
])('the URL %s', (ldapurl, expected) => {
  expect(parse({ ldapurl })).toMatchObject(expected);
});

test('options of their own go before those of the URL', () => {
  expect(parse({ ldapurl: 'ldap://h/dc=x', ldapserver: 'g', ldapport: '7' })).toMatchObject({
    servers: ['g'],
    port: 7,
  });
});

describe('refused', () => {
  test.each<readonly [Record<string, string>, string]>([
    [{}, 'ldapbasedn'],
    [{ ldapserver: 'a' }, 'ldapbasedn'],
    [{ ldapprefix: 'a' }, 'ldapserver'],
    [{ ldapserver: 'a', ldapprefix: 'a', ldapsearchattribute: 'b' }, 'ldapprefix'],
    [
      { ldapserver: 'a', ldapbasedn: 'b', ldapsearchattribute: 'c', ldapsearchfilter: '(d=e)' },
      'ldapsearchfilter',
    ],
    [{ ldapserver: 'a', ldapbasedn: 'b', ldapsearchfilter: 'd=e' }, 'ldapsearchfilter'],
    [{ ldapserver: 'a', ldapbasedn: 'b', ldapsearchattribute: 'uid=*)(x' }, 'ldapsearchattribute'],
    [{ ldapserver: 'a', ldapbasedn: 'b', ldapport: '0' }, 'ldapport'],
    [{ ldapserver: 'a', ldapbasedn: 'b', ldapport: '389x' }, 'ldapport'],
    [{ ldapserver: 'a', ldapbasedn: 'b', ldapscheme: 'http' }, 'ldapscheme'],
    [{ ldapserver: 'a', ldapbasedn: 'b', ldaptls: 'yes' }, 'ldaptls'],
    [{ ldapserver: 'a', ldapbasedn: 'b', ldaptls: '1', ldapscheme: 'ldaps' }, 'ldaptls'],
    [{ ldapurl: 'http://h/dc=x' }, 'ldapurl'],
    [{ ldapurl: 'ldap://h/dc=x?a,b' }, 'ldapurl'],
    [{ ldapurl: 'ldap://h/dc=x??all' }, 'ldapurl'],
    [{ ldapurl: 'ldap://h/dc%zz' }, 'ldapurl'],
    [{ ldapurl: 'ldap://h/dc=x????ext' }, 'ldapurl'],
    [{ ldapurl: 'ldap://h' }, 'ldapbasedn'],
  ])('%j: %s', (options, key) => {
    expect(() => parse(options)).toThrow(ConfigError);
    expect(() => parse(options)).toThrow(`f:3: ${key}: `);
  });
});

test('whatever the options are, nothing but a ConfigError is thrown, and it tells no password', () => {
  const name = fc.constantFrom(
    'ldapserver',
    'ldapport',
    'ldapurl',
    'ldapbasedn',
    'ldapsearchfilter',
    'ldaptls',
    'ldapprefix',
  );
  const value = fc.oneof(anyText, fc.constantFrom('1', 'a', '(a=b)', 'ldap://h/x', '389'), fc.webUrl());
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 5 }), (pairs) => {
      try {
        parseLdapOptions(new Map([...pairs, ['ldapbindpasswd', 'SECRET']]), at);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
        expect((error as Error).message).not.toContain('SECRET');
      }
    }),
    { numRuns: 1000 },
  );
});

test('what is no option of LDAP is none', () => {
  expect(['ldapserver', 'ldapdebug', 'map', '__proto__'].map(isLdapOption)).toEqual([
    true,
    false,
    false,
    false,
  ]);
});

test.each([
  ['ldapserver=a ldapbasedn="dc=x, dc=y"', 'ldapserver=a ldapbasedn="dc=x, dc=y"'],
  ['ldapserver=a ldapbindpasswd=SECRET', 'ldapserver=a ldapbindpasswd=********'],
  ['ldapbindpasswd="SEC RET",ldapbasedn="dc=x, dc=y"', 'ldapbindpasswd=******** "ldapbasedn=dc=x, dc=y"'],
  ['"ldapbindpasswd=SEC RET"', 'ldapbindpasswd=********'],
  ['ldapbindpasswd="SEC""RET', 'ldapbindpasswd=********'],
  ['ldapserver=a ldapbindpasswd=SEC RET', 'ldapbindpasswd=********'],
  ['ldapserver=a ldapbindpasswd=SEC,RET ldapbasedn=x', 'ldapbindpasswd=********'],
  ['ldapserver=a ldapbindpwd=SECRET', 'ldapbindpasswd=********'],
])('SHOW CONFIG shows %s as %s', (text, shown) => {
  expect(hideLdapPassword(text)).toBe(shown);
});
