import type { Socket } from 'node:net';
import type { ServerAuthArgs } from '../auth/server-auth.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Grant } from '../pool/budget.ts';
import type { CancelCarrier } from '../pool/peers.ts';
import type { Native } from '../net/native.ts';
import type { ConnSocket } from '../net/raw-socket.ts';
import type { StatementCache } from '../prepared/statement.ts';
import type { TrackedParameters } from '../relay/tracked-parameters.ts';
import type { ServerTls } from '../tls/server-side.ts';
import type { ServerProtocols } from './protocols.ts';
import type { ServerAddress } from './target.ts';

/** Sees to it that the place of a server connection isn't another's before its end is gone, should this thread die. */
export interface ServerCustody {
  /** The connection has come about, and nothing has been sent. False: it must not be used. */
  keep(grant: Grant, socket: Socket): boolean;
  /** One that another thread has kept, and that is this one's now, has this socket here. */
  watch(grant: Grant, socket: Socket): void;
  /**
   * The login is over; `backendKey` is how what runs there is cancelled, where the server says it, and `tlsHost` whom it is
   * encrypted to.
   */
  learnKey(grant: Grant, backendKey: Buffer | null, tlsHost: string | null): void;
}

/** What server connections share, given by the daemon. */
export interface ServerServices {
  readonly clock: Clock;
  readonly log: Logger;
  readonly native: Native;
  /** Asks the kernel for what the `tcp_…` settings say now, for a connection that has just come about. */
  readonly tuneTcp: (socket: ConnSocket) => void;
  readonly tracked: TrackedParameters;
  readonly statements: StatementCache;
  readonly auth: Pick<ServerAuthArgs, 'randomBytes' | 'saltedPasswords'>;
  readonly protocols: ServerProtocols;
  /** Null: when this thread ends, the process does. */
  readonly custody: ServerCustody | null;
  /** TLS for connections over TCP that begin now; null = servers are not asked for it. */
  tls(): ServerTls | null;
  /** The process ends: nothing is connected to any more. */
  isStopped(): boolean;
  /** `log_connections` and `log_disconnections`, as they are now. */
  logsConnections(): boolean;
  logsDisconnections(): boolean;
  /** `max_packet_size`. */
  maxPacketSize(): number;
  /** Sends a CancelRequest of our own for the query that still runs on a connection being closed; `done` as of a carrier. */
  cancelAt(
    address: ServerAddress,
    backendKey: Buffer,
    tls: ServerTls | null,
    done: () => void,
  ): CancelCarrier;
}
