import type { ClientAuthExchange } from '../auth/client-auth.ts';
import type { LoginCredentials } from '../auth/credentials.ts';
import type { LoginApplicant } from '../auth/login-exchange.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger, LogLevel } from '../base/log.ts';
import type { PeerAddress } from '../net/address.ts';
import type { Native } from '../net/native.ts';
import type { Budget } from '../pool/budget.ts';
import type { Pool } from '../pool/pool.ts';
import type { StatementCache } from '../prepared/statement.ts';
import type { TrackedParameters } from '../relay/tracked-parameters.ts';
import type { ClientTls } from '../tls/client-side.ts';
import type { PgErrorFields } from '../wire/pg-error.ts';
import type { ClientConnection } from './connection.ts';
import type { ClientSession } from './session.ts';

/** The settings that client connections go by, as they are now. Lists are exact, case-sensitive names. */
export interface ClientSettings {
  readonly authType: string;
  readonly ignoreStartupParameters: readonly string[];
  readonly applicationNameAddHost: boolean;
  /** Empty = none. */
  readonly loginNotifyMessage: string;
  readonly disablePqexec: boolean;
  readonly maxPacketSize: number;
  readonly logConnections: boolean;
  readonly logDisconnections: boolean;
  readonly logPoolerErrors: boolean;
  readonly clientLoginTimeoutMs: number;
}

/** Limits of one client, resolved for its database and login user. 0 = off or unlimited. */
export interface ClientLimits {
  readonly clientIdleTimeoutMs: number;
  readonly queryWaitTimeoutMs: number;
  readonly queryWaitNotifySec: number;
  /** `query_timeout` for a client that still waits: the global value. */
  readonly queryTimeoutMs: number;
  readonly maxClientConn: number;
  readonly maxDbClientConnections: number;
  readonly maxUserClientConnections: number;
}

/** A database entry as a login sees it. */
export interface ClientDatabase {
  readonly name: string;
  readonly isDisabled: boolean;
  readonly forcedUser: string | null;
}

/** What a console session says to one message. */
export interface ConsoleAnswer {
  readonly bytes: Buffer;
  /** Why the console ends now, or null. */
  readonly closeReason: string | null;
  /** The error among `bytes`, or null. */
  readonly error: string | null;
}

/** A console session behind the login; implemented over `admin/` by the daemon. */
export interface ConsoleSession {
  readonly welcome: readonly (readonly [string, string])[];
  /** For its BackendKeyData. */
  readonly cancelKey: Buffer;
  /** A longer message ends the console. */
  readonly maxBodyBytes: number;
  /** The connection is gone. */
  closed(): void;
  /**
   * One whole message; the next one only after the promise resolved. `send` takes what goes ahead of the answer's end, and
   * resolves when there may be more.
   */
  message(
    type: number,
    body: Buffer,
    signal: AbortSignal,
    send: (bytes: Buffer) => Promise<void>,
  ): Promise<ConsoleAnswer>;
}

/** What has become of a CancelRequest. */
export interface CancelOutcome {
  /** For the log. */
  readonly reason: string;
  /** The key is somebody's. */
  readonly isKnown: boolean;
}

/** What client connections share, given by the daemon. */
export interface ClientServices {
  readonly clock: Clock;
  readonly log: Logger;
  readonly native: Native;
  readonly budget: Budget;
  /** Name of this event loop in the budget. */
  readonly owner: string;
  readonly tracked: TrackedParameters;
  readonly statements: StatementCache;
  settings(): ClientSettings;
  /** TLS for connections over TCP that begin now; null = there is none. */
  tls(): ClientTls | null;
  /** The name of the pseudo database that is the console. */
  readonly adminDatabase: string;
  /** null = there is none of that name. */
  findDatabase(name: string): ClientDatabase | null;
  /** Begins a login, by the method and with the secret that are this applicant's. `note` writes to the log. */
  authenticate(applicant: LoginApplicant, note: (text: string, level?: LogLevel) => void): ClientAuthExchange;
  limits(database: string, user: string): ClientLimits;
  /** Whether no limit on clients may keep this one out, nor does it take a place: administrators on the console. */
  isUncounted(database: string, user: string, isUnixSameUid: boolean): boolean;
  /** The pool a client of `database` logs in to; made when it isn't there. null = the entry went away. */
  poolFor(database: string, loginUser: string, credentials: LoginCredentials): Pool | null;
  /** Why logins over this kind of socket are refused now (shutdown), or null. */
  refusesLogins(kind: PeerAddress['kind']): PgErrorFields | null;
  /** SUSPEND holds logins to `database` back: settles when they may go on; null when they may now. */
  resumed(database: string): Promise<void> | null;
  /** Why clients that newly need a server are refused now (shutdown that waits for servers), or null. */
  refusesQueries(): PgErrorFields | null;
  /** The console for this applicant, whose name is known, or null when it may not enter. */
  openConsole(
    applicant: ClientConnection,
    applied: readonly (readonly [string, string])[],
  ): ConsoleSession | null;
  /** Whether the console's user enters without a password. */
  entersConsoleFreely(user: string, isUnixSameUid: boolean): boolean;
  /**
   * A CancelRequest with `key` (of a length that a key may have), by such a socket; resolves when the requester's connection
   * may be closed.
   */
  cancel(key: Buffer, cameBy: PeerAddress['kind']): Promise<CancelOutcome>;
  /** An authenticated session can be cancelled, killed and shown from now on; gives the key for its BackendKeyData. */
  addSession(session: ClientSession): Buffer;
  removeSession(session: ClientSession): void;
  /** The connection's socket is gone. */
  connectionGone(connection: ClientConnection): void;
}
