import type { WelcomeData } from '../pool/context.ts';
import type { ExtraParameters } from '../relay/extra-parameters.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { authenticationOk } from '../wire/authentication.ts';
import { backendKeyData } from '../wire/backend-key-data.ts';
import { noticeResponse } from '../wire/error-response.ts';
import { parameterStatus } from '../wire/parameter-status.ts';
import { SqlState } from '../wire/pg-error.ts';
import { readyForQueryIdle } from '../wire/ready-for-query.ts';

/** What a server's welcome says to every client of the pool that has asked for nothing of its own. */
interface Welcome {
  readonly tracked: TrackedParameters;
  /** ParameterStatus of all that is not tracked. */
  readonly others: Buffer;
  /** By index of tracked parameters: the server's value, and its ParameterStatus. */
  readonly values: readonly ({ readonly value: string; readonly message: Buffer } | null)[];
  /** The last client's: its tracked parameters, and all that it was told ahead of BackendKeyData. */
  last: { readonly parameters: TrackedValues; readonly messages: Buffer } | null;
}

/** Each is written for the first client, and copied for the others. */
const welcomes = new WeakMap<WelcomeData, Welcome>();

function welcomeOf(data: WelcomeData, tracked: TrackedParameters): Welcome {
  const known = welcomes.get(data);
  if (known?.tracked === tracked) return known;
  const values: { value: string; message: Buffer }[] = [];
  for (const [name, value] of data) {
    const index = tracked.indexOf(name);
    if (index >= 0)
      values[index] ??= { value, message: parameterStatus(tracked.names[index] as string, value) };
  }
  const welcome: Welcome = {
    tracked,
    last: null,
    others: Buffer.concat(others(data, tracked, null)),
    values: tracked.names.map((_name, i) => values[i] ?? null),
  };
  welcomes.set(data, welcome);
  return welcome;
}

/** ParameterStatus of all in `data` that is not tracked; a client's `extras` go before the server's values. */
function others(data: WelcomeData, tracked: TrackedParameters, extras: ExtraParameters | null): Buffer[] {
  return data
    .filter(([name]) => tracked.indexOf(name) < 0)
    .map(([name, value]) => parameterStatus(name, extras?.get(name.toLowerCase()) ?? value));
}

/**
 * All that ends a client's login, in one write: AuthenticationOk, what the pool's server reported, the tracked
 * parameters, BackendKeyData, the notice of `login_notify_message` (empty = none), ReadyForQuery. Tracked
 * `parameters` that the client didn't give are filled in with the server's values; of what the server reports beside them, `extras`
 * go before its own. Order: contract, §6.2.
 */
export function loginReply(
  welcome: WelcomeData,
  tracked: TrackedParameters,
  parameters: TrackedValues,
  extras: ExtraParameters,
  cancelKey: Buffer,
  notice: string,
): Buffer {
  const common = welcomeOf(welcome, tracked);
  for (let i = 0; i < tracked.names.length; i++) parameters[i] ??= common.values[i]?.value ?? null;
  const messages = [ahead(common, parameters, extras, welcome), backendKeyData(cancelKey)];
  if (notice !== '') {
    messages.push(noticeResponse({ sqlstate: SqlState.successfulCompletion, message: notice }));
  }
  messages.push(readyForQueryIdle);
  return Buffer.concat(messages);
}

/** What goes ahead of BackendKeyData; to be copied. */
function ahead(
  common: Welcome,
  parameters: TrackedValues,
  extras: ExtraParameters,
  welcome: WelcomeData,
): Buffer {
  const { last, tracked } = common;
  const isPlain = extras.size === 0;
  if (isPlain && last?.parameters.every((value, i) => value === parameters[i]) === true) return last.messages;
  const messages = [authenticationOk()];
  if (isPlain) messages.push(common.others);
  else messages.push(...others(welcome, tracked, extras));
  tracked.names.forEach((name, i) => {
    const known = common.values[i] ?? null;
    const value = parameters[i] ?? null;
    if (value === null) return;
    messages.push(value === known?.value ? known.message : parameterStatus(name, value));
  });
  const told = Buffer.concat(messages);
  if (isPlain) common.last = { parameters: [...parameters], messages: told };
  return told;
}
