import { parseDataRow } from '../wire/data-row.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
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

/**
 * Asks for `names` (lower case). Values come as hex digits of UTF-8, so that neither the client_encoding of the session
 * nor anything else in it decides how they are read; nor does its search_path decide what is called. A session may
 * have transactions wait for a moment in which they cannot fail: not this one.
 */
export function askingSql(names: readonly string[]): string {
  const list = names.map(quoteLiteral).join(',');
  return (
    'BEGIN ISOLATION LEVEL READ COMMITTED;' +
    "SELECT n,pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(n,true),'UTF8'),'hex'),s.source " +
    `FROM pg_catalog.unnest(ARRAY[${list}]) n ` +
    'LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) n;' +
    'COMMIT'
  );
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
