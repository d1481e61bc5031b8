import type { ClientState } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import { noticeResponse } from '../wire/error-response.ts';
import { fatal, type PgErrorFields, SqlState } from '../wire/pg-error.ts';
import type { ClientConnection } from './connection.ts';
import { timeoutError } from './timeout-error.ts';
import { decideClientTimeout } from './timeouts.ts';

/** Tells a client that it waits. Shared: don't write to it. */
export const queuedNotice: Buffer = noticeResponse({
  sqlstate: SqlState.successfulCompletion,
  message: 'No server connection available in postgres backend, client being queued',
});

/** A logged-in client, or one whose login waits for the pool's welcome; monotonic ms, 0 = not so. */
export interface OverdueClient {
  readonly connection: ClientConnection;
  readonly pool: Pool;
  readonly state: ClientState;
  readonly server: object | null;
  readonly waitStartMs: number;
  readonly queryStartMs: number;
  readonly idleSinceMs: number;
  /** It was told during this wait. */
  readonly wasToldToWait: boolean;
}

/** What a client has waited, or done nothing, for too long for: the error that ends it, or `notify`; null: nothing. */
export function overdue(client: OverdueClient, nowMs: number): PgErrorFields | 'notify' | null {
  const { connection, waitStartMs } = client;
  const { services } = connection;
  if (client.state === 'waiting_login') {
    const timeoutMs = services.settings().clientLoginTimeoutMs;
    const isOver = timeoutMs > 0 && nowMs - connection.connectMs > timeoutMs;
    return isOver ? fatal('client_login_timeout (server down)') : null;
  }
  const limits = services.limits(client.pool.database, connection.user as string);
  const { queryStartMs, idleSinceMs } = client;
  const view = { nowMs, isLinked: client.server !== null, waitStartMs, queryStartMs, idleSinceMs };
  const text = decideClientTimeout(view, limits);
  if (text !== null) return timeoutError(text, client, nowMs);
  const notifyMs = limits.queryWaitNotifySec * 1000;
  const isDue = notifyMs > 0 && waitStartMs > 0 && !client.wasToldToWait && nowMs - waitStartMs > notifyMs;
  return isDue ? 'notify' : null;
}
