import { spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';

/** A Node of this machine. */
export interface NodeProgram {
  readonly program: string;
  /** Such as `20.11.0`. */
  readonly version: string;
}

/** Releases that npm and our first file still run on, but not the program. */
const OLDEST_MAJOR = 18;
const FIRST_MAJOR = 26;

/** A Node in PATH that is older than the program needs; null when there is none. */
export function olderNode(): NodeProgram | null {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const program = join(folder, 'node');
    const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
    const [, version, major] = /^v((\d+)\.\S+)/.exec(stdout ?? '') ?? [];
    if (version !== undefined && Number(major) < FIRST_MAJOR && Number(major) >= OLDEST_MAJOR) {
      return { program, version };
    }
  }
  return null;
}
