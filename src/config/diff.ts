import type { DatabaseEntry } from './databases.ts';

// Passwords, sizes and session parameters are missing on purpose: connections made with the old ones still serve.
const recycling = [
  'dbname',
  'host',
  'port',
  'user',
  'connectQuery',
  'authDbname',
  'authQuery',
  'loadBalanceHosts',
] as const satisfies readonly (keyof DatabaseEntry)[];

/** Whether connections made for `old` must not serve `next`. Source: PgBouncer, RELOAD of `[databases]`. */
export function needsRecycling(old: DatabaseEntry, next: DatabaseEntry): boolean {
  return recycling.some((field) => old[field] !== next[field]);
}
