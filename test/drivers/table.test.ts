import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { debianDrivers } from './programs.ts';
import {
  debianDriver,
  driverNames,
  lockedVersion,
  type Report,
  readmeTable,
  renderDrivers,
} from './table.ts';

test("README's table has every driver with tests, npm's in the version they run with", () => {
  const rows = readmeTable()
    .trim()
    .split('\n')
    .slice(2)
    .map((line) => line.split('|').map((cell) => cell.trim()));
  expect(rows.map((cells) => cells[1])).toEqual(driverNames());
  for (const [, name = '', , version = ''] of rows) {
    // Debian's are what the machine has that the table was written on.
    if (debianDriver(name) === undefined) expect([name, version]).toEqual([name, lockedVersion(name)]);
    else expect([name, version]).toEqual([name, expect.stringMatching(/^\d+(\.\d+)+$/)]);
  }
});

test('.ci/run installs the packages of all drivers', () => {
  const words = readFileSync(resolve(import.meta.dirname, '../../.ci/run'), 'utf8').split(/[\s()]+/);
  for (const { packages } of Object.values(debianDrivers)) {
    expect(words).toEqual(expect.arrayContaining([...packages]));
  }
});

const passed = (mode: string, title: string) => ({
  ancestorTitles: [`${mode} mode`],
  title,
  status: 'passed',
});

test('a table says how many tests of a driver fail in a mode', () => {
  const titles = [
    'its statements are kept under names',
    'a query that is cancelled ends, and the connection goes on',
  ];
  const report: Report = {
    testResults: [
      {
        name: '/somewhere/pg.test.ts',
        assertionResults: [
          ...titles.map((title) => passed('session', title)),
          ...titles.map((title) => passed('transaction', title)),
          { ...passed('transaction', 'a large result is complete'), status: 'failed' },
        ],
      },
    ],
  };
  expect(renderDrivers(report, ['pg']).split('\n').slice(2)).toEqual([
    `| pg | JavaScript | ${lockedVersion('pg')} | named | yes | yes | 1 of 3 tests fail |`,
    '',
  ]);
});

test('a table says what a driver cannot do', () => {
  const titles = [
    'its statements have no names',
    'a query that takes too long ends, and the connection goes on',
  ];
  const report: Report = {
    testResults: [
      {
        name: '/somewhere/knex.test.ts',
        assertionResults: ['session', 'transaction'].flatMap((mode) =>
          titles.map((title) => passed(mode, title)),
        ),
      },
    ],
  };
  const [line = ''] = renderDrivers(report, ['knex']).split('\n').slice(2);
  const cells = [
    'knex',
    'JavaScript',
    lockedVersion('knex'),
    'unnamed: the library has no names',
    'no',
    'yes',
  ];
  expect(line).toBe(`| ${cells.join(' | ')} | yes |`);
});

test('a table says that a driver is not there', () => {
  const skipped = (mode: string) => ({ ...passed(mode, 'is not tested'), status: 'skipped' });
  const report: Report = {
    testResults: [
      {
        name: '/somewhere/psycopg.test.ts',
        assertionResults: [skipped('direct'), skipped('session'), skipped('transaction')],
      },
    ],
  };
  const [line = ''] = renderDrivers(report, ['psycopg']).split('\n').slice(2);
  expect(line).toMatch(/^\| psycopg \| Python \| [^|]+ \| – \| – \| not tested \| not tested \|$/);
});

test('there is no table without a run of every driver', () => {
  const report: Report = {
    testResults: [{ name: '/somewhere/pg.test.ts', assertionResults: [passed('session', 'a test')] }],
  };
  expect(() => renderDrivers(report, ['pg'])).toThrow('the tests of pg in transaction mode did not run');
  expect(() => renderDrivers(report, ['knex'])).toThrow('the tests of knex in session mode did not run');
});
