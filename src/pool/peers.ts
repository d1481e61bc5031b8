import type { ListNode } from '../base/list.ts';
import type { PgErrorFields } from '../wire/pg-error.ts';
import type { Replication } from '../wire/replication.ts';
import type { Grant } from './budget.ts';
import type { WelcomeData } from './context.ts';
import type { MovedParts } from './moved-server.ts';

/**
 * The two sides as the pool sees them: no sockets, no bytes. `client/` and `server/` implement these.
 *
 * Server states are the words `SHOW SERVERS` prints, plus two of ours:
 * ```
 *  new ──login──▶ idle ◀──────────────┐            closing: Terminate sent (or about to be), slot still taken
 *                  │ assign           │ clean      gone:    the server's end is gone, slot is free
 *                  ▼                  │
 *                active ──release──▶ (tested | used | being_canceled)     every state ──▶ closing ──▶ gone
 *
 *  new ──login──▶ dedicated: linked to the one client that it was opened for, until one of them goes
 * ```
 */
export type ServerState =
  | 'new'
  | 'idle'
  | 'active'
  | 'dedicated'
  | 'used'
  | 'tested'
  | 'being_canceled'
  | 'closing'
  | 'gone';

/**
 * active = logged in, linked or not; waiting = for a server; waiting_login = for the pool's first welcome data;
 * waiting_dedicated = for the login of a server connection of its own.
 */
export type ClientState = 'login' | 'active' | 'waiting' | 'waiting_login' | 'waiting_dedicated' | 'gone';

/** reset and check as configured; resync probes a connection whose answers cannot be counted (COPY, see relay). */
export type TestPurpose = 'reset' | 'check' | 'resync';

export interface PoolClient extends ListNode {
  /** From the one allocator that numbers clients and servers alike. */
  readonly id: number;
  /** Written by the pool only. */
  state: ClientState;
  /** Monotonic ms since when it waits; 0 when it doesn't. Written by the pool only. */
  waitStartMs: number;
  /** Start of the open query, of the open transaction; 0 when there is none. Monotonic ms. */
  readonly queryStartMs: number;
  readonly xactStartMs: number;
  /**
   * While it waits for a server: nobody is there any more, and it has left the pool before this returns. One that is
   * told so by `linked` only would give its server to the next one from inside of that: a row of them has no bounds.
   */
  leaveIfGone(): boolean;
  /** A server is assigned: prepare it and send what waits. */
  linked(server: PoolServer): void;
  /** The pool has taken the server away at a clean point. */
  unlinked(): void;
  /** The pool's welcome data is there: finish the login. */
  welcomeReady(): void;
  /** The client cannot be served: tell it and close. */
  refused(error: PgErrorFields): void;
}

/** A client with a server connection of its own, which nobody else ever gets: replication, and what asks for logins. */
export interface DedicatedClient extends PoolClient {
  /** `none`: it is no client from the network but part of ours, and reads what its server sends by itself. */
  readonly replication: Replication;
  /** Start-up parameters of its server connection beside user and database; these win over the database entry's. */
  readonly startup: readonly (readonly [name: string, value: string])[];
  /** Whether a line about its server connection is to be written; it is counted if not. */
  mayWrite(): boolean;
  /** Its server, to which it is linked already, has reported `welcome`: finish the login. */
  welcomed(welcome: WelcomeData): void;
  /** No server connection has come about; it leaves the pool before this returns. */
  notOpened(failure: LoginFailure): void;
}

/** What a client has left behind that is gone in the middle of what it asked for. */
export interface Abandonment {
  /** Why its server is closed if it cannot be kept. */
  readonly reason: string;
  /** From when on what still runs is cancelled, monotonic ms. */
  readonly cancelFromMs: number;
}

