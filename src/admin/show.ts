import type { Role } from './access.ts';
import { showDatabases, showPeerPools, showPeers, showPools, showUsers } from './show-pools.ts';
import {
  showConfig,
  showDnsHosts,
  showDnsZones,
  showLists,
  showMem,
  showState,
  showVersion,
} from './show-process.ts';
import { showActiveSockets, showClients, showFds, showServers, showSockets } from './show-sockets.ts';
import { showStats, showStatsAverages, showStatsTotals, showTotals } from './show-stats.ts';
import { type Show, show, text } from './table.ts';

/** A SHOW and the least role that may run it. */
export interface ShowEntry {
  readonly needs: Role;
  readonly show: Show;
}

/**
 * Settings that drivers ask for on every connection. The console answers these fixed values, and their SET
 * changes nothing.
 */
export const driverSettings: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF-8'],
  ['default_transaction_isolation', 'read committed'],
  ['standard_conforming_strings', 'on'],
  ['datestyle', 'ISO'],
  ['timezone', 'GMT'],
]);

/** What `SHOW HELP` lists, in this order. FDS holds more than an onlooker should see. */
export const showTables: ReadonlyMap<string, ShowEntry> = new Map<string, ShowEntry>([
  ['config', { needs: 'stats', show: showConfig }],
  ['databases', { needs: 'stats', show: showDatabases }],
  ['pools', { needs: 'stats', show: showPools }],
  ['clients', { needs: 'stats', show: showClients }],
  ['servers', { needs: 'stats', show: showServers }],
  ['users', { needs: 'stats', show: showUsers }],
  ['version', { needs: 'stats', show: showVersion }],
  ['peers', { needs: 'stats', show: showPeers }],
  ['peer_pools', { needs: 'stats', show: showPeerPools }],
  ['fds', { needs: 'admin', show: showFds }],
  ['sockets', { needs: 'stats', show: showSockets }],
  ['active_sockets', { needs: 'stats', show: showActiveSockets }],
  ['lists', { needs: 'stats', show: showLists }],
  ['mem', { needs: 'stats', show: showMem }],
  ['state', { needs: 'stats', show: showState }],
  ['dns_hosts', { needs: 'stats', show: showDnsHosts }],
  ['dns_zones', { needs: 'stats', show: showDnsZones }],
  ['stats', { needs: 'stats', show: showStats }],
  ['stats_totals', { needs: 'stats', show: showStatsTotals }],
  ['stats_averages', { needs: 'stats', show: showStatsAverages }],
  ['totals', { needs: 'stats', show: showTotals }],
]);

/** Finds a SHOW by its name in any case, real ones and those for drivers; null when there is none. */
export function findShow(name: string): ShowEntry | null {
  const key = name.toLowerCase();
  const entry = showTables.get(key);
  if (entry !== undefined) return entry;
  const value = driverSettings.get(key);
  if (value === undefined) return null;
  return { needs: 'stats', show: show<string>([text(key, (cell) => cell)], async () => [value]) };
}
