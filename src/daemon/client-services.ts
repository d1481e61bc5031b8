import {
  ADMIN_DATABASE,
  consoleRole,
  entersWithoutPassword,
  isListed,
  mayRun,
  type Role,
} from '../admin/access.ts';
import { AdminConsole, MAX_CONSOLE_BODY_BYTES } from '../admin/console.ts';
import type { Control } from '../admin/control.ts';
import { consoleWelcome } from '../admin/welcome.ts';
import type { ClientConnection } from '../client/connection.ts';
import type { CancelOutcome, ClientServices, ClientSettings, ConsoleSession } from '../client/services.ts';
import type { ClientSession } from '../client/session.ts';
import type { Config } from '../config/config.ts';
import type { PeerAddress } from '../net/address.ts';
import type { Native } from '../net/native.ts';
import type { StatementCache } from '../prepared/statement.ts';
import type { TrackedParameters } from '../relay/tracked-parameters.ts';
import { FrontendType } from '../wire/codes.ts';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import type { PoolerState } from './context.ts';
import type { Logins } from './logins.ts';
import type { Peers } from './peers.ts';
import { VERSION_LINE } from './version.ts';

/**
 * Hands a cancel request that is none of this event loop's, and came by such a socket, to others that it may be for; null:
 * there are none.
 */
export type CancelElsewhere = (key: Buffer, cameBy: PeerAddress['kind']) => Promise<CancelOutcome | null>;

/** What client connections get to see of the process. */
export function clientServices(
  state: PoolerState,
  parts: {
    tracked: TrackedParameters;
    statements: StatementCache;
    logins: Logins;
    native: Native;
    control: Control;
    /** Another process has taken over our unix socket. */
    isUnixReplaced: () => boolean;
    cancelElsewhere: CancelElsewhere;
  },
): ClientServices {
  let settings = clientSettings(state.config);
  let settingsOf = state.config;
  return {
    clock: state.clock,
    log: state.log,
    native: parts.native,
    budget: state.budget,
    owner: state.owner,
    tracked: parts.tracked,
    statements: parts.statements,
    adminDatabase: ADMIN_DATABASE,
    settings: () => {
      if (settingsOf !== state.config) {
        settingsOf = state.config;
        settings = clientSettings(state.config);
      }
      return settings;
    },
    tls: () => state.tls.client,
    findDatabase: (name) => {
      const entry = state.databases.entryFor(name);
      if (entry === null) return null;
      return { name, isDisabled: state.databases.get(name)?.disabled === true, forcedUser: entry.user };
    },
    authenticate: (applicant, note) => parts.logins.begin(applicant, note),
    limits: (database, user) => state.clientLimits(database, user),
    isUncounted: (database, user, isUnixSameUid) =>
      database === ADMIN_DATABASE &&
      (entersWithoutPassword(user, isUnixSameUid) || isListed(state.config.settings.admin_users, user)),
    poolFor: (database, user, credentials) => state.openPool(database, user, credentials),
    refusesLogins: (kind) => refusesLogins(state, kind === 'unix' && !parts.isUnixReplaced()),
    // The console stays open: somebody may have to end it.
    resumed: (database) => (database === ADMIN_DATABASE ? null : (state.suspension?.promise ?? null)),
    refusesQueries: () => serverShutdown(state),
    openConsole: (applicant, applied) => {
      const { auth_type, admin_users, stats_users } = state.config.settings;
      const role = consoleRole({
        user: applicant.user as string,
        authType: auth_type,
        adminUsers: admin_users,
        statsUsers: stats_users,
        unixSameUid: applicant.isUnixSameUid,
      });
      if (role === null) return null;
      const console = new AdminConsole({
        role,
        user: applicant.user as string,
        control: parts.control,
        log: state.log,
        version: VERSION_LINE,
      });
      return consoleSession(state, console, role, applicant, applied);
    },
    entersConsoleFreely: entersWithoutPassword,
    cancel: (key, cameBy) => cancel(state, parts, key, cameBy),
    addSession: (session) => {
      state.sessions.set(session.id, session);
      return newCancelKey(state, session, session.connection);
    },
    removeSession: (session) => {
      state.sessions.delete(session.id);
      state.cancelKeys.revoke(session.cancelKey);
    },
    connectionGone: (connection) => state.connections.delete(connection),
  };
}

/**
 * Why a client may not log in. While clients are waited for, those who came before the listeners were closed are let in:
 * over TCP nobody else can come, nor over a unix socket that has lost its name.
 */
