import { expect, test } from 'vitest';
import { consoleWelcome } from '../../src/admin/welcome.ts';

test('the console reports its own parameters, then what the client set', () => {
  expect(consoleWelcome([['application_name', 'psql']])).toEqual([
    ['server_version', '1.25.2/bouncer'],
    ['client_encoding', 'UTF8'],
    ['server_encoding', 'UTF8'],
    ['DateStyle', 'ISO'],
    ['TimeZone', 'GMT'],
    ['standard_conforming_strings', 'on'],
    ['is_superuser', 'on'],
    ['application_name', 'psql'],
  ]);
});
