import { isIP, type LookupFunction } from 'node:net';
import type { Clock } from '../base/clock.ts';

/** Addresses of a name, the one to be tried first in front; without any, why there are none. */
export type Resolved = (error: Error | null, addresses: readonly string[]) => void;

/** Asks for all addresses of a name; `done` is called once, never from inside the call. */
export type LookupAll = (name: string, done: Resolved) => void;

/** How long answers are kept, as the settings have it now. */
export interface DnsTtls {
  /** `dns_max_ttl`. */
  readonly maxTtlMs: number;
  /** `dns_nxdomain_ttl`: of failures. */
  readonly nxdomainTtlMs: number;
}

/** What is known of one name. */
export interface DnsEntry {
  readonly name: string;
  /** For how long it will be used as it is; 0: the next connection asks anew. */
  readonly ttlMs: number;
  /** None after a failure, or before the first answer. */
  readonly addresses: readonly string[];
}

/**
 * At most so many look-ups run at once. Each holds one of libuv's four threads until the resolver has answered or given
 * up, and two more are PBKDF2's: see docs/decisions/0012-dns.md.
 */
const MAX_LOOKUPS = 2;

/** No resolver is asked what these mean. In this order: it is one server, not two. */
const FIXED: ReadonlyMap<string, readonly string[]> = new Map([['localhost', ['127.0.0.1', '::1']]]);

/** Whether the addresses of `host` are those of one server, whatever is behind them. */
export function isOneServer(host: string): boolean {
  return FIXED.has(host.toLowerCase());
}

class Name {
  readonly name: string;
  /** Of the last answer that was none of failure. */
  addresses: readonly string[] = [];
  error: Error | null = null;
  /** Until when the answer, or the failure, counts; monotonic ms. */
  untilMs = Number.NEGATIVE_INFINITY;
  /** Whose turn it is among the addresses. */
  turn = 0;
  /** Who is to hear the answer that is being asked for; null when none is. */
  waiting: Resolved[] | null = null;

  constructor(name: string) {
    this.name = name;
  }
}

/**
 * What host names mean: each is looked up when a connection needs it and the last answer is too old, once however many
 * ask. Every time that a name is asked for, the next of its addresses is in front. Source: contract, §1.8, §5.11.
 */
export class DnsCache {
  readonly #clock: Clock;
  readonly #lookup: LookupAll;
  readonly #ttls: () => DnsTtls;
  readonly #lost: (name: string, addresses: ReadonlySet<string>) => void;
  readonly #names = new Map<string, Name>();
  /** Names whose look-up waits for another one to end. */
  readonly #queued: Name[] = [];
  #running = 0;

  /** `lost` hears of addresses that a name had at the last answer and has no more. */
  constructor(parts: {
    clock: Clock;
    lookup: LookupAll;
    ttls: () => DnsTtls;
    lost: (name: string, addresses: ReadonlySet<string>) => void;
  }) {
    this.#clock = parts.clock;
    this.#lookup = parts.lookup;
    this.#ttls = parts.ttls;
    this.#lost = parts.lost;
  }

  /** Look-ups that run or wait to. */
  get pending(): number {
    return this.#running + this.#queued.length;
  }

  /** All names that have been asked for. */
  entries(): DnsEntry[] {
    const nowMs = this.#clock.nowMs();
    return [...this.#names.values()].map(({ name, untilMs, error, addresses }) => ({
      name,
      ttlMs: Math.max(0, untilMs - nowMs),
      addresses: error === null ? addresses : [],
    }));
  }

  /** The addresses of `host`, which may be an IP address itself. `done` may be called at once. */
  resolve(host: string, done: Resolved): void {
    const fixed = isIP(host) === 0 ? FIXED.get(host.toLowerCase()) : [host];
    if (fixed !== undefined) {
      done(null, fixed);
      return;
    }
    let name = this.#names.get(host);
    if (name === undefined) {
      name = new Name(host);
      this.#names.set(host, name);
    }
    if (name.waiting !== null) name.waiting.push(done);
    else if (this.#clock.nowMs() < name.untilMs) answer(name, done);
    else {
      name.waiting = [done];
      this.#queued.push(name);
      this.#pump();
    }
  }

  /** Forgets what is known of all other names. */
  keepOnly(hosts: ReadonlySet<string>): void {
    for (const { name, waiting } of this.#names.values()) {
      if (waiting === null && !hosts.has(name)) this.#names.delete(name);
    }
  }

  #pump(): void {
    while (this.#running < MAX_LOOKUPS) {
      const name = this.#queued.shift();
      if (name === undefined) return;
      this.#running++;
      this.#lookup(name.name, (error, addresses) => {
        this.#running--;
        this.#answered(name, error, addresses);
        this.#pump();
      });
    }
  }

  #answered(name: Name, error: Error | null, addresses: readonly string[]): void {
    const { maxTtlMs, nxdomainTtlMs } = this.#ttls();
    name.error = error ?? (addresses.length === 0 ? noAddress(name.name) : null);
    name.untilMs = this.#clock.nowMs() + (name.error === null ? maxTtlMs : nxdomainTtlMs);
    const waiting = name.waiting ?? [];
    name.waiting = null;
    if (name.error === null) {
      const before = name.addresses;
      const lost = new Set(before.filter((address) => !addresses.includes(address)));
      // Resolvers give them in an order that changes; here each keeps its place, so that each gets its turn.
      name.addresses = [...new Set([...before.filter((address) => !lost.has(address)), ...addresses])];
      if (lost.size > 0) this.#lost(name.name, lost);
    }
    for (const done of waiting) answer(name, done);
  }
}

/** As `net.connect` takes it for its option `lookup`. */
export function lookupBy(resolve: (host: string, done: Resolved) => void): LookupFunction {
  return (host, options, done) => {
    resolve(host, (error, addresses) => {
      const [first = ''] = addresses;
      if (error !== null) done(error, '');
      else if (options.all === true)
        done(
          null,
          addresses.map((address) => ({ address, family: isIP(address) })),
        );
      else done(null, first, isIP(first));
    });
  };
}

function answer(name: Name, done: Resolved): void {
  const { error, addresses } = name;
  if (error !== null) {
    done(error, []);
    return;
  }
  const first = name.turn++ % addresses.length;
  done(null, [...addresses.slice(first), ...addresses.slice(0, first)]);
}

/** As the system's own. */
function noAddress(name: string): Error {
  return Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), {
    code: 'ENOTFOUND',
    syscall: 'getaddrinfo',
  });
}
