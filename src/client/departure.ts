import type { PoolServer } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import type { ServerEnd } from '../relay/link.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';

/** A linked client that is gone, or is to go. */
export interface DepartedClient {
  readonly pool: Pool;
  readonly queryStartMs: number;
  /** No message of it is half sent, and all that was counted as sent was sent. */
  readonly isWholeSent: boolean;
  /** Its server takes its requests: it is neither being prepared for the client nor probed. */
  readonly isServed: boolean;
  /** It has sent Terminate behind its last request. */
  readonly saidGoodbye: boolean;
}

/**
 * What becomes of the server of a client that goes: it is free at once, or when what the client has left running has
 * been cancelled and answered, or not to be used again (contract, §5.5, where the first and the last is all there is).
 */
export function leaveServer(client: DepartedClient, server: PoolServer & ServerEnd): void {
  const { pool, isWholeSent, saidGoodbye } = client;
  if (server.dedicatedTo !== null) {
    pool.closeServer(server, 'replication client disconnected');
    return;
  }
  if (isWholeSent && server.isClean()) {
    pool.release(server);
    return;
  }
  const isBusy = server.isIdleInTransaction() || client.queryStartMs > 0;
  const reason = `client disconnect${isBusy ? ' while server was not ready' : 'ed with query in progress'}`;
  if (!isWholeSent || !client.isServed || !isCountable(server.tracker)) pool.closeServer(server, reason);
  // Who says goodbye behind a request has not changed its mind about that: it gets a moment to be done.
  else pool.abandon(server, reason, saidGoodbye ? pool.limits.serverCloseTimeoutMs : 0);
}

/** Everything owed comes to an end that shows in the answers; behind a Sync that is to be sent still, perhaps. */
function isCountable({ isUnsure, isMixed, isStretchOpen, queue }: RequestTracker): boolean {
  return !isUnsure && !isMixed && (isStretchOpen || queue.syncs + queue.queries > 0);
}
