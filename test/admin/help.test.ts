import { expect, test } from 'vitest';
import { commands } from '../../src/admin/commands.ts';
import { showTables } from '../../src/admin/show.ts';
import { query, rig } from './fake-control.ts';

test('SHOW HELP is a notice that names every command, and no rows', async () => {
  const answer = await query(rig('stats'), 'show help;');
  expect(answer).toMatchObject({ types: 'NCZ', tag: 'SHOW' });
  expect(answer.notice).toMatchObject({ S: 'NOTICE', C: '00000', M: 'Console usage' });
  const detail = answer.notice?.['D'] ?? '';
  expect(
    detail
      .split('\n')
      .slice(1)
      .every((line) => line.startsWith('\t')),
  ).toBe(true);
  const words = new Set(detail.split(/[^A-Z_]+/));
  const expected = [...showTables.keys(), ...commands.keys(), 'help', 'set'];
  for (const name of expected) expect(words).toContain(name.toUpperCase());
});

test('each line of SHOW HELP is a command’s own, with what it takes', async () => {
  const { notice } = await query(rig('stats'), 'SHOW HELP');
  const lines = (notice?.['D'] ?? '').split('\n\t').slice(1);
  expect(lines.filter((line) => !line.startsWith('SHOW '))).toEqual([
    'SET key = value',
    ...[...commands.values()].flatMap(({ usage }) => usage),
  ]);
  for (const [word, { usage }] of commands) {
    expect(usage).not.toEqual([]);
    for (const line of usage) expect(line.split(' ')[0]).toBe(word.toUpperCase());
  }
});
