import type { LogLevel } from '../base/log.ts';
import { formatPeer, type PeerAddress } from '../net/address.ts';
import { Conn } from '../net/conn.ts';
import type { ConnHandler } from '../net/conn-handler.ts';
import type { ConnSocket } from '../net/raw-socket.ts';
import type { Grant } from '../pool/budget.ts';
import type { TlsInfo } from '../tls/info.ts';
import { errorResponse } from '../wire/error-response.ts';
import {
  fatal,
  type PgErrorFields,
  ProtocolViolation,
  SqlState,
  SynchronizationLost,
} from '../wire/pg-error.ts';
import type { Replication } from '../wire/replication.ts';
import { TOO_MUCH, type Visit, type Visitor } from './doorkeeper.ts';
import type { ClientServices } from './services.ts';

/** What listens to a client connection in one stage of its life: startup, login, session, console, cancel. */
export interface ClientPhase {
  /** `chunk[0, end)`, borrowed until the call returns. */
  bytes(chunk: Buffer, end: number): void;
  /** Room for more bytes to the client. */
  drained(): void;
  /** Called a few times a second with monotonic time. */
  sweep(nowMs: number): void;
  /** It waits for a server, so that nobody takes what it still has sent when it has left. */
  readonly isWaiting?: boolean;
  /** The client has part of a server's message: nothing of ours can be told apart from its rest. */
  isMidAnswer(): boolean;
  /** The connection is closing: let go of everything. Called once, whoever closes. */
  closing(): void;
  /** The socket has failed, and the connection closes for it. */
  lost?(error: Error): void;
}

/** Why a connection is closed whose client is gone without a Terminate. */
const LEFT = 'client unexpected eof';

/** How long a client that has left may stay unread: what it sent before may still be on its way to whom it is for. */
const UNREAD_GRACE_MS = 5000;

/** Longest text in a line about a client that has not logged in, and longest name of a database in any. Characters. */
const LONGEST_TEXT = 2000;
const LONGEST_NAME = 64;

/** How long a closed client may take to read its last message before the socket is cut. */
const LINGER_MS = 3000;

/**
 * One client connection, from accept to close: who it is, how it is logged, how it ends. What its bytes mean is
 * its phase's business.
 */
export class ClientConnection implements ConnHandler, Visitor {
  readonly id: number;
  readonly services: ClientServices;
  readonly conn: Conn;
  readonly address: PeerAddress;
  /** The peer came over the unix socket and runs under the pooler's own uid. */
  readonly isUnixSameUid: boolean;
  /** Who runs the peer of the unix socket; null over TCP and where the system doesn't say. */
  readonly peerUid: number | null;
  readonly connectMs: number;
  readonly connectWallMs: number;
  /** From when on the time of its login counts, monotonic ms: that of a SUSPEND doesn't. */
  loginFromMs: number;
  /** Null until the login says it. */
  user: string | null = null;
  database: string | null = null;
  /** It speaks protocol 3.`protocolMinor`: what it asked for, or the newest that we have. Set by its StartupMessage. */
  protocolMinor = 0;
  replication: Replication = 'none';
  /** What its TLS handshake came to; null while it is in the clear. */
  tls: TlsInfo | null = null;
  /** The place in the client limits; given back at close. */
  grant: Grant | null = null;
  phase: ClientPhase;
  /** What the doorkeeper has to say until the login is over; null then. */
  visit: Visit | null;
  #isLoggedIn = false;
  /** Of TLS, as far as the doorkeeper knows of them. */
  #hiddenBytes = 0;
  #closeMs = 0;
  /** Since when a client that isn't read is known to have left; 0 = not so. */
  #leftMs = 0;

  constructor(
    services: ClientServices,
    id: number,
    socket: ConnSocket,
    peer: { address: PeerAddress; isUnixSameUid: boolean; uid: number | null; visit: Visit },
    firstPhase: (connection: ClientConnection) => ClientPhase,
  ) {
    this.services = services;
    this.id = id;
    this.address = peer.address;
    this.isUnixSameUid = peer.isUnixSameUid;
    this.peerUid = peer.uid;
    this.visit = peer.visit;
    this.connectMs = services.clock.nowMs();
    this.connectWallMs = services.clock.wallMs();
    this.loginFromMs = this.connectMs;
    this.phase = firstPhase(this);
    this.conn = Conn.accept(socket, services.native, this);
    peer.visit.visitor = this;
  }

  /** A SUSPEND is over that was in force since then. */
  resumed(sinceMs: number): void {
    const nowMs = this.services.clock.nowMs();
    this.loginFromMs = Math.min(nowMs, this.loginFromMs + nowMs - sinceMs);
  }

  /** The login is over: the client has a session or the console. */
  get isLoggedIn(): boolean {
    return this.#isLoggedIn;
  }

  loggedIn(): void {
    this.#isLoggedIn = true;
    this.visit?.loggedIn();
    this.visit = null;
  }

  get placeIn(): string | null {
    return this.grant === null ? null : this.grant.database;
  }

  /** Whether somebody who has not logged in has given way, for a place in all or in this one's database. */
  makePlace(where: 'total' | 'database'): boolean {
    return this.visit?.makePlace(where === 'total' ? null : this.database) ?? false;
  }

  evict(message: string): void {
    this.fail(fatal(message, SqlState.tooManyConnections));
    this.conn.endAndDestroy();
  }

  get isClosing(): boolean {
    return this.#closeMs !== 0;
  }

