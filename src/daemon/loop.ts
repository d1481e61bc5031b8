import type { Control } from '../admin/control.ts';
import { ScramVerifierCache, SaltedPasswordCache } from '../auth/derived-keys.ts';
import { type DerivationGate, MAX_DERIVATIONS, Pbkdf2Queue } from '../auth/pbkdf2-queue.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { fewRandomBytes } from '../base/random.ts';
import { ClientConnection } from '../client/connection.ts';
import { Visit } from '../client/doorkeeper.ts';
import { StartupPhase } from '../client/startup.ts';
import type { Config } from '../config/config.ts';
import { formatPeer, type PeerAddress, peerName, tcpPeerAddress } from '../net/address.ts';
import { type LookupAll, lookupBy } from '../net/dns-cache.ts';
import type { ListenerInfo } from '../net/listening-socket.ts';
import type { Native } from '../net/native.ts';
import { type ConnSocket, turnAway } from '../net/raw-socket.ts';
import { systemLookup } from '../net/system-lookup.ts';
import { tuneTcp } from '../net/tcp-options.ts';
import type { Budget } from '../pool/budget.ts';
import type { LoginNews, ServerExchange } from '../pool/context.ts';
import type { Pool } from '../pool/pool.ts';
import { Pools } from '../pool/pools.ts';
import { StatementCache, type StatementNaming } from '../prepared/statement.ts';
import { TrackedParameters } from '../relay/tracked-parameters.ts';
import { openCancel } from '../server/cancel.ts';
import { Connector } from '../server/connector.ts';
import type { ServerCustody } from '../server/services.ts';
import { type PreparedTls, TlsContexts } from '../tls/contexts.ts';
import { NEWEST_MINOR } from '../wire/codes.ts';
import { errorResponse } from '../wire/error-response.ts';
import { fatal, SqlState } from '../wire/pg-error.ts';
import { AuthQueries } from './auth-queries.ts';
import { type CancelElsewhere, clientServices } from './client-services.ts';
import { PoolerState } from './context.ts';
import { type ControlHooks, LocalControl } from './control.ts';
import { Databases } from './databases.ts';
import { createDns, leaveAddresses } from './dns.ts';
import { Janitor, SWEEP_INTERVAL_MS } from './janitor.ts';
import { Logins } from './logins.ts';
import { Peers } from './peers.ts';
import { applyConfig, applyTls, openForcedPools } from './reload.ts';
import { serverTarget } from './server-target.ts';
import { serversOf } from './snapshot-sockets.ts';
import { StatsWindows } from './snapshots.ts';
import { SpacedLines } from './spaced-lines.ts';
import { tcpOptions } from './tcp-settings.ts';

/** What an event loop is made from. */
export interface LoopOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly native: Native;
  readonly budget: Budget;
  /** Its name in the budget. */
  readonly owner: string;
  /** See {@link ServerCustody}. */
  readonly custody: ServerCustody | null;
  /** Numbers clients and servers; no number comes twice in a process. */
  readonly nextId: () => number;
  /** How many loops share the budget; default: 1. */
  readonly loops?: number;
  /** Bounds derivations of keys over all of those; default: nothing does. */
  readonly derivations?: DerivationGate;
  /** Stands behind names that nobody has; the same in all loops of a process. 32 random bytes. */
  readonly mockSecret: Buffer;
  /** The same in all loops of a process that exchange servers; default: one of its own. */
  readonly naming?: StatementNaming;
  /** The way to those; default: there are none. */
  readonly exchange?: ServerExchange<Pool>;
  readonly news?: LoginNews;
  /** Default: nothing has been read ahead. */
  readonly tls?: TlsContexts;
  /** Asks for the addresses of a host name; default: the system. */
  readonly lookup?: LookupAll;
  readonly outside: LoopOutside;
}

/** What lies beyond the loop. */
export interface LoopOutside {
  /** Carries out what consoles ask for; null: the loop itself does. */
  readonly control: Control | null;
  readonly hooks: ControlHooks;
  /** Another process's unix socket stands where ours did. */
  isUnixReplaced(): boolean;
  readonly cancelElsewhere: CancelElsewhere;
  /** A period of statistics is over. */
  onStatsPeriod(): void;
}

/** One event loop at work: its clients, pools and server connections. It has no listeners. */
export interface Loop {
  readonly state: PoolerState;
  readonly windows: StatsWindows;
  /** Carries commands out on this loop. */
  readonly control: LocalControl;
  /** Takes over a connection that has been accepted, nothing of which has been read. */
  accept(socket: ConnSocket, listener: Pick<ListenerInfo, 'kind' | 'port'>): void;
  /** Puts a configuration in force; `tls` null: it stays as it is. */
  apply(next: Config, tls: PreparedTls | null): void;
  /** Begins its work behind the first connections: fills pools, keeps time limits. */
  begin(): void;
  /** Cuts every connection. */
  stop(): void;
}

