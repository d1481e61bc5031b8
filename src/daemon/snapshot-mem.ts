import { MEM_CACHES, type MemCache, type MemSnapshot } from '../admin/snapshot.ts';
import type { PoolerState } from './context.ts';

/**
 * SHOW MEM: PgBouncer shows its slab caches there, which a garbage-collected process does not have. The rows
 * count what is in use; sizes are not known per kind of object, so the bytes of the whole heap stand with the
 * I/O buffers, which is where memory goes.
 */
export function memSnapshots(state: PoolerState): MemSnapshot[] {
  const pools = state.pools.all();
  const servers = pools.reduce((total, pool) => total + pool.servers.slotsTaken, 0);
  const { external, heapUsed } = process.memoryUsage();
  const used: Partial<Record<MemCache, number>> = {
    user_cache: state.config.userlist.size,
    credentials_cache: pools.length,
    db_cache: state.databases.all().length,
    peer_cache: state.config.peers.size,
    pool_cache: pools.length,
    server_cache: servers,
    client_cache: state.connections.size,
    iobuf_cache: state.connections.size + servers,
    var_list_cache: state.sessions.size + servers,
  };
  return MEM_CACHES.map((name) => ({
    name,
    sizeBytes: 0,
    used: used[name] ?? 0,
    free: 0,
    totalBytes: name === 'iobuf_cache' ? external : name === 'client_cache' ? heapUsed : 0,
  }));
}
