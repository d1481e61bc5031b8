import type { CancelJob } from './cancels.ts';
import { decideActiveTimeout, decideRest } from './decide.ts';
import type { PoolLimits } from './limits.ts';
import type { Pool } from './pool.ts';

/**
 * One pass over a pool's servers, a few times a second: every time limit, the sizes, the deadlines of closing
 * connections; then the pool tries again to serve whoever waits. Lists are walked as copies: ending one connection
 * may make others change their state. `fills`: up to `min_pool_size`. Source: contract, §1.5, §1.6, §5.
 */
export function sweepPool(pool: Pool, nowMs: number, fills = true): void {
  sweepLogins(pool, nowMs);
  sweepActive(pool, nowMs);
  sweepRest(pool, nowMs);
  sweepTested(pool, nowMs);
  sweepAbandoned(pool, nowMs);
  sweepClosing(pool, nowMs);
  sweepCancels(pool, nowMs);
  pool.launcher.letGo();
  if (fills) pool.launcher.fillToMinimum();
  pool.service();
  pool.launcher.askElsewhere();
  pool.cancels.pump();
  pool.waits.refresh();
  const { waiting, sent } = pool.cancels;
  const isInUse = pool.clients.count + pool.servers.slotsTaken + waiting.length + sent.length > 0;
  if (isInUse) pool.emptySinceMs = 0;
  else if (pool.emptySinceMs === 0) pool.emptySinceMs = nowMs;
}

/**
 * With other addresses at hand, one that could not be reached before gets no more than this for its first answer: it
 * holds up the pool's other logins. Enough for five round trips (TCP, SSLRequest, TLS, start-up) round the world.
 */
const SUSPECT_TIMEOUT_MS = 2000;

function sweepLogins(pool: Pool, nowMs: number): void {
  const timeoutMs = pool.limits.serverConnectTimeoutMs || Number.POSITIVE_INFINITY;
  for (const server of [...pool.servers.new]) {
    if (server.state !== 'new') continue;
    const patienceMs = server.opening.isSuspect ? Math.min(timeoutMs, SUSPECT_TIMEOUT_MS) : timeoutMs;
    if (nowMs - server.connectMs <= patienceMs) continue;
    const reason = 'connect timeout';
    if (server.opening.triesNext(reason)) continue;
    pool.serverFailed(server, { message: reason, serverError: null, failWaiting: false });
    server.beginClose(reason);
  }
}

function sweepActive(pool: Pool, nowMs: number): void {
  const { limits } = pool;
  for (const server of [...pool.servers.active, ...pool.servers.dedicated]) {
    const client = server.link;
    // A stream of replication is a query that never ends, and no transaction.
    if (client === null || (server.dedicatedTo !== null && server.isStreaming)) continue;
    const isIdleInTransaction = server.isIdleInTransaction();
    const text = decideActiveTimeout(
      {
        nowMs,
        queryStartMs: client.queryStartMs,
        xactStartMs: client.xactStartMs,
        isIdleInTransaction,
        lastServerBytesMs: server.lastBytesMs,
      },
      limits,
    );
    if (text !== null) {
      pool.closeLinked(server, text, text);
    } else if (server.dedicatedTo !== null) {
      // Nothing else ends its link but the client.
    } else if (mayCloseFast(limits) && server.closeNeeded && server.isClean()) {
      pool.closeLinked(server, 'database configuration changed', 'database configuration changed');
    } else {
      server.sweep(nowMs);
    }
  }
}

/** Elsewhere the release is near. */
function mayCloseFast({ poolMode, serverFastClose }: PoolLimits): boolean {
  return poolMode === 'session' && serverFastClose;
}

