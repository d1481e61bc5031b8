import type { Config } from './config.ts';
import { ConfigError, type SourcePosition } from './config-error.ts';
import type { Settings } from './settings.ts';
import { fileIdentity, readUserlist } from './userlist.ts';

/** A configuration's part that comes from `auth_file`, with what to tell the operator. */
export interface LoadedUserlist extends Pick<Config, 'userlist' | 'userlistSource'> {
  readonly warnings: readonly string[];
}

/**
 * Gets the users for a new configuration: from `previous` when the file is the same and unchanged, else from
 * `auth_file`. With `auth_type` any no file is read. A file that cannot be read, or not to its end, is a warning and leaves
 * no users, or those before; unless `previous` has users from a file: then it throws {@link ConfigError}, so that RELOAD
 * does not lock anybody out. Source: PgBouncer `auth_file`.
 */
export function loadUserlist(
  settings: Pick<Settings, 'auth_file' | 'auth_type'>,
  previous: Config | null,
  { at }: { readonly at: SourcePosition },
): LoadedUserlist {
  const path = settings.auth_file;
  if (path === null || path === '' || settings.auth_type === 'any') {
    return { userlist: new Map(), userlistSource: null, warnings: [] };
  }
  const before = previous?.userlistSource ?? null;
  if (previous !== null && before?.path === path && before.identity === fileIdentity(path)) {
    return { userlist: previous.userlist, userlistSource: before, warnings: [] };
  }
  try {
    const { secrets, brokenLine, identity } = readUserlist(path);
    const expected = '"user" "secret"';
    if (brokenLine > 0 && before !== null) {
      throw new ConfigError({ file: path, line: brokenLine }, 'auth_file', expected);
    }
    const broken = `broken auth file: ${path}:${brokenLine}: expected ${expected}, the rest is not read`;
    return {
      userlist: secrets,
      userlistSource: { path, identity },
      warnings: brokenLine > 0 ? [broken] : [],
    };
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable';
    if (before !== null) throw new ConfigError(at, 'auth_file', `a readable file (${why})`, { cause });
    const warning = `could not open auth_file ${path}: ${why}; its users cannot log in`;
    return { userlist: new Map(), userlistSource: null, warnings: [warning] };
  }
}
