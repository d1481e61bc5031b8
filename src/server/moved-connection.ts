import type { Clock } from '../base/clock.ts';
import { Conn } from '../net/conn.ts';
import type { ConnHandler } from '../net/conn-handler.ts';
import { socketOf } from '../net/descriptor.ts';
import type { Native } from '../net/native.ts';
import type { MovedParts } from '../pool/moved-server.ts';
import type { PoolServer } from '../pool/peers.ts';
import type { StatementCache } from '../prepared/statement.ts';
import { DISCARD } from '../wire/framed-reader.ts';
import type { Opening } from './opening.ts';
import type { PooledServer } from './pooled-server.ts';
import type { MovedSession } from './session-state.ts';

/** A server connection at rest on its way to another event loop: all that is known of it. Plain data. */
export interface MovedConnection extends MovedParts {
  /** Where it leads, as a ServerAddress has it. */
  readonly host: string;
  readonly port: number;
  readonly ip: string | null;
  /** Null: the server gave none. */
  readonly backendKey: Uint8Array | null;
  /** Since it was begun, since its last client got it, since its last bytes. Clocks of threads have zeros of their own. */
  readonly ageMs: number;
  readonly requestAgeMs: number;
  readonly silentMs: number;
  readonly connectWallMs: number;
  readonly links: number;
  readonly session: MovedSession;
}

/** A server connection that may go. */
type Movable = PooledServer &
  Pick<PoolServer, 'isClean' | 'needsResync'> & {
    readonly conn: Pick<Conn, 'detach'>;
    readonly opening: Pick<Opening, 'tls'>;
  };

/** As PoolServer.surrender. */
export function surrender(server: Movable, nowMs: number): MovedConnection | null {
  const { closeNeeded, cancelsInFlight, state, opening } = server;
  const isQuiet = server.isClean() && !server.needsResync() && !closeNeeded && cancelsInFlight === 0;
  if (!isQuiet || state !== 'idle' || opening.tls !== null) return null;
  const fd = server.conn.detach();
  if (fd === null) return null;
  const { host, port, ip } = server.address;
  const all: MovedConnection = {
    fd,
    host,
    port,
    ip,
    backendKey: server.backendKey,
    ageMs: nowMs - server.connectMs,
    requestAgeMs: nowMs - server.requestMs,
    silentMs: nowMs - server.lastBytesMs,
    connectWallMs: server.connectWallMs,
    links: server.links,
    session: server.movedSession(),
  };
  server.statements.end();
  return all;
}

/** Makes `server`, which is new, what it was on the other event loop. */
export function restore(
  server: PooledServer,
  all: MovedConnection,
  { clock, statements }: { readonly clock: Clock; readonly statements: StatementCache },
): void {
  const nowMs = clock.nowMs();
  server.connectMs = nowMs - all.ageMs;
  server.requestMs = nowMs - all.requestAgeMs;
  server.lastBytesMs = nowMs - all.silentMs;
  server.connectWallMs = all.connectWallMs;
  server.links = all.links;
  server.backendKey = all.backendKey === null ? null : Buffer.from(all.backendKey);
  server.restoreSession(all.session, statements);
}

/** How a connection begins that was opened by another event loop: it is there. */
export class MovedOpening implements Opening {
  readonly login = { feed: DISCARD.feed, abandon: () => {} };
  readonly tls = null;
  readonly encryptedBy = null;
  readonly isConnected = true;
  readonly isSuspect = false;
  readonly #fd: number;
  readonly #native: Native;

  constructor(fd: number, native: Native) {
    this.#fd = fd;
    this.#native = native;
  }

  /** Throws when the descriptor is no socket. */
  connect(handler: ConnHandler): Conn {
    return Conn.accept(socketOf(this.#fd), this.#native, handler);
  }

  start(): void {}

  failure(): string {
    return 'connect failed';
  }

  goesOn(): false {
    return false;
  }

  triesNext(): false {
    return false;
  }
}
