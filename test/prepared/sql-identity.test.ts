import { describe, expect, it } from 'vitest';
import { setsIdentity } from '../../src/prepared/sql-identity.ts';

function sets(sql: string, clientEncoding = 'UTF8', several = true): boolean {
  const bytes = Buffer.from(sql);
  return setsIdentity(bytes, 0, bytes.length, several, { standardConformingStrings: true, clientEncoding });
}

describe('a text that makes a session another user’s', () => {
  it.each([
    'SET ROLE a',
    'set session role "b"',
    'SET ROLE NONE',
    "SET role = 'a'",
    'SET "role" TO a',
    'SET U&"\\0072ole" = a',
    'SET SESSION AUTHORIZATION a',
    'SET SESSION SESSION AUTHORIZATION DEFAULT',
    'set session_authorization = a',
    'BEGIN; SELECT 1; SET ROLE a; COMMIT',
    "SELECT ';/*'; SET ROLE a",
    '/* x */ -- y\n SET /**/ ROLE a',
  ])('is found: %j', (sql) => {
    expect(sets(sql)).toBe(true);
  });

  it.each([
    ';SET ROLE a',
    '/*;x*/ ; -- ;y\n;SET ROLE a',
  ])('is found behind empty statements, where there may be one alone: %j', (sql) => {
    expect(sets(sql, 'UTF8', false)).toBe(true);
    expect(sets(`SELECT 1${sql}`, 'UTF8', false)).toBe(false);
  });

  it.each([
    'SET LOCAL ROLE a',
    'SET LOCAL role = a',
    'SET LOCAL SESSION AUTHORIZATION a',
    'RESET ROLE',
    'RESET SESSION AUTHORIZATION',
    'SET search_path = role',
    "SET application_name = 'role; SET ROLE a'",
    "SELECT '; SET ROLE a'",
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
    'SET role.a = 1',
    'UPDATE t SET role = 1',
    "ALTER ROLE a SET role = 'b'",
    'CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role = a RETURN 1',
  ])('is not seen in %j', (sql) => {
    expect(sets(sql)).toBe(false);
  });

  it('is taken for one where it cannot be read and may be one', () => {
    expect(sets("SET ROLE 'a")).toBe(true);
    expect(sets('SET ROLE ä', 'SJIS')).toBe(true);
    expect(sets('SET U&"\\0072ole" = ä', 'SJIS')).toBe(true);
    expect(sets("SET application_name = 'ä'", 'SJIS')).toBe(false);
  });
});
