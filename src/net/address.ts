import type { Socket } from 'node:net';

/**
 * Where a connection comes from or goes to, as people read it. A unix socket has no address of its own: its
 * process id (null when the system does not tell) and the number in the socket file's name stand in for it.
 */
export type PeerAddress =
  | { readonly kind: 'tcp'; readonly ip: string; readonly port: number }
  | { readonly kind: 'unix'; readonly pid: number | null; readonly port: number };

/** `host:port`, an IPv6 address in brackets. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The form log lines use: `ip:port`, `[ip6]:port`, `unix(pid):port`, or `unix:port` without a known pid. */
export function formatPeer(address: PeerAddress): string {
  if (address.kind === 'tcp') return formatHostPort(address.ip, address.port);
  return address.pid === null ? `unix:${address.port}` : `unix(${address.pid}):${address.port}`;
}

/** The `addr` column of `SHOW CLIENTS` and `SHOW SERVERS`: the bare IP address, or `unix`. */
export function formatAddrColumn(address: PeerAddress): string {
  return address.kind === 'tcp' ? address.ip : 'unix';
}

/**
 * The form that ends up in a client's application_name; `hostname` is this machine's, because a pid means
 * nothing without it. Source: PgBouncer's application_name_add_host.
 */
export function formatForApplicationName(address: PeerAddress, hostname: string): string {
  if (address.kind === 'tcp') return formatHostPort(address.ip, address.port);
  return address.pid === null ? `unix:${address.port}` : `unix(${address.pid}@${hostname}):${address.port}`;
}

/** The address of an accepted TCP socket; null when the peer is already gone and the system forgot it. */
export function tcpPeerAddress(socket: Socket): PeerAddress | null {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return null;
  return { kind: 'tcp', ip: remoteAddress, port: remotePort };
}
