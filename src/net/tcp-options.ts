import type { Socket } from 'node:net';
import type { Native } from './native.ts';
import { type ConnSocket, RawSocket } from './raw-socket.ts';

/**
 * What is asked of the kernel for a TCP connection; 0 leaves a number as the system has it. Source: PgBouncer's
 * settings tcp_keepalive, tcp_keepidle, tcp_keepintvl, tcp_keepcnt, tcp_user_timeout, tcp_socket_buffer.
 */
export interface TcpOptions {
  /** Have the kernel probe an idle connection; without, the next three mean nothing. */
  readonly keepAlive: boolean;
  /** Silence before the first probe. */
  readonly keepIdleSec: number;
  /** Time between probes. */
  readonly keepIntervalSec: number;
  /** Unanswered probes that end the connection. */
  readonly keepCount: number;
  /** How long sent data may stay unconfirmed. */
  readonly userTimeoutMs: number;
  /** Of the kernel's buffer in each direction; the kernel doubles it and has a limit of its own. */
  readonly bufferBytes: number;
}

/** Levels and names of Linux. */
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;

/** What Linux has by default: Node's own call wants all three as soon as one is given. */
const USUAL_KEEP_IDLE_SEC = 7200;
const USUAL_KEEP_INTERVAL_SEC = 75;
const USUAL_KEEP_COUNT = 9;

/**
 * Asks the kernel for `options` on a TCP socket that is connected. Without native calls Node does what it can: keepalive
 * with its times, see {@link beyondNode}.
 */
export function tuneTcp(native: Native, socket: ConnSocket, options: TcpOptions): void {
  if (native.missing.has('options')) {
    // There are no others then.
    if (!(socket instanceof RawSocket)) tuneByNode(socket, options);
    return;
  }
  const set = (level: number, name: number, value: number): void => {
    if (value > 0) native.setOption(socket, level, name, value);
  };
  set(SOL_SOCKET, SO_SNDBUF, options.bufferBytes);
  set(SOL_SOCKET, SO_RCVBUF, options.bufferBytes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, options.userTimeoutMs);
  if (!options.keepAlive) return;
  set(IPPROTO_TCP, TCP_KEEPIDLE, options.keepIdleSec);
  set(IPPROTO_TCP, TCP_KEEPINTVL, options.keepIntervalSec);
  set(IPPROTO_TCP, TCP_KEEPCNT, options.keepCount);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
}

/** The settings in force that {@link tuneTcp} cannot carry out without native calls, by name; mostly none. */
export function beyondNode({ userTimeoutMs, bufferBytes }: TcpOptions): string[] {
  const names: string[] = [];
  if (userTimeoutMs > 0) names.push('tcp_user_timeout');
  if (bufferBytes > 0) names.push('tcp_socket_buffer');
  return names;
}

function tuneByNode(socket: Socket, options: TcpOptions): void {
  const { keepIdleSec, keepIntervalSec, keepCount } = options;
  if (!options.keepAlive) return;
  if (keepIdleSec + keepIntervalSec + keepCount === 0) {
    socket.setKeepAlive(true);
    return;
  }
  socket.setKeepAlive(
    true,
    (keepIdleSec || USUAL_KEEP_IDLE_SEC) * 1000,
    (keepIntervalSec || USUAL_KEEP_INTERVAL_SEC) * 1000,
    keepCount || USUAL_KEEP_COUNT,
  );
}
