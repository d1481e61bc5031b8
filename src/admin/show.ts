import { driverSettings } from './driver-settings.ts';
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
import { showWorkers } from './show-workers.ts';
import { type Show, show, text } from './table.ts';

/** Every SHOW that makes a table, by its name, in the order in which `SHOW HELP` lists them. */
export const showTables: ReadonlyMap<string, Show> = new Map<string, Show>([
  ['config', showConfig],
  ['databases', showDatabases],
  ['pools', showPools],
  ['clients', showClients],
  ['servers', showServers],
  ['users', showUsers],
  ['version', showVersion],
  ['peers', showPeers],
  ['peer_pools', showPeerPools],
  ['fds', showFds],
  ['sockets', showSockets],
  ['active_sockets', showActiveSockets],
  ['lists', showLists],
  ['mem', showMem],
  ['state', showState],
  ['dns_hosts', showDnsHosts],
  ['dns_zones', showDnsZones],
  ['stats', showStats],
  ['stats_totals', showStatsTotals],
  ['stats_averages', showStatsAverages],
  ['totals', showTotals],
  ['workers', showWorkers],
]);

/** The fixed answer to a SHOW that drivers send, by its name in lower case; null when it is none of those. */
export function driverShow(name: string): Show | null {
  const value = driverSettings.get(name);
  return value === undefined ? null : show<string>([text(name, (cell) => cell)], async () => [value]);
}
