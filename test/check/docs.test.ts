import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { FINDING_CODES } from '../../src/check/finding.ts';

test('docs/check.md says what each finding is about, in order', () => {
  const text = readFileSync(resolve(import.meta.dirname, '../../docs/check.md'), 'utf8');
  const told = [...text.matchAll(/^\| `([a-z0-9-]+)` \|/gm)].map(([, code]) => code);
  expect(told).toEqual([...FINDING_CODES]);
});
