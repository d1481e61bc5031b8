import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ReadingOptions, SqlStatement } from '../../src/prepared/sql-statements.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { WireClient } from '../support/wire-client.ts';
import { madeText, read } from './kit.ts';
import { byEffort } from '../support/effort.ts';

const role = 'sql_reader';
const database = 'sql_reader';
const TEXTS = byEffort({ quick: 60, wide: 300, full: 5000 });
const TIMEOUT_MS = byEffort({ wide: 120_000, full: 900_000 });

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: role, auth: 'trust' });
  await createDatabase(sharedPostgres(), database, role);
  await withClient(sharedPostgres(), (client) => client.query('CREATE TABLE pieces (n int)'), {
    database,
    user: role,
  });
});

async function withSession(strings: 'on' | 'off', work: (client: WireClient) => Promise<void>) {
  const session = await WireClient.connect(sharedPostgres(), {
    ...{ user: role, database, client_encoding: 'UTF8' },
    ...{ standard_conforming_strings: strings, escape_string_warning: 'off' },
  });
  try {
    await work(session);
  } finally {
    await session.end();
  }
}

function optionsFor(strings: 'on' | 'off'): ReadingOptions {
  return { standardConformingStrings: strings === 'on', clientEncoding: 'UTF8' };
}

/** How CommandComplete begins for a statement. */
const TAGS: Readonly<Record<SqlStatement['kind'], RegExp>> = {
  prepare: /^PREPARE$/,
  execute: /^(SELECT|EXPLAIN|CREATE TABLE AS)/,
  deallocate: /^DEALLOCATE$/,
  'deallocate-all': /^DEALLOCATE ALL$/,
  'discard-all': /^DISCARD ALL$/,
  set: /^SET$/,
  reset: /^RESET$/,
  commit: /^(COMMIT|ROLLBACK|PREPARE TRANSACTION)/,
  rollback: /^ROLLBACK/,
  other: /^(?!PREPARE|DEALLOCATE|DISCARD ALL|RESET)/,
};

/** Names of prepared statements that are left, by what was read. */
function namesLeft(statements: readonly SqlStatement[]): string[] {
  const names = new Set<string>();
  for (const each of statements) {
    if (each.kind === 'prepare') names.add(each.name);
    if (each.kind === 'deallocate') names.delete(each.name);
    if (each.kind === 'deallocate-all') names.clear();
  }
  return [...names].map((name) => Buffer.from(name, 'latin1').toString()).sort();
}

describe.each(['on', 'off'] as const)('with standard_conforming_strings %s', (strings) => {
  it(
    'PostgreSQL runs the statements that the reader finds, under the names that it reads',
    async () => {
      await withSession(strings, async (session) => {
        await fc.assert(
          fc.asyncProperty(madeText, async ({ sql }) => {
            const statements = read(sql, optionsFor(strings));
            const { tags, errors } = await session.query(sql);
            expect(errors).toEqual([]);
            expect(statements).not.toBeNull();
            expect(statements).toHaveLength(tags.length);
            statements?.forEach(({ kind }, index) => {
              expect(tags[index]).toMatch(TAGS[kind]);
            });
            const rows = await session.rows('SELECT name FROM pg_prepared_statements');
            expect(rows.flat().sort()).toEqual(namesLeft(statements ?? []));
            await session.query('DISCARD ALL');
          }),
          { numRuns: TEXTS },
        );
      });
    },
    TIMEOUT_MS,
  );

  it(
    'what PostgreSQL takes of texts cut from all kinds of quotes is read the same or not at all',
    async () => {
      await withSeed(async (random) => {
        await withSession(strings, async (session) => {
          let taken = 0;
          let unread = 0;
          for (let i = 0; i < TEXTS * 20; i++) {
            const sql = soup(random);
            const { tags, errors } = await session.query(sql);
            if (errors.length > 0) continue;
            taken++;
            const statements = read(sql, optionsFor(strings));
            if (statements === null) unread++;
            else if (statements.length !== tags.length)
              expect.fail(`${tags.length} statements, read as ${JSON.stringify(statements)}: ${sql}`);
          }
          expect(taken).toBeGreaterThan(TEXTS / 10);
          expect(unread).toBe(0);
        });
      });
    },
    TIMEOUT_MS,
  );
});

