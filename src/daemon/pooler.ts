import { randomBytes } from 'node:crypto';
import { ScramVerifierCache, SaltedPasswordCache } from '../auth/derived-keys.ts';
import { Pbkdf2Queue } from '../auth/pbkdf2-queue.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { ClientConnection } from '../client/connection.ts';
import { Visit } from '../client/doorkeeper.ts';
import { StartupPhase } from '../client/startup.ts';
import type { ShutdownMode } from '../admin/control.ts';
import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { loadConfig } from '../config/load.ts';
import { secretFileWarnings } from '../config/secret-files.ts';
import { formatPeer, type PeerAddress, peerName, tcpPeerAddress } from '../net/address.ts';
import { type LookupAll, lookupBy } from '../net/dns-cache.ts';
import { type Listeners, openListeners, type PassedSocket } from '../net/listener.ts';
import type { ListenerInfo } from '../net/listening-socket.ts';
import type { Native } from '../net/native.ts';
import { type ConnSocket, turnAway } from '../net/raw-socket.ts';
import { systemLookup } from '../net/system-lookup.ts';
import { beyondNode, tuneTcp } from '../net/tcp-options.ts';
import type { SocketFileIdentity } from '../net/unix-socket.ts';
import { LocalBudget } from '../pool/budget.ts';
import { Pools } from '../pool/pools.ts';
import { StatementCache } from '../prepared/statement.ts';
import { TrackedParameters } from '../relay/tracked-parameters.ts';
import { openCancel } from '../server/cancel.ts';
import { Connector } from '../server/connector.ts';
import { type PreparedTls, TlsContexts } from '../tls/contexts.ts';
import { NEWEST_MINOR } from '../wire/codes.ts';
import { errorResponse } from '../wire/error-response.ts';
import { fatal, SqlState } from '../wire/pg-error.ts';
import { AuthQueries } from './auth-queries.ts';
import { clientServices } from './client-services.ts';
import { PoolerState } from './context.ts';
import { LocalControl } from './control.ts';
import { Databases } from './databases.ts';
import { createDns } from './dns.ts';
import { Logins } from './logins.ts';
import { Janitor, SWEEP_INTERVAL_MS } from './janitor.ts';
import { Predecessors } from './predecessors.ts';
import { Peers } from './peers.ts';
import { applyConfig, applyTls, openForcedPools, prepareTls } from './reload.ts';
import { serverTarget } from './server-target.ts';
import { serversOf } from './snapshot-sockets.ts';
import { StatsWindows } from './snapshots.ts';
import { tcpOptions } from './tcp-settings.ts';

/** What a pooler is made from. */
export interface PoolerOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly native: Native;
  /** Default: nothing is read ahead. */
  readonly tls?: TlsContexts;
  readonly fdLimit?: number;
  /** Sockets that are open already, in place of those that the configuration names. */
  readonly passed?: readonly PassedSocket[];
  /** Takes the place of the process whose unix socket this is, and shares TCP with it. */
  readonly takesOver?: SocketFileIdentity;
  /** Asks for the addresses of a host name; default: the system. */
  readonly lookup?: LookupAll;
  /** A new configuration is in force (RELOAD, SET): what lies outside the pooler follows it. */
  readonly onConfig?: (config: Config) => void;
  /** A reload begins, and is over, however it went. */
  readonly onReload?: (phase: 'begins' | 'is over') => void;
  /** A line of statistics, every stats_period. */
  readonly onStats?: (line: string) => void;
  /** A shutdown begins. */
  readonly onShutdown?: () => void;
  /** The pooler has ended: by SHUTDOWN, or a graceful one is complete. */
  readonly onExit: () => void;
}

/** A running pooler: listeners, clients, pools, console. */
export interface Pooler {
  /** Where it listens. */
  readonly addresses: readonly ListenerInfo[];
  readonly control: LocalControl;
  readonly state: PoolerState;
  /** Reads the configuration file again; throws ConfigError and changes nothing when it is wrong. */
  reload(): void;
  /** Begins a shutdown as the console's SHUTDOWN does. */
  shutdown(mode: ShutdownMode): void;
  /** Cuts every connection and stops listening. Idempotent. */
  stop(): void;
}

/**
 * Puts the parts together and starts to listen. Throws ListenError when it cannot, ConfigError where TLS cannot be had.
 * The one place where client/, server/, pool/, admin/ and config/ meet.
 */
