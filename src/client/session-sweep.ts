import type { ClientState } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import { noticeResponse } from '../wire/error-response.ts';
import { SqlState } from '../wire/pg-error.ts';
import type { ClientConnection } from './connection.ts';
import { timeoutError } from './timeout-error.ts';
import { decideClientTimeout } from './timeouts.ts';

const QUEUED_NOTICE = noticeResponse({
  sqlstate: SqlState.successfulCompletion,
  message: 'No server connection available in postgres backend, client being queued',
});

/** A session as the sweep sees it. Times are monotonic ms, 0 where nothing is open. */
export interface SweptSession {
  readonly connection: ClientConnection;
  readonly pool: Pool;
  readonly state: ClientState;
  readonly server: object | null;
  readonly waitStartMs: number;
  readonly queryStartMs: number;
  readonly idleSinceMs: number;
  /** It was told in this wait that it is queued. */
  wasToldToWait: boolean;
}

/** The time limits of a logged-in client, and the notice that it waits. */
export function sweepSession(session: SweptSession, nowMs: number): void {
  const { connection, pool, waitStartMs } = session;
  const { services } = connection;
  if (session.state === 'waiting_login') {
    const timeoutMs = services.settings().clientLoginTimeoutMs;
    if (timeoutMs > 0 && nowMs - connection.loginFromMs > timeoutMs) {
      connection.fail(timeoutError('client_login_timeout (server down)', session, nowMs));
    }
    return;
  }
  const limits = services.limits(pool.database, connection.user as string);
  const { queryStartMs, idleSinceMs } = session;
  const isLinked = session.server !== null;
  const text = decideClientTimeout({ nowMs, isLinked, waitStartMs, queryStartMs, idleSinceMs }, limits);
  if (text !== null) {
    connection.fail(timeoutError(text, session, nowMs));
    return;
  }
  const notifyMs = limits.queryWaitNotifySec * 1000;
  if (notifyMs > 0 && waitStartMs > 0 && !session.wasToldToWait && nowMs - waitStartMs > notifyMs) {
    session.wasToldToWait = true;
    connection.conn.write(QUEUED_NOTICE);
  }
}