function refusesLogins(state: PoolerState, isNewcomer: boolean): PgErrorFields | null {
  const lets = state.shutdown === 'no' || (state.shutdown === 'wait_for_clients' && !isNewcomer);
  return lets ? null : fatal('pooler is shutting down');
}

/** Why a client that needs a server isn't given one, while SHUTDOWN WAIT_FOR_SERVERS is under way. */
export function serverShutdown(state: PoolerState): PgErrorFields | null {
  return state.shutdown === 'wait_for_servers' ? fatal('server shutting down') : null;
}

function consoleSession(
  state: PoolerState,
  console: AdminConsole,
  role: Role,
  client: ClientConnection,
  applied: readonly (readonly [string, string])[],
): ConsoleSession {
  const cancelKey = newCancelKey(state, role, client);
  state.consoleClients.add(client);
  state.consoleStats.clientLoginCount++;
  return {
    welcome: consoleWelcome(applied),
    cancelKey,
    maxBodyBytes: MAX_CONSOLE_BODY_BYTES,
    message: (type, body, signal, send) => {
      // With the extended protocol it is Sync that ends what is asked at once.
      if (type === FrontendType.Query || type === FrontendType.Sync) {
        state.consoleStats.queryCount++;
        state.consoleStats.xactCount++;
      }
      return console.message(type, body, signal, send);
    },
    closed: () => {
      state.consoleClients.delete(client);
      state.cancelKeys.revoke(cancelKey);
    },
  };
}

function newCancelKey(
  { cancelKeys, config }: PoolerState,
  owner: ClientSession | Role,
  { protocolMinor }: ClientConnection,
): Buffer {
  return cancelKeys.issue(owner, protocolMinor, config.settings.peer_id);
}

/** Carries out a CancelRequest; resolves once the requester's connection may be closed. */
async function cancel(
  state: PoolerState,
  { control, cancelElsewhere }: { control: Control; cancelElsewhere: CancelElsewhere },
  key: Buffer,
  cameBy: PeerAddress['kind'],
): Promise<CancelOutcome> {
  const here = await cancelHere(state, control, key);
  if (here !== null) return { reason: here, isKnown: true };
  return await forwardCancel(state.peers, key, () => cancelElsewhere(key, cameBy));
}

/** Hands a CancelRequest on that is none of ours: to a peer, or elsewhere. */
export async function forwardCancel(
  peers: Peers,
  key: Buffer,
  elsewhere: () => Promise<CancelOutcome | null>,
): Promise<CancelOutcome> {
  const reason = await peers.forward(key);
  // Whose it is only the peer can tell that has taken it.
  if (reason === 'successfully sent cancel request') return { reason, isKnown: true };
  // A process before us may have had no peers, or another id: what its keys seem to say of peers is chance.
  return (await elsewhere()) ?? { reason, isKnown: false };
}

/** Carries out a CancelRequest for a client of this event loop; the log text, or null when the key is nobody's here. */
export async function cancelHere(state: PoolerState, control: Control, key: Buffer): Promise<string | null> {
  const owner = state.cancelKeys.find(key);
  return owner === null ? null : cancelFor(owner, state, control);
}

/** Gives the log text. */
async function cancelFor(owner: ClientSession | Role, state: PoolerState, control: Control): Promise<string> {
  if (typeof owner === 'string') {
    // A cancel on the console ends a global PAUSE or SUSPEND, but never a shutdown.
    if (mayRun(owner, 'resume') && (state.isPaused || state.isSuspended) && state.shutdown === 'no') {
      await control.request({ kind: 'resume', database: null }, new AbortController().signal);
    }
    return 'cancel request for console client';
  }
  const { server } = owner;
  if (server === null)
    return owner.cancelWait() ? 'cancel request for waiting client' : 'cancel request for idle client';
  if (owner.target === null && !server.isProbed)
    return 'ignoring cancel request for server that is setting vars';
  return new Promise((resolve) => owner.pool.cancels.request(owner, server, resolve));
}

function clientSettings({ settings }: Config): ClientSettings {
  return {
    authType: settings.auth_type,
    ignoreStartupParameters: settings.ignore_startup_parameters,
    applicationNameAddHost: settings.application_name_add_host,
    loginNotifyMessage: settings.login_notify_message,
    disablePqexec: settings.disable_pqexec,
    maxPacketSize: settings.max_packet_size,
    logConnections: settings.log_connections,
    logDisconnections: settings.log_disconnections,
    logPoolerErrors: settings.log_pooler_errors,
    clientLoginTimeoutMs: settings.client_login_timeout * 1000,
  };
}
