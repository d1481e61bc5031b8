import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { authorization, mayRun, type Role } from '../../src/admin/access.ts';
import type { CommandContext } from '../../src/admin/commands.ts';
import { type Reading, readText } from '../../src/admin/plan.ts';
import { splitStatements } from '../../src/admin/sql-text.ts';
import { LocalTime } from '../../src/base/local-time.ts';
import { FakeControl } from './fake-control.ts';
import { byEffort } from '../support/effort.ts';

const log = { enabled: () => false, log: () => {} };

function contextOf(role: Role, control = new FakeControl()): CommandContext {
  const { signal } = new AbortController();
  return { role, user: 'ann', log, control, localTime: new LocalTime(), version: 'v', signal };
}

const read = (text: string, role: Role = 'admin'): Reading => readText(text, contextOf(role));

describe('driver statements', () => {
  test.each([
    ['BEGIN', 'begin'],
    ['begin work isolation level repeatable read, read only, not deferrable', 'begin'],
    ['START TRANSACTION READ WRITE', 'begin'],
    ['COMMIT WORK', 'commit'],
    ['end', 'commit'],
    ['ABORT TRANSACTION', 'rollback'],
    ['ROLLBACK TO SAVEPOINT "A b"', 'rollbackTo'],
    ['SAVEPOINT s', 'savepoint'],
    ['RELEASE SAVEPOINT s', 'release'],
    ['DEALLOCATE PREPARE s', 'deallocate'],
    ['DISCARD ALL', 'discardAll'],
    ['UNLISTEN *', 'nothing'],
    ['SET extra_float_digits TO 3', 'nothing'],
    ["SET SESSION statement_timeout = '5s'", 'nothing'],
    ['SET LOCAL search_path TO a, "b c"', 'nothing'],
    ["SET TIME ZONE 'UTC'", 'nothing'],
    ["SET NAMES 'utf8'", 'nothing'],
    ['SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE', 'nothing'],
    ['SET TRANSACTION READ ONLY', 'nothing'],
    ['/* c */ SET "DateStyle" = ISO -- d', 'nothing'],
    ['RESET ALL', 'nothing'],
  ])('%s', (text, kind) => {
    const reading = read(text, 'stats');
    expect(reading).toMatchObject({ ok: true, plans: [{ work: { kind }, isHarmless: true }] });
  });

  test.each([
    'BEGIN nonsense',
    'COMMIT PREPARED x',
    'ROLLBACK TO',
    'SAVEPOINT',
    'SET nothing_known TO 3, 4',
    'SET extra_float_digits',
    'RESET verbose',
    'DEALLOCATE',
    'DISCARD EVERYTHING',
    'CLOSE c',
  ])('%s is none', (text) => {
    expect(read(text)).toMatchObject({ ok: false, outcome: { kind: 'unknown' } });
  });

  test('a setting of ours is ours, whatever PostgreSQL has of that name', () => {
    expect(read('SET transaction_timeout = 5', 'stats')).toMatchObject({
      ok: false,
      outcome: { message: 'admin access needed' },
    });
  });
});

describe('several statements', () => {
  test.each([
    ['SHOW STATE; SHOW VERSION;', 2],
    ['BEGIN; SELECT 1; ; COMMIT', 3],
    ['-- nothing', 0],
    [';;', 0],
    ['SHOW STATE -- ; SHUTDOWN', 1],
  ])('%s are %i', (text, count) => {
    const reading = read(text);
    expect(reading.ok && reading.plans.length).toBe(count);
  });

  test('are at most 20', () => {
    expect(read('SHOW STATE;'.repeat(20), 'stats')).toMatchObject({ ok: true });
    expect(read('SHOW STATE;'.repeat(21), 'stats')).toMatchObject({
      ok: false,
      outcome: { message: 'too many statements in one query (limit 20)', sqlstate: '53400' },
    });
  });

  test.each([
    'PAUSE; RESUME',
    'SHOW STATE; SHUTDOWN',
    'BEGIN; SET verbose = 2',
    "SET a = 'b'; SHOW STATE",
  ])('%s may not stand together: they change something', (text) => {
    expect(read(text)).toMatchObject({ ok: false, outcome: { kind: 'unknown' } });
  });
});

test('every row of the table of authorization is what the gate asks for', () => {
  for (const command of authorization.keys()) {
    const text = command === 'set' ? 'SET verbose = 2' : command === 'driver' ? 'BEGIN' : command;
    for (const role of ['admin', 'stats'] as const) {
      expect([text, role, read(text, role).ok]).toEqual([text, role, mayRun(role, command)]);
    }
  }
});

describe('any text', () => {
  const runs = byEffort({ wide: 500, full: 100_000 });
  const piece = fc.constantFrom(
    ...[
      'SHOW ',
      'SET ',
      'SELECT ',
      'BEGIN',
      'POOLS',
      'a',
      '1',
      "'",
      '"',
      "'x'",
      '"y"',
      '=',
      ' TO ',
      ';',
      '$1',
      '$$',
      '(',
    ],
    ...[
      ')',
      ',',
      '.',
      '::',
      'int',
      '/*',
      '*/',
      '--',
      '\n',
      ' FROM ',
      'pg_type',
      'oid',
      'typname',
      'KILL ',
      'ä',
      '\\',
      '*',
    ],
  );
  const text = fc.oneof(
    fc.array(piece, { maxLength: 25 }).map((pieces) => pieces.join('')),
    fc.string({ unit: 'binary', maxLength: 200 }),
  );

  test('is read without a throw, and what a user may only look at changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(text, async (each) => {
        const control = new FakeControl();
        const context = contextOf('stats', control);
        const reading = readText(each, context);
        if (!reading.ok) {
          expect(['failed', 'unknown']).toContain(reading.outcome.kind);
          return;
        }
        for (const { work, columns } of reading.plans) {
          if (typeof work !== 'function') continue;
          const outcome = await work(context);
          if (outcome.kind !== 'rows') continue;
          expect(outcome.columns).toBe(columns);
          for (const row of outcome.rows) expect(row).toHaveLength(columns?.length ?? 0);
        }
        expect(control.requests).toEqual([]);
      }),
      { numRuns: runs },
    );
  });

  test('comes apart into statements that come apart no further', () => {
    fc.assert(
      fc.property(text, (each) => {
        for (const statement of splitStatements(each) ?? []) {
          const again = splitStatements(statement.source);
          expect(again).toHaveLength(1);
          expect(again?.[0]?.tokens).toEqual(statement.tokens);
        }
      }),
      { numRuns: runs },
    );
  });

  test('of any length costs time in proportion', () => {
    for (const long of [
      '('.repeat(16_000),
      'SELECT 1,'.repeat(1_800),
      "'".repeat(16_000),
      'a.'.repeat(8_000),
    ]) {
      expect(read(long).ok).toBe(false);
    }
  });
});
