import { expect, test } from 'vitest';
import { driverNames, lockedVersion, type Report, readmeTable, renderDrivers } from './table.ts';

test("README's table has every driver with tests, in the version they run with", () => {
  const rows = readmeTable()
    .trim()
    .split('\n')
    .slice(2)
    .map((line) => line.split('|').map((cell) => cell.trim()));
  expect(rows.map((cells) => [cells[1], cells[2]])).toEqual(
    driverNames().map((name) => [name, lockedVersion(name)]),
  );
});

const passed = (mode: string, title: string) => ({
  ancestorTitles: [`${mode} mode`],
  title,
  status: 'passed',
});

test('a table says how many tests of a driver fail in a mode', () => {
  const named = 'its statements are kept under names';
  const report: Report = {
    testResults: [
      {
        name: '/somewhere/pg.test.ts',
        assertionResults: [
          passed('session', named),
          passed('transaction', named),
          { ...passed('transaction', 'a large result is complete'), status: 'failed' },
        ],
      },
    ],
  };
  expect(renderDrivers(report, ['pg']).split('\n').slice(2)).toEqual([
    `| pg | ${lockedVersion('pg')} | named | yes | 1 of 2 tests fail |`,
    '',
  ]);
});

test('there is no table without a run of every driver', () => {
  const report: Report = {
    testResults: [{ name: '/somewhere/pg.test.ts', assertionResults: [passed('session', 'a test')] }],
  };
  expect(() => renderDrivers(report, ['pg'])).toThrow('the tests of pg in transaction mode did not run');
  expect(() => renderDrivers(report, ['knex'])).toThrow('the tests of knex in session mode did not run');
});
