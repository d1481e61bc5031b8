import type { ServerEnd } from '../relay/link.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';

/**
 * Makes the parameters of a server those of the client `wanted`, which belong to it: where nothing differs at
 * once, else by a query or two. `done` gets false when the server refused. `wanted` has the server's spelling then.
 */
export function alignServer(
  tracked: TrackedParameters,
  wanted: TrackedValues,
  server: ServerEnd,
  done: (ok: boolean) => void,
  isReadable = false,
): void {
  const sql = tracked.alignmentSql(wanted, server.parameters);
  if (sql === null) {
    done(true);
    return;
  }
  const prelude = isReadable ? null : tracked.preludeSql(sql, server.parameters);
  server.alignParameters(prelude ?? sql, (ok) => {
    if (ok && prelude !== null) {
      alignServer(tracked, wanted, server, done, true);
      return;
    }
    // The server's spelling is the client's from now on, so that `ISO` against `ISO, MDY` isn't sent each time.
    // It reports only what has changed: a value that it says nothing about was that spelling before already.
    if (ok) {
      server.parameters.forEach((value, i) => {
        if (value !== null && wanted[i] !== null) wanted[i] = value;
      });
    }
    done(ok);
  });
}
