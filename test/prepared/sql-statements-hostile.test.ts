import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mayConcernStatements } from '../../src/prepared/sql-prefilter.ts';
import { readStatements } from '../../src/prepared/sql-statements.ts';
import { madeText, read, UTF8 } from './kit.ts';

describe('readStatements, of made-up texts', () => {
  it('finds exactly the statements that a text was made of, and the names as they are written', () => {
    fc.assert(
      fc.property(madeText, ({ sql, pieces }) => {
        const bytes = Buffer.from(sql);
        const statements = read(sql) ?? [];
        const found = statements.map((each) => ({
          kind: each.kind,
          ...('nameStart' in each && {
            name: Buffer.from(each.name, 'latin1').toString(),
            written: bytes.toString('utf8', each.nameStart, each.nameEnd),
          }),
        }));
        expect(found).toEqual(pieces.map(({ sql: _, ...piece }) => piece));
        statements.forEach((each, index) => {
          const text = bytes.toString('utf8', each.start, each.end);
          // Space and comments at its two ends are not part of a statement.
          expect(pieces[index]?.sql).toContain(text);
        });
      }),
      { numRuns: 500 },
    );
  });

  it('reads a text the same when it is read again with another name in it', () => {
    fc.assert(
      fc.property(madeText, ({ sql }) => {
        const statements = read(sql) ?? [];
        let renamed = Buffer.from(sql);
        for (const each of statements.toReversed()) {
          if (!('nameStart' in each)) continue;
          renamed = Buffer.concat([
            renamed.subarray(0, each.nameStart),
            Buffer.from('"other;name"'),
            renamed.subarray(each.nameEnd),
          ]);
        }
        const again = read(renamed) ?? [];
        expect(again.map(({ kind }) => kind)).toEqual(statements.map(({ kind }) => kind));
        for (const each of again) if ('nameStart' in each) expect(each.name).toBe('other;name');
      }),
    );
  });
});

describe('readStatements, of hostile texts', () => {
  it('reads nothing beyond the end of a text that is cut anywhere', () => {
    fc.assert(
      fc.property(madeText, ({ sql }) => {
        const bytes = Buffer.from(sql);
        // `read` puts several neighbours around the text and compares.
        for (let end = 0; end < Math.min(bytes.length, 300); end++) read(bytes.subarray(0, end));
      }),
      { numRuns: 15 },
    );
  });

  it('never throws on random bytes', () => {
    const options = fc.record({
      standardConformingStrings: fc.boolean(),
      clientEncoding: fc.constantFrom('UTF8', 'LATIN1', 'SJIS', 'SQL_ASCII'),
    });
    const token = fc.constantFrom(
      ...["'", '"', '$$', '$a$', '/*', '*/', '--', '\n', ';', '\\', 'U&"', "E'", '(', ')', 'é', '\0', '.'],
      ...[
        'EXECUTE ',
        'PREPARE ',
        'CREATE FUNCTION ',
        'BEGIN ATOMIC ',
        'END',
        'SET ',
        'LOCAL ',
        'SESSION ',
        'x',
      ],
      ...[
        'DEALLOCATE ',
        'EXPLAIN ',
        'UESCAPE ',
        "'!'",
        ' AS ',
        'CREATE TABLE ',
        'RESET ',
        'ALL',
        ' = ',
        '!0061',
      ],
    );
    const tokens = fc.array(token, { maxLength: 40 }).map((parts) => Buffer.from(parts.join('')));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), tokens), options, (bytes, how) => {
        const statements = read(bytes, how) ?? [];
        let last = 0;
        for (const { start, end } of statements) {
          expect(start).toBeGreaterThanOrEqual(last);
          expect(end).toBeGreaterThan(start);
          last = end;
        }
        expect(last).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 3000 },
    );
  });

  const MIB = 2 ** 20;
  /** What has a text of such units read as something else. */
  const HEADS = [
    ...['EXECUTE "', 'EXECUTE U&"', 'SET ', 'CREATE TABLE ', 'CREATE FUNCTION f() BEGIN ATOMIC ', '/*'],
    ...["E'", 'EXPLAIN (', `SELECT $${'a'.repeat(MIB / 2)}$`],
  ];

  it.each([
    ...[
      '/*',
      "'",
      '"',
      '$a$',
      '$',
      '(',
      ')',
      '[',
      ';',
      '--',
      '-',
      "'a'\n",
      "'a' ",
      'E',
      "E'\\",
      '$a',
      'a.',
      '/',
    ],
    ...[
      '"a"',
      'U&"\\',
      'begin atomic ',
      '*/',
      '/*/',
      '$a$b$',
      'execute',
      'execute ',
      'prepar',
      '/**/',
      "'\n-",
    ],
    ...['EXECUTE a;', 'SET a.', 'a;', 'é', '$é$', 'select ', "'a'--\n", 'U&"a" UESCAPE '],
  ])('takes linear time for a MiB of %j', (unit) => {
    expect(msFor('', unit)).toBeLessThan(3000);
  });

  it.each(HEADS)('takes linear time behind %.30s', (head) => {
    for (const unit of ['"', "'", '\\0061', 'a.', '/*', '*/', '$a', ';', 'begin atomic '])
      expect(msFor(head, unit), unit).toBeLessThan(3000);
  });

  /** Some 20 ms of this thread's CPU, whatever else the machine does; quadratic would be minutes. */
  function msFor(head: string, unit: string): number {
    const bytes = Buffer.concat([Buffer.from(head), Buffer.alloc(MIB, unit)]);
    const before = process.threadCpuUsage();
    readStatements(bytes, 0, bytes.length, UTF8);
    mayConcernStatements(bytes, 0, bytes.length);
    const { user, system } = process.threadCpuUsage(before);
    return (user + system) / 1000;
  }
});
