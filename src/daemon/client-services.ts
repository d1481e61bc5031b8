import type { ClientAuthArgs, ClientAuthMethod } from '../auth/client-auth.ts';
import { ADMIN_DATABASE, consoleRole, entersWithoutPassword, isListed } from '../admin/access.ts';
import { AdminConsole, MAX_CONSOLE_BODY_BYTES } from '../admin/console.ts';
import type { Control } from '../admin/control.ts';
import { consoleWelcome } from '../admin/welcome.ts';
import type { ClientConnection } from '../client/connection.ts';
import type { CancelOutcome, ClientServices, ClientSettings, ConsoleSession } from '../client/services.ts';
import type { ClientSession } from '../client/session.ts';
import type { Config } from '../config/config.ts';
import type { Native } from '../net/native.ts';
import type { StatementCache } from '../prepared/statement.ts';
import type { TrackedParameters } from '../relay/tracked-parameters.ts';
import { FrontendType } from '../wire/codes.ts';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import type { PoolerState } from './context.ts';
import { VERSION_LINE } from './version.ts';

/** What client connections get to see of the process. */
export function clientServices(
  state: PoolerState,
  parts: {
    tracked: TrackedParameters;
    statements: StatementCache;
    auth: ClientServices['auth'];
    native: Native;
    control: Control;
  },
): ClientServices {
  let settings = clientSettings(state.config);
  let settingsOf = state.config;
  return {
    clock: state.clock,
    log: state.log,
    native: parts.native,
    budget: state.budget,
    door: state.door,
    owner: state.owner,
    tracked: parts.tracked,
    statements: parts.statements,
    auth: parts.auth,
    adminDatabase: ADMIN_DATABASE,
    settings: () => {
      if (settingsOf !== state.config) {
        settingsOf = state.config;
        settings = clientSettings(state.config);
      }
      return settings;
    },
    findDatabase: (name) => {
      const entry = state.databases.entryFor(name);
      if (entry === null) return null;
      return { name, isDisabled: state.databases.get(name)?.disabled === true, forcedUser: entry.user };
    },
    secretOf: (user) => {
      const { userlist, users } = state.config;
      // A name in [users] alone is known, but nothing proves it.
      return userlist.get(user) ?? (users.has(user) ? '' : null);
    },
    limits: (database, user) => state.clientLimits(database, user),
    isUncounted: (database, user, isUnixSameUid) =>
      database === ADMIN_DATABASE &&
      (entersWithoutPassword(user, isUnixSameUid) || isListed(state.config.settings.admin_users, user)),
    poolFor: (database, user, credentials) => state.openPool(database, user, credentials),
    refusesLogins: () => (state.shutdown === 'no' ? null : fatal('pooler is shutting down')),
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
        control: parts.control,
        log: state.log,
        version: VERSION_LINE,
      });
      return consoleSession(state, console, applicant, applied);
    },
    entersConsoleFreely: entersWithoutPassword,
    cancel: (key) => cancel(state, parts.control, key),
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

/** Why a client that needs a server isn't given one, while SHUTDOWN WAIT_FOR_SERVERS is under way. */
export function serverShutdown(state: PoolerState): PgErrorFields | null {
  return state.shutdown === 'wait_for_servers' ? fatal('server shutting down') : null;
}

function consoleSession(
  state: PoolerState,
  console: AdminConsole,
  client: ClientConnection,
  applied: readonly (readonly [string, string])[],
): ConsoleSession {
  const cancelKey = newCancelKey(state, 'console', client);
  state.consoleClients.add(client);
  state.consoleStats.clientLoginCount++;
  return {
    welcome: consoleWelcome(applied),
    cancelKey,
    maxBodyBytes: MAX_CONSOLE_BODY_BYTES,
    message: (type, body, signal) => {
      if (type === FrontendType.Query) {
        state.consoleStats.queryCount++;
        state.consoleStats.xactCount++;
      }
      return console.message(type, body, signal);
    },
    closed: () => {
      state.consoleClients.delete(client);
      state.cancelKeys.revoke(cancelKey);
    },
  };
}

function newCancelKey(
  { cancelKeys, config }: PoolerState,
  owner: ClientSession | 'console',
  { protocolMinor }: ClientConnection,
): Buffer {
  return cancelKeys.issue(owner, protocolMinor, config.settings.peer_id);
}

/** Carries out a CancelRequest; resolves once the requester's connection may be closed. */
async function cancel(state: PoolerState, control: Control, key: Buffer): Promise<CancelOutcome> {
  const owner = state.cancelKeys.find(key);
  if (owner === null) {
    const reason = await state.peers.forward(key);
    // Whose it is only the peer can tell that has taken it.
    return { reason, isKnown: reason === 'successfully sent cancel request' };
  }
  return { reason: await cancelFor(owner, state, control), isKnown: true };
}

/** Gives the log text. */
async function cancelFor(
  owner: ClientSession | 'console',
  state: PoolerState,
  control: Control,
): Promise<string> {
  if (owner === 'console') {
    // A cancel on the console ends a global PAUSE, but never a shutdown.
    if (state.isPaused && state.shutdown === 'no') {
      await control.request({ kind: 'resume', database: null }, new AbortController().signal);
    }
    return 'cancel request for console client';
  }
  const { server } = owner;
  if (server === null)
    return owner.cancelWait() ? 'cancel request for waiting client' : 'cancel request for idle client';
  if (owner.target === null) return 'ignoring cancel request for server that is setting vars';
  return new Promise((resolve) => owner.pool.cancels.request(owner, server, resolve));
}

/** auth_type values that the configuration lets through; the others are refused when it is loaded. */
const AUTH_METHODS: readonly string[] = [
  'any',
  'trust',
  'plain',
  'md5',
  'scram-sha-256',
] satisfies ClientAuthMethod[];

function clientSettings({ settings }: Config): ClientSettings {
  return {
    authType: (AUTH_METHODS.includes(settings.auth_type)
      ? settings.auth_type
      : 'scram-sha-256') as ClientAuthArgs['method'],
    ignoreStartupParameters: settings.ignore_startup_parameters,
    applicationNameAddHost: settings.application_name_add_host,
    loginNotifyMessage: settings.login_notify_message,
    disablePqexec: settings.disable_pqexec,
    maxPacketSize: settings.max_packet_size,
    scramIterations: settings.scram_iterations,
    logConnections: settings.log_connections,
    logDisconnections: settings.log_disconnections,
    logPoolerErrors: settings.log_pooler_errors,
    clientLoginTimeoutMs: settings.client_login_timeout * 1000,
  };
}
