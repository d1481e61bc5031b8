import { describe, expect, it } from 'vitest';
import { outline, read, UTF8 } from './kit.ts';

describe('readStatements', () => {
  it.each([
    ['', []],
    [' ;; /* ; */ -- ;', []],
    ['SELECT 1', ['other [SELECT 1]']],
    [' SELECT 1 /* a */ ; ', ['other [SELECT 1]']],
    ['a;b;;c', ['other [a]', 'other [b]', 'other [c]']],
    [
      'SELECT \';\'; SELECT ";"; SELECT $$;$$',
      ["other [SELECT ';']", 'other [SELECT ";"]', 'other [SELECT $$;$$]'],
    ],
    ['SELECT (1;2); b', ['other [SELECT (1;2)]', 'other [b]']],
    ['SELECT a[1;2]; b', ['other [SELECT a[1;2]]', 'other [b]']],
    ['(SELECT 1); b', ['other [(SELECT 1)]', 'other [b]']],
    ['BEGIN; END; b', ['other [BEGIN]', 'commit [END]', 'other [b]']],
    ['EXECUTE a', ['execute a <a> [EXECUTE a]']],
    ['BEGIN;EXECUTE a;COMMIT', ['other [BEGIN]', 'execute a <a> [EXECUTE a]', 'commit [COMMIT]']],
  ])('takes %j apart', (sql, statements) => {
    expect(outline(sql)).toEqual(statements);
  });

  it.each([
    ['PREPARE a AS SELECT 1', 'prepare a <a> <AS SELECT 1>'],
    ['prepare A as select 1', 'prepare a <A> <as select 1>'],
    ['PREPARE "A;b"(int, text) AS SELECT $1', 'prepare A;b <"A;b"> <(int, text) AS SELECT $1>'],
    ['PREPARE/**/a--\n(int)AS SELECT 1', 'prepare a <a> <(int)AS SELECT 1>'],
    ['PREPARE U&"d!0061" UESCAPE \'!\' AS SELECT 1', 'prepare da <U&"d!0061" UESCAPE \'!\'> <AS SELECT 1>'],
    ['PREPARE transaction AS SELECT 1', 'prepare transaction <transaction> <AS SELECT 1>'],
    ['PREPARE transaction (int) AS SELECT 1', 'prepare transaction <transaction> <(int) AS SELECT 1>'],
    ['PREPARE prepare AS SELECT 1', 'prepare prepare <prepare> <AS SELECT 1>'],
    ["PREPARE TRANSACTION 'a'", 'commit'],
    ['PREPARE TRANSACTION $$a$$', 'commit'],
    ["PREPARE TRANSACTION/**/E'a'", 'commit'],
    ["PREPARE TRANSACTION U&'a'", 'commit'],
    ['PREPARE', 'other'],
    ["PREPARE 'a' AS SELECT 1", 'other'],
    ['PREPARED a AS SELECT 1', 'other'],
    ['"PREPARE" a AS SELECT 1', 'other'],
    ['SELECT 1 AS prepare', 'other'],
  ])('tells what %j prepares', (sql, form) => {
    expect(outline(sql)).toEqual([`${form} [${sql}]`]);
  });

  it.each([
    ['EXECUTE a', 'execute a <a>'],
    ['EXECUTE a(1, (2))', 'execute a <a>'],
    ['EXECUTE"A"', 'execute A <"A">'],
    ['EXECUTE all', 'execute all <all>'],
    ['EXPLAIN EXECUTE a', 'execute a <a>'],
    ['EXPLAIN ANALYZE EXECUTE a(1)', 'execute a <a>'],
    ['EXPLAIN ANALYSE VERBOSE EXECUTE a', 'execute a <a>'],
    ['EXPLAIN VERBOSE EXECUTE a', 'execute a <a>'],
    ['EXPLAIN(ANALYZE, FORMAT json)EXECUTE a', 'execute a <a>'],
    ["EXPLAIN (SERIALIZE ')') EXECUTE a", 'execute a <a>'],
    ['EXPLAIN ANALYZE CREATE TABLE t AS EXECUTE a', 'execute a <a>'],
    ['EXPLAIN (COSTS off) CREATE TEMP TABLE t AS EXECUTE a', 'execute a <a>'],
    ['EXPLAIN SELECT execute', 'other'],
    ['EXPLAIN (SELECT 1)', 'other'],
    ['EXPLAIN ((SELECT 1) UNION SELECT execute) ', 'other'],
    ['EXECUTE', 'other'],
    ['EXECUTE (a)', 'other'],
    ['SELECT 1 execute', 'other'],
    ['CREATE TABLE t AS EXECUTE a', 'execute a <a>'],
    ['CREATE TABLE IF NOT EXISTS t AS EXECUTE a', 'execute a <a>'],
    ['CREATE TEMP TABLE t AS EXECUTE a(1) WITH NO DATA', 'execute a <a>'],
    ['CREATE TEMPORARY TABLE t AS EXECUTE a WITH DATA', 'execute a <a>'],
    ['CREATE LOCAL TEMP TABLE t AS EXECUTE a', 'execute a <a>'],
    ['CREATE GLOBAL TEMPORARY TABLE t AS EXECUTE a', 'execute a <a>'],
    ['CREATE UNLOGGED TABLE s.t (x, y) AS EXECUTE a', 'execute a <a>'],
    ['CREATE TABLE s.as AS EXECUTE a', 'execute a <a>'],
    ['CREATE TABLE "as" AS EXECUTE a', 'execute a <a>'],
    ['CREATE TABLE execute AS EXECUTE a', 'execute a <a>'],
    [
      'CREATE TEMP TABLE t (x) USING heap WITH (fillfactor = 70) ON COMMIT DROP TABLESPACE ts AS EXECUTE a',
      'execute a <a>',
    ],
    ['CREATE TABLE t WITHOUT OIDS AS EXECUTE a', 'execute a <a>'],
    ['CREATE TABLE t AS SELECT 1 AS execute', 'other'],
    ['CREATE TABLE t AS SELECT 1 AS execute, 2 AS a', 'other'],
    ['CREATE TABLE t AS TABLE execute', 'other'],
    ['CREATE TABLE t (a int GENERATED ALWAYS AS (1) STORED)', 'other'],
    ['CREATE TABLE t (execute int)', 'other'],
    ['CREATE MATERIALIZED VIEW t AS SELECT 1', 'other'],
    ['CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION f()', 'other'],
    ['CREATE VIEW t AS SELECT begin atomic', 'other'],
  ])('tells what %j executes', (sql, form) => {
    expect(outline(sql)).toEqual([`${form} [${sql.trim()}]`]);
  });

  it.each([
    ['DEALLOCATE a', 'deallocate a <a>'],
    ['DEALLOCATE PREPARE a', 'deallocate a <a>'],
    ['DEALLOCATE PREPARE', 'deallocate prepare <PREPARE>'],
    ['DEALLOCATE prepare prepare', 'deallocate prepare <prepare>'],
    ['DEALLOCATE ALL', 'deallocate-all'],
    ['deallocate prepare all', 'deallocate-all'],
    ['DEALLOCATE "all"', 'deallocate all <"all">'],
    ['DEALLOCATE PREPARE "all"', 'deallocate all <"all">'],
    ['DEALLOCATE "prepare"', 'deallocate prepare <"prepare">'],
    ['DEALLOCATE', 'other'],
    ['DISCARD ALL', 'discard-all'],
    ['discard/**/all', 'discard-all'],
    ['DISCARD PLANS', 'other'],
    ['DISCARD', 'other'],
  ])('tells what %j drops', (sql, form) => {
    expect(outline(sql)).toEqual([`${form} [${sql}]`]);
    expect(outline(`${sql};`)).toEqual([`${form} [${sql}]`]);
  });

  it('reads PREPARE as the name in DEALLOCATE only when nothing follows', () => {
    expect(outline('DEALLOCATE PREPARE; a')).toEqual([
      'deallocate prepare <PREPARE> [DEALLOCATE PREPARE]',
      'other [a]',
    ]);
  });

  it.each([
    ['CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END'],
    [
      'CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN/**/ATOMIC ; SELECT CASE WHEN a THEN 1 END; END',
    ],
    ['CREATE PROCEDURE p() BEGIN ATOMIC END'],
    ['CREATE PROCEDURE p() BEGIN ATOMIC SELECT (1); END'],
    [
      'CREATE FUNCTION f() RETURNS begin BEGIN ATOMIC SELECT 1 AS end; SELECT CASE end WHEN 1 THEN 2 END; END',
    ],
    ['CREATE FUNCTION f(begin atomic) RETURNS int RETURN 1'],
    ['CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT x.end; END'],
    ["CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2'"],
    ['CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2;)'],
    ['SELECT begin atomic'],
    ['CREATE SCHEMA s CREATE TABLE t (a int) CREATE VIEW v AS SELECT 1'],
  ])('takes %s for one statement', (sql) => {
    expect(outline(sql)).toEqual([`other [${sql}]`]);
    expect(outline(`${sql}; EXECUTE a`)).toEqual([`other [${sql}]`, 'execute a <a> [EXECUTE a]']);
  });

  it.each([
    "SELECT 'a",
    'SELECT "a',
    'SELECT $a$ $b$',
    'EXECUTE a; /*',
    'EXECUTE a; SELECT (1',
    'EXECUTE a; SELECT [1',
    'EXECUTE a; SELECT 1)',
    'SELECT ]1[',
    'EXECUTE a; {',
    'EXECUTE a\0',
    'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2',
    'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 END',
    'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT begin atomic; END',
    'CREATE SCHEMA s CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END',
    'EXECUTE U&"\\"',
  ])('cannot read %s with certainty', (sql) => {
    expect(outline(sql)).toBeNull();
  });

  it('reads backslashes by standard_conforming_strings', () => {
    const sql = "SELECT '\\'; EXECUTE a; SELECT '\\'";
    expect(outline(sql)).toHaveLength(3);
    expect(outline(sql, { ...UTF8, standardConformingStrings: false })).toBeNull();
    const escaped = "SELECT '\\''; EXECUTE a --'";
    expect(outline(escaped)).toHaveLength(1);
    expect(outline(escaped, { ...UTF8, standardConformingStrings: false })).toHaveLength(2);
  });

  it('does not read what is beyond ASCII in an encoding where an ASCII byte can end a character', () => {
    // In SJIS the two bytes are one character, whose second is a backslash.
    const sql = Buffer.from("SELECT E'\x83\x5c'; EXECUTE a; --'", 'latin1');
    expect(read(sql, { ...UTF8, clientEncoding: 'sjis' })).toBeNull();
    expect(read(sql, { ...UTF8, clientEncoding: 'EUC_JP' })).toHaveLength(1);
    expect(read('EXECUTE a', { ...UTF8, clientEncoding: 'SJIS' })).toHaveLength(1);
  });

  it('gives offsets into the buffer', () => {
    expect(read('  EXECUTE  "a" ; b')).toEqual([
      { kind: 'execute', name: 'a', nameStart: 11, nameEnd: 14, isPlain: true, start: 2, end: 14 },
      { kind: 'other', start: 17, end: 18 },
    ]);
  });
});
