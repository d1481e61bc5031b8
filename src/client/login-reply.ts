import type { WelcomeData } from '../pool/pool.ts';
import type { ExtraParameters } from '../relay/extra-parameters.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { authenticationOk } from '../wire/authentication.ts';
import { backendKeyData } from '../wire/backend-key-data.ts';
import { noticeResponse } from '../wire/error-response.ts';
import { parameterStatus } from '../wire/parameter-status.ts';
import { SqlState } from '../wire/pg-error.ts';
import { readyForQueryIdle } from '../wire/ready-for-query.ts';

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
  const messages: Buffer[] = [authenticationOk()];
  for (const [name, value] of welcome) {
    const index = tracked.indexOf(name);
    if (index < 0) messages.push(parameterStatus(name, extras.get(name.toLowerCase()) ?? value));
    else parameters[index] ??= value;
  }
  tracked.names.forEach((name, i) => {
    const value = parameters[i];
    if (value !== null && value !== undefined) messages.push(parameterStatus(name, value));
  });
  messages.push(backendKeyData(cancelKey));
  if (notice !== '') {
    messages.push(noticeResponse({ sqlstate: SqlState.successfulCompletion, message: notice }));
  }
  messages.push(readyForQueryIdle);
  return Buffer.concat(messages);
}
