import { Socket } from 'node:net';
import type { LogLevel } from '../base/log.ts';
import { Conn } from '../net/conn.ts';
import type { ConnHandler } from '../net/conn-handler.ts';
import type { Grant } from '../pool/budget.ts';
import type { LoginFailure, ServerAttempt } from '../pool/peers.ts';
import type { WelcomeData } from '../pool/context.ts';
import { formatTls, type TlsInfo } from '../tls/info.ts';
import type { ServerTls } from '../tls/server-side.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import type { ErrorFields } from '../wire/error-fields.ts';
import { SqlState } from '../wire/pg-error.ts';
import { startupMessage } from '../wire/startup-message.ts';
import { type AskedValue, askingAllSql, askingSql } from './asked-values.ts';
import { Encryption } from './encryption.ts';
import { loginError, ServerLogin, type ServerLoginFailure, type ServerLoginResult } from './login.ts';
import type { OwnQueries } from './own-queries.ts';
import type { ServerServices } from './services.ts';
import type { ServerRoute } from './route.ts';
import { connectFailure, connectOptions, isUnixHost, type ServerTarget } from './target.ts';

/** The connection that is being opened. */
export interface OpeningHost {
  readonly grant: Grant;
  readonly conn: Pick<Conn, 'write' | 'pause' | 'resume' | 'end' | 'destroy' | 'startTls' | 'isSecuring'>;
  /** When the connection was begun that is tried now, monotonic ms. */
  connectMs: number;
  /** What comes from now on is `reader`'s. */
  read(reader: ByteReader): void;
  /** PostgreSQL has let us in; connect_query may be still to come. */
  loggedIn(result: ServerLoginResult): void;
  /** As SessionState.begun; then {@link silent} names what has to be asked for. */
  begun(welcome: WelcomeData): WelcomeData;
  readonly silent: readonly string[];
  readonly dedicatedTo: { mayWrite(): boolean } | null;
  /** As SessionState.known. */
  known(values: readonly AskedValue[], hasQuery: boolean): string[];
  /** The connection can be used. */
  opened(welcome: WelcomeData): void;
  /** `reason` is for the line that the connection is closed. */
  failed(failure: LoginFailure, reason: string): void;
  log(level: LogLevel, message: string): void;
}

/** How a server connection begins, as it sees that itself. */
export interface Opening extends ServerAttempt {
  /** Reads what comes; another one after each {@link connect}. */
  readonly login: ByteReader & { abandon(): void };
  /** What the connection is encrypted by, as it is shown; null: it isn't. */
  readonly tls: TlsInfo | null;
  readonly encryptedBy: ServerTls | null;
  /** PostgreSQL's protocol has begun. */
  readonly isConnected: boolean;
  /** When that has succeeded, `onConnect` may {@link start}. */
  connect(handler: ConnHandler, onConnect: () => void): Conn;
  start(): void;
  /** Why nothing has come of the connection, in PgBouncer's words. */
  failure(error: Error | null): string;
  /** The connection has ended, or is no use any more: whether another one is to be begun in its place. */
  goesOn(reason: string): boolean;
}

/**
 * From connecting to a server that can be used: our StartupMessage, the login, then `connect_query`, and what it
 * doesn't report of itself. A server that
 * doesn't take the protocol version that we ask for is asked once more, for 3.0, on a connection of its own: nothing
 * that PgBouncer can talk to, which asks for no other, is out of reach. Where nobody can be reached, or PostgreSQL is not
 * up yet, the next of several addresses is tried, one after the other.
 */
export class ServerOpening implements Opening {
  login: ServerLogin;
  readonly #host: OpeningHost;
  readonly #services: ServerServices;
  readonly #target: ServerTarget;
  readonly #route: ServerRoute;
  readonly #own: OwnQueries;
  /** The minor version that is asked for. */
  #minor: number;
  /** The version that was asked for first has not been taken. */
  #isRefused = false;
  /** Another attempt follows, and the connection is coming to its end. */
  #awaitsEnd = false;
  #isConnected = false;
  #isLoggedIn = false;
  #encryption: Encryption | null = null;
  /** TLS as it was when the connection was begun. */
  #offered: ServerTls | null = null;
  #tls: TlsInfo | null = null;

  constructor(
    host: OpeningHost,
    services: ServerServices,
    target: ServerTarget,
    route: ServerRoute,
    own: OwnQueries,
  ) {
    this.#host = host;
    this.#services = services;
    this.#target = target;
    this.#route = route;
    this.#own = own;
    this.#minor = services.protocols.minorFor(route);
    this.login = this.#newLogin();
  }

