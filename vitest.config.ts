import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { WORKERS_VARIABLE } from './test/support/pooler-config.ts';
import { findVersions, VERSIONS_VARIABLE, versionSuite } from './test/support/postgres-versions.ts';
import { isFull, isOfFaults, isWide } from './test/support/effort.ts';
import { deeperFiles, longFiles, threadsSuite, wideFiles } from './test/support/suites.ts';

// Programs that tests start compile the sources once, not each time: two thirds of what a start costs.
process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, 'node_modules/.cache/pgweir-tests');

// A second report for programs, such as the counting at the end of .ci/run.
const jsonReport = process.env['PGWEIR_TEST_JSON'];

// The version suite on other PostgreSQLs than that of all tests, each of them a project of its own.
const asked = process.env[VERSIONS_VARIABLE] ?? '';
const versions = asked === '' ? null : await findVersions();

// Projects inherit all but this.
const globalSetup = ['test/support/global-setup.ts'];

/** What `npm test` leaves out, without what it has. */
const isWideAlone = isWide && !isFull && !isOfFaults;

/** Folders whose tests leave nothing behind in their process: a new one for each file would cost more than they do. */
const units = ['admin', 'auth', 'base', 'config', 'parity', 'pool', 'prepared', 'relay', 'server', 'wire'];
/** Of those, the ones that ask PostgreSQL, of which the units have none. */
const askingFiles = ['test/prepared/sql-statements-postgres.test.ts', 'test/wire/binary-cell.test.ts'];
const ofUnits = {
  extends: true as const,
  test: {
    name: 'units',
    isolate: false,
    include: units.map((folder) => `test/${folder}/**/*.test.ts`),
    exclude: ['**/node_modules/**', ...askingFiles, ...(isWide ? [] : wideFiles)],
  },
};
/** What changes its process for all that comes after: clocks that stand still. */
const aloneFiles = ['test/daemon/systemd.test.ts'];
const ofAlone = {
  extends: true as const,
  test: { name: 'alone', isolate: true, include: aloneFiles },
};
const ofAll = {
  globalSetup,
  include:
    asked === 'only'
      ? ['test/support/postgres-versions.test.ts']
      : isWideAlone
        ? [...wideFiles, ...deeperFiles]
        : [`test/!(${units.join('|')})/**/*.test.ts`, ...askingFiles],
  exclude: [
    '**/node_modules/**',
    ...aloneFiles,
    ...(isWide ? [] : wideFiles),
    ...(isFull || isOfFaults ? [] : longFiles),
  ],
  provide: { missingVersions: versions?.missing ?? null },
};
const ofVersions = (versions?.found ?? []).map((version) => ({
  extends: true as const,
  test: { name: version.name, globalSetup, include: versionSuite, provide: { version } },
}));

// Two threads in each pooler, unless the run says how many there are to be.
const ofThreads =
  asked === 'only' || !isWide || process.env[WORKERS_VARIABLE] !== undefined
    ? []
    : [
        {
          extends: true as const,
          test: {
            name: '2 threads',
            globalSetup,
            include: [
              ...[
                ...(isWide ? threadsSuite.wide : []),
                ...(isFull || isOfFaults ? threadsSuite.ofFaults : []),
                ...(isFull ? threadsSuite.full : []),
              ].map((name) => `test/integration/${name}.test.ts`),
              ...(isFull ? ['test/drivers/*.test.ts'] : []),
            ],
            env: { [WORKERS_VARIABLE]: '2' },
          },
        },
      ];

export default defineConfig({
  test: {
    projects: [
      { extends: true as const, test: { name: 'all', ...ofAll } },
      ...(asked === 'only' || isWideAlone ? [] : [ofUnits, ofAlone]),
      ...ofThreads,
      ...ofVersions,
    ],
    pool: 'forks',
    // Loading the program anew for each file is a tenth of what all tests cost. The long run has the time.
    isolate: isFull,
    // Most of a test's time is waiting; the long run's have less of that, and the same deadlines.
    maxWorkers: (isFull ? 1 : 2) * availableParallelism() + 1,
    // Ten times the rounds on a machine that has other work are not a hang.
    testTimeout: isFull ? 900_000 : 60_000,
    hookTimeout: 120_000,
    reporters: jsonReport === undefined ? ['default'] : ['default', ['json', { outputFile: jsonReport }]],
  },
});
