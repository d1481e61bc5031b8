import { isParameterName, quoteLiteral } from '../wire/sql-quote.ts';

/**
 * Parameters that servers are set to beside those which they report and that are tracked: given by a client at its
 * start, changed since, or tracked and not reported. By name in lower case; what is not there has the server's own
 * value. Never changed in place: the same object means the same values.
 */
export type ExtraParameters = ReadonlyMap<string, string>;

export const NO_EXTRAS: ExtraParameters = new Map();

/** What PostgreSQL reports and nobody can set. */
const INTERNAL = new Set([
  'in_hot_standby',
  'integer_datetimes',
  'is_superuser',
  'server_encoding',
  'server_version',
]);

/** What makes a session another user's. */
const IDENTITY = new Set(['is_superuser', 'role', 'session_authorization']);

/** PostgreSQL refuses these in a StartupMessage: they are a transaction's, and one has begun. */
const OF_A_TRANSACTION = new Set(['transaction_deferrable', 'transaction_isolation']);

/** These it takes, and no transaction ever sees them. From version 16 on it refuses to RESET any of all four. */
const WITHOUT_EFFECT = new Set(['seed', 'transaction_read_only']);

export const SESSION_USER = 'session_authorization';

/** Whose a session is, in the order in which that can be set. */
export const USER = [SESSION_USER, 'role'];

/** What a StartupMessage says beside parameters. PostgreSQL tells case apart there, and has the last of a name; we don't. */
const OURS = new Set(['database', 'options', 'replication', 'user']);

/** A value that nobody knows. No parameter can have it: text ends at a zero. */
export const UNKNOWN = '\0';

/** Whether a client may give `name` at its start, as far as we can tell: PostgreSQL has the last word. */
export function mayBeGiven(name: string): boolean {
  const key = name.toLowerCase();
  if (OURS.has(key) || OF_A_TRANSACTION.has(key) || key.startsWith('_pq_.')) return false;
  return isParameterName(name) && !INTERNAL.has(key) && !IDENTITY.has(key);
}

/** Whether a client's value of `key` (lower case) can be set on another server. */
export function mayFollow(key: string): boolean {
  return !INTERNAL.has(key) && !isFleeting(key);
}

/** Whether no session keeps a value of `key` (lower case). */
export function isFleeting(key: string): boolean {
  return OF_A_TRANSACTION.has(key) || WITHOUT_EFFECT.has(key);
}

/** Whether `key` (lower case) may have a value that a session begins with, and that can be set again. */
export function mayBeBase(key: string): boolean {
  return !isFleeting(key) && (mayBeGiven(key) || USER.includes(key));
}

/** Whether a session that has another value of `key` (lower case) belongs to another user. */
export function isIdentity(key: string): boolean {
  return IDENTITY.has(key);
}

/** Whether `extras` make a session another user's. */
export function hasUser(extras: ExtraParameters): boolean {
  return USER.some((name) => extras.has(name));
}

/** `extras` with `value` for `name`; null: without it. */
export function withExtra(extras: ExtraParameters, name: string, value: string | null): ExtraParameters {
  if (value === null ? !extras.has(name) : extras.get(name) === value) return extras;
  const changed = new Map(extras);
  if (value === null) changed.delete(name);
  else changed.set(name, value);
  return changed.size === 0 ? NO_EXTRAS : changed;
}

/**
 * What makes a server with `actual` one with `wanted`; null: nothing. `base`: values that were the server's before
 * any client had it and that RESET doesn't lead back to. Values are read as those of a StartupMessage are: lists
 * (`search_path`) as lists.
 */
export function extrasSql(
  wanted: ExtraParameters,
  actual: ExtraParameters,
  base: ExtraParameters = NO_EXTRAS,
): string | null {
  if (wanted === actual) return null;
  const names = [...actual.keys()].filter((name) => !wanted.has(name));
  const isUsers = USER.every((name) => actual.get(name) === wanted.get(name));
  const isAnothers = [base, actual, wanted].some(hasUser);
  // connect_query has set it with the login's rights, and only then become who it is.
  const asLogin = !isUsers || (isAnothers && names.some((name) => base.has(name)));
  let sql = asLogin ? AS_LOGIN : '';
  for (const name of names) {
    if (USER.includes(name)) continue;
    const before = base.get(name);
    sql += before === undefined ? `RESET ${inSql(name)};` : configSql(name, before);
  }
  for (const name of asLogin ? USER : []) {
    const value = wanted.get(name) ?? base.get(name);
    if (value !== undefined) sql += configSql(name, value);
  }
  for (const [name, value] of wanted) {
    if (actual.get(name) !== value && !USER.includes(name)) sql += configSql(name, value);
  }
  return sql === '' ? null : sql;
}

const AS_LOGIN = 'RESET SESSION AUTHORIZATION;RESET ROLE;';

/** A part of a name of an application's own may be a keyword that SQL has reserved: `user.id`. */
function inSql(name: string): string {
  return name.includes('.') ? `"${name.replaceAll('.', '"."')}"` : name;
}

function configSql(name: string, value: string): string {
  return `SELECT pg_catalog.set_config('${name}',${quoteLiteral(value)},false);`;
}
