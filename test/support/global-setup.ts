import type { TestProject } from 'vitest/node';
import { Postgres } from '../../src/cli/start/postgres.ts';
import { fastSettings, testHba, testRoles } from './postgres-settings.ts';

let postgres: Postgres | null = null;

/** One PostgreSQL for the whole run, and the pristine data that servers of single test files are copies of. */
export async function setup(project: TestProject): Promise<void> {
  postgres = await Postgres.start({
    settings: fastSettings,
    hba: testHba,
    keepTemplate: true,
    initialSql: testRoles,
  });
  if (postgres.templateDir === null) throw new Error('the template was asked for');
  project.provide('postgres', { ...postgres.address, templateDir: postgres.templateDir });
}

/** Ends it and removes all its files. */
export async function teardown(): Promise<void> {
  await postgres?.[Symbol.asyncDispose]();
}
