import { describe, expect, test } from 'vitest';
import { answerSelect, type SelectAnswer } from '../../src/admin/driver-select.ts';
import { splitStatements } from '../../src/admin/sql-text.ts';

const facts = { user: 'ann', database: 'pgbouncer', version: 'PostgreSQL 1' };

function answer(sql: string): SelectAnswer | null {
  const [statement] = splitStatements(sql) ?? [];
  if (statement === undefined) throw new Error(`no statement in ${sql}`);
  return answerSelect(statement, facts);
}

/** `name:type=value` of each column of the one row. */
function shown(sql: string): string | null {
  const found = answer(sql);
  if (found === null) return null;
  return found.columns.map(({ name, type }, i) => `${name}:${type}=${found.rows[0]?.[i]}`).join(' ');
}

test('more columns than a driver asks for are not answered: a console may keep many answers', () => {
  const list = (count: number) => Array(count).fill('1').join(', ');
  expect(answer(`SELECT ${list(64)}`)?.columns).toHaveLength(64);
  expect(answer(`SELECT ${list(65)}`)).toBe(null);
  const names = (count: number) => Array(count).fill('typname').join(', ');
  expect(answer(`SELECT ${names(64)} FROM pg_type`)?.columns).toHaveLength(64);
  expect(answer(`SELECT ${names(65)} FROM pg_type`)).toBe(null);
});

describe('constants and functions', () => {
  test.each([
    ['SELECT 1', '?column?:23=1'],
    ['select 1 as one, 2 two', 'one:23=1 two:23=2'],
    ["SELECT 'it''s'", "?column?:25=it's"],
    ['SELECT \'x\' AS "Name"', 'Name:25=x'],
    ['SELECT VERSION()', 'version:25=PostgreSQL 1'],
    ['SELECT pg_catalog.version() AS v', 'v:25=PostgreSQL 1'],
    ['SELECT current_schema()', 'current_schema:25=public'],
    ['select current_schema', 'current_schema:25=public'],
    ['SELECT current_database(), current_user', 'current_database:25=pgbouncer current_user:25=ann'],
    ['SELECT pg_is_in_recovery()', 'pg_is_in_recovery:16=f'],
    ["SELECT current_setting('server_version_num')::int/100 as version", 'version:23=125'],
    ["SELECT current_setting('TimeZone')", 'current_setting:25=GMT'],
    ['SELECT 1::text', '?column?:25=1'],
  ])('%s', (sql, expected) => {
    expect(shown(sql)).toBe(expected);
  });

  test.each([
    'SELECT',
    'SELECT version',
    'SELECT 1 +',
    'SELECT 1 2',
    'SELECT 1,',
    'SELECT now()',
    "SELECT pg_read_file('x')",
    "SELECT current_setting('nothing')",
    'SELECT 1/0',
    "SELECT 'x'::int",
    "SELECT E'x'",
    'SELECT constructor()',
    'SELECT $1',
    'TABLE pg_type',
    'UPDATE pg_type SET typname = 1',
  ])('%s is none of them', (sql) => {
    expect(answer(sql)).toBe(null);
  });
});

describe('catalogs', () => {
  test('all types are those that columns of the console have', () => {
    const found = answer('SELECT t.oid, t.typname, x AS typtype, f(1) FROM pg_type t WHERE true');
    expect(found?.columns.map(({ name }) => name)).toEqual(['oid', 'typname', 'typtype', 'f']);
    expect(found?.rows.map(([oid, name]) => [oid, name])).toEqual([
      ['16', 'bool'],
      ['17', 'bytea'],
      ['20', 'int8'],
      ['23', 'int4'],
      ['25', 'text'],
      ['1700', 'numeric'],
    ]);
  });

  test.each([
    ["SELECT typarray FROM pg_catalog.pg_type WHERE typname = 'hstore'", ['typarray'], 0],
    ['SELECT typname, oid FROM pg_type WHERE oid = $1 AND typname <> $2', ['typname', 'oid'], 2],
    ['SELECT e.enumlabel AS "the label" FROM pg_enum e', ['the label'], 0],
    ['SELECT CASE WHEN a THEN b END, 1 + 2 FROM pg_extension', ['case', '?column?'], 0],
    ["SELECT set_config('a', 'b', false) FROM pg_show_all_settings()", ['set_config'], 0],
  ])('%s has its columns and no rows', (sql, names, parameters) => {
    const found = answer(sql);
    expect(found?.columns.map(({ name }) => name)).toEqual(names);
    expect(found).toMatchObject({ rows: [], parameters });
  });

  // To say that there are none of these would be a lie.
  test.each([
    'SELECT * FROM pg_type',
    'SELECT t.* FROM pg_type t',
    'SELECT relname FROM pg_class',
    'SELECT oid FROM pg_type, pg_stat_activity',
    'SELECT rolname FROM pg_roles',
    'SELECT a FROM b',
    'SELECT oid FROM pg_type WHERE oid = $99999',
  ])('%s is not answered', (sql) => {
    expect(answer(sql)).toBe(null);
  });
});
