import type { Pool } from '../pool/pool.ts';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';

/** The error that ends a client whose time is over. One that waits is told why; `text` is the contract's. */
export function timeoutError(
  text: string,
  client: { readonly pool: Pool; readonly waitStartMs: number },
  nowMs: number,
): PgErrorFields {
  if (client.waitStartMs === 0) return fatal(text);
  return { ...fatal(text), detail: waitDetail(client.pool, nowMs - client.waitStartMs) };
}

/**
 * Why a client has waited for `waitedMs` in vain, for the DETAIL of its error: how long, and what the pool's server
 * connections are doing. The client itself is among those who wait.
 */
function waitDetail(pool: Pool, waitedMs: number): string {
  const { servers, limits } = pool;
  let inTransaction = 0;
  for (const server of servers.active) if (server.isIdleInTransaction()) inTransaction++;
  const states: readonly (readonly [number, string])[] = [
    [servers.active.length - inTransaction, 'busy'],
    [inTransaction, 'idle in transaction'],
    [servers.dedicated.length, 'replicating'],
    [servers.idle.length + servers.used.length, 'idle'],
    [servers.tested.length, 'being checked'],
    [servers.being_canceled.length, 'being canceled'],
    [servers.new.length, 'logging in'],
    [servers.closing.length, 'closing'],
  ];
  const parts = states.filter(([count]) => count > 0).map(([count, state]) => `${count} ${state}`);
  const size = limits.poolSize === 0 ? 'no limit' : `pool_size ${limits.poolSize}`;
  const paused = pool.paused ? ' The database is paused.' : '';
  const connections = parts.length === 0 ? 'none' : parts.join(', ');
  return (
    `Waited ${(waitedMs / 1000).toFixed(1)} s as one of ${pool.clients.waitingCount}. ` +
    `Server connections (${size}): ${connections}.${paused}`
  );
}
