import { execFileSync } from 'node:child_process';
import { realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** The user that PostgreSQL runs as, when it is not the one who runs us. */
export interface RunUser {
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL refuses uid 0 and wants a uid with a name; `nobody` exists where no `postgres` does. */
const CANDIDATES = ['postgres', 'nobody'] as const;

/**
 * Who PostgreSQL has to run as: null means as ourselves; root gets an unprivileged user that exists already,
 * so that trying the pooler out changes no user database. Throws when root finds none.
 */
export function postgresRunUser(): RunUser | null {
  if (process.getuid?.() !== 0) return null;
  for (const name of CANDIDATES) {
    const uid = idOf('-u', name);
    const gid = idOf('-g', name);
    if (uid !== null && gid !== null && uid !== 0) return { uid, gid };
  }
  throw new Error(
    `PostgreSQL does not run as root, and there is no user ${CANDIDATES.join(' or ')} to run it as`,
  );
}

function idOf(option: '-u' | '-g', name: string): number | null {
  try {
    return Number(
      execFileSync('id', [option, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    );
  } catch {
    return null;
  }
}

/**
 * Whether `user` can read `path` (list it, for a folder; run it, where its owner can), judged by the
 * permission bits of it and of every folder above. Access lists are not looked at: a wrong "no" costs a copy.
 */
export function canReach(path: string, user: RunUser): boolean {
  const real = realpathSync(path);
  const { mode } = statSync(real);
  if (!allows(real, user, (mode & 0o100) === 0 ? 0o4 : 0o5)) return false;
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    if (!allows(folder, user, 0o1)) return false;
    if (folder === dirname(folder)) return true;
  }
}

/** `wanted` is made of the bits 4 (read) and 1 (run or enter). */
function allows(path: string, user: RunUser, wanted: number): boolean {
  const { mode, uid, gid } = statSync(path);
  const shift = uid === user.uid ? 6 : gid === user.gid ? 3 : 0;
  return ((mode >> shift) & wanted) === wanted;
}
