import type { ServerEnd } from '../relay/link.ts';
import type { ErrorFields } from '../wire/error-fields.ts';
import { type ExtraParameters, extrasSql, UNKNOWN, withExtra } from '../relay/extra-parameters.ts';
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

/**
 * Makes the parameters of a server those of the client, which belong to it: where nothing differs at once, else in
 * one round trip. `done` gets what PostgreSQL says when it refuses. The client has the server's spelling then.
 */
export function alignServer(
  tracked: TrackedParameters,
  client: AlignedClient,
  server: ServerEnd,
  done: (error: ErrorFields | null) => void,
): void {
  const { parameters: wanted } = client;
  sortOut(tracked, client, server);
  const { extras } = client;
  let trackedSql = tracked.alignmentSql(client, server);
  const otherSql = extrasSql(extras, server.extras, server.base);
  if (otherSql === null) server.extras = extras;
  if (trackedSql === null && otherSql === null) {
    done(null);
    return;
  }
  const prelude = tracked.preludeSql(`${trackedSql ?? ''}${otherSql ?? ''}`, server.parameters);
  if (prelude !== null) trackedSql = tracked.alignmentSql(client, server);
  const sql = `${trackedSql ?? ''}${otherSql ?? ''}`;
  const isSet = wanted.map((value, i) => value !== null && tracked.differs(i, client, server));
  if (prelude !== null) isSet[tracked.indexOf('client_encoding')] = true;
  server.alignParameters(prelude === null ? [sql] : [prelude, sql], (error) => {
    if (error === null) {
      // The server's spelling is the client's from now on, so that `ISO` against `ISO, MDY` isn't sent each time.
      // It reports only what has changed: a value that it says nothing about was that spelling before already.
      server.parameters.forEach((value, i) => {
        const { parameters: given } = client.given;
        if (isSet[i] === true) server.isSet[i] = true;
        if (value === UNKNOWN) {
          if (wanted[i] !== null) server.parameters[i] = wanted[i] as string;
          return;
        }
        // What the server doesn't have at all, another one may.
        if (value === null) return;
        if (given[i] === wanted[i]) given[i] = value;
        wanted[i] = value;
      });
      server.extras = extras;
    }
    done(error);
  });
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
