import type { ServerEnd } from '../relay/link.ts';
import type { ErrorFields } from '../wire/error-fields.ts';
import {
  type ExtraParameters,
  extrasSql,
  isIdentity,
  NO_EXTRAS,
  UNKNOWN,
  withExtra,
} from '../relay/extra-parameters.ts';
import { SqlState } from '../wire/pg-error.ts';
import type { GivenParameters } from '../relay/given-parameters.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';

/** The client that a server is prepared for. */
export interface AlignedClient {
  readonly parameters: TrackedValues;
  readonly given: GivenParameters;
  extras: ExtraParameters;
}

/** Whether the server is as the client wants it, so that nothing has to be sent. */
export function isAligned(tracked: TrackedParameters, client: AlignedClient, server: ServerEnd): boolean {
  return client.extras === server.extras && tracked.isAligned(client, server);
}

/** Why a server could not be made what the client wants. */
export interface AlignmentFailure {
  /** What PostgreSQL says. */
  readonly error: ErrorFields;
  /** What others have left on the server cannot be taken back: it is nobody's any more, and no client's fault. */
  readonly isServers: boolean;
}

/**
 * `set_config` is called in a transaction, which the last client's defaults may have wait for a moment in which it cannot
 * fail, or keep from beginning at all on a standby.
 */
const PLAIN_TRANSACTION = 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED;';

/**
 * Makes the parameters of a server those of the client, which belong to it: where nothing differs at once, else in
 * one round trip. `done` gets why that failed, or null. The client has the server's spelling then.
 */
export function alignServer(
  tracked: TrackedParameters,
  client: AlignedClient,
  server: ServerEnd,
  done: (failure: AlignmentFailure | null) => void,
): void {
  const { parameters: wanted } = client;
  sortOut(tracked, client, server);
  const { extras } = client;
  let trackedSql = tracked.alignmentSql(client, server);
  const otherSql = extrasSql(extras, server.extras, server.base);
  if (otherSql === null) server.extras = extras;
  if (trackedSql === null && otherSql === null) {
    takeSpelling(client, server);
    done(null);
    return;
  }
  const prelude = tracked.preludeSql(`${trackedSql ?? ''}${otherSql ?? ''}`, server.parameters);
  if (prelude !== null) trackedSql = tracked.alignmentSql(client, server);
  const isSet = wanted.map((value, i) => value !== null && tracked.differs(i, client, server));
  if (prelude !== null) isSet[tracked.indexOf('client_encoding')] = true;
  run(server, prelude, `${trackedSql ?? ''}${otherSql ?? ''}`, (error) => {
    if (error !== null) {
      findFault(tracked, server, error, done);
      return;
    }
    server.parameters.forEach((_value, i) => {
      if (isSet[i] === true) server.isSet[i] = true;
    });
    takeSpelling(client, server);
    server.extras = extras;
    done(null);
  });
}

function run(
  server: ServerEnd,
  prelude: string | null,
  sql: string,
  done: (error: ErrorFields | null) => void,
): void {
  const text = sql.includes('set_config') ? `${PLAIN_TRANSACTION}${sql}` : sql;
  server.alignParameters(prelude === null ? [text] : [prelude, text], done);
}

/**
 * The server's spelling is the client's from now on, so that `ISO` against `ISO, MDY` isn't sent each time, and `OFF` is
 * read as `off`. It reports only what has changed: a value that it says nothing about was that spelling before already.
 */
function takeSpelling({ parameters: wanted, given }: AlignedClient, server: ServerEnd): void {
  server.parameters.forEach((value, i) => {
    if (value === UNKNOWN) {
      if (wanted[i] !== null) server.parameters[i] = wanted[i] as string;
      return;
    }
    // What the server doesn't have at all, another one may.
    if (value === null) return;
    if (given.parameters[i] === wanted[i]) given.parameters[i] = value;
    wanted[i] = value;
  });
}

/** PostgreSQL has undone all of it. What others have left is taken back by itself, which has to succeed. */
function findFault(
  tracked: TrackedParameters,
  server: ServerEnd,
  error: ErrorFields,
  done: (failure: AlignmentFailure) => void,
): void {
  const sql = extrasSql(NO_EXTRAS, server.extras, server.base);
  if (sql === null) {
    done({ error, isServers: false });
    return;
  }
  run(server, tracked.preludeSql(sql, server.parameters), sql, (second) => {
    if (second === null) server.extras = NO_EXTRAS;
    done({ error, isServers: second !== null });
  });
}

/**
 * Whether another server may take what one has refused for what was done there: a temporary table was used, or a library
 * loaded that a name was prefixed to, or it is another user's.
 */
export function mayDependOnServer({ sqlstate }: ErrorFields, extras: ExtraParameters): boolean {
  if (sqlstate === SqlState.insufficientPrivilege) return true;
  return [...extras.keys()].some((name) => name === 'temp_buffers' || name.includes('.'));
}

/**
 * What connect_query has set, and what cannot be set again, is left as it is, but for whose session it is: then nobody
 * else may have the server. Whether there was any.
 */
export function sparesBase(server: ServerEnd): boolean {
  const before = server.extras;
  for (const name of server.base.keys()) {
    if (isIdentity(name) || server.extras.get(name) !== UNKNOWN) continue;
    server.extras = withExtra(server.extras, name, null);
  }
  return server.extras !== before;
}

/**
 * A tracked parameter that this server has and doesn't report is none that the two can be compared by: it stands among
 * the others then. Servers of one pool can be of different versions.
 */
function sortOut(tracked: TrackedParameters, client: AlignedClient, server: ServerEnd): void {
  const { parameters } = client;
  for (let i = 0; i < parameters.length; i++) {
    const value = parameters[i] as string | null;
    if ((value === null) === (server.parameters[i] === null)) continue;
    const name = (tracked.names[i] as string).toLowerCase();
    if (value === null) parameters[i] = client.extras.get(name) ?? null;
    else if (server.silent.includes(name)) parameters[i] = null;
    else continue;
    client.extras = withExtra(client.extras, name, value);
  }
}
