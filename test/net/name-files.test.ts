import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { groupIdFromFile, userIdsFromFile } from '../../src/net/name-files.ts';

test('users and groups are found in their files, and nobody who does not stand there', () => {
  const [uid, gid] = ['-u', '-g'].map((flag) =>
    Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' })),
  );
  expect(userIdsFromFile('nobody')).toEqual({ uid, gid });
  expect(userIdsFromFile('root')).toEqual({ uid: 0, gid: 0 });
  expect(groupIdFromFile('root')).toBe(0);
  for (const name of ['no-such-name-here', '', 'root:x', 'roo']) {
    expect(userIdsFromFile(name)).toBe(null);
    expect(groupIdFromFile(name)).toBe(null);
  }
});
