import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { deeperFiles, longFiles, threadsSuite, wideFiles } from './suites.ts';

const root = resolve(import.meta.dirname, '../..');

test('what the runs leave to each other is there, and is left to one of them', () => {
  const left = [...wideFiles, ...longFiles];
  const twice = Object.values(threadsSuite)
    .flat()
    .map((name) => `test/integration/${name}.test.ts`);
  expect([...left, ...deeperFiles, ...twice].filter((file) => !existsSync(join(root, file)))).toEqual([]);
  expect(new Set([...left, ...deeperFiles]).size).toBe(left.length + deeperFiles.length);
});
