import type { Grant } from '../pool/budget.ts';
import type { CancelCarrier, DedicatedClient, PoolServer, ServerConnector } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import { openCancel } from './cancel.ts';
import { ServerConnection } from './connection.ts';
import { ServerProtocols } from './protocols.ts';
import type { ServerServices } from './services.ts';
import { dedicatedTarget, type ServerAddress, type ServerTarget } from './target.ts';

/** What the connector needs besides what connections share. */
export interface ConnectorServices extends Omit<ServerServices, 'cancelAt' | 'protocols'> {
  /** The allocator of ids for clients and servers. */
  nextId(): number;
  /** The newest minor version of protocol 3 that servers may be asked for, as it is now. */
  newestMinor(): number;
  /** Where `pool` connects to, by the configuration as it is now. */
  target(pool: Pool): ServerTarget;
}

/** Opens server connections and the connections that carry cancel requests. */
export class Connector implements ServerConnector<Pool> {
  readonly #services: ConnectorServices;
  readonly #shared: ServerServices;
  /** Per pool: index of the host that the next connection goes to. */
  readonly #nextHost = new WeakMap<Pool, number>();

  constructor(services: ConnectorServices) {
    this.#services = services;
    this.#shared = {
      ...services,
      logsConnections: () => services.logsConnections(),
      logsDisconnections: () => services.logsDisconnections(),
      maxPacketSize: () => services.maxPacketSize(),
      tls: () => services.tls(),
      isStopped: () => services.isStopped(),
      protocols: new ServerProtocols(services.clock, () => services.newestMinor()),
      cancelAt: (address, backendKey, tls, done) =>
        openCancel(address, backendKey, () => true, done, services.tuneTcp, tls),
    };
  }

  open(pool: Pool, grant: Grant, dedicatedTo: DedicatedClient | null): PoolServer {
    const pooled = this.#services.target(pool);
    const target = dedicatedTo === null ? pooled : dedicatedTarget(pooled, dedicatedTo);
    return new ServerConnection(
      this.#shared,
      this.#services.nextId(),
      pool,
      grant,
      target,
      this.#pickHost(pool, target),
      dedicatedTo,
    );
  }

  openCancel(server: PoolServer, maySend: () => boolean, done: (reason: string) => void): CancelCarrier {
    const connection = server as ServerConnection;
    const { address, backendKey, opening } = connection;
    if (backendKey === null) {
      connection.log('WARNING', 'cannot forward a cancel request: the server sent no BackendKeyData');
      queueMicrotask(() => done('failed to send cancel request'));
      return { cut: () => {} };
    }
    return openCancel(address, backendKey, maySend, done, this.#services.tuneTcp, opening.encryptedBy);
  }

  /** `load_balance_hosts`: the next host each time, or the same one until connecting to it fails. */
  #pickHost(pool: Pool, target: ServerTarget): ServerAddress {
    const { hosts, port, loadBalanceHosts } = target;
    const last = this.#nextHost.get(pool) ?? 0;
    const hasFailed = pool.dedicated.takeConnectFailure() || pool.launcher.hasFailure;
    const advances = loadBalanceHosts === 'round-robin' || hasFailed;
    const index = loadBalanceHosts === 'disable' && advances ? last + 1 : last;
    this.#nextHost.set(pool, loadBalanceHosts === 'round-robin' ? last + 1 : index);
    return { host: hosts[index % hosts.length] as string, port };
  }
}
