import type { ConfigRow } from '../config/show.ts';
import {
  type DnsHostSnapshot,
  type DnsZoneSnapshot,
  type ListsSnapshot,
  MEM_CACHES,
  type MemSnapshot,
} from './snapshot.ts';
import { bigint, byName, FOR_EVER, int, type Show, show, text } from './table.ts';

/** Rows of SHOW LISTS in order; the last one is always 0, here as in PgBouncer. */
const LISTS: readonly (readonly [string, keyof ListsSnapshot | null])[] = [
  ['databases', 'databases'],
  ['users', 'users'],
  ['peers', 'peers'],
  ['pools', 'pools'],
  ['peer_pools', 'peerPools'],
  ['free_clients', 'freeClients'],
  ['used_clients', 'usedClients'],
  ['login_clients', 'loginClients'],
  ['free_servers', 'freeServers'],
  ['used_servers', 'usedServers'],
  ['dns_names', 'dnsNames'],
  ['dns_zones', 'dnsZones'],
  ['dns_queries', 'dnsQueries'],
  ['dns_pending', null],
];

/** SHOW LISTS: how many of each thing there are. */
export const showLists: Show = show<{ readonly list: string; readonly items: number }>(
  [text('list', (row) => row.list), int('items', (row) => row.items)],
  async ({ control }) => {
    const threads = await control.snapshot('lists');
    return LISTS.map(([list, key]) => ({
      list,
      items: key === null ? 0 : threads.reduce((sum, lists) => sum + lists[key], 0),
    }));
  },
);

/** SHOW CONFIG, in the order of the rows given. */
export const showConfig: Show = show<ConfigRow>(
  [
    text('key', (c) => c.key),
    text('value', (c) => c.value),
    text('default', (c) => c.default),
    text('changeable', (c) => c.changeable),
  ],
  ({ control }) => control.snapshot('config'),
);

/** SHOW MEM: always the same rows; caches that the process doesn't have show zeros. */
export const showMem: Show = show<MemSnapshot>(
  [
    text('name', (m) => m.name),
    int('size', (m) => m.sizeBytes),
    int('used', (m) => m.used),
    int('free', (m) => m.free),
    int('memtotal', (m) => m.totalBytes),
  ],
  async ({ control }) => {
    const caches = await control.snapshot('mem');
    return MEM_CACHES.map((name) => {
      const sum = { name, sizeBytes: 0, used: 0, free: 0, totalBytes: 0 };
      for (const cache of caches) {
        if (cache.name !== name) continue;
        sum.sizeBytes = cache.sizeBytes;
        sum.used += cache.used;
        sum.free += cache.free;
        sum.totalBytes += cache.totalBytes;
      }
      return sum;
    });
  },
);

/** SHOW DNS_HOSTS. */
export const showDnsHosts: Show = show<DnsHostSnapshot>(
  [
    text('hostname', (h) => h.hostname),
    bigint('ttl', (h) => Math.min(h.ttlSec, FOR_EVER)),
    text('addrs', (h) => h.addresses.map(withPortZero).join(',')),
  ],
  async ({ control }) => {
    const hosts = await control.snapshot('dnsHosts');
    return hosts.toSorted((a, b) => byName(a.hostname, b.hostname));
  },
);

/** SHOW DNS_ZONES. */
export const showDnsZones: Show = show<DnsZoneSnapshot>(
  [text('zonename', (z) => z.zone), bigint('serial', (z) => z.serial), int('count', (z) => z.count)],
  async ({ control }) => {
    const zones = await control.snapshot('dnsZones');
    return zones.toSorted((a, b) => byName(a.zone, b.zone));
  },
);

/** SHOW STATE. */
export const showState: Show = show<{ readonly key: string; readonly value: boolean }>(
  [text('key', (row) => row.key), text('value', (row) => yesNo(row.value))],
  async ({ control }) => {
    const threads = await control.snapshot('state');
    const paused = threads.some((state) => state.paused);
    const suspended = threads.some((state) => state.suspended);
    return [
      { key: 'active', value: !paused && !suspended },
      { key: 'paused', value: paused },
      { key: 'suspended', value: suspended },
    ];
  },
);

/** SHOW VERSION: the first line of `--version`. */
export const showVersion: Show = show<string>([text('version', (version) => version)], async (context) => [
  context.version,
]);

function yesNo(value: boolean): string {
  return value ? 'yes' : 'no';
}

function withPortZero(address: string): string {
  return address.includes(':') ? `[${address}]:0` : `${address}:0`;
}
