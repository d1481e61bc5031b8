import { accessSync, constants } from 'node:fs';
import type { Config } from '../config/config.ts';
import { userIdsFromFile } from '../net/name-files.ts';
import type { Native } from '../net/native.ts';

/** The process could not become, or must not be, the user that it would run as; the text is the log line. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/**
 * Makes the whole process run as `name`, with that user's groups, for good. To be called when the configuration is
 * read and before any file or socket is made, which then belong to the user. Nothing happens, and the answer is false, if
 * it is that user already. Source: PgBouncer's `user` and `-u`.
 *
 * @throws UserError when there is no such user, or we are not root.
 */
export function switchUser(name: string, native: Native): boolean {
  const { geteuid, getuid, setgid, setuid } = process;
  const initgroups = initGroups();
  if (!geteuid || !getuid || !initgroups || !setgid || !setuid) {
    throw new UserError('there are no users to switch to on this system');
  }
  const ids = native.userIds(name) ?? userIdsFromFile(name);
  if (ids === null) throw new UserError(`there is no system user "${name}" to run as`);
  if (getuid() === ids.uid && geteuid() === ids.uid) return false;
  if (geteuid() !== 0) throw new UserError(`only root can run it as another user ("${name}")`);
  try {
    initgroups(name, ids.gid);
    setgid(ids.gid);
    setuid(ids.uid);
  } catch (error) {
    throw new UserError(`cannot run as "${name}": ${(error as Error).message}`, { cause: error });
  }
  if (getuid() !== ids.uid || geteuid() !== ids.uid) throw new UserError(`cannot run as "${name}"`);
  return true;
}

/**
 * Lines for the log about files that were read as root and cannot be read again: RELOAD reads as the user that the process
 * has become. Those of TLS are spoken of where they are read.
 */
export function unreadableFiles({ settings }: Pick<Config, 'settings'>): string[] {
  const isHba = settings.auth_type === 'hba';
  const files: readonly (readonly [string | null, string])[] = [
    [settings.conffile, 'RELOAD will fail'],
    [settings.auth_file, 'RELOAD will fail once it has changed'],
    [isHba ? settings.auth_hba_file : null, 'RELOAD will fail'],
    [isHba ? settings.auth_ident_file : null, 'RELOAD will fail'],
  ];
  return files.flatMap(([path, what]) =>
    path === null || path === '' || isReadable(path) ? [] : [`${path} cannot be read as this user: ${what}`],
  );
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch (error) {
    // One that is not there has been told.
    return error instanceof Error && 'code' in error && error.code === 'ENOENT';
  }
}

/** Missing in Node's type declarations. */
function initGroups(): ((user: string, extraGroup: number) => void) | null {
  const call: unknown = Reflect.get(process, 'initgroups');
  return typeof call === 'function' ? (call as (user: string, extraGroup: number) => void) : null;
}

/** Source: contract, §3: uid 0 is fatal. `isAllowed` is the way out for containers and tests. */
export function refuseRoot(isAllowed: boolean): void {
  if (process.geteuid?.() !== 0 || isAllowed) return;
  throw new UserError('should not run as root (-u or the setting user names another user)');
}
