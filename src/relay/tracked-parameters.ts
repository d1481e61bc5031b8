import { quoteLiteral, setStatement } from '../wire/sql-quote.ts';
import { mayFollow } from './extra-parameters.ts';

/** Always tracked, in the order in which a client's login lists them. Source: PgBouncer, §6.2 of the contract. */
const ALWAYS_TRACKED = [
  'DateStyle',
  'client_encoding',
  'TimeZone',
  'standard_conforming_strings',
  'application_name',
];

/** What any PostgreSQL reports. A server that doesn't is none, and left alone. */
const STANDARD = new Set([...ALWAYS_TRACKED, 'IntervalStyle'].map((name) => name.toLowerCase()));

/** Those of which no two values differ in case only. A path of schemas or a program's name does. */
const CASELESS = new Set(['datestyle', 'client_encoding', 'standard_conforming_strings', 'intervalstyle']);

/** As PostgreSQL reports it: what is less (`ISO`), or in other words, may leave a part as it is. */
const WHOLE_DATE_STYLE = /^(?:ISO|SQL|Postgres|German), (?:DMY|MDY|YMD)$/;

/** As PostgreSQL reports it. */
const UTF8 = 'UTF8';

/** Values by index into {@link TrackedParameters.names}; null = not known. */
export type TrackedValues = (string | null)[];

/** A client with its values, and those that it gave at its start. */
interface TrackedClient {
  readonly parameters: TrackedValues;
  readonly given: { readonly parameters: TrackedValues };
}

/** A server with its values. */
interface TrackedServer {
  readonly parameters: TrackedValues;
  /** By the same index: it is known that a SET has led to the value. */
  readonly isSet: boolean[];
  /** By the same index: where a RESET leads a client to that has given nothing; null: to the server's own. */
  readonly begunWith: TrackedValues;
}

/**
 * The session parameters that follow a client from server to server: their names (those above plus
 * `track_extra_parameters`), compared without regard to case. One object per process, for the list is fixed
 * at start.
 */
export class TrackedParameters {
  readonly names: readonly string[];
  readonly #index = new Map<string, number>();

  constructor(extraNames: readonly string[]) {
    const names = [...ALWAYS_TRACKED];
    for (const name of extraNames) {
      const key = name.toLowerCase();
      if (mayFollow(key) && !names.some((known) => known.toLowerCase() === key)) names.push(name);
    }
    this.names = names;
    names.forEach((name, i) => {
      this.#index.set(name.toLowerCase(), i);
    });
  }

  /** Index of `name`, or -1 when it is not tracked. */
  indexOf(name: string): number {
    return this.#index.get(name.toLowerCase()) ?? -1;
  }

  /** In lower case: which of them a server that reports `values` has and doesn't report. */
  silent(values: TrackedValues): string[] {
    const names = this.names.filter((_name, i) => values[i] === null);
    return names.map((name) => name.toLowerCase()).filter((name) => !STANDARD.has(name));
  }

  /** All unknown. */
  emptyValues(): TrackedValues {
    return this.names.map(() => null);
  }

  /** Nothing has to be set on the server for the client: what most links find, quickly. */
  isAligned(client: TrackedClient, server: TrackedServer): boolean {
    const { parameters: wanted } = client;
    const { parameters: actual } = server;
    const { parameters: given } = client.given;
    for (let i = 0; i < wanted.length; i++) {
      const value = wanted[i] as string | null;
      if (value !== actual[i]) return false;
      // Text that is one and the same string compares at once: it may be the next client's, too.
      actual[i] = value;
      const back = given[i] ?? server.begunWith[i] ?? null;
      if (back !== value && back !== null && server.isSet[i] !== true) return false;
    }
    return true;
  }

  /**
   * The simple query that makes a server's values the client's, or null when nothing differs. What the server
   * doesn't report is left alone; what the client doesn't know goes back to the server's own value.
   */
  alignmentSql(client: TrackedClient, server: TrackedServer): string | null {
    const { parameters: wanted } = client;
    let sql: string | null = null;
    for (let i = 0; i < wanted.length; i++) {
      if (!this.differs(i, client, server)) continue;
      const value = wanted[i] as string | null;
      const name = this.names[i] as string;
      sql = `${sql ?? ''}${value === null ? `RESET ${name};` : assignment(name, value, server.begunWith[i] ?? null)}`;
    }
    return sql;
  }

  /**
   * Whether the parameter at `index` has to be set on the server for the client. Also one that is the same by chance
   * and not what the client has begun with: once it is set, PostgreSQL can tell whether a RESET has been at it.
   */
  differs(index: number, client: TrackedClient, server: TrackedServer): boolean {
    const value = client.parameters[index] as string | null;
    const current = server.parameters[index] as string | null;
    if (current === null) return false;
    if (value === null) return true;
    if (value !== current && !isSame(this.names[index] as string, value, current)) return true;
    const back = client.given.parameters[index] ?? server.begunWith[index] ?? null;
    return back !== null && back !== value && server.isSet[index] !== true;
  }

  /**
   * What has to run ahead of `sql`, as a query of its own, or null: our text is UTF-8, and a server reads a whole
   * query by the client_encoding that its last client left. That changes `actual`, too.
   */
  preludeSql(sql: string, actual: TrackedValues): string | null {
    const index = this.indexOf('client_encoding');
    if ((actual[index] ?? UTF8) === UTF8 || Buffer.byteLength(sql) === sql.length) return null;
    actual[index] = UTF8;
    return setStatement('client_encoding', UTF8);
  }
}

function isSame(name: string, value: string, current: string): boolean {
  return value.toLowerCase() === current.toLowerCase() && CASELESS.has(name.toLowerCase());
}

/**
 * `search_path` is a list of names, not one string, and `SET` would take a quoted list for one name: its text
 * goes through `set_config`, which reads it as the client's own start-up packet would have been read. What half a
 * DateStyle doesn't say is the server's own, as at a start (`own`: what `connect_query` has made of it), and not what the
 * last client has left.
 */
function assignment(name: string, value: string, own: string | null): string {
  const key = name.toLowerCase();
  if (key === 'search_path') {
    return `SELECT pg_catalog.set_config('search_path',${quoteLiteral(value)},false);`;
  }
  const isPart = key === 'datestyle' && !WHOLE_DATE_STYLE.test(value);
  const before = own === null ? `RESET ${name};` : setStatement(name, own);
  return `${isPart ? before : ''}${setStatement(name, value)}`;
}
