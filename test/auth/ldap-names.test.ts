import { expect, test } from 'vitest';
import { bindNameOf, domainOf, isSearchable, searchFilterOf } from '../../src/auth/ldap-names.ts';
import { type LdapOptions, parseLdapOptions } from '../../src/config/ldap-options.ts';

const options = (given: Record<string, string>): LdapOptions =>
  parseLdapOptions(new Map(Object.entries({ ldapserver: 'x', ...given })), { file: 'f', line: 1 });

test.each([
  ['uid=', 'joe', 'uid=joe,dc=x'],
  ['uid=', 'joe,ou=admins', 'uid=joe\\,ou\\=admins,dc=x'],
  ['uid=', ' a+b"<>;\\ ', 'uid=\\ a\\+b\\"\\<\\>\\;\\\\\\ ,dc=x'],
  ['uid=', '#1', 'uid=\\#1,dc=x'],
  ['CORP\\', 'joe', 'CORP\\joe,dc=x'],
])('%s and the name %j make %s', (ldapprefix, user, expected) => {
  expect(bindNameOf(options({ ldapprefix, ldapsuffix: ',dc=x' }), user)).toBe(expected);
});

test('names that are more than a name are not searched for', () => {
  expect(['joe', 'joe@x', 'j*', '(', ')', 'a\\', 'a/b'].map(isSearchable)).toEqual([
    ...[true, true],
    ...[false, false, false, false, false],
  ]);
});

test('filters have the name wherever it belongs', () => {
  expect(searchFilterOf(options({ ldapbasedn: 'x' }), 'joe')).toBe('(uid=joe)');
  const ldapsearchfilter = '(|(uid=$username)(mail=$username@x))';
  expect(searchFilterOf(options({ ldapbasedn: 'x', ldapsearchfilter }), '$&')).toBe('(|(uid=$&)(mail=$&@x))');
  // Had it come so far.
  expect(searchFilterOf(options({ ldapbasedn: 'x' }), 'a*)(b\\')).toBe('(uid=a\\2a\\29\\28b\\5c)');
});

test.each([
  ['dc=example,dc=org', 'example.org'],
  ['ou=people, DC=a , dc=b', 'a.b'],
  ['ou=people', null],
  ['', null],
])('the domain of %j is %s', (baseDn, expected) => {
  expect(domainOf(baseDn)).toBe(expected);
});
