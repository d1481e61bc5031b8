import { inject } from 'vitest';
import { Postgres, type PostgresAddress, type PostgresOptions } from '../../src/cli/start/postgres.ts';
import { fastSettings, testHba, testRoles } from './postgres-settings.ts';

/** What the run's global set-up hands to every test file: the shared server and what copies are made from. */
export interface SharedPostgres extends PostgresAddress {
  readonly templateDir: string;
}

export { connectTo, withClient } from './postgres-client.ts';

declare module 'vitest' {
  interface ProvidedContext {
    postgres: SharedPostgres;
  }
}

/** The PostgreSQL of the whole run. Leave its settings alone, and name roles and databases uniquely. */
export function sharedPostgres(): SharedPostgres {
  return inject('postgres');
}

/**
 * A PostgreSQL for one test file or test that restarts it, changes its settings or reads its log. The caller
 * disposes of it (`await using`, or in afterAll). With `binDir`, of another version's programs, its data is made anew
 * unless `templateDir` has some.
 */
export function startPostgres(
  options: Pick<PostgresOptions, 'settings' | 'hba' | 'port' | 'binDir' | 'templateDir'> = {},
): Promise<Postgres> {
  const shared = sharedPostgres();
  const { binDir, templateDir } = options;
  return Postgres.start({
    ...(binDir === undefined ? { binDir: shared.binDir, templateDir: shared.templateDir } : {}),
    ...(binDir !== undefined && templateDir === undefined ? { initialSql: testRoles } : {}),
    password: shared.password,
    ...options,
    settings: { ...fastSettings, ...options.settings },
    hba: [...(options.hba ?? []), ...testHba],
  });
}