export async function createPooler(options: PoolerOptions): Promise<Pooler> {
  const { config, clock, log, native } = options;
  const { settings } = config;
  const budget = new LocalBudget();
  const tracked = new TrackedParameters(settings.track_extra_parameters);
  const statements = new StatementCache();
  const pbkdf2 = new Pbkdf2Queue();
  const windows = new StatsWindows(clock.nowMs());
  let isStopped = false;
  const tune = (socket: ConnSocket): void => tuneTcp(native, socket, tcpOptions(state.config));

  const state: PoolerState = new PoolerState({
    config,
    clock,
    log,
    budget,
    tls: options.tls ?? new TlsContexts(),
    databases: new Databases(config, log),
    pools: (self) =>
      new Pools({
        clock,
        log,
        budget,
        owner: self.owner,
        isSuspended: () => self.isSuspended,
        connector: new Connector({
          clock,
          log,
          native,
          tuneTcp: tune,
          tracked,
          statements,
          auth: { randomBytes, saltedPasswords: new SaltedPasswordCache(pbkdf2) },
          logsConnections: () => self.config.settings.log_connections,
          logsDisconnections: () => self.config.settings.log_disconnections,
          maxPacketSize: () => self.config.settings.max_packet_size,
          newestMinor: () => (self.config.own.server_max_protocol_version === '3.0' ? 0 : NEWEST_MINOR),
          tls: () => self.tls.server,
          isStopped: () => isStopped,
          nextId: () => self.nextId(),
          resolve: (host, done) => self.dns.resolve(host, done),
          target: (pool) => {
            const entry = self.databases.resolve(pool.database)?.entry;
            if (entry === undefined) throw new Error('a pool without a database');
            return serverTarget(self.config, entry, pool.user, self.credentialsOf(pool));
          },
        }),
      }),
    peers: (self) => {
      const lookup = lookupBy((host, done) => self.dns.resolve(host, done));
      return new Peers(self, ({ host, port }, ...rest) => openCancel({ host, port, lookup }, ...rest, tune));
    },
    dns: (self) => createDns(self, options.lookup ?? systemLookup),
  });

  const stop = (): void => {
    if (isStopped) return;
    isStopped = true;
    clearInterval(sweeper);
    predecessors.leave();
    listeners.close();
    for (const connection of state.connections) connection.cut();
    for (const server of serversOf(state)) server.conn.destroy();
    state.peers.stop();
  };
  const queries = new AuthQueries(state);
  const exit = (): void => {
    options.onShutdown?.();
    stop();
    options.onExit();
  };
  const apply = (next: Config, nextTls: PreparedTls | null): void => {
    if (nextTls !== null) applyTls(state, nextTls);
    applyConfig(state, next);
    queries.lookups.clear();
    warnOfUntuned(next, native, log);
    options.onConfig?.(next);
  };
  const reload = (): void => {
    options.onReload?.('begins');
    try {
      const next = loadConfig(state.config.settings.conffile, state.config);
      const nextTls = prepareTls(state, next);
      for (const warning of [...next.warnings, ...secretFileWarnings(next)]) log.log('WARNING', warning);
      apply(next, nextTls);
    } finally {
      options.onReload?.('is over');
    }
  };
  const set = (next: Config, key: string): string | null => {
    let nextTls: PreparedTls | null = null;
    let notice: string | null = null;
    if (/^(client|server)_tls/.test(key)) {
      try {
        nextTls = prepareTls(state, next);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        log.log('ERROR', error.message);
        notice = 'TLS settings could not be applied, still using old configuration';
      }
    }
    apply(next, nextTls);
    return notice;
  };
  const predecessors = new Predecessors(settings.unix_socket_dir, settings.listen_port, () =>
    log.log('LOG', 'the old process has ended'),
  );
  const control = new LocalControl(state, windows, {
    reload,
    set,
    shutdownBegins: () => {
      options.onShutdown?.();
      state.isRetiring = true;
      listeners.retireTcp(() => {
        state.isRetiring = false;
      });
    },
    exit,
  });
  const services = clientServices(state, {
    tracked,
    statements,
    logins: new Logins(state, queries, {
      randomBytes,
      mockSecret: randomBytes(32),
      verifiers: new ScramVerifierCache(pbkdf2),
      pbkdf2,
      native,
    }),
    native,
    control,
    isUnixReplaced: () => listeners.isUnixReplaced(),
    cancelElsewhere: async (key, cameBy) => {
      if (!listeners.isUnixReplaced()) return (await predecessors.cancel(key)) ? 'old' : null;
      // Whoever has our place knows all that there are. What comes by our unix socket, that one has sent.
      return cameBy === 'tcp' && (await predecessors.cancelAtSuccessor(key)) ? 'new' : null;
    },
  });

  const accept = (socket: ConnSocket, listener: ListenerInfo): void => {
    const peer = peerOf(socket, listener, native);
    if (peer === null || isStopped) {
      socket.destroy();
      return;
    }
    const visit = peer.address.kind === 'tcp' ? enter(state, socket, peer.address) : null;
    if (visit === 'refused') return;
    if (listener.kind === 'tcp') tune(socket);
    const firstPhase = (self: ClientConnection) => new StartupPhase(self);
    try {
      state.connections.add(
        new ClientConnection(services, state.nextId(), socket, { ...peer, visit }, firstPhase),
      );
    } catch (error) {
      visit?.gone();
      // Out of descriptors between accept and taking it over, say: this one connection is lost, no more.
      log.log('ERROR', `cannot take a connection over: ${String(error)}`);
      socket.destroy();
    }
  };
  applyTls(state, prepareTls(state, config));
  const listeners: Listeners = await openListeners(
    {
      listenAddr: settings.listen_addr,
      listenPort: settings.listen_port,
      unixSocketDir: settings.unix_socket_dir,
      unixSocketMode: settings.unix_socket_mode,
      unixSocketGroup: settings.unix_socket_group,
      backlog: settings.listen_backlog,
      reusePort: settings.so_reuseport,
      native,
      ...(options.fdLimit === undefined ? {} : { fdLimit: options.fdLimit }),
      passed: options.passed ?? [],
      ...(options.takesOver === undefined ? {} : { replaces: options.takesOver }),
    },
    accept,
    log,
  );

  state.listening = () => listeners.bound();
  // Without a unix socket in a folder there is no `-R`.
  if (/^[^@]/.test(settings.unix_socket_dir)) predecessors.adopt((options.passed ?? []).length === 0);
  warnOfUntuned(config, native, log);
  openForcedPools(state);
  const janitor = new Janitor(state, windows, queries, options.onStats);
  const sweeper = setInterval(() => {
    if (state.isSuspended) state.guard(() => control.suspension.sweep());
    else janitor.sweep();
    state.guard(() => control.checkProgress());
  }, SWEEP_INTERVAL_MS);

  return {
    addresses: listeners.addresses,
    control,
    state,
    reload,
    shutdown: (mode) => void control.request({ kind: 'shutdown', mode }, new AbortController().signal),
    stop,
  };
}

