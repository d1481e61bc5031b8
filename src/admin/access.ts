/** The console's database name; it is fixed. */
export const ADMIN_DATABASE = 'pgbouncer';

/** `admin` may run every command, `stats` only look. */
export type Role = 'admin' | 'stats';

/**
 * Who may do what, command by command: each with the least role that may run it. A SHOW stands here by its name. What
 * has no row here nobody may run, administrators included, whether or not it has an implementation.
 */
export const authorization: ReadonlyMap<string, Role> = new Map<string, Role>([
  ['show help', 'stats'],
  ['show config', 'stats'],
  ['show databases', 'stats'],
  ['show pools', 'stats'],
  ['show clients', 'stats'],
  ['show servers', 'stats'],
  ['show users', 'stats'],
  ['show version', 'stats'],
  ['show peers', 'stats'],
  ['show peer_pools', 'stats'],
  // It holds more than an onlooker should see.
  ['show fds', 'admin'],
  ['show sockets', 'stats'],
  ['show active_sockets', 'stats'],
  ['show lists', 'stats'],
  ['show mem', 'stats'],
  ['show state', 'stats'],
  ['show dns_hosts', 'stats'],
  ['show dns_zones', 'stats'],
  ['show stats', 'stats'],
  ['show stats_totals', 'stats'],
  ['show stats_averages', 'stats'],
  ['show totals', 'stats'],
  ['show workers', 'stats'],
  ['set', 'admin'],
  ['reload', 'admin'],
  ['pause', 'admin'],
  ['resume', 'admin'],
  ['suspend', 'admin'],
  ['disable', 'admin'],
  ['enable', 'admin'],
  ['reconnect', 'admin'],
  ['kill', 'admin'],
  ['kill_client', 'admin'],
  ['wait_close', 'admin'],
  ['shutdown', 'admin'],
  // What drivers ask and set of their own, when they connect: nothing follows from it.
  ['driver', 'stats'],
]);

/** Whether a user of role `role` may run `command`, a key of {@link authorization}. */
export function mayRun(role: Role, command: string): boolean {
  const least = authorization.get(command);
  return least !== undefined && (role === 'admin' || least === 'stats');
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
