import { isParameterName, quoteLiteral } from '../wire/sql-quote.ts';

/**
 * Parameters beside the tracked ones that a client has given at its start or changed since, by name in lower case.
 * Never changed in place: the same object means the same values.
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
  'session_authorization',
]);

/** What makes a session another user's. */
const IDENTITY = new Set(['is_superuser', 'role', 'session_authorization']);

/** Whether a client may give `name` at its start, as far as we can tell: PostgreSQL has the last word. */
export function mayBeGiven(name: string): boolean {
  const key = name.toLowerCase();
  return isParameterName(name) && !INTERNAL.has(key) && !IDENTITY.has(key);
}

/** A client with such parameters, and those of them that it gave at its start: to these RESET goes back. */
interface ClientWithExtras {
  extras: ExtraParameters;
  readonly given: ExtraParameters;
}

/**
 * A server reports another value of a parameter that is not tracked, while `client` is linked: it follows the client
 * from now on. `isReset`: that came of RESET. False: the server has become another user's, which no other client must
 * get.
 */
export function followReported(
  name: string,
  value: string,
  client: ClientWithExtras,
  server: { extras: ExtraParameters },
  isReset: boolean,
): boolean {
  const key = name.toLowerCase();
  if (IDENTITY.has(key)) return false;
  if (!mayBeGiven(name)) return true;
  server.extras = new Map(server.extras).set(key, value);
  const wanted = isReset ? client.given.get(key) : value;
  const extras = new Map(client.extras);
  if (wanted === undefined) extras.delete(key);
  else extras.set(key, wanted);
  client.extras = extras;
  return true;
}

/** The same parameters with values that nobody knows any more: `RESET ALL` may have been among what was done. */
export function forgotten(extras: ExtraParameters): ExtraParameters {
  return extras.size === 0 ? extras : new Map([...extras.keys()].map((name) => [name, UNKNOWN]));
}

/** No value can be that: text ends at a zero. */
const UNKNOWN = '\0';

/**
 * What makes a server with `actual` one with `wanted`; null: nothing. Values are read as those of a StartupMessage
 * are: lists (`search_path`) as lists.
 */
export function extrasSql(wanted: ExtraParameters, actual: ExtraParameters): string | null {
  if (wanted === actual) return null;
  let sql = '';
  for (const name of actual.keys()) if (!wanted.has(name)) sql += `RESET ${name};`;
  for (const [name, value] of wanted) {
    if (actual.get(name) !== value) {
      sql += `SELECT pg_catalog.set_config('${name}',${quoteLiteral(value)},false);`;
    }
  }
  return sql === '' ? null : sql;
}