/** Puts the parts of one event loop together: the one place where client/, server/, pool/, admin/ and config/ meet. */
export function createLoop(options: LoopOptions): Loop {
  const { config, clock, log, native, budget, outside } = options;
  const { settings } = config;
  const tracked = new TrackedParameters(settings.track_extra_parameters);
  const statements = new StatementCache(options.naming);
  const pbkdf2 = new Pbkdf2Queue(MAX_DERIVATIONS, options.derivations);
  const windows = new StatsWindows(clock.nowMs());
  const lost = new SpacedLines(clock, log);
  let isStopped = false;
  let sweeper: NodeJS.Timeout | null = null;
  const tune = (socket: ConnSocket): void => tuneTcp(native, socket, tcpOptions(state.config));

  const state: PoolerState = new PoolerState({
    config,
    clock,
    log,
    budget,
    owner: options.owner,
    nextId: options.nextId,
    loops: options.loops ?? 1,
    tls: options.tls ?? new TlsContexts(),
    databases: new Databases(config, log),
    pools: (self) =>
      new Pools({
        clock,
        log,
        budget,
        owner: self.owner,
        loops: options.loops ?? 1,
        isSuspended: () => self.isSuspended,
        ...(options.exchange === undefined ? {} : { exchange: options.exchange }),
        ...(options.news === undefined ? {} : { news: options.news }),
        connector: new Connector({
          clock,
          log,
          native,
          custody: options.custody,
          tuneTcp: tune,
          tracked,
          statements,
          auth: { randomBytes: fewRandomBytes, saltedPasswords: new SaltedPasswordCache(pbkdf2) },
          logsConnections: () => self.config.settings.log_connections,
          logsDisconnections: () => self.config.settings.log_disconnections,
          maxPacketSize: () => self.config.settings.max_packet_size,
          newestMinor: () => (self.config.own.server_max_protocol_version === '3.0' ? 0 : NEWEST_MINOR),
          tls: () => self.tls.server,
          isStopped: () => isStopped,
          nextId: () => self.nextId(),
          resolve: (host, done) => self.dns.resolve(host, done),
          target: (pool) => {
            const entry = self.databases.probe(pool.database)?.entry;
            if (entry === undefined) throw new Error('a pool without a database');
            return serverTarget(self.config, entry, pool.user, self.credentialsOf(pool));
          },
        }),
      }),
    peers: (self) => {
      const lookup = lookupBy((host, done) => self.dns.resolve(host, done));
      return new Peers(self, ({ host, port }, ...rest) => openCancel({ host, port, lookup }, ...rest, tune));
    },
    dns: (self) =>
      createDns(self, options.lookup ?? systemLookup, (name, addresses) =>
        leaveAddresses(self, name, addresses),
      ),
  });

  const queries = new AuthQueries(state);
  const logins = new Logins(state, queries, {
    randomBytes: fewRandomBytes,
    mockSecret: options.mockSecret,
    verifiers: new ScramVerifierCache(pbkdf2),
    pbkdf2,
    native,
  });
  const control = new LocalControl(state, windows, outside.hooks);
  const services = clientServices(state, {
    tracked,
    statements,
    logins,
    native,
    control: outside.control ?? control,
    isUnixReplaced: () => outside.isUnixReplaced(),
    cancelElsewhere: outside.cancelElsewhere,
  });
  const janitor = new Janitor(state, windows, logins, () => outside.onStatsPeriod());

  return {
    state,
    windows,
    control,
    accept(socket, listener) {
      const peer = peerOf(socket, listener, native);
      if (peer === null || isStopped) {
        socket.destroy();
        return;
      }
      const visit = enter(state, socket, peer);
      if (visit === 'refused') return;
      if (listener.kind === 'tcp') tune(socket);
      const firstPhase = (self: ClientConnection) => new StartupPhase(self);
      try {
        state.connections.add(
          new ClientConnection(services, state.nextId(), socket, { ...peer, visit }, firstPhase),
        );
      } catch (error) {
        visit.gone();
        // Out of descriptors between accept and taking it over, say: this one connection is lost, no more.
        lost.write('ERROR', `cannot take a connection over: ${String(error)}`);
        socket.destroy();
      }
    },
    apply(next, tls) {
      if (tls !== null) applyTls(state, tls);
      applyConfig(state, next);
      queries.applied();
    },
    begin() {
      openForcedPools(state);
      sweeper = setInterval(() => {
        if (state.isSuspended) state.guard(() => control.suspension.sweep());
        else janitor.sweep();
        state.guard(() => control.checkProgress());
      }, SWEEP_INTERVAL_MS);
    },
    stop() {
      isStopped = true;
      if (sweeper !== null) clearInterval(sweeper);
      for (const connection of state.connections) connection.cut();
      for (const server of serversOf(state)) server.conn.destroy();
      state.peers.stop();
    },
  };
}

/** Asks the doorkeeper about a new connection; one that is refused is told so, and gone. */
function enter(
  state: PoolerState,
  socket: ConnSocket,
  { address, uid }: { readonly address: PeerAddress; readonly uid: number | null },
): Visit | 'refused' {
  const { log } = state;
  const isTcp = address.kind === 'tcp';
  const door = isTcp ? state.door : state.unixDoor;
  const peer = isTcp ? peerName(address.ip) : `system user ${uid ?? '(unknown)'}`;
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

/** Who is at the other end; null when the peer has gone already. */
function peerOf(
  socket: ConnSocket,
  listener: Pick<ListenerInfo, 'kind' | 'port'>,
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
