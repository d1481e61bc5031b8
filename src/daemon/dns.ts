import { DnsCache, type LookupAll } from '../net/dns-cache.ts';
import { replaceServers } from '../pool/replace.ts';
import { ServerConnection } from '../server/connection.ts';
import type { PoolerState } from './context.ts';

/**
 * What host names mean to this event loop; `lookup` asks for the addresses of one, `lost` hears of those that a name has
 * no more.
 */
export function createDns(
  state: Pick<PoolerState, 'clock' | 'config'>,
  lookup: LookupAll,
  lost: (name: string, addresses: ReadonlySet<string>) => void,
): DnsCache {
  return new DnsCache({
    clock: state.clock,
    lookup,
    ttls: () => {
      const { dns_max_ttl, dns_nxdomain_ttl } = state.config.settings;
      return { maxTtlMs: dns_max_ttl * 1000, nxdomainTtlMs: dns_nxdomain_ttl * 1000 };
    },
    lost,
  });
}

/**
 * Server connections at addresses that a name doesn't have any more are replaced, where the name alone is the entry's
 * host. Source: contract, §5.11.
 */
export function leaveAddresses(state: PoolerState, name: string, addresses: ReadonlySet<string>): void {
  state.log.log('LOG', `${name} has no address ${[...addresses].join(', ')} any more`);
  for (const pool of state.pools.all()) {
    if (state.databases.get(pool.database)?.entry.host !== name) continue;
    replaceServers(pool, (server) => {
      const ip = server instanceof ServerConnection ? server.address.ip : null;
      return ip !== null && addresses.has(ip);
    });
  }
}

/** Forgets names that the configuration has no more. */
export function forgetNames({ databases, config, dns }: PoolerState): void {
  const hosts = new Set(databases.all().flatMap(({ entry }) => entry.hosts));
  for (const { host } of config.peers.values()) hosts.add(host);
  dns.keepOnly(hosts);
}
