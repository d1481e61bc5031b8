import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { classifySecret } from '../../src/auth/secret.ts';
import { readAuthFile } from '../../src/config/auth-lines.ts';
import { parseHbaLines } from '../../src/config/hba.ts';
import { parseIdentLines } from '../../src/config/ident.ts';
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

it('config/hba.example.conf and config/ident.example.conf are read, and nothing in them is odd', () => {
  const folder = resolve(import.meta.dirname, '../../config');
  const maps = parseIdentLines(readAuthFile(resolve(folder, 'ident.example.conf'), 'auth_ident_file'));
  expect([...maps].map(([name, rules]) => [name, rules.length])).toEqual([
    ['operators', 2],
    ['people', 2],
  ]);
  const warnings: string[] = [];
  const rules = parseHbaLines(readAuthFile(resolve(folder, 'hba.example.conf'), 'auth_hba_file'), {
    maps,
    hasAuthUser: false,
    warn: (warning) => void warnings.push(warning),
  });
  expect(rules.map(({ type, method }) => [type, method])).toEqual([
    ['local', 'peer'],
    ['host', 'reject'],
    ['host', 'scram-sha-256'],
    ['host', 'scram-sha-256'],
    ['hostssl', 'cert'],
  ]);
  expect(warnings).toEqual([]);
});
