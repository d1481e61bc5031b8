import { hostname } from 'node:os';
import type { ClientAuthExchange, ClientAuthStep } from '../auth/client-auth.ts';
import type { LoginCredentials } from '../auth/credentials.ts';
import { formatForApplicationName } from '../net/address.ts';
import type { Refusal } from '../pool/budget.ts';
import { type ExtraParameters, NO_EXTRAS } from '../relay/extra-parameters.ts';
import type { TrackedValues } from '../relay/tracked-parameters.ts';
import { formatTls } from '../tls/info.ts';
import { FrontendType, NEWEST_MINOR } from '../wire/codes.ts';
import { FramedReader } from '../wire/framed-reader.ts';
import { negotiateProtocolVersion } from '../wire/negotiate-protocol-version.ts';
import { fatal, type PgErrorFields, ProtocolViolation } from '../wire/pg-error.ts';
import type { Replication } from '../wire/replication.ts';
import type { StartupPacket } from '../wire/startup-packet.ts';
import type { ClientConnection, ClientPhase } from './connection.ts';
import { ConsolePhase } from './console.ts';
import { HeldBytes } from './held-bytes.ts';
import { ReplicationSession } from './replication-session.ts';
import { ClientSession } from './session.ts';
import { askedDatabase, readStartupParameters } from './startup-parameters.ts';

/** A password may be 65,530 bytes long (a token, say); what is a little longer is read to be told so. */
const MAX_LOGIN_BODY_BYTES = 70_000;

const REFUSAL_TEXT: Readonly<Record<Refusal, string>> = {
  total: 'no more connections allowed (max_client_conn)',
  database: 'client connections exceeded (max_db_client_connections)',
  user: 'client connections exceeded (max_user_client_connections)',
  pool: 'no more connections allowed (max_client_conn)',
};

/** As the log has it. */
const REPLICATION_TEXT: Readonly<Record<Replication, string>> = {
  none: 'no',
  logical: 'database',
  physical: 'yes',
};

/**
 * From StartupMessage to the verdict on the client's identity. Whether the database exists is told only to those
 * who have proved who they are; an unknown user goes through the same exchange as a wrong password.
 */