  /** For calls that come on another connection's behalf: what goes wrong here must not be taken for its fault. */
  guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.onFault(error);
    }
  }

  onBytes(chunk: Buffer, end: number): void {
    if (this.isClosing) return;
    const { clock } = this.services;
    clock.hold();
    try {
      if (this.visit?.received(end) === false) this.fail(fatal(TOO_MUCH));
      if (!this.isClosing) this.phase.bytes(chunk, end);
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
      this.onFault(error);
    } finally {
      clock.letGo();
    }
  }

  onEnd(): void {
    this.closeAtOnce(LEFT);
  }

  onDrain(): void {
    if (!this.isClosing) this.phase.drained();
  }

  onClosed(error: Error | null): void {
    if (error !== null && !this.isClosing) this.phase.lost?.(error);
    this.close(LEFT);
    this.visit?.gone();
    this.services.connectionGone(this);
  }

  /** What was thrown on this connection's behalf: the client broke the protocol, or we have a bug. */
  onFault(error: unknown): void {
    if (error instanceof ProtocolViolation) {
      if (error instanceof SynchronizationLost) this.fail(...error.errors);
      else this.fail(fatal(error.message));
      return;
    }
    this.log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
    this.close('internal error');
  }

  /** Tells the client why (ErrorResponse, the last one FATAL), if it can be told, and closes. The first one is logged. */
  fail(error: PgErrorFields, ...further: readonly PgErrorFields[]): void {
    if (this.isClosing) return;
    const told = Buffer.concat([error, ...further].map((each) => errorResponse(each)));
    this.close(error.message, this.phase.isMidAnswer() ? undefined : told);
    this.logError(error.message);
  }

  /** An error that the client was told (`log_pooler_errors`). */
  logError(message: string): void {
    if (this.services.settings().logPoolerErrors) this.log('WARNING', `pooler error: ${message}`);
  }

  /** Closes after sending `last`; the client gets a moment to read it. Only the first call counts. */
  close(reason: string, last?: Buffer): void {
    if (!this.#begin(reason)) return;
    this.conn.resume();
    this.conn.end(last);
    this.visit?.leaves();
  }

  /** Of a client that has said that it is through with us: nothing is left to linger for. */
  closeAtOnce(reason: string): void {
    if (this.#begin(reason)) this.visit?.leaves();
    this.conn.endAndDestroy();
  }

  /** False when it is being closed already. */
  #begin(reason: string): boolean {
    if (this.isClosing) return false;
    this.#closeMs = this.services.clock.nowMs();
    this.#logClose(reason);
    try {
      this.phase.closing();
    } finally {
      if (this.grant !== null) this.services.budget.giveBack(this.grant);
      this.grant = null;
    }
    return true;
  }

  /** The sweep: time limits; a client that doesn't take its last message is cut; so is one that left unread. */
  sweep(nowMs: number): void {
    if (!this.isClosing) {
      if (this.conn.isPaused) this.#checkUnread(nowMs);
      if (this.visit !== null) this.countHidden();
      if (!this.isClosing) this.phase.sweep(nowMs);
    } else if (nowMs - this.#closeMs > LINGER_MS) this.conn.destroy();
  }

  /**
   * Counts what comes by TLS before login and that no phase sees: OpenSSL keeps half a handshake in memory, and afterwards
   * takes key updates and padding without end.
   */
  countHidden(): void {
    const more = this.conn.hiddenBytes - this.#hiddenBytes;
    this.#hiddenBytes += more;
    if (this.visit?.received(more) === false) this.fail(fatal(TOO_MUCH));
  }

  /**
   * Closes the connection of a client that isn't read and is known to have left: true then. A paused socket doesn't
   * report its peer's end; without native calls it is found when reading goes on.
   */
  closeIfLeft(): boolean {
    const hasLeft = this.conn.isPaused && this.services.native.hasPeerLeft(this.conn.socket);
    if (hasLeft) this.close(LEFT);
    return hasLeft;
  }

  #checkUnread(nowMs: number): void {
    if (this.phase.isWaiting === true) this.closeIfLeft();
    else if (!this.services.native.hasPeerLeft(this.conn.socket)) this.#leftMs = 0;
    else if (this.#leftMs === 0) this.#leftMs = nowMs;
    else if (nowMs - this.#leftMs > UNREAD_GRACE_MS) this.close(LEFT);
  }

  /** Cuts the connection without a word (process exit). */
  cut(): void {
    this.conn.destroy();
  }

  log(level: LogLevel, message: string): void {
    const { log } = this.services;
    if (!log.enabled(level) || this.visit?.mayWrite() === false) return;
    // Names come from the network: a packet of 64 kB must not write ten times as much.
    const text = this.isLoggedIn ? message : clipped(message, LONGEST_TEXT);
    log.log(level, `${this.#prefix()}${text}`);
  }

  #logClose(reason: string): void {
    if (!this.services.settings().logDisconnections) return;
    // Probes leave before they log in, and programs that have yet to ask for the password: not worth a line.
    if (reason === LEFT && !this.isLoggedIn) return;
    const ageSec = Math.floor((this.services.clock.nowMs() - this.connectMs) / 1000);
    this.log('LOG', `closing because: ${reason} (age=${ageSec}s)`);
  }

  #prefix(): string {
    const who = `${clipped(this.database ?? '(nodb)', LONGEST_NAME)}/${this.user ?? '(nouser)'}`;
    return `C-0x${this.id.toString(16)}: ${who}@${formatPeer(this.address)} `;
  }
}

function clipped(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
