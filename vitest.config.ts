import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { findVersions, VERSIONS_VARIABLE, versionSuite } from './test/support/postgres-versions.ts';

// Programs that tests start compile the sources once, not each time: two thirds of what a start costs.
process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, 'node_modules/.cache/pgweir-tests');

// A second report for programs, such as the counting at the end of .ci/run.
const jsonReport = process.env['PGWEIR_TEST_JSON'];

// The version suite on other PostgreSQLs than that of all tests, each of them a project of its own.
const asked = process.env[VERSIONS_VARIABLE] ?? '';
const versions = asked === '' ? null : await findVersions();

// Projects inherit all but this.
const globalSetup = ['test/support/global-setup.ts'];
const ofAll = {
  globalSetup,
  include: [asked === 'only' ? 'test/support/postgres-versions.test.ts' : 'test/**/*.test.ts'],
  provide: { missingVersions: versions?.missing ?? null },
};
const ofVersions = (versions?.found ?? []).map((version) => ({
  extends: true as const,
  test: { name: version.name, globalSetup, include: versionSuite, provide: { version } },
}));

export default defineConfig({
  test: {
    ...(versions === null
      ? ofAll
      : { projects: [{ extends: true as const, test: { name: 'all', ...ofAll } }, ...ofVersions] }),
    pool: 'forks',
    // Most of a test's time is waiting.
    maxWorkers: 2 * availableParallelism(),
    // Ten times the rounds on a machine that has other work are not a hang.
    testTimeout: process.env['PGWEIR_TEST_FULL'] === undefined ? 30_000 : 900_000,
    hookTimeout: 120_000,
    reporters: jsonReport === undefined ? ['default'] : ['default', ['json', { outputFile: jsonReport }]],
  },
});
