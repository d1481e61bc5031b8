import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { commands } from '../../src/admin/commands.ts';
import { showTables } from '../../src/admin/show.ts';
import { settingsTable } from '../../src/config/settings-table.ts';
import { OWN_SHOW_COLUMNS } from '../support/show-columns.ts';
import { COMMANDS, contract, SETTINGS, SHOWS } from './contract.ts';
import { renderParity } from './render.ts';
import { MAY_BE_ABSENT, setting, show, onceEffective, same } from './verdict.ts';

const rows = contract.flatMap((part) => part.rows);

test('docs/parity.md is what `npm run parity` writes', () => {
  expect(readFileSync(new URL('../../docs/parity.md', import.meta.url), 'utf8')).toBe(renderParity());
});

describe('no row is missing', () => {
  test('of a setting', () => {
    expect(Object.values(SETTINGS).flat().toSorted()).toEqual(Object.keys(settingsTable).toSorted());
  });

  test('of a command or a SHOW', () => {
    expect(COMMANDS.toSorted()).toEqual([...commands.keys()].toSorted());
    // The contract says nothing of our own.
    const shows = [...SHOWS, ...Object.keys(OWN_SHOW_COLUMNS)];
    expect(shows.toSorted()).toEqual([...showTables.keys()].map((name) => name.toUpperCase()).toSorted());
  });

  test('nor is one there twice, in one part', () => {
    for (const part of contract) {
      const whats = part.rows.map(({ what }) => what);
      expect(new Set(whats).size, part.title).toBe(whats.length);
    }
  });
});

test('absent is only what may be, each with its reason', () => {
  const gone = rows.filter(({ verdict }) => verdict === 'absent');
  expect(gone.map(({ what }) => what).filter((what) => !MAY_BE_ABSENT.has(what))).toEqual([]);
  for (const { what, text } of gone) expect([what, text.length > 10]).toEqual([what, true]);
});

test('what is better says how, what is the same says nothing', () => {
  for (const { what, verdict, text } of rows) {
    if (verdict === 'better') expect([what, text]).not.toEqual([what, '']);
    if (verdict === 'same') expect([what, text]).toEqual([what, '']);
  }
});

test('verdicts come from the tables: what is not there, has no effect, or has other columns shows', () => {
  expect(setting('no_such_setting')).toMatchObject({ verdict: 'absent' });
  expect(setting('pool_mode')).toMatchObject({ verdict: 'same' });
  expect(setting('resolv_conf')).toMatchObject({ verdict: 'absent' });
  expect(onceEffective('resolv_conf', same('x'))).toMatchObject({ verdict: 'not yet' });
  expect(show('NOTHING')).toMatchObject({ verdict: 'absent' });
});
