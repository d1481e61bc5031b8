import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { versionSuite } from './postgres-versions.ts';
import { projectRoot } from './project-copy.ts';
import { skip } from './skip.ts';

it('each file of the version suite exists', () => {
  expect(versionSuite.filter((path) => !existsSync(join(projectRoot, path)))).toEqual([]);
});

const missing = inject('missingVersions') ?? null;

it.skipIf(missing !== null)('the version suite has been asked for', (context) => {
  skip(context, 'npm run test:versions, or npm run test:full, runs it');
});

// What is there is a project of its own: `PostgreSQL 15 as installed`, and so on.
it.for(missing ?? [])('the version suite runs on $name', ({ reason }, context) => {
  skip(context, reason);
});
