import { ADMIN_DATABASE } from '../admin/access.ts';
import type {
  ClientSnapshot,
  ClientState,
  FdSnapshot,
  ServerSnapshot,
  ServerState,
  SocketSnapshot,
} from '../admin/snapshot.ts';
import type { ClientConnection } from '../client/connection.ts';
import { CancelPhase } from '../client/cancel.ts';
import { ConsolePhase } from '../client/console.ts';
import { ClientSession } from '../client/session.ts';
import { formatAddrColumn, type PeerAddress } from '../net/address.ts';
import type { Conn } from '../net/conn.ts';
import type { ListenerFd } from '../net/listening-socket.ts';
import { socketFd } from '../net/native-sockets.ts';
import { ServerConnection } from '../server/connection.ts';
import { isUnixHost } from '../server/target.ts';
import { formatTls, type TlsInfo } from '../tls/info.ts';
import type { PoolerState } from './context.ts';

/** SHOW CLIENTS, SHOW SOCKETS: every client connection there is, but those that only have their last words to read. */
export function clientSnapshots(state: PoolerState): ClientSnapshot[] {
  const snapshots: ClientSnapshot[] = [];
  for (const connection of state.connections) {
    if (!connection.isClosing) snapshots.push(clientSnapshot(state, connection));
  }
  return snapshots;
}

function clientSnapshot(state: PoolerState, connection: ClientConnection): ClientSnapshot {
  const { phase, conn, address } = connection;
  const session = phase instanceof ClientSession ? phase : null;
  const console = phase instanceof ConsolePhase ? phase : null;
  const applicationName =
    session === null
      ? (console?.applicationName ?? '')
      : (session.parameters[session.tracked.indexOf('application_name')] ?? '');
  const requestMs = session === null ? (console?.requestMs ?? connection.connectMs) : session.times.requestMs;
  return {
    ...socketFacts(conn, address, connection.tls),
    id: connection.id,
    user: connection.user,
    database: connection.database,
    replication: connection.replication,
    connectWallMs: connection.connectWallMs,
    requestWallMs: wallOf(state, requestMs),
    waitUs:
      session === null || session.queryStartMs === 0
        ? 0
        : Math.round((state.clock.nowMs() - session.queryStartMs) * 1000),
    closeNeeded: false,
    linkId: session?.server?.id ?? null,
    remotePid: address.kind === 'unix' ? (address.pid ?? 0) : 0,
    applicationName,
    pktRemain: session?.messageBytesLeft ?? 0,
    pktAvail: session?.heldBytes ?? 0,
    preparedStatements: session?.prepared.statements.size ?? 0,
    state: clientState(connection, session),
  };
}

function clientState(connection: ClientConnection, session: ClientSession | null): ClientState {
  if (connection.phase instanceof CancelPhase) return 'active_cancel_req';
  if (session === null)
    return connection.database === ADMIN_DATABASE && connection.isLoggedIn ? 'active' : 'login';
  // For a server, or for a server's first welcome. `waiting_login` is for those whose login asks a server.
  if (session.waitStartMs > 0) return 'waiting';
  return session.server === null ? 'idle' : 'active';
}

/** SHOW SERVERS, SHOW SOCKETS: every connection to PostgreSQL that holds a slot. */
export function serverSnapshots(state: PoolerState): ServerSnapshot[] {
  const snapshots: ServerSnapshot[] = [];
  for (const server of serversOf(state)) snapshots.push(serverSnapshot(state, server));
  return snapshots;
}

/** Every connection to PostgreSQL that holds a slot. A connection may be closed while it is yielded. */
export function* serversOf(state: PoolerState): Generator<ServerConnection> {
  for (const pool of state.pools.all()) {
    const { active, dedicated, idle, used, tested, being_canceled, new: inLogin, closing } = pool.servers;
    for (const list of [active, dedicated, idle, used, tested, being_canceled, inLogin, closing]) {
      // The daemon's connector made every one of them.
      for (const server of list) if (server instanceof ServerConnection) yield server;
    }
  }
}