describe('the words of a statement', () => {
  it.each([
    ...[
      'EXECUTE a',
      'EXECUTE "A b"(1)',
      'EXECUTE transaction',
      'EXECUTE U&"d!0061" UESCAPE \'!\'',
      'EXPLAIN EXECUTE a',
    ],
    ...['EXPLAIN ANALYSE VERBOSE EXECUTE a', 'EXPLAIN (COSTS off) EXECUTE a', 'EXPLAIN SELECT 1 execute'],
    ...[
      'EXPLAIN (SELECT 1)',
      'EXPLAIN CREATE TABLE t AS EXECUTE a',
      'CREATE TABLE t AS EXECUTE a WITH NO DATA',
    ],
    ...[
      'CREATE UNLOGGED TABLE IF NOT EXISTS t (x, y) AS EXECUTE a',
      'CREATE GLOBAL TEMP TABLE t AS EXECUTE a',
    ],
    ...[
      'CREATE TEMP TABLE pg_temp.as AS EXECUTE a',
      'CREATE TABLE if AS EXECUTE a',
      'CREATE TABLE execute AS EXECUTE a',
    ],
    'CREATE TEMP TABLE t(x) USING heap WITH(fillfactor=9) ON COMMIT DROP TABLESPACE pg_default AS EXECUTE a',
    ...['CREATE TABLE t WITHOUT OIDS AS EXECUTE a', 'CREATE TEMP TABLE other AS SELECT 1 AS execute, 2 AS a'],
    ...[
      'DEALLOCATE a',
      'DEALLOCATE PREPARE a',
      'DEALLOCATE PREPARE',
      'DEALLOCATE prepare prepare',
      'DEALLOCATE ALL',
    ],
    ...[
      'DEALLOCATE "all"',
      'DEALLOCATE PREPARE ALL',
      'DEALLOCATE PREPARE "all"',
      'DISCARD ALL',
      'DISCARD PLANS',
    ],
  ])('name the same prepared statement to PostgreSQL in %s', async (sql) => {
    await withSession('on', async (session) => {
      const [statement] = read(sql) ?? [];
      const name = statement !== undefined && 'nameStart' in statement ? statement.name : undefined;
      const { errors, tags } = await session.query(sql);
      if (name === undefined) expect(errors).toEqual([]);
      else expect(errors).toMatchObject([{ C: '26000', M: `prepared statement "${name}" does not exist` }]);
      if (name === undefined) expect(tags[0]).toMatch(TAGS[statement?.kind ?? 'other']);
    });
  });

  it.each([
    ...["SET local.a = 'v'", "SET session.a TO 'v'", "SET SESSION local.a = 'v'", 'SET "My"."Param" = v'],
    ...["SET SESSION characteristics.a = 'v'", 'SET names.a = v', 'SET transaction.a = v', 'SET time.a = v'],
    ...[
      'SET constraints.a = v',
      'SET xml.a = v',
      'SET schema.a = v',
      'SET a.b.c = v',
      'SET U&"\\0061".b = v',
    ],
    ...['SET session = v', 'SET local TO v', 'SET LOCAL session = v', 'SET SESSION characteristics = v'],
    ...['SET names = v', 'SET time = v', 'SET schema TO v', 'SET transaction = v', 'SET constraints = v'],
    ...[
      'SET xml = v',
      'SET catalog = v',
      'SET "LOCAL" = v',
      'RESET time',
      'RESET session',
      'RESET transaction',
    ],
  ])('name the same parameter to PostgreSQL in %s', async (sql) => {
    await withSession('on', async (session) => {
      const [statement] = read(sql) ?? [];
      if (statement?.kind !== 'set' && statement?.kind !== 'reset') return expect.fail('not read');
      const { errors } = await session.query(sql);
      if (errors.length > 0) {
        expect(errors).toMatchObject([{ C: '42704' }]);
        expect(errors[0]?.['M']?.toLowerCase()).toBe(
          `unrecognized configuration parameter "${statement.name}"`,
        );
      } else {
        expect(await session.value(`SELECT current_setting('${statement.name}')`)).toBe('v');
      }
    });
  });

  it.each([
    ...[
      'SET TIME ZONE 0',
      'SET LOCAL TIME ZONE LOCAL',
      'SET NAMES',
      "SET LOCAL NAMES 'UTF8'",
      "SET SCHEMA 'a'",
    ],
    ...[
      'SET ROLE NONE',
      'SET XML OPTION DOCUMENT',
      'SET SESSION SESSION AUTHORIZATION DEFAULT',
      'RESET TIME ZONE',
    ],
    ...['SET LOCAL SESSION AUTHORIZATION DEFAULT', 'RESET ALL', 'RESET ROLE'],
    ...['RESET SESSION AUTHORIZATION', 'SET TRANSACTION READ ONLY', 'SET CONSTRAINTS ALL DEFERRED'],
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE',
  ])('have a short form that PostgreSQL takes in %s', async (sql) => {
    await withSession('on', async (session) => {
      const [statement] = read(sql) ?? [];
      if (statement?.kind === 'set' || statement?.kind === 'reset') {
        const exists = `SELECT current_setting('${statement.name}') IS NOT NULL`;
        if (statement.name !== 'all') expect(await session.value(exists)).toBe('t');
      }
      const { errors, tags } = await session.query(sql);
      expect(errors).toEqual([]);
      expect(tags[0]).toMatch(TAGS[statement?.kind ?? 'other']);
    });
  });
});

const FRAGMENTS = [
  ...[
    "'",
    "''",
    '"',
    '""',
    '\\',
    "\\'",
    '$$',
    '$a$',
    '$',
    '/*',
    '*/',
    '--',
    '-',
    '*',
    '/',
    '\n',
    '\r',
    ';',
    ';',
  ],
  ...['a', 'e', 'U&', '(', ')', '[', ']', ',', '+', '.', ' ', ' ', '\n', ' AS ', '1', 'é', ' b', 'SELECT 1'],
];
const OPENERS = [
  "'",
  "E'",
  "b'",
  "n'",
  "U&'",
  '"',
  'U&"',
  '$$',
  '$a$',
  '/*',
  '--',
  'x$a$',
  '1$$',
  '1e',
  "''",
  '',
];
const CLOSERS = ["'", "'", '"', '"', '$$', '$a$', '*/', '\n', ''];

/** SELECTs of things that open and, by chance, close again; most are refused, and the rest is odd. */
function soup(random: Random): string {
  let sql = '';
  for (let i = random.below(3); i >= 0; i--) {
    sql += `SELECT ${random.pick(['', '1 AS ', '1', '0 '])}${random.pick(OPENERS)}`;
    for (let j = random.below(5); j > 0; j--) sql += random.pick(FRAGMENTS);
    sql += random.pick(CLOSERS) + random.pick([';', '; ', '\n;', '']);
  }
  return sql;
}
