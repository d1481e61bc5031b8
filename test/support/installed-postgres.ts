import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Where Debian's packages put the programs of each version. */
const VERSIONS_DIR = '/usr/lib/postgresql';

/**
 * The folder of the newest installed PostgreSQL that has all these programs, or null. Those that replicate refuse
 * servers newer than themselves, so the server has to be of the same folder; `initdb` and `postgres` are asked for, too.
 */
export function installedPostgres(...programs: readonly string[]): string | null {
  if (!existsSync(VERSIONS_DIR)) return null;
  const versions = readdirSync(VERSIONS_DIR).sort((a, b) => Number(b) - Number(a));
  for (const version of versions) {
    const binDir = join(VERSIONS_DIR, version, 'bin');
    if (['initdb', 'postgres', ...programs].every((program) => existsSync(join(binDir, program))))
      return binDir;
  }
  return null;
}
