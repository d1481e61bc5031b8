import type { Clock } from '../base/clock.ts';
import type { ServerTarget } from './target.ts';

/** A member of a list of hosts, and its place in it. */
export interface ListedHost {
  readonly host: string;
  readonly index: number;
}

/** Failures older than this say nothing about a host. */
const FORGOTTEN_MS = 3600 * 1000;

/**
 * What one pool knows of the hosts that it connects to: whose turn it is, and which could not be reached. Those are
 * left out for `server_login_retry`, as long as there are others; when all have failed, the one that has failed first
 * comes first. Source: contract, §2.2 (`load_balance_hosts`); leaving out is ours.
 */
export class HostList {
  readonly #clock: Clock;
  /** Host, or host and address, by when it could not be reached the last time; monotonic ms. */
  readonly #failedMs = new Map<string, number>();
  /** Whose turn it is: with `disable` the host that we stay with. */
  #turn = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** All hosts in the order in which one new connection is to try them. */
  order(
    { hosts, loadBalanceHosts }: Pick<ServerTarget, 'hosts' | 'loadBalanceHosts'>,
    retryMs: number,
  ): ListedHost[] {
    const nowMs = this.#clock.nowMs();
    for (const [place, failedMs] of this.#failedMs) {
      if (nowMs - failedMs > FORGOTTEN_MS) this.#failedMs.delete(place);
    }
    const all = hosts.map((host, index) => ({ host, index }));
    const first = this.#turn % all.length;
    const turned = [...all.slice(first), ...all.slice(0, first)];
    const order = this.healthyFirst(turned, ({ host }) => host, retryMs);
    // One that is listed twice gets two turns, but need not be tried twice.
    const seen = new Set<string>();
    const [next] = order;
    if (loadBalanceHosts === 'round-robin' && next !== undefined) this.#turn = next.index + 1;
    return order.filter(({ host }) => !seen.has(host) && seen.add(host));
  }

  /** Puts those that have failed within `retryMs` behind the others. */
  healthyFirst<T>(places: readonly T[], nameOf: (place: T) => string, retryMs: number): T[] {
    const nowMs = this.#clock.nowMs();
    const failedMs = (place: T): number => {
      const ms = this.#failedMs.get(nameOf(place));
      return ms === undefined || nowMs - ms >= retryMs ? Number.NEGATIVE_INFINITY : ms;
    };
    return places.toSorted((a, b) => (failedMs(a) === failedMs(b) ? 0 : failedMs(a) - failedMs(b)));
  }

  /** It could not be reached the last time, however long ago. */
  hasFailed(place: string): boolean {
    return this.#failedMs.has(place);
  }

  failed(place: string): void {
    this.#failedMs.set(place, this.#clock.nowMs());
  }

  reached(place: string): void {
    this.#failedMs.delete(place);
  }

  /** `disable`: this is the host from here on. */
  stayWith(index: number): void {
    this.#turn = index;
  }
}
