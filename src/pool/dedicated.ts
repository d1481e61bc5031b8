import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import type { ClientLists } from './client-lists.ts';
import type { WelcomeData } from './context.ts';
import type {
  ClientState,
  DedicatedClient,
  LoginFailure,
  PoolClient,
  PoolServer,
  ServerState,
} from './peers.ts';
import type { ServerLists } from './server-lists.ts';

/** What the dedicated connections see of their pool. */
export interface DedicatedHost {
  readonly clients: ClientLists;
  readonly servers: ServerLists;
  readonly nowMs: number;
  /** Serves whoever waits. */
  service(): void;
  closeServer(server: PoolServer, reason: string): void;
  closeLinked(server: PoolServer, reason: string, text: string): void;
}

/** Opens connections, and knows of those of other event loops. */
interface DedicatedLauncher {
  launch(client: DedicatedClient): void;
  readonly isFull: boolean;
}

/** Puts a connection into another state. */
interface Moves {
  client(client: PoolClient, to: ClientState): void;
  server(server: PoolServer, to: ServerState): void;
}

/**
 * The part of a pool that isn't pooled: each replication client has a server connection of its own, in every pool
 * mode, and so have the queries that logins need. It is opened when the client has proved who it is, takes a place in all limits, and is closed when the client
 * goes. Whatever becomes of it, the pool's other clients hear nothing of it. Source: contract, §5.2 to §5.4, §5.7.
 */
export class DedicatedServers {
  readonly #host: DedicatedHost;
  readonly #launcher: DedicatedLauncher;
  readonly #move: Moves;

  constructor(host: DedicatedHost, launcher: DedicatedLauncher, move: Moves) {
    this.#host = host;
    this.#launcher = launcher;
    this.#move = move;
  }

  /** An authenticated client joins; it is linked and welcomed, or refused, later. */
  join(client: DedicatedClient): void {
    this.#move.client(client, 'waiting_dedicated');
    this.#host.service();
  }

  /** Opens a connection for the client that waits longest. One after the other: the next one when it has logged in. */
  launch(): void {
    const { first } = this.#host.clients.waiting_dedicated;
    if (first !== null) this.#launcher.launch(first);
  }

  /** The pool is full, and `launch` came to nothing: the server that has rested longest makes room. */
  makeRoom(): void {
    const { servers, nowMs } = this.#host;
    if (servers.isClosingSoon(nowMs)) return;
    const server = servers.mostIdle();
    if (server !== null) this.#host.closeServer(server, 'evicted');
  }

  /**
   * A server that nobody uses any more is to be closed, for its slot. Without that a client would wait for ever where
   * others keep all servers busy.
   */
  get claimsSlot(): boolean {
    const { clients, servers, nowMs } = this.#host;
    if (!clients.isDedicatedFirst || servers.new.length > 0 || servers.isClosingSoon(nowMs)) return false;
    return this.#launcher.isFull;
  }

  /** The login is over: from here on the two belong together. */
  ready(server: PoolServer, client: DedicatedClient, welcome: WelcomeData): void {
    const host = this.#host;
    this.#move.client(client, 'active');
    this.#move.server(server, 'dedicated');
    server.link = client;
    server.linked(client);
    client.linked(server);
    if (server.link === client) client.welcomed(welcome);
    host.service();
  }

  /** Connecting or logging in has failed: that concerns the one client. */
  failed(server: PoolServer, client: DedicatedClient, failure: LoginFailure): void {
    this.#move.server(server, 'closing');
    client.notOpened(failure);
    this.#host.service();
  }

  /** The client is gone: so is the need for the connection that is being opened for it. */
  left(client: PoolClient): void {
    for (const server of [...this.#host.servers.new]) {
      if (server.dedicatedTo !== client) continue;
      this.#host.closeServer(server, 'replication client was closed');
      // Others have waited for that login to be over.
      this.#host.service();
    }
  }

  /** Links are cut at once: nobody knows when a replication client would leave by itself. */
  cut(): void {
    const text = 'database configuration changed';
    for (const server of [...this.#host.servers.dedicated]) this.#host.closeLinked(server, text, text);
  }
}

/** What a client is told whose server connection has not come about: the contract's text, and why in the DETAIL. */
export function loginFailed({ message, serverError }: LoginFailure): PgErrorFields {
  return { ...fatal('login failed', serverError?.sqlstate), detail: message };
}