function sweepRest(pool: Pool, nowMs: number): void {
  if (pool.servers.used.length + pool.servers.idle.length === 0) return;
  let usableServers = pool.launcher.usable;
  // Surplus connections go from the used ones first.
  for (const state of ['used', 'idle'] as const) {
    for (const server of [...pool.servers[state]]) {
      if (server.state !== state) continue;
      const decision = decideRest(
        {
          state,
          restMs: nowMs - server.stateSinceMs,
          ageMs: nowMs - server.connectMs,
          sinceLifetimeCloseMs: pool.sinceLifetimeCloseMs,
          closeNeeded: server.closeNeeded,
          paused: pool.paused,
          usableServers,
        },
        pool.limits,
      );
      if (decision.action === 'close') {
        // Other event loops may close theirs at the same time.
        if (!pool.launcher.maySpare(server, decision.least)) continue;
        pool.closeServer(server, decision.reason);
        usableServers--;
      } else if (decision.action === 'used') pool.retireToUsed(server);
    }
  }
}

/** A reset or check query that is not answered in the time a login may take will not be. */
function sweepTested(pool: Pool, nowMs: number): void {
  const timeoutMs = pool.limits.serverConnectTimeoutMs;
  if (timeoutMs === 0) return;
  for (const server of [...pool.servers.tested]) {
    if (server.state === 'tested' && nowMs - server.stateSinceMs > timeoutMs)
      pool.closeServer(server, 'test query failed');
  }
}

/**
 * What a client has left running: cancelled again and again, for it may be a row of queries; closed when it has not
 * come to its end within `server_close_timeout` of the first cancel.
 */
function sweepAbandoned(pool: Pool, nowMs: number): void {
  for (const server of [...pool.servers.being_canceled]) {
    const { abandoned } = server;
    if (abandoned === null) continue;
    if (nowMs - abandoned.cancelFromMs > pool.limits.serverCloseTimeoutMs) {
      pool.closeServer(server, abandoned.reason);
    } else {
      pool.cancels.cancelAbandoned(server);
    }
  }
}

/** The deadlines of connections that have been told goodbye. */
export function sweepClosing(pool: Pool, nowMs: number): void {
  const { serverCloseTimeoutMs, serverCancelTimeoutMs } = pool.limits;
  for (const server of [...pool.servers.closing]) {
    if (server.ownCancelMs > 0) {
      if (nowMs - server.ownCancelMs > serverCancelTimeoutMs) server.cut();
      // It may be a row of queries.
      else server.cancelOwnQuery();
    } else if (nowMs - server.stateSinceMs > serverCloseTimeoutMs) {
      // However late the sweep comes: first the cancel, and its own time to work.
      server.ownCancelMs = nowMs;
      server.cancelOwnQuery();
    }
  }
}

function sweepCancels(pool: Pool, nowMs: number): void {
  for (const job of [...pool.cancels.waiting, ...pool.cancels.sent]) {
    if (!isOverdue(job, nowMs, pool.limits)) continue;
    const { server } = job;
    if (job.state === 'sent') {
      // Whether that cancel still strikes is unknown: its server must not serve another client. Said before the
      // job ends, for with its last job a server that waits for that goes on to the next client.
      if (server.state === 'being_canceled') pool.closeServer(server, 'cancel_wait_timeout');
      else server.closeNeeded = true;
    }
    pool.cancels.finish(job, 'cancel_wait_timeout');
  }
}

function isOverdue(job: CancelJob, nowMs: number, limits: PoolLimits): boolean {
  const { cancelWaitTimeoutMs, serverConnectTimeoutMs, serverCancelTimeoutMs } = limits;
  // Ours may not keep a server for longer than one may be closing.
  if (job.finish === null) return nowMs - job.sinceMs > serverCancelTimeoutMs;
  if (cancelWaitTimeoutMs > 0) return nowMs - job.sinceMs > cancelWaitTimeoutMs;
  // It may wait without end, but keep neither a connection of the pool's nor a server so.
  if (!job.isCarried) return false;
  const timeoutMs = job.state === 'sent' ? serverCancelTimeoutMs : serverConnectTimeoutMs || Infinity;
  return nowMs - job.stepMs > timeoutMs;
}
