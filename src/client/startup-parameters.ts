import { type ExtraParameters, mayBeGiven, NO_EXTRAS } from '../relay/extra-parameters.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { fatal, type PgErrorFields, SqlState } from '../wire/pg-error.ts';
import { parseStartupOptions } from '../wire/startup-options.ts';
import type { StartupParameter } from '../wire/startup-packet.ts';

/** What a StartupMessage asks for. */
export interface StartupRequest {
  readonly user: string;
  readonly database: string;
  /** Values of tracked parameters that the client gave. */
  readonly parameters: TrackedValues;
  /** The other ones: they are set on each server that the client is linked to. */
  readonly extras: ExtraParameters;
}

/** Bytes of a user name; PgBouncer's limit. */
const MAX_USER_BYTES = 127;

/** Values of `replication` that ask for it, beside prefixes of these (not of `on`); all others ask for nothing. */
const REPLICATION = ['true', 'yes', 'on', '1'];

/**
 * Sorts a StartupMessage's parameters (contract, §6.1): who, where, tracked parameters, ignored ones, and those that
 * servers are set to; a name that cannot be one is an error.
 */
export function readStartupParameters(
  given: readonly StartupParameter[],
  tracked: TrackedParameters,
  ignored: readonly string[],
): StartupRequest | PgErrorFields {
  let user = '';
  let database = '';
  const parameters = tracked.emptyValues();
  const extras = new Map<string, string>();
  for (const [name, value] of given) {
    if (name === 'user') user = value;
    else if (name === 'database') database = value;
    else if (name === 'replication') {
      if (isReplication(value)) {
        return fatal('replication connections are not supported yet', SqlState.featureNotSupported);
      }
    } else if (name === 'options') {
      const error = readOptions(value, tracked, ignored, parameters, extras);
      if (error !== null) return error;
    } else if (!track(name, value, tracked, parameters) && !ignored.includes(name)) {
      if (!mayBeGiven(name)) return fatal(`unsupported startup parameter: ${name}`);
      extras.set(name.toLowerCase(), value);
    }
  }
  if (user === '') return fatal('no username supplied');
  if (Buffer.byteLength(user) > MAX_USER_BYTES) return fatal('username too long');
  return {
    user,
    database: database === '' ? user : database,
    parameters,
    extras: extras.size === 0 ? NO_EXTRAS : extras,
  };
}

function readOptions(
  text: string,
  tracked: TrackedParameters,
  ignored: readonly string[],
  parameters: TrackedValues,
  extras: Map<string, string>,
): PgErrorFields | null {
  const ignoresUnknown = ignored.includes('options');
  const options = parseStartupOptions(text);
  if (typeof options === 'string') return ignoresUnknown ? null : fatal(options);
  for (const [name, value] of options) {
    if (track(name, value, tracked, parameters) || ignoresUnknown || ignored.includes(name)) continue;
    if (!mayBeGiven(name)) return fatal(`unsupported startup parameter in options: ${name}`);
    extras.set(name.toLowerCase(), value);
  }
  return null;
}

function track(name: string, value: string, tracked: TrackedParameters, into: TrackedValues): boolean {
  const index = tracked.indexOf(name);
  if (index < 0) return false;
  into[index] = value;
  return true;
}

function isReplication(value: string): boolean {
  if (value === 'database') return true;
  const text = value.toLowerCase();
  return text !== '' && text !== 'o' && REPLICATION.some((word) => word.startsWith(text));
}