export interface PoolServer extends ListNode {
  readonly id: number;
  readonly grant: Grant;
  /** Written by the pool only. */
  state: ServerState;
  /** When `state` was entered (for used after idle: when idle was), monotonic ms. Written by the pool only. */
  stateSinceMs: number;
  /** The client it is linked to. Written by the pool only. */
  link: PoolClient | null;
  /** The client that it was opened for, and for nobody else; null: it serves the pool. */
  readonly dedicatedTo: DedicatedClient | null;
  /** Between the beginning of a COPY BOTH and its ReadyForQuery. */
  readonly isStreaming: boolean;
  /** Start of the TCP connection, the one that is tried now, monotonic ms. */
  readonly connectMs: number;
  /** Its login was over, monotonic ms; 0: in another event loop. Written by the pool only. */
  readyMs: number;
  /** Last bytes from the server, monotonic ms. */
  readonly lastBytesMs: number;
  /** Old configuration or RECONNECT: not to be used for another client. */
  closeNeeded: boolean;
  /** Cancel requests aimed at it that PostgreSQL has not finished. Written by the pool only. */
  cancelsInFlight: number;
  /** Its client is gone in the middle of what it asked for (state being_canceled); else null. Written by the pool only. */
  abandoned: Abandonment | null;
  /** While closing: when the query that still ran there was cancelled, monotonic ms; 0 = not yet. Written by the pool only. */
  ownCancelMs: number;
  /**
   * Another client may have it: between transactions, every answer received, no message half sent. Never when it is
   * dedicated.
   */
  isClean(): boolean;
  /** Inside a transaction block (last ReadyForQuery was `T` or `E`) with nothing running. */
  isIdleInTransaction(): boolean;
  /** The answers cannot be counted with certainty: probe it before it is used again. */
  needsResync(): boolean;
  /** Called a few times a second while it is linked outside session mode. */
  sweep(nowMs: number): void;
  /** How it is opened, while it is new. */
  readonly opening: ServerAttempt;
  /** It gave a key to cancel with. */
  readonly isCancellable: boolean;
  /** While it is active: no cancel is under way to it, or not any more. */
  cancelsOver(): void;
  /** A client is now linked. */
  linked(client: PoolClient): void;
  /** The link is over. */
  unlinked(): void;
  /**
   * {@link abandoned}: reads and drops what is owed to the client that is gone, sends what brings it to an end where
   * nothing else will, and reports `Pool.drained`.
   */
  drain(): void;
  /** Runs `sql` on its own and reports `Pool.serverTested`. */
  test(sql: string, purpose: TestPurpose): void;
  /** Says goodbye: the pool has set `closing` already. `clientError` goes to the client that was linked. */
  beginClose(reason: string): void;
  /** The deadline after Terminate has passed: cancel what still runs there, unless a cancel is under way. */
  cancelOwnQuery(): void;
  /** Takes note of what the server has sent by now; that may be the end of it. False: it is gone. */
  catchUp(): boolean;
  /**
   * While it is idle: lets go of the connection, of which PostgreSQL notices nothing, and gives all that is known of it
   * for another event loop, descriptor included. The object is of no use any more then. Null: it can't be moved, and
   * stays as it is.
   */
  surrender(): MovedParts | null;
  /** The last deadline has passed: cut the socket. `Pool.serverGone` follows. */
  cut(): void;
}

/** A server connection that is being opened, at one of the addresses that it may have. */
export interface ServerAttempt {
  /** Null: it is in the clear. */
  readonly tls: object | null;
  /** Nobody has answered there before, nor now, and there are other addresses: it gets less time. */
  readonly isSuspect: boolean;
  /** Nobody answers there, for `reason`. True when it goes on with another address. */
  triesNext(reason: string): boolean;
}

/**
 * Opens server connections for a pool; progress is reported to the pool's `serverReady`, `serverFailed`,
 * `serverGone`, also while `open` still runs. When `open` throws, nothing was opened.
 */
export interface ServerConnector<P> extends OpenCancel {
  open(pool: P, grant: Grant, dedicatedTo: DedicatedClient | null): PoolServer;
  /**
   * Makes a server, in state `new`, of one that has been surrendered on another event loop. Nothing has been read from it.
   * Throws when that can't be done: then it has said goodbye and closed the descriptor, and nobody will tell when
   * PostgreSQL's end is gone.
   */
  adopt(pool: P, grant: Grant, id: number, parts: MovedParts): PoolServer;
}

export interface OpenCancel {
  /**
   * Opens a connection to where `server` is and sends a CancelRequest for what runs there. `maySend` is asked
   * right before the bytes go out; `done` is called once, when PostgreSQL has closed that connection or it failed.
   * Both may be called while `openCancel` still runs.
   */
  openCancel(server: PoolServer, maySend: () => boolean, done: (reason: string) => void): CancelCarrier;
}

/** The connection that carries one CancelRequest. */
export interface CancelCarrier {
  cut(): void;
}

/** Why a server login or connect did not succeed. */
export interface LoginFailure {
  /** Text for logs and for the fail-fast cache. */
  readonly message: string;
  /** Set when the server answered with an ErrorResponse: what waiting clients are told. */
  readonly serverError: PgErrorFields | null;
  /** True when waiting clients are to be failed too (see contract, fail-fast). */
  readonly failWaiting: boolean;
}
