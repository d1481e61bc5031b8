import { type ExtraParameters, isFleeting, mayBeGiven, NO_EXTRAS } from '../relay/extra-parameters.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import { type Replication, replicationOf } from '../wire/replication.ts';
import { parseStartupOptions } from '../wire/startup-options.ts';
import type { StartupParameter } from '../wire/startup-packet.ts';

/** What a StartupMessage asks for. */
export interface StartupRequest {
  readonly user: string;
  readonly database: string;
  readonly replication: Replication;
  /** Values of tracked parameters that the client gave. */
  readonly parameters: TrackedValues;
  /**
   * The other ones: they are set on each server that the client is linked to. For replication a server connection is
   * started with them, and `options` is one of them, as it was given.
   */
  readonly extras: ExtraParameters;
}

/** The database that a StartupMessage is for, whether or not it can be had; empty when it names nobody. */
export function askedDatabase(given: readonly StartupParameter[]): string {
  const last = (wanted: string) => given.findLast(([name]) => name === wanted)?.[1] ?? '';
  return last('database') || last('user');
}

/** Bytes of a user name; PgBouncer's limit. */
const MAX_USER_BYTES = 127;

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
  let replication: Replication = 'none';
  // First of all: what `options` means depends on it.
  for (const [name, value] of given) if (name === 'replication') replication = replicationOf(value);
  const parameters = tracked.emptyValues();
  const extras = new Map<string, string>();
  // Then those, wherever they stand: PostgreSQL lets what has a value of its own have that one.
  for (const [name, value] of given) {
    if (name !== 'options') continue;
    if (replication !== 'none') extras.set(name, value);
    else {
      const error = readOptions(value, tracked, ignored, parameters, extras);
      if (error !== null) return error;
    }
  }
  for (const [name, value] of given) {
    if (name === 'user') user = value;
    else if (name === 'database') database = value;
    else if (name === 'replication' || name === 'options') continue;
    else if (!track(name, value, tracked, parameters) && !ignored.includes(name)) {
      if (!mayBeGiven(name)) return fatal(`unsupported startup parameter: ${name}`);
      keep(name, value, extras);
    }
  }
  if (user === '') return fatal('no username supplied');
  if (Buffer.byteLength(user) > MAX_USER_BYTES) return fatal('username too long');
  return {
    user,
    database: database === '' ? user : database,
    replication,
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
    keep(name, value, extras);
  }
  return null;
}

function keep(name: string, value: string, into: Map<string, string>): void {
  const key = name.toLowerCase();
  if (!isFleeting(key)) into.set(key, value);
}

function track(name: string, value: string, tracked: TrackedParameters, into: TrackedValues): boolean {
  const index = tracked.indexOf(name);
  if (index < 0) return false;
  into[index] = value;
  return true;
}
