import type { LogLevel } from '../base/log.ts';
import type { LoginFailure } from '../pool/peers.ts';
import type { WelcomeData } from '../pool/pool.ts';
import { SqlState } from '../wire/pg-error.ts';
import { startupMessage } from '../wire/startup-message.ts';
import { loginError, ServerLogin, type ServerLoginFailure, type ServerLoginResult } from './login.ts';
import type { OwnQueries } from './own-queries.ts';
import type { ServerServices } from './services.ts';
import type { ServerTarget } from './target.ts';

/** The connection that is being opened. */
export interface OpeningHost {
  readonly conn: { write(bytes: Buffer): boolean; pause(): void; resume(): void };
  /** PostgreSQL has let us in; connect_query may be still to come. */
  loggedIn(result: ServerLoginResult): void;
  /** The connection can be used. */
  opened(welcome: WelcomeData): void;
  /** `reason` is for the line that the connection is closed. */
  failed(failure: LoginFailure, reason: string): void;
  log(level: LogLevel, message: string): void;
}

/** From our StartupMessage to a server that can be used: the login, then `connect_query`. */
export class ServerOpening {
  readonly login: ServerLogin;
  readonly #host: OpeningHost;
  readonly #services: ServerServices;
  readonly #target: ServerTarget;
  readonly #own: OwnQueries;

  constructor(host: OpeningHost, services: ServerServices, target: ServerTarget, own: OwnQueries) {
    this.#host = host;
    this.#services = services;
    this.#target = target;
    this.#own = own;
    this.login = new ServerLogin(
      {
        send: (bytes) => host.conn.write(bytes),
        pause: () => host.conn.pause(),
        resume: () => host.conn.resume(),
        loggedIn: (result) => this.#loggedIn(result),
        failed: (failure) => this.#failed(failure),
        note: (text) => host.log('WARNING', text),
      },
      { user: target.user, credentials: target.credentials, ...services.auth },
    );
  }

  start(): void {
    const { database, user, parameters } = this.#target;
    this.#host.conn.write(startupMessage([['database', database], ...parameters, ['user', user]]));
  }

  #loggedIn(result: ServerLoginResult): void {
    const host = this.#host;
    host.loggedIn(result);
    const { connectQuery } = this.#target;
    if (connectQuery === null) {
      host.opened(result.welcome);
      return;
    }
    this.#own.run('error while executing exec_on_query', connectQuery, null, ({ isIdle }) => {
      const reason = 'connect_query left a transaction open';
      if (isIdle) host.opened(result.welcome);
      else host.failed({ message: reason, serverError: null, failWaiting: false }, reason);
    });
  }

  #failed(failure: ServerLoginFailure): void {
    const { fields, message } = failure;
    const severity = fields?.severity ?? '';
    // Without the connection's name, as PgBouncer has it; the line that it is closed follows, with name and text.
    if (fields !== null) this.#services.log.log('WARNING', `server login failed: ${severity} ${message}`);
    else this.#host.log('WARNING', message);
    const serverError = loginError(failure);
    const failWaiting = serverError.sqlstate !== SqlState.cannotConnectNow;
    const reason = fields === null ? 'failed to answer authreq' : message;
    this.#host.failed({ message, serverError, failWaiting }, reason);
  }
}