/** Asks the doorkeeper about a new TCP connection; one that is refused is told so, and gone. */
function enter(
  { door, log }: PoolerState,
  socket: ConnSocket,
  address: Extract<PeerAddress, { kind: 'tcp' }>,
): Visit | 'refused' {
  const peer = peerName(address.ip);
  const visit = door.enter(peer);
  if (visit instanceof Visit) return visit;
  if (door.lines.mayWrite(peer))
    log.log('WARNING', `connection from ${formatPeer(address)} refused (${visit})`);
  door.lines.failed(peer);
  turnAway(
    socket,
    errorResponse(fatal(`no more connections allowed (${visit})`, SqlState.tooManyConnections)),
  );
  return 'refused';
}

/** What cannot be asked of the kernel must not be believed to be in force. */
function warnOfUntuned(config: Config, native: Native, log: Logger): void {
  const names = native.missing.has('options') ? beyondNode(tcpOptions(config)) : [];
  if (names.length > 0)
    log.log('WARNING', `set but without effect, for want of native calls: ${names.join(', ')}`);
}

/** Who is at the other end; null when the peer has gone already. */
function peerOf(
  socket: ConnSocket,
  listener: ListenerInfo,
  native: Native,
): { address: PeerAddress; isUnixSameUid: boolean; uid: number | null } | null {
  if (listener.kind === 'tcp') {
    const address = tcpPeerAddress(socket);
    return address === null ? null : { address, isUnixSameUid: false, uid: null };
  }
  const credentials = native.peerCredentials(socket);
  return {
    address: { kind: 'unix', pid: credentials === null ? null : credentials.pid, port: listener.port },
    isUnixSameUid: credentials !== null && credentials.uid === process.geteuid?.(),
    uid: credentials?.uid ?? null,
  };
}
