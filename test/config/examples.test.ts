import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { classifySecret } from '../../src/auth/secret.ts';
import { parseUserlist } from '../../src/config/userlist.ts';

it('config/userlist.example.txt holds one secret of each recommended kind, and nothing broken', () => {
  const path = resolve(import.meta.dirname, '../../config/userlist.example.txt');
  const { secrets, brokenLine } = parseUserlist(readFileSync(path));
  expect(brokenLine).toBe(0);
  expect([...secrets].map(([user, secret]) => [user, classifySecret(secret).kind])).toEqual([
    ['app', 'scram'],
    ['reporter', 'plain'],
  ]);
});
