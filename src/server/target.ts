import type { LookupFunction } from 'node:net';
import type { ServerCredentials } from '../auth/credentials.ts';
import { formatHostPort, type PeerAddress, tcpPeerAddress } from '../net/address.ts';
import type { ConnectOptions } from '../net/conn-handler.ts';
import type { ConnSocket } from '../net/raw-socket.ts';
import type { DedicatedClient } from '../pool/peers.ts';

/** Where and as whom a pool's server connections log in; resolved from the configuration for each new one. */
export interface ServerTarget {
  /** Host names, addresses, or directories of unix sockets (leading `/` or `@`). Never empty. */
  readonly hosts: readonly string[];
  readonly port: number;
  /** `disable`: stay with one host until connecting to it fails. */
  readonly loadBalanceHosts: 'round-robin' | 'disable';
  readonly database: string;
  readonly user: string;
  readonly credentials: ServerCredentials;
  /** Further start-up parameters of the database entry (client_encoding, …). */
  readonly parameters: readonly (readonly [name: string, value: string])[];
  readonly connectQuery: string | null;
}

/**
 * `target` for a connection that is `client`'s alone: started with what the client was. On a physical one PostgreSQL
 * takes no SQL, so there is no `connect_query` either.
 */
export function dedicatedTarget(
  target: ServerTarget,
  { replication, startup }: Pick<DedicatedClient, 'replication' | 'startup'>,
): ServerTarget {
  const given = new Set(startup.map(([name]) => name.toLowerCase()));
  const defaults = target.parameters.filter(([name]) => !given.has(name.toLowerCase()));
  return {
    ...target,
    parameters: [...defaults, ...startup],
    connectQuery: replication === 'physical' ? null : target.connectQuery,
  };
}

/** One place to connect to. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  /** The address that `host` stands for here; absent or null while it isn't known, and for unix sockets. */
  readonly ip?: string | null;
  /** Gives it, as `net.connect` wants it; absent: the system is asked. */
  readonly lookup?: LookupFunction;
}

/** Whether `host` names a directory with a unix socket in it. */
export function isUnixHost(host: string): boolean {
  return host.startsWith('/') || host.startsWith('@');
}

/** Options for `Conn.connect`: `<dir>/.s.PGSQL.<port>`, the abstract namespace for a leading `@`, or TCP. */
export function connectOptions({ host, port, ip, lookup }: ServerAddress): ConnectOptions {
  if (isUnixHost(host)) {
    const path = `${host}/.s.PGSQL.${port}`;
    return { path: host.startsWith('@') ? `\0${path.slice(1)}` : path, allowHalfOpen: true };
  }
  const byName = lookup === undefined ? {} : { lookup };
  return { host: ip ?? host, port, ...byName, allowHalfOpen: true, noDelay: true };
}

/** The other end as log lines and `SHOW` name it; the host as configured until the socket is connected. */
export function peerOf({ host, port, ip }: ServerAddress, socket: ConnSocket): PeerAddress {
  if (isUnixHost(host)) return { kind: 'unix', pid: null, port };
  return tcpPeerAddress(socket) ?? { kind: 'tcp', ip: ip ?? host, port };
}

/**
 * Why no connection came about, in PgBouncer's words; `error` null = nobody said. `note` gets what the system said,
 * for the log.
 */
export function connectFailure(error: Error | null, note: (text: string) => void): string {
  if (error === null) return 'connect failed';
  // A name with several addresses: the error of each, and no message of its own.
  const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [error];
  note(`connect failed: ${errors.map((each) => (each as Error).message).join('; ')}`);
  const isLookup = 'syscall' in error && error.syscall === 'getaddrinfo';
  return isLookup ? 'server DNS lookup failed' : 'connect failed';
}

/** Our own end of a TCP connection, as the log has it behind `new connection to server`. */
export function fromText({ localAddress, localPort }: ConnSocket): string {
  return localAddress === undefined ? '' : ` (from ${formatHostPort(localAddress, localPort ?? 0)})`;
}
