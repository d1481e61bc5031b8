import { isIP, type LookupFunction } from 'node:net';
import { isOneServer, lookupBy, type Resolved } from '../net/dns-cache.ts';
import type { HostList, ListedHost } from './host-list.ts';
import { isUnixHost, type ServerAddress, type ServerTarget } from './target.ts';

/** What a route needs beside where it leads. */
export interface RouteParts {
  readonly list: HostList;
  /** `server_login_retry`. */
  readonly retryMs: number;
  resolve(host: string, done: Resolved): void;
}

/**
 * The way of one server connection to a server: hosts in the order to be tried, and the addresses of each. It is the
 * address of the one that is tried, or that has been reached.
 */
export class ServerRoute implements ServerAddress {
  readonly port: number;
  readonly lookup: LookupFunction;
  readonly #parts: RouteParts;
  readonly #staysWithOne: boolean;
  readonly #hosts: readonly ListedHost[];
  #hostAt = 0;
  /** Of the host that is tried, in the order to be tried; null until they are known. */
  #ips: readonly string[] | null;
  #ipAt = 0;

  constructor(target: Pick<ServerTarget, 'hosts' | 'port' | 'loadBalanceHosts'>, parts: RouteParts) {
    this.port = target.port;
    this.#parts = parts;
    this.#staysWithOne = target.loadBalanceHosts === 'disable';
    this.#hosts = parts.list.order(target, parts.retryMs);
    this.#ips = knownIps(this.host);
    this.lookup = lookupBy((host, done) => {
      parts.resolve(host, (error, addresses) => {
        // Whoever asked may have gone on since.
        if (error === null && host === this.host && this.#ips === null) this.#found(addresses);
        done(error, this.ip === null ? addresses.slice(0, 1) : [this.ip]);
      });
    });
  }

  get host(): string {
    return this.#current.host;
  }

  get ip(): string | null {
    return this.#ips?.[this.#ipAt] ?? null;
  }

  /**
   * It could not be reached when it was last tried, and there are others, so that no time is to be lost on it.
   */
  get isSuspect(): boolean {
    return this.hasNext && this.#parts.list.hasFailed(this.#place);
  }

  /** There is another address to try. */
  get hasNext(): boolean {
    return this.#hostAt + 1 < this.#hosts.length || this.#ipAt + 1 < (this.#ips?.length ?? 0);
  }

  /** A connection leads to `ip` already; null: that of the host isn't known. */
  leadsTo(ip: string | null): void {
    if (ip !== null) this.#ips = [ip];
  }

  /** Somebody has taken the connection. */
  connected(): void {
    const { ip } = this;
    if (ip === null || !isOneServer(this.host)) return;
    this.#ips = [ip];
    this.#ipAt = 0;
  }

  /** Nothing can be had there now: what is tried next, if anything is left, is the next address. */
  failed(): void {
    const { list } = this.#parts;
    const { hasNext } = this;
    list.failed(this.#place);
    if (this.#ips !== null && this.#ipAt + 1 < this.#ips.length) {
      this.#ipAt++;
      return;
    }
    list.failed(this.host);
    if (!hasNext) return;
    this.#hostAt++;
    this.#ipAt = 0;
    this.#ips = knownIps(this.host);
  }

  /** A server there has let us in. */
  reached(): void {
    const { list } = this.#parts;
    list.reached(this.#place);
    list.reached(this.host);
    if (this.#staysWithOne) list.stayWith(this.#current.index);
  }

  /** A server there has answered, and doesn't let us in. */
  refused(): void {
    if (this.#staysWithOne) this.#parts.list.stayWith(this.#current.index + 1);
  }

  get #current(): ListedHost {
    return this.#hosts[this.#hostAt] as ListedHost;
  }

  /** What is remembered of it. */
  get #place(): string {
    const { host, ip } = this;
    return ip === null || ip === host ? host : `${host} ${ip}`;
  }

  #found(addresses: readonly string[]): void {
    const { list, retryMs } = this.#parts;
    this.#ips = list.healthyFirst(addresses, (ip) => `${this.host} ${ip}`, retryMs);
  }
}

function knownIps(host: string): readonly string[] | null {
  return !isUnixHost(host) && isIP(host) !== 0 ? [host] : null;
}
