import { ADMIN_DATABASE } from '../admin/access.ts';
import type {
  DatabaseSnapshot,
  ListsSnapshot,
  SnapshotKind,
  Snapshots,
  UserSnapshot,
} from '../admin/snapshot.ts';

/** Facts of this kind of all workers. */
export type FromWorkers = <K extends SnapshotKind>(kind: K) => Promise<Snapshots[K][]>;

/** What the main thread knows itself, for it alone has it. */
export type OwnSnapshots = Pick<Snapshots, 'config' | 'peers' | 'peerPools' | 'fds' | 'dnsHosts' | 'workers'>;

/**
 * Facts about the process, made from those of its threads. What each thread has of its own is laid end to end, and `SHOW`
 * adds it up; what all of them know is given once.
 */
export async function mergedSnapshot<K extends SnapshotKind>(
  kind: K,
  fromWorkers: FromWorkers,
  own: () => OwnSnapshots,
): Promise<Snapshots[K]> {
  return (await MERGERS[kind](fromWorkers, own)) as Snapshots[K];
}

const MERGERS: {
  readonly [K in SnapshotKind]: (
    fromWorkers: FromWorkers,
    own: () => OwnSnapshots,
  ) => Promise<Snapshots[K]> | Snapshots[K];
} = {
  stats: async (from) => (await from('stats')).flat(),
  clients: async (from) => (await from('clients')).flat(),
  servers: async (from) => (await from('servers')).flat(),
  pools: async (from) => (await from('pools')).flat(),
  peerPools: (_, own) => own().peerPools,
  peers: (_, own) => own().peers,
  databases: async (from) => mergeDatabases((await from('databases')).flat()),
  users: async (from) => byName((await from('users')).flat()),
  lists: (from, own) => mergeLists(from, own()),
  config: (_, own) => own().config,
  mem: async (from) => (await from('mem')).flat(),
  dnsHosts: async (from, own) => {
    const all = [...(await from('dnsHosts')).flat(), ...own().dnsHosts];
    return [...new Map(all.map((host) => [host.hostname, host])).values()];
  },
  dnsZones: async (from) => (await from('dnsZones')).flat(),
  fds: async (from, own) => [...own().fds, ...(await from('fds')).flat()],
  state: async (from) => (await from('state')).flat(),
  workers: (_, own) => own().workers,
};

/** Counts are of the budget that all share, but for the console's clients. */
function mergeDatabases(all: readonly DatabaseSnapshot[]): DatabaseSnapshot[] {
  const consoleClients = all
    .filter(({ name }) => name === ADMIN_DATABASE)
    .reduce((sum, { currentClientConnections }) => sum + currentClientConnections, 0);
  return byName(all).map((database) =>
    database.name === ADMIN_DATABASE ? { ...database, currentClientConnections: consoleClients } : database,
  );
}

/** The first one of each name. */
function byName<T extends DatabaseSnapshot | UserSnapshot>(all: readonly T[]): T[] {
  const found = new Map<string, T>();
  for (const one of all) if (!found.has(one.name)) found.set(one.name, one);
  return [...found.values()];
}

/** One record: what several threads know is counted once. */
async function mergeLists(from: FromWorkers, own: OwnSnapshots): Promise<ListsSnapshot[]> {
  const [lists, databases, users, pools, hosts] = await Promise.all([
    from('lists'),
    from('databases'),
    from('users'),
    from('pools'),
    from('dnsHosts'),
  ]);
  const sum = (key: keyof ListsSnapshot): number => lists.flat().reduce((total, one) => total + one[key], 0);
  return [
    {
      databases: byName(databases.flat()).length,
      users: byName(users.flat()).length,
      peers: own.peers.length,
      pools: new Set(pools.flat().map(({ database, user }) => JSON.stringify([database, user]))).size,
      peerPools: own.peerPools.length,
      freeClients: sum('freeClients'),
      usedClients: sum('usedClients'),
      loginClients: sum('loginClients'),
      freeServers: sum('freeServers'),
      usedServers: sum('usedServers'),
      dnsNames: new Set([...hosts.flat(), ...own.dnsHosts].map(({ hostname }) => hostname)).size,
      dnsZones: sum('dnsZones'),
      dnsQueries: sum('dnsQueries'),
    },
  ];
}
