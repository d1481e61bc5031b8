import type { PoolServer } from './peers.ts';
import type { Pool } from './pool.ts';

/**
 * The servers that `isOld` picks are where no more are to be: resting ones go now, those in use when they are released,
 * those that are a client's own with their clients. Source: contract, §5.7, §5.11.
 */
export function replaceServers(pool: Pool, isOld: (server: PoolServer) => boolean): void {
  const { active, tested, being_canceled, new: inLogin, idle, used, dedicated } = pool.servers;
  for (const server of [...active, ...tested, ...being_canceled, ...inLogin]) {
    if (isOld(server)) server.closeNeeded = true;
  }
  const text = 'database configuration changed';
  for (const server of [...idle, ...used]) if (isOld(server)) pool.closeServer(server, text);
  for (const server of [...dedicated]) if (isOld(server)) pool.closeLinked(server, text, text);
  pool.service();
}
