import { expect, test } from 'vitest';
import { SecretTally } from '../../src/auth/mock-profile.ts';

const scram = (iterations: number, saltBytes = 16) =>
  `SCRAM-SHA-256$${iterations}:${Buffer.alloc(saltBytes, 1).toString('base64')}$${Buffer.alloc(32, 2).toString('base64')}:${Buffer.alloc(32, 3).toString('base64')}`;
const md5 = `md5${'0'.repeat(32)}`;

function tally(...stored: string[]): SecretTally {
  const made = new SecretTally();
  made.setStored(stored);
  return made;
}

test.each([
  [[], 'plain', 4096, 16],
  [['a', 'b', md5], 'plain', 4096, 16],
  [['', '', '', md5], 'md5', 4096, 16],
  [[scram(8192), scram(8192), scram(4096), 'a'], 'scram', 8192, 16],
  [[scram(4096, 12), scram(4096, 12), scram(4096)], 'scram', 4096, 12],
  [[scram(8192), 'a'], 'scram', 8192, 16],
])('unknown users pass for what most others are: %j', (stored, kind, iterations, saltBytes) => {
  expect(tally(...stored).profile(false, 4096)).toMatchObject({ kind, iterations, saltBytes });
});

test('in a SCRAM login md5 secrets count for nothing', () => {
  expect(tally(md5, md5, scram(5000)).profile(true, 4096)).toMatchObject({ kind: 'scram', iterations: 5000 });
  expect(tally(md5).profile(true, 4096)).toMatchObject({ kind: 'plain', iterations: 4096 });
});

test.each([
  [[], true],
  [['a', scram(4096), scram(4096)], true],
  [[scram(4096), md5, md5], false],
  [[md5], true],
])('a wrong proof takes a derivation unless stored SCRAM secrets are all that is proved: %j', (stored, derives) => {
  expect(tally(...stored).profile(true, 4096)).toMatchObject({ derives });
});

test('secrets that auth_query finds count too, the latest of them', () => {
  const mixed = tally(md5, md5);
  for (let i = 0; i < 3; i++) mixed.add(scram(5000));
  expect(mixed.profile(false, 4096)).toMatchObject({ kind: 'scram', iterations: 5000 });
  for (let i = 0; i < 256; i++) mixed.add(scram(6000));
  expect(mixed.profile(false, 4096)).toMatchObject({ kind: 'scram', iterations: 6000 });
  // Of the earlier ones nothing is left.
  mixed.setStored([scram(5000)]);
  for (let i = 0; i < 256; i++) mixed.add(md5);
  expect(mixed.profile(true, 4096)).toMatchObject({ iterations: 5000 });
});