export class LoginPhase implements ClientPhase {
  readonly #connection: ClientConnection;
  readonly #reader = new FramedReader(
    MAX_LOGIN_BODY_BYTES,
    refuseStartup,
    (type, body) => this.#message(type, body),
    (hex) => `bad packet header: '${hex}'`,
  );
  #exchange: ClientAuthExchange | null = null;
  #parameters: TrackedValues = [];
  #extras: ExtraParameters = NO_EXTRAS;
  #isBusy = false;
  readonly #held = new HeldBytes();

  constructor(connection: ClientConnection) {
    this.#connection = connection;
  }

  start(packet: Extract<StartupPacket, { kind: 'startup' }>): void {
    const connection = this.#connection;
    const { services } = connection;
    const resumed = services.resumed(askedDatabase(packet.parameters));
    if (resumed !== null) {
      this.#startLater(packet, resumed);
      return;
    }
    const settings = services.settings();
    connection.protocolMinor = Math.min(packet.protocolMinor, NEWEST_MINOR);
    if (packet.protocolMinor > NEWEST_MINOR || packet.unsupportedOptions.length > 0) {
      connection.conn.write(negotiateProtocolVersion(connection.protocolMinor, packet.unsupportedOptions));
    }
    const request = readStartupParameters(
      packet.parameters,
      services.tracked,
      settings.ignoreStartupParameters,
    );
    if ('message' in request) {
      connection.fail(request);
      return;
    }
    const { database } = request;
    const isConsole = database === services.adminDatabase;
    let { user } = request;
    if (settings.authType === 'any' && !isConsole) {
      // Nobody proves a name, so none is believed: the client is the user that the database forces.
      const forcedUser = services.findDatabase(database)?.forcedUser;
      if (forcedUser === null) {
        connection.log('ERROR', 'auth_type=any requires forced user');
        connection.fail(fatal('bouncer config error'));
        return;
      }
      user = forcedUser ?? user;
    }
    connection.user = user;
    connection.database = database;
    // The console has none: its rules are those of a database.
    connection.replication = isConsole ? 'none' : request.replication;
    this.#parameters = request.parameters;
    this.#extras = request.extras;
    if (settings.logConnections) {
      const replication = REPLICATION_TEXT[request.replication];
      const tls = connection.tls === null ? 'no' : formatTls(connection.tls);
      connection.log(
        'LOG',
        `login attempt: db=${database} user=${user} tls=${tls} replication=${replication}`,
      );
    }
    const isUncounted = services.isUncounted(database, user, connection.isUnixSameUid);
    const refusal =
      (isConsole ? null : services.refusesLogins(connection.address.kind)) ??
      (isUncounted ? null : this.#admit(database));
    if (refusal !== null) {
      connection.fail(refusal);
      return;
    }
    if (!isConsole) {
      if (settings.applicationNameAddHost) this.#addHost();
    } else if (services.entersConsoleFreely(user, connection.isUnixSameUid)) {
      connection.log('LOG', 'pgbouncer access from unix socket');
      this.#succeeded({ secretText: null, scramKeys: null });
      return;
    }
    const { replication } = connection;
    const { address, peerUid } = connection;
    this.#exchange = services.authenticate(
      {
        database,
        user,
        isConsole,
        replication,
        ip: address.kind === 'tcp' ? address.ip : null,
        peerUid,
        tls: connection.tls,
      },
      (text, level = 'LOG') => connection.log(level, text),
    );
    this.#take(this.#exchange.start());
  }

  /** The login begins when SUSPEND is over. */
  #startLater(packet: Extract<StartupPacket, { kind: 'startup' }>, resumed: Promise<void>): void {
    const connection = this.#connection;
    this.#isBusy = true;
    connection.conn.pause();
    void resumed.then(() =>
      connection.guard(() => {
        if (connection.isClosing) return;
        this.#isBusy = false;
        connection.conn.resume();
        this.start(packet);
        this.#giveBack();
      }),
    );
  }

  /** What came while nothing was taken. */
  #giveBack(): void {
    const held = this.#held.take();
    if (held.length > 0) this.#connection.onBytes(held, held.length);
  }

  bytes(chunk: Buffer, end: number): void {
    if (this.#isBusy) {
      this.#hold(chunk, 0, end);
      return;
    }
    const pos = this.#reader.feed(chunk, 0, end);
    if (pos < end && this.#isBusy) this.#hold(chunk, pos, end);
    else if (pos < end && !this.#connection.isClosing) {
      // The login ended inside this chunk: what follows is the next phase's.
      const rest = Buffer.from(chunk.subarray(pos, end));
      this.#connection.phase.bytes(rest, rest.length);
    }
  }

  drained(): void {}

  isMidAnswer(): boolean {
    return false;
  }

  sweep(nowMs: number): void {
    const { services, loginFromMs } = this.#connection;
    const timeoutMs = services.settings().clientLoginTimeoutMs;
    if (timeoutMs > 0 && nowMs - loginFromMs > timeoutMs)
      this.#connection.fail(fatal('client_login_timeout'));
  }

  closing(): void {
    this.#exchange?.abandon();
  }

  /**
   * Takes a place in the limits. What counts for a user does so once it has proved to be that: nobody keeps others out
   * under their names.
   */
  #admit(database: string, user: string | null = null): PgErrorFields | null {
    const connection = this.#connection;
    const { services } = connection;
    const limits = services.limits(database, user ?? '');
    const ask = {
      owner: services.owner,
      database,
      user: user ?? '',
      totalLimit: user === null ? limits.maxClientConn : 0,
      databaseLimit: user === null ? limits.maxDbClientConnections : 0,
      userLimit: user === null ? 0 : limits.maxUserClientConnections,
      // The first becomes the second: given back in between, it would be somebody else's.
      held: connection.grant,
    };
    let grant = services.budget.askClient(ask);
    // Only who has no place yet needs another one's, which might be its own.
    if (user === null && (grant === 'total' || grant === 'database') && connection.makePlace(grant)) {
      grant = services.budget.askClient(ask);
    }
    if (typeof grant === 'string') return fatal(REFUSAL_TEXT[grant]);
    connection.grant = grant;
    return null;
  }

  /** `application_name_add_host`. */
  #addHost(): void {
    const { services, address } = this.#connection;
    const index = services.tracked.indexOf('application_name');
    const name = this.#parameters[index] || 'app';
    this.#parameters[index] = `${name} - ${formatForApplicationName(address, hostname())}`;
  }

  #message(type: number, body: Buffer): boolean {
    if (type === FrontendType.Terminate) {
      this.#connection.closeAtOnce('client close request');
      return false;
    }
    if (type !== FrontendType.Password || this.#exchange === null) {
      this.#connection.close('bad packet');
      return false;
    }
    this.#take(this.#exchange.password(body));
    return !this.#isBusy && !this.#connection.isClosing && this.#connection.phase === this;
  }

  #take(step: ClientAuthStep | Promise<ClientAuthStep>): void {
    if (!(step instanceof Promise)) {
      this.#apply(step);
      return;
    }
    this.#isBusy = true;
    this.#connection.conn.pause();
    step.then(
      // Guarded: nobody else catches what is thrown from here on, and it would end the process.
      (result) => this.#connection.guard(() => this.#resume(result)),
      (error) => this.#connection.onFault(error),
    );
  }

  #resume(step: ClientAuthStep): void {
    const connection = this.#connection;
    if (connection.isClosing) return;
    this.#isBusy = false;
    connection.conn.resume();
    this.#apply(step);
    this.#giveBack();
  }

  #apply(step: ClientAuthStep): void {
    const connection = this.#connection;
    if (step.kind === 'send') {
      connection.conn.write(step.bytes);
      return;
    }
    if (step.kind === 'fail') {
      connection.log('LOG', `login failed: db=${connection.database} user=${connection.user}`);
      if (step.logText !== undefined) connection.log('LOG', step.logText);
      connection.fail(step.error);
      return;
    }
    if (step.user !== undefined) {
      connection.log('LOG', `logged in as ${step.user}`);
      connection.user = step.user;
    }
    const { bytes, credentials } = step;
    if (bytes === null) {
      this.#succeeded(credentials);
      return;
    }
    connection.conn.together(() => {
      connection.conn.write(bytes);
      this.#succeeded(credentials);
    });
  }

  #succeeded(credentials: LoginCredentials): void {
    const connection = this.#connection;
    const { services } = connection;
    const user = connection.user as string;
    const name = connection.database as string;
    const refusal = services.isUncounted(name, user, connection.isUnixSameUid)
      ? null
      : this.#admit(name, user);
    if (refusal !== null) {
      connection.fail(refusal);
      return;
    }
    if (name === services.adminDatabase) {
      const applied = services.tracked.names
        .map((parameter, i) => [parameter, this.#parameters[i] as string | null] as const)
        .filter((pair): pair is readonly [string, string] => pair[1] !== null);
      const console = services.openConsole(connection, applied);
      if (console === null) connection.fail(fatal('not allowed'));
      else {
        connection.loggedIn();
        connection.phase = new ConsolePhase(connection, console);
      }
      return;
    }
    // Asked only now: it may have been disabled while the client proved who it is.
    if (services.findDatabase(name)?.isDisabled === true) {
      connection.fail(fatal(`database "${name}" is disabled`));
      return;
    }
    const pool = services.poolFor(name, user, credentials);
    if (pool === null) {
      if (services.settings().logConnections) connection.log('LOG', `login failed: db=${name} user=${user}`);
      connection.fail(fatal(`no such database: ${name}`));
      return;
    }
    pool.stats.clientLoginCount++;
    connection.loggedIn();
    const session =
      connection.replication === 'none'
        ? new ClientSession(connection, pool, this.#parameters, this.#extras)
        : new ReplicationSession(connection, pool, connection.replication, this.#parameters, this.#extras);
    connection.phase = session;
    session.start();
  }

  #hold(chunk: Buffer, start: number, end: number): void {
    // The socket is paused; what still arrives is at most what Node had read already.
    this.#held.add(chunk, start, end);
  }
}

/** All messages of a login are read; a startup packet among them has a zero where their type is. */
function refuseStartup(type: number): true {
  if (type === 0) throw new ProtocolViolation('client re-sent startup pkt');
  return true;
}
