import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isUtility, mayBeginWithSet, mayConcernStatements } from '../../src/prepared/sql-prefilter.ts';
import { madeText, read } from './kit.ts';

function mayConcern(sql: string): boolean {
  const bytes = Buffer.from(`;EXECUTE${sql}EXECUTE;`);
  return mayConcernStatements(bytes, 8, bytes.length - 8);
}

const WORDS = ['prepare', 'EXECUTE', 'Deallocate', 'dISCARD'];

describe('mayConcernStatements', () => {
  it.each([
    '',
    ' ',
    'S',
    'BEGIN',
    'SELECT 1',
    'SELECT abalance FROM pgbench_accounts WHERE aid = 1;',
    'CREATE TABLE t (a int)',
    'EXPLAIN SELECT 1',
    'DELETE FROM t; SELECT 1; COMMIT;',
    'SELECT prepared, executed FROM pre_execute WHERE discard_at > 1 AND execute$ = 1',
    'SELECT preparé, éprepare',
    "SELECT * FROM log WHERE action = 'execute'",
    "SELECT 1 -- ; execute'".replace(';', ','),
    '/* execute */ SELECT 1',
    '-- execute\n-- prepare\rSELECT 1;',
    " \t\n\r\f\v/* /* execute */ prepare */ SELECT 'discard'",
    'SELECT * FROM discard; SELECT 2',
    '(SELECT execute)',
    '/* execute',
    '-- execute',
    '/*/ execute */ SELECT 1',
  ])('knows that %j has no such statement', (sql) => {
    expect(mayConcern(sql)).toBe(false);
  });

  it.each([
    'PREPARE a AS SELECT 1',
    'execute a',
    'EXECUTE"a"',
    'dEALLOCATE aLL',
    'DISCARD ALL',
    'DEALLOCATE a;',
    '  \n/* a */-- b\nEXECUTE a',
    '/*/**/*/EXECUTE a',
    'EXPLAIN(COSTS off)EXECUTE a',
    'CREATE TABLE t AS EXECUTE a',
    'SELECT 1;EXECUTE a',
    "SELECT 'execute'; SELECT 1; EXECUTE a",
    'SELECT 1;; discard all',
    ';EXECUTE a',
    "SELECT ';execute '",
    'CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION f()',
  ])('has %j read', (sql) => {
    expect(mayConcern(sql)).toBe(true);
  });

  it.each(WORDS)('finds %s wherever it begins', (word) => {
    for (let before = 0; before < 40; before++) {
      for (const filler of [' ', 'e', 'prep', 'xecut', 'x;']) {
        const lead = `;${filler.repeat(before).slice(0, before)} `;
        expect(mayConcern(lead + word), lead).toBe(true);
        expect(mayConcern(`${lead}${word} a`), lead).toBe(true);
        expect(mayConcern(`${lead}${word.slice(0, -1)}`), lead).toBe(false);
        expect(mayConcern(`${lead}${word}s`), lead).toBe(false);
        expect(mayConcern(`${lead}_${word}`), lead).toBe(false);
      }
    }
  });

  it('passes over no statement that the reader finds in a made-up text', () => {
    fc.assert(
      fc.property(madeText, ({ sql, pieces }) => {
        // `read` compares with the prefilter.
        expect(read(sql)).toHaveLength(pieces.length);
        const concerns = pieces.some(({ kind }) => kind !== 'other' && kind !== 'set' && kind !== 'reset');
        if (concerns) expect(mayConcern(sql)).toBe(true);
      }),
    );
  });

  it('passes over no statement that the reader finds in random words', () => {
    const part = fc.constantFrom(
      ...[...WORDS, 'explain', 'create', 'table', 'as', 'select', 'x', '(', ')', ';', ' ', '\n', '/*', '*/'],
      ...['--', "'", '"', '$$', 'é', '1', ' ', ' ', 'all'],
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 25 }), (parts) => {
        read(parts.join(''));
        read(parts.join(' '));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('mayBeginWithSet', () => {
  const maySet = (sql: string, several = true) => {
    const bytes = Buffer.from(`;SET${sql}SET;`);
    return mayBeginWithSet(bytes, 4, bytes.length - 4, several);
  };

  it.each([
    '',
    ' ',
    'S',
    'SE',
    'SELECT 1',
    'SELECT 1;',
    'UPDATE t SET a = 1; DELETE FROM t;',
    'RESETS',
    'SETTLE',
    'set_config',
    'SET$',
    'SETé',
    '/* SET */ SELECT 1; -- SET',
    ';;; ;',
    '/* SET',
  ])('knows that no statement of %j is one', (sql) => {
    expect(maySet(sql)).toBe(false);
  });

  it.each([
    'SET a = 1',
    'set\ta = 1',
    'SET"a"=1',
    'RESET ALL',
    'SELECT 1;reset\ta',
    ' \n/* a */-- b\nSeT a = 1',
    'SELECT 1;SET a = 1',
    "SELECT ';/*'; SET a = 1",
    "SELECT ';--'; SET a = 1",
    'BEGIN ; /* ; */ SET LOCAL a = 1; COMMIT',
    "SELECT '; set '",
  ])('has %j read', (sql) => {
    expect(maySet(sql)).toBe(true);
  });

  it('looks at the first statement only of what can be but one', () => {
    expect([maySet('SELECT 1; SET a = 1', false), maySet('/**/ SET a = 1', false)]).toEqual([false, true]);
  });

  it('passes over no SET in random words', () => {
    const part = fc.constantFrom(
      ...['set', 'SET', 'select', 'x', '(', ')', ';', ';', ' ', '\n', '/*', '*/', '--', "'", '"', '$$', '='],
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 25 }), (parts) => {
        read(parts.join(''));
        read(parts.join(' '));
      }),
      { numRuns: 2000 },
    );
  });

  it('gives up on a text that was made to be looked at for ever', () => {
    // Each of these `;` has a comment behind it that goes to the end: looking behind all of them is n² steps.
    for (const piece of [';/*', ';--', ';/**/ ']) {
      const sql = piece.repeat(1_000_000);
      expect(maySet(`${sql}${piece.startsWith(';/**/') ? '' : ' SELECT'}`)).toBe(piece !== ';/**/ ');
    }
  });
});

describe('isUtility', () => {
  const is = (sql: string) => isUtility(Buffer.from(`a${sql}b`), 1, 1 + Buffer.byteLength(sql));

  it.each([
    'ROLLBACK',
    "rollback /* it's over */",
    "/* it's /* not */ */ -- x\n\tCommit;",
    "VACUUM t -- 'x'",
    "SET TimeZone = 'UTC'",
    "Notify a, 'b'",
  ])('is what PostgreSQL does not analyze: %s', (sql) => {
    expect(is(sql)).toBe(true);
  });

  it.each([
    '',
    "SELECT 'x'::date",
    "WITH x AS (SELECT 'x') SELECT 1",
    "EXPLAIN SELECT 'x'",
    "CREATE TABLE t AS SELECT 'x'::date",
    "DECLARE c CURSOR FOR SELECT 'x'",
    "CALL p('x')",
    " AS SELECT 'x'",
    " (date) AS SELECT 'x'",
    "settings 'x'",
    "/* SET */ SELECT 'x'",
    "-- SET\nSELECT 'x'",
    "/* open SET 'x'",
  ])('is not what may be analyzed: %s', (sql) => {
    expect(is(sql)).toBe(false);
  });
});