  get tls(): TlsInfo | null {
    return this.#tls;
  }

  get encryptedBy(): ServerTls | null {
    return this.#tls === null ? null : this.#offered;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** No answer has come from where nobody answered before, and there are other addresses. */
  get isSuspect(): boolean {
    return !this.login.isVersionTaken && this.#route.isSuspect;
  }

  connect(handler: ConnHandler, onConnect: () => void): Conn {
    this.#isConnected = false;
    this.#awaitsEnd = false;
    this.#encryption = null;
    this.#tls = null;
    const connected = (): void => {
      const { socket } = conn;
      // Only accepted connections stand on others.
      if (!(socket instanceof Socket)) return;
      if (this.#services.custody?.keep(this.#host.grant, socket) === false) {
        conn.destroy();
        return;
      }
      this.#route.connected();
      if (!isUnixHost(this.#route.host)) this.#services.tuneTcp(conn.socket);
      onConnect();
    };
    const conn = Conn.connect(connectOptions(this.#route), handler, connected, this.#services.native);
    return conn;
  }

  /** Asks for TLS where there may be some, then introduces us. */
  start(): void {
    const { host } = this.#route;
    this.#offered = isUnixHost(host) ? null : this.#services.tls();
    if (this.#offered === null) {
      this.#introduce(null);
      return;
    }
    const owner = this.#host;
    this.#encryption = new Encryption(
      {
        conn: owner.conn,
        ready: (info) => this.#introduce(info),
        refused: (reason) => owner.failed({ message: reason, serverError: null, failWaiting: false }, reason),
      },
      this.#offered,
      host,
    );
    owner.read(this.#encryption);
    this.#encryption.begin();
  }

  failure(error: Error | null): string {
    const note = (text: string): void => this.#host.log('WARNING', text);
    return this.#encryption?.failure(error, note) ?? connectFailure(error, note);
  }

  #introduce(info: TlsInfo | null): void {
    this.#isConnected = true;
    this.#tls = info;
    if (info !== null && this.#services.logsConnections()) {
      this.#host.log('LOG', `SSL established: ${formatTls(info)}`);
    }
    this.#host.read(this.login);
    const { database, user, parameters } = this.#target;
    this.#host.conn.write(
      startupMessage(this.#minor, [['database', database], ...parameters, ['user', user]]),
    );
  }

  /**
   * The connection has ended, or is no use any more, for `reason`. True when it is the version of the protocol that the
   * server may not take: then the owner is to {@link connect} again when the server's end of this one is gone, and the
   * login has not failed yet.
   */
  asksAgain(reason: string): boolean {
    if (this.#services.isStopped()) return false;
    if (this.#awaitsEnd) return true;
    // Whatever a server does behind its first request for authentication, the version is no reason for it.
    if (!this.#isConnected || this.#minor === 0 || this.login.isVersionTaken) return false;
    this.#host.log('LOG', `the server does not take protocol 3.${this.#minor} (${reason}), asking for 3.0`);
    this.#isRefused = true;
    this.#minor = 0;
    this.#beginAnew();
    this.#host.conn.end();
    return true;
  }

  /**
   * Nothing can be had where we are, for `reason`. True when there is another address: then the owner is to
   * {@link connect} again when this connection is gone, and nothing has failed yet.
   */
  triesNext(reason: string): boolean {
    if (this.#services.isStopped() || this.#isLoggedIn) return false;
    const { hasNext } = this.#route;
    if (hasNext) this.#host.log('LOG', `${reason}: going on to the next address`);
    this.#route.failed();
    if (!hasNext) return false;
    this.#isRefused = false;
    this.#minor = this.#services.protocols.minorFor(this.#route);
    this.#beginAnew();
    this.#host.connectMs = this.#services.clock.nowMs();
    this.#host.conn.destroy();
    return true;
  }

  goesOn(reason: string): boolean {
    return this.asksAgain(reason) || this.triesNext(reason);
  }

  #beginAnew(): void {
    this.#awaitsEnd = true;
    this.login.abandon();
    this.login = this.#newLogin();
  }

  #newLogin(): ServerLogin {
    const { credentials, user } = this.#target;
    return new ServerLogin(
      {
        send: (bytes) => this.#host.conn.write(bytes),
        pause: () => this.#host.conn.pause(),
        resume: () => this.#host.conn.resume(),
        loggedIn: (result) => this.#loggedIn(result),
        failed: (failure) => this.#failed(failure),
        note: (text) => this.#host.log('WARNING', text),
      },
      { user, credentials, channel: () => this.#tls, ...this.#services.auth },
      this.#minor,
    );
  }

  #loggedIn(result: ServerLoginResult): void {
    const host = this.#host;
    this.#learn();
    this.#isLoggedIn = true;
    this.#route.reached();
    host.loggedIn(result);
    const tlsHost = this.#tls === null ? null : this.#route.host;
    this.#services.custody?.learnKey(host.grant, result.backendKey, tlsHost);
    const { connectQuery } = this.#target;
    if (connectQuery === null) {
      this.#begun(result.welcome);
      return;
    }
    this.#own.run('error while executing exec_on_query', connectQuery, null, ({ isIdle }) => {
      const reason = 'connect_query left a transaction open';
      if (isIdle) this.#begun(result.welcome);
      else host.failed({ message: reason, serverError: null, failWaiting: false }, reason);
    });
  }

  /** What the server doesn't say by itself is asked for, once; also what connect_query has set. */
  #begun(welcome: WelcomeData): void {
    const host = this.#host;
    const now = host.begun(welcome);
    const { silent } = host;
    const hasQuery = this.#target.connectQuery !== null;
    // One that is a single client's own is given to nobody who has other values, and may take no SQL.
    if ((silent.length === 0 && !hasQuery) || host.dedicatedTo !== null) {
      host.opened(now);
      return;
    }
    const reason = 'asking for parameters failed';
    const ended = (isIdle: boolean): void => {
      if (isIdle) host.opened(now);
      else host.failed({ message: reason, serverError: null, failWaiting: false }, reason);
    };
    this.#own.ask(hasQuery ? askingAllSql(silent) : askingSql(silent), (values, { error, isIdle }) => {
      if (error === null) {
        for (const name of host.known(values, hasQuery)) {
          host.log('WARNING', `the server knows no parameter "${name}" of track_extra_parameters`);
        }
        ended(isIdle);
      } else if (silent.length > 0 || !mayNeverAsk(error)) ended(false);
      else {
        // Nothing that follows clients has to be asked for: no reason to do without the server.
        host.known([], hasQuery);
        this.#own.run(reason, 'ROLLBACK', null, (result) => ended(result.isIdle));
      }
    });
  }

  #failed(failure: ServerLoginFailure): void {
    const { fields, message } = failure;
    if (fields !== null && mayMeanVersion(fields.sqlstate) && this.asksAgain(message)) return;
    if (fields?.sqlstate === SqlState.cannotConnectNow && this.triesNext(message)) return;
    this.#learn();
    this.#route.refused();
    const severity = fields?.severity ?? '';
    // Without the connection's name, as PgBouncer has it; the line that it is closed follows, with name and text.
    if (fields === null) this.#host.log('WARNING', message);
    else if (this.#host.dedicatedTo?.mayWrite() !== false)
      this.#services.log.log('WARNING', `server login failed: ${severity} ${message}`);
    const serverError = loginError(failure);
    const failWaiting = serverError.sqlstate !== SqlState.cannotConnectNow;
    const reason = fields === null ? 'failed to answer authreq' : message;
    this.#host.failed({ message, serverError, failWaiting }, reason);
  }

  /** A refusal was about the version only if 3.0 gets further. */
  #learn(): void {
    if (this.#isRefused && this.login.isVersionTaken) this.#services.protocols.takesOnlyOldest(this.#route);
  }
}

/** Nor the next time: for want of rights, or because it is no PostgreSQL that would understand. */
function mayNeverAsk({ sqlstate }: ErrorFields): boolean {
  return (
    sqlstate === SqlState.insufficientPrivilege ||
    sqlstate === SqlState.undefinedTable ||
    sqlstate === SqlState.undefinedFunction ||
    sqlstate === SqlState.syntaxError ||
    sqlstate === SqlState.featureNotSupported
  );
}

/** What PostgreSQL says to a version that it doesn't know, and what others say to what they do not understand. */
function mayMeanVersion(sqlstate: string | undefined): boolean {
  return (
    sqlstate === undefined ||
    sqlstate === SqlState.featureNotSupported ||
    sqlstate === SqlState.protocolViolation
  );
}
