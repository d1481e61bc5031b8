import type { Config } from '../config/config.ts';
import type { TcpOptions } from '../net/tcp-options.ts';

/** What the `tcp_…` settings ask for, for new connections of clients and servers. */
export function tcpOptions({ settings }: Config): TcpOptions {
  return {
    keepAlive: settings.tcp_keepalive,
    keepIdleSec: settings.tcp_keepidle,
    keepIntervalSec: settings.tcp_keepintvl,
    keepCount: settings.tcp_keepcnt,
    userTimeoutMs: settings.tcp_user_timeout,
    bufferBytes: settings.tcp_socket_buffer,
  };
}