function serverSnapshot(state: PoolerState, server: ServerConnection): ServerSnapshot {
  const { conn, pool, address } = server;
  const peer: PeerAddress = isUnixHost(address.host)
    ? { kind: 'unix', pid: null, port: address.port }
    : { kind: 'tcp', ip: conn.socket.remoteAddress ?? address.host, port: address.port };
  return {
    ...socketFacts(conn, peer, server.opening.tls),
    id: server.id,
    user: pool.user,
    database: pool.database,
    connectWallMs: server.connectWallMs,
    requestWallMs: wallOf(state, server.requestMs),
    waitUs: 0,
    closeNeeded: server.closeNeeded,
    linkId: server.link?.id ?? null,
    remotePid: server.backendKey === null ? 0 : server.backendKey.readInt32BE(0),
    applicationName: server.parameters[server.tracked.indexOf('application_name')] ?? '',
    pktRemain: server.messageBytesLeft,
    pktAvail: 0,
    preparedStatements: server.statements.size,
    replication: server.dedicatedTo?.replication ?? 'none',
    state: serverState(server),
  };
}

function serverState({ state }: ServerConnection): ServerState {
  if (state === 'dedicated') return 'active';
  return state === 'gone' ? 'closing' : state;
}

/** The wall time of a monotonic moment, by the clocks as they stand now. */
function wallOf({ clock }: PoolerState, monotonicMs: number): number {
  return clock.wallMs() - (clock.nowMs() - monotonicMs);
}

type SocketFacts = Omit<
  SocketSnapshot,
  | 'id'
  | 'user'
  | 'database'
  | 'replication'
  | 'connectWallMs'
  | 'requestWallMs'
  | 'waitUs'
  | 'closeNeeded'
  | 'linkId'
  | 'remotePid'
  | 'applicationName'
  | 'pktRemain'
  | 'pktAvail'
  | 'preparedStatements'
>;

function socketFacts(conn: Conn, peer: PeerAddress, tls: TlsInfo | null): SocketFacts {
  const { localAddress, localPort } = conn.socket;
  return {
    addr: formatAddrColumn(peer),
    port: peer.port,
    localAddr: peer.kind === 'unix' ? 'unix' : (localAddress ?? ''),
    localPort: peer.kind === 'unix' ? peer.port : (localPort ?? 0),
    tls: tls === null ? '' : formatTls(tls),
    // Chunks are forwarded as they come: there is no receive buffer with positions in it.
    recvPos: 0,
    pktPos: 0,
    sendPos: 0,
    sendAvail: conn.pendingBytes,
  };
}

/** SHOW FDS: the listeners. */
export function listenerFds(listeners: readonly ListenerFd[]): FdSnapshot[] {
  return listeners.map(({ info, fd }) => ({
    fd,
    task: 'pooler',
    user: null,
    database: null,
    addr: info.kind === 'tcp' ? info.address : 'unix',
    port: info.port,
    linkFd: 0,
    clientEncoding: null,
    standardConformingStrings: null,
    dateStyle: null,
    timeZone: null,
  }));
}

/** SHOW FDS: the listeners, the sockets of logged-in clients, and those of servers. */
export function fdSnapshots(state: PoolerState): FdSnapshot[] {
  const rows = listenerFds(state.listening());
  for (const session of state.sessions.values()) {
    const { connection, server, tracked } = session;
    const value = (name: string) => session.parameters[tracked.indexOf(name)] ?? null;
    rows.push({
      fd: socketFd(connection.conn.socket),
      task: 'client',
      user: connection.user,
      database: connection.database,
      addr: formatAddrColumn(connection.address),
      port: connection.address.port,
      linkFd: server === null ? 0 : socketFd(server.conn.socket),
      clientEncoding: value('client_encoding'),
      standardConformingStrings: value('standard_conforming_strings'),
      dateStyle: value('DateStyle'),
      timeZone: value('TimeZone'),
    });
  }
  for (const server of serversOf(state)) {
    const value = (name: string) => server.parameters[server.tracked.indexOf(name)] ?? null;
    const snapshot = serverSnapshot(state, server);
    rows.push({
      fd: socketFd(server.conn.socket),
      task: 'server',
      user: server.pool.user,
      database: server.pool.database,
      addr: snapshot.addr,
      port: snapshot.port,
      linkFd: server.link instanceof ClientSession ? socketFd(server.link.conn.socket) : 0,
      clientEncoding: value('client_encoding'),
      standardConformingStrings: value('standard_conforming_strings'),
      dateStyle: value('DateStyle'),
      timeZone: value('TimeZone'),
    });
  }
  return rows;
}
