import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** A PostgreSQL that the version suite runs on, beside the one that all tests run on. */
export interface PostgresVersion {
  /** Name of its project among vitest's. */
  readonly name: string;
  readonly major: number;
  readonly source:
    | { readonly kind: 'installed'; readonly binDir: string }
    | { readonly kind: 'container'; readonly image: string };
}

/** One that it does not run on here, and why. */
export interface MissingVersion {
  readonly name: string;
  readonly reason: string;
}

/** Set: the version suite runs, too; `only`: nothing else does. */
export const VERSIONS_VARIABLE = 'PGWEIR_TEST_VERSIONS';

/** Those that PostgreSQL's project still maintains, and one more. */
const MAJORS = [14, 15, 16, 17, 18];

/** Where Debian's packages put the programs of each version. */
const INSTALLED_DIR = '/usr/lib/postgresql';

/** What behaves by the server's version: logins, pooling, prepared statements, parameters, cancelling, COPY. */
export const versionSuite = [
  'integration/server-version',
  'integration/server-auth',
  'logins/client-leg',
  'logins/refusals',
  'integration/transaction',
  'integration/transaction-mode',
  'integration/prepared',
  'integration/parameters',
  'integration/connect-query',
  'integration/cancel',
  'integration/copy',
].map((name) => `test/${name}.test.ts`);

/** All that the version suite can run on here, and what it can't. Asks for a Docker engine and fetches its images. */
export async function findVersions(): Promise<{
  readonly found: readonly PostgresVersion[];
  readonly missing: readonly MissingVersion[];
}> {
  const found: PostgresVersion[] = installedVersions();
  const missing: MissingVersion[] = [];
  // Loaded only here: it takes its time.
  const { whyNoContainers, whyNoImages } = await import('./containers.ts');
  const general = await whyNoContainers();
  for (const major of MAJORS) {
    const name = `PostgreSQL ${major} in a container`;
    const image = `postgres:${major}`;
    const reason = general ?? (await whyNoImages([image]));
    if (reason === null) found.push({ name, major, source: { kind: 'container', image } });
    else missing.push({ name, reason });
  }
  return { found, missing };
}

function installedVersions(): PostgresVersion[] {
  if (!existsSync(INSTALLED_DIR)) return [];
  return readdirSync(INSTALLED_DIR)
    .filter((version) => MAJORS.includes(Number(version)))
    .map((version) => ({ version, binDir: join(INSTALLED_DIR, version, 'bin') }))
    .filter(({ binDir }) => ['initdb', 'postgres'].every((program) => existsSync(join(binDir, program))))
    .map(({ version, binDir }) => ({
      name: `PostgreSQL ${version} as installed`,
      major: Number(version),
      source: { kind: 'installed', binDir },
    }));
}
