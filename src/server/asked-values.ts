import { parseDataRow } from '../wire/data-row.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { USER } from '../relay/extra-parameters.ts';
import { quoteLiteral } from '../wire/sql-quote.ts';

/** What a server says of one parameter. */
export interface AskedValue {
  /** In lower case. */
  readonly name: string;
  /** Null: it doesn't know such a parameter. */
  readonly value: string | null;
  /** Whether the session has set it; null: that isn't told, for no library has declared it. */
  readonly isSet: boolean | null;
}

/** Where PostgreSQL says that a session's SET has come from. */
const SESSION = 'session';

/** Asked for again: what the session's statement_timeout is, while that is out of force. */
const TIMEOUT = 'pgweir.statement_timeout';

/**
 * Asks for `names` (lower case). Values come as hex digits of UTF-8, so that neither the client_encoding of the session
 * nor anything else in it decides how they are read; nor does its search_path decide what is called. A session may
 * have transactions wait for a moment in which they cannot fail: not this one.
 *
 * `isAgain`: the question before was cancelled, by a client's request that came late or by the session's
 * statement_timeout, and may have left its transaction open. The latter is out of force now; whether it was set is told
 * by its value then.
 *
 * `more`: another SELECT, whose rows come behind.
 */
export function askingSql(names: readonly string[], isAgain = false, more = ''): string {
  const list = names.map(quoteLiteral).join(',');
  const begin = 'BEGIN ISOLATION LEVEL READ COMMITTED;';
  const keep =
    `SELECT WHERE pg_catalog.set_config('${TIMEOUT}',pg_catalog.current_setting('statement_timeout'),true) IS NULL;` +
    'SET LOCAL statement_timeout=0;';
  const ms = `EXTRACT(epoch FROM pg_catalog.current_setting('${TIMEOUT}')::pg_catalog.interval) OPERATOR(pg_catalog.*) 1000`;
  const wasReset = `${ms} OPERATOR(pg_catalog.=) s.reset_val::pg_catalog.numeric`;
  const inForce = isAgain
    ? `CASE WHEN n OPERATOR(pg_catalog.=) 'statement_timeout' THEN '${TIMEOUT}' ELSE n END`
    : 'n';
  const source = isAgain
    ? `CASE WHEN n OPERATOR(pg_catalog.<>) 'statement_timeout' THEN s.source WHEN ${wasReset} THEN 'default' ELSE '${SESSION}' END`
    : 's.source';
  return (
    `${isAgain ? `ROLLBACK;${begin}${keep}` : begin}` +
    `SELECT n,pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(${inForce},true),'UTF8'),'hex'),${source} ` +
    `FROM pg_catalog.unnest(ARRAY[${list}]) n ` +
    'LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) n;' +
    `${more}COMMIT`
  );
}

/** As {@link askingSql}, on a new session: also what `connect_query` has made of it. */
export function askingAllSql(names: readonly string[]): string {
  const all =
    `SELECT pg_catalog.lower(s.name),` +
    `pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(s.name),'UTF8'),'hex'),s.source ` +
    `FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) '${SESSION}';`;
  return askingSql([...names, ...USER], false, all);
}

/** One DataRow of the answer. Throws ProtocolViolation when it is none. */
export function readAskedValue(body: Buffer): AskedValue {
  const [name, hex, source] = parseDataRow(body);
  if (typeof name !== 'string' || hex === undefined || source === undefined) {
    throw new ProtocolViolation('unknown pkt');
  }
  return {
    name,
    value: hex === null ? null : Buffer.from(hex, 'hex').toString('utf8'),
    isSet: source === null ? null : source === SESSION,
  };
}
