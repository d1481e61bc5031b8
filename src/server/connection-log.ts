import type { LogLevel } from '../base/log.ts';
import { formatPeer } from '../net/address.ts';
import type { ConnSocket } from '../net/raw-socket.ts';
import type { ServerServices } from './services.ts';
import { fromText, peerOf, type ServerAddress } from './target.ts';

/** The connection whose lines these are. */
export interface LoggedServer {
  readonly id: number;
  readonly pool: { readonly database: string; readonly user: string };
  readonly address: ServerAddress;
  readonly connectMs: number;
  readonly conn: { readonly socket: ConnSocket };
  readonly dedicatedTo: { mayWrite(): boolean } | null;
}

/** What the log says of one server connection. */
export class ConnectionLog {
  readonly #services: ServerServices;
  readonly #server: LoggedServer;

  constructor(services: ServerServices, server: LoggedServer) {
    this.#services = services;
    this.#server = server;
  }

  log(level: LogLevel, message: string): void {
    const { log } = this.#services;
    const { id, pool, address, conn, dedicatedTo } = this.#server;
    if (!log.enabled(level) || dedicatedTo?.mayWrite() === false) return;
    const peer = formatPeer(peerOf(address, conn.socket));
    log.log(level, `S-0x${id.toString(16)}: ${pool.database}/${pool.user}@${peer} ${message}`);
  }

  connected(): void {
    if (this.#services.logsConnections()) {
      this.log('LOG', `new connection to server${fromText(this.#server.conn.socket)}`);
    }
  }

  closing(reason: string): void {
    if (!this.#services.logsDisconnections()) return;
    const ageSec = Math.floor((this.#services.clock.nowMs() - this.#server.connectMs) / 1000);
    this.log('LOG', `closing because: ${reason} (age=${ageSec}s)`);
  }

  /** A bug of ours. */
  fault(error: unknown): void {
    this.log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
  }
}
