import { describe, expect, test } from 'vitest';
import { driverSettings } from '../../src/admin/driver-settings.ts';
import { driverShow, showTables } from '../../src/admin/show.ts';
import { settingRow } from '../../src/config/settings-table.ts';
import { OWN_SHOW_COLUMNS, SHOW_COLUMNS } from '../support/show-columns.ts';
import { query, rig } from './fake-control.ts';

describe('columns', () => {
  test.each(Object.entries(SHOW_COLUMNS))('SHOW %s has PgBouncer’s columns', async (name, expected) => {
    const answer = await query(rig(), `SHOW ${name};`);
    expect(answer.columns).toEqual(expected);
    expect(answer.tag).toBe('SHOW');
    expect(answer.types).toMatch(/^TD*CZ$/);
  });

  test.each(Object.entries(OWN_SHOW_COLUMNS))('SHOW %s, which is ours, has these', async (name, expected) => {
    const answer = await query(rig('stats'), `SHOW ${name};`);
    expect(answer.columns).toEqual(expected);
    expect(answer.tag).toBe('SHOW');
  });

  test('no SHOW is without a golden list', () => {
    const names = [...showTables.keys()].map((name) => name.toUpperCase());
    expect(names.toSorted()).toEqual(Object.keys({ ...SHOW_COLUMNS, ...OWN_SHOW_COLUMNS }).toSorted());
  });
});

describe('settings that drivers ask for', () => {
  test.each([
    ['client_encoding', 'UTF-8'],
    ['default_transaction_isolation', 'read committed'],
    ['standard_conforming_strings', 'on'],
    ['datestyle', 'ISO'],
    ['timezone', 'GMT'],
    ['transaction_read_only', 'off'],
  ])('SHOW %s answers %s in one text column of that name', async (name, value) => {
    const answer = await query(rig('stats'), `SHOW ${name.toUpperCase()}`);
    expect(answer.columns).toEqual([`${name}:25`]);
    expect(answer.rows).toEqual([[value]]);
    expect(answer.tag).toBe('SHOW');
  });

  test('none of them has the name of a SHOW or of a setting of ours', () => {
    for (const name of driverSettings.keys()) {
      expect([name, showTables.has(name), settingRow(name)]).toEqual([name, false, null]);
    }
  });
});

test.each([
  'constructor',
  '__proto__',
  'toString',
  '',
  'pool',
  'stats ',
])('there is no SHOW %j', async (name) => {
  expect([showTables.has(name), driverShow(name)]).toEqual([false, null]);
});
