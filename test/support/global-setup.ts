import type { TestProject } from 'vitest/node';
import { Postgres } from '../../src/cli/start/postgres.ts';
import { fastSettings, madeData, testHba, testRoles } from './postgres-settings.ts';
import type { MissingVersion, PostgresVersion } from './postgres-versions.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** What a project runs on beside the one that all tests run on; the project of all tests has none. */
    version?: PostgresVersion;
    /** What the version suite does not run on; null: it has not been asked for. */
    missingVersions?: readonly MissingVersion[] | null;
  }
}

/** The servers of this run, of one project or of all of them. */
const servers: AsyncDisposable[] = [];

/** One PostgreSQL for the whole run, and the pristine data that servers of single test files are copies of. */
export async function setup(project: TestProject): Promise<void> {
  const { version } = project.getProvidedContext();
  if (version?.source.kind === 'container') {
    // Loaded only here: it takes its time.
    const { PostgresContainer } = await import('./postgres-container.ts');
    const container = await PostgresContainer.start(version.source.image);
    servers.push(container);
    project.provide('postgres', { ...container.address, templateDir: '' });
    return;
  }
  const made = version === undefined ? madeData() : null;
  const postgres = await Postgres.start({
    ...(version === undefined ? {} : { binDir: version.source.binDir }),
    settings: fastSettings,
    hba: testHba,
    ...(made ?? { keepTemplate: true, initialSql: testRoles }),
  });
  servers.push(postgres);
  const templateDir = made?.templateDir ?? postgres.templateDir;
  if (templateDir === null) throw new Error('the template was asked for');
  project.provide('postgres', { ...postgres.address, templateDir });
}

/** Ends them and removes all their files. */
export async function teardown(): Promise<void> {
  await Promise.all(servers.splice(0).map((server) => server[Symbol.asyncDispose]()));
}
