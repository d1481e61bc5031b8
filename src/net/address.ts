import type { ConnSocket } from './raw-socket.ts';

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

/** An IPv4 peer on a socket that takes both families, as systemd opens them. */
const MAPPED_IPV4 = /^::ffff:(?=\d+\.)/i;

/**
 * The address of an accepted TCP socket, IPv4 as such on whichever socket it came in; null when the peer is already gone
 * and the system forgot it.
 */
export function tcpPeerAddress(socket: ConnSocket): PeerAddress | null {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return null;
  const ip = remoteAddress.includes(':') ? remoteAddress.replace(MAPPED_IPV4, '') : remoteAddress;
  return { kind: 'tcp', ip, port: remotePort };
}

/**
 * Who is at an address, as far as limits go: an IPv4 address stands for itself, an IPv6 one for its first 64 bits, of
 * which whoever has one mostly has all the rest (`2001:db8:0:1::/64`). `ip` is as Node writes addresses.
 */
export function peerName(ip: string): string {
  if (!ip.includes(':')) return ip;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  if (mapped !== undefined) return mapped;
  const [address = ''] = ip.split('%');
  const [head = '', tail] = address.split('::');
  const groups = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(':'));
  const before = groups(head);
  const after = groups(tail);
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...Array<string>(Math.max(0, zeros)).fill('0'), ...after];
  return `${all.slice(0, 4).join(':')}::/64`;
}
