import { setsIdentity } from '../../../src/prepared/sql-identity.ts';
import { mayConcernStatements } from '../../../src/prepared/sql-prefilter.ts';
import { readStatements } from '../../../src/prepared/sql-statements.ts';
import { describesRows, stretchNeeds } from '../../../src/prepared/stretch.ts';
import { StatementShape } from '../../../src/prepared/statement-shape.ts';
import { frontend } from '../../support/peer-messages.ts';
import { must, type Target } from '../target.ts';

const sql: Target = {
  name: 'sql',
  seeds: [
    'PREPARE a (int) AS SELECT $1; EXECUTE a(1); DEALLOCATE a',
    "SELECT E'a\\'b', $x$ y $x$, U&'d', 'it''s' /* c /* n */ */ -- e\n; DISCARD ALL",
    'SET ROLE x; SET LOCAL search_path TO a, b; RESET ALL; SET SESSION AUTHORIZATION DEFAULT',
    'EXPLAIN ANALYZE EXECUTE "a b"(1); CREATE TABLE t AS EXECUTE a; CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END',
  ],
  words: [
    'PREPARE ',
    'EXECUTE ',
    'DEALLOCATE ',
    'ALL',
    ' AS ',
    ';',
    "'",
    '"',
    '$$',
    '$a$',
    '/*',
    '*/',
    '--',
    '\n',
    "E'",
    "U&'",
    '\\',
    'SET ',
    'ROLE',
    'BEGIN ATOMIC',
    'END',
    '(',
    ')',
  ],
  maxBytes: 4096,
  run: (bytes) => {
    for (const options of [
      { standardConformingStrings: true, clientEncoding: 'UTF8' },
      { standardConformingStrings: false, clientEncoding: 'LATIN1' },
      { standardConformingStrings: true, clientEncoding: 'SJIS' },
    ]) {
      const statements = readStatements(bytes, 0, bytes.length, options);
      let last = 0;
      for (const { start, end, kind } of statements ?? []) {
        must(start >= last && end >= start && end <= bytes.length, 'statements one behind the other');
        last = end;
        if (kind === 'prepare' || kind === 'execute')
          must(mayConcernStatements(bytes, 0, bytes.length), 'what is found was not left out before');
      }
      setsIdentity(bytes, 0, bytes.length, true, options);
    }
  },
};

const stretches: Target = {
  name: 'stretches',
  seeds: [
    Buffer.concat([
      frontend.bindTexts('', 'a', ['x']),
      frontend.describe('P', ''),
      frontend.execute(''),
      frontend.sync(),
    ]),
    Buffer.concat([frontend.describe('S', 'a'), frontend.bindTexts('p', 'a', []), frontend.execute('p')]),
  ],
  words: ['B\0\0\0', 'D\0\0\0\x07Pa\0', 'E\0\0\0', 'S\0\0\0\x04', 'H\0\0\0\x04', '\0a\0', '\0\0'],
  maxBytes: 4096,
  run: (bytes) => {
    stretchNeeds(bytes, bytes.length, 'a', false);
    stretchNeeds(bytes, bytes.length, 'a', true);
    for (const portal of ['', 'p']) {
      const whole = describesRows(bytes, 0, bytes.length, 'a', portal);
      const half = describesRows(bytes, 0, bytes.length >> 1, 'a', portal);
      must(half === 'incomplete' || half === whole, 'what is behind changes nothing of what is known');
    }
    const shape = new StatementShape('', 0);
    shape.describe(bytes);
    must(typeof shape.rows === 'string' && typeof shape.rowsAnyhow === 'string', 'a digest');
  },
};

export const sqlTargets: readonly Target[] = [sql, stretches];
