import { close } from 'node:fs';
import { Socket } from 'node:net';
import type { Grant } from '../pool/budget.ts';
import type { CancelCarrier, DedicatedClient, PoolServer, ServerConnector } from '../pool/peers.ts';
import type { MovedParts } from '../pool/moved-server.ts';
import type { Pool } from '../pool/pool.ts';
import { terminate } from '../wire/frontend.ts';
import type { Resolved } from '../net/dns-cache.ts';
import { openCancel } from './cancel.ts';
import { ServerConnection } from './connection.ts';
import { HostList } from './host-list.ts';
import { type MovedConnection, MovedOpening } from './moved-connection.ts';
import { ServerOpening } from './opening.ts';
import { ServerProtocols } from './protocols.ts';
import { ServerRoute } from './route.ts';
import type { ServerServices } from './services.ts';
import { dedicatedTarget, type ServerTarget } from './target.ts';

/** What the connector needs besides what connections share. */
export interface ConnectorServices extends Omit<ServerServices, 'cancelAt' | 'protocols'> {
  /** The allocator of ids for clients and servers. */
  nextId(): number;
  /** The newest minor version of protocol 3 that servers may be asked for, as it is now. */
  newestMinor(): number;
  /** The addresses of a host, which may be one itself. */
  resolve(host: string, done: Resolved): void;
  /** Where `pool` connects to, by the configuration as it is now. */
  target(pool: Pool): ServerTarget;
}

/** Opens server connections and the connections that carry cancel requests. */
export class Connector implements ServerConnector<Pool> {
  readonly #services: ConnectorServices;
  readonly #shared: ServerServices;
  readonly #hosts = new WeakMap<Pool, HostList>();

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
    const route = this.#route(pool, target);
    return new ServerConnection(
      this.#shared,
      this.#services.nextId(),
      pool,
      grant,
      route,
      dedicatedTo,
      (host, own) => new ServerOpening(host, this.#shared, target, route, own),
    );
  }

  adopt(pool: Pool, grant: Grant, id: number, parts: MovedParts): PoolServer {
    // Made by a connector of another event loop.
    const moved = parts as MovedConnection;
    const { native, clock, resolve } = this.#services;
    // Nothing is tried by it, so it has no part in whose turn it is.
    const route = new ServerRoute(
      { hosts: [moved.host], port: moved.port, loadBalanceHosts: 'disable' },
      { list: new HostList(clock), retryMs: 0, resolve: (host, done) => resolve(host, done) },
    );
    route.leadsTo(moved.ip);
    let server: ServerConnection;
    try {
      const opening = () => new MovedOpening(moved.fd, native);
      server = new ServerConnection(this.#shared, id, pool, grant, route, null, opening);
    } catch (error) {
      // The best that can be done for PostgreSQL, which would wait for ever.
      native.write(moved.fd, terminate, 0, terminate.length);
      close(moved.fd, () => {});
      throw error;
    }
    const { socket } = server.conn;
    if (socket instanceof Socket) this.#shared.custody?.watch(grant, socket);
    server.restore(moved);
    return server;
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

  #route(pool: Pool, target: ServerTarget): ServerRoute {
    const list = this.#hosts.get(pool) ?? new HostList(this.#services.clock);
    this.#hosts.set(pool, list);
    return new ServerRoute(target, {
      list,
      retryMs: pool.limits.serverLoginRetryMs,
      resolve: (host, done) => this.#services.resolve(host, done),
    });
  }
}
