/** The console's database name; it is fixed. */
export const ADMIN_DATABASE = 'pgbouncer';

/** `admin` may run every command, `stats` only look. */
export type Role = 'admin' | 'stats';

/** Whether a user of role `role` may do what needs `needs`. */
export function isAllowed(role: Role, needs: Role): boolean {
  return role === 'admin' || needs === 'stats';
}

/**
 * Whether `name` stands in a list of names such as PgBouncer's `admin_users`: separated by commas or blanks,
 * case-sensitive, nothing is unquoted. So a name with a comma or blank in it is in no list.
 */
export function isListed(list: string | readonly string[], name: string): boolean {
  const parts = typeof list === 'string' ? [list] : list;
  return name !== '' && parts.some((part) => part.split(/[,\s]+/).includes(name));
}

/** What decides on entry to the console. */
export interface ConsoleApplicant {
  /** The name that the client logs in as. */
  readonly user: string;
  /** PgBouncer's `auth_type`. */
  readonly authType: string;
  readonly adminUsers: string | readonly string[];
  readonly statsUsers: string | readonly string[];
  /** The client came over the unix socket and runs as the same uid as this process. */
  readonly unixSameUid: boolean;
}

/**
 * Whether the client enters the console as administrator without a password: the operator's own scripts, over
 * the unix socket as user `pgbouncer` with the process's uid.
 */
export function entersWithoutPassword(user: string, unixSameUid: boolean): boolean {
  return unixSameUid && user === ADMIN_DATABASE;
}

/**
 * The role on the console of a client that has authenticated (or {@link entersWithoutPassword}); null when it
 * may not enter: FATAL `not allowed`. With `auth_type = any` nobody proves a name, so whoever is in no list
 * may look.
 */
export function consoleRole(applicant: ConsoleApplicant): Role | null {
  if (entersWithoutPassword(applicant.user, applicant.unixSameUid)) return 'admin';
  if (isListed(applicant.adminUsers, applicant.user)) return 'admin';
  if (isListed(applicant.statsUsers, applicant.user)) return 'stats';
  return applicant.authType === 'any' ? 'stats' : null;
}
