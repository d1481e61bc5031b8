import { lookup, lookupService } from 'node:dns/promises';
import type { Clock } from '../base/clock.ts';

/** The system's resolver, as far as it is needed; for tests to stand in. */
export interface NameResolver {
  /** The name of an address; rejects with `code` ENOTFOUND when it has none. */
  reverse(ip: string): Promise<string>;
  /** All addresses of a name. */
  forward(name: string): Promise<readonly string[]>;
}

// Both by the system's own calls, so that /etc/hosts counts, as it does for PostgreSQL.
const systemResolver: NameResolver = {
  reverse: async (ip) => (await lookupService(ip, 0)).hostname,
  forward: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
};

/** Look-ups at a time: they take a thread of the few that files and key derivations need, too. */
const MAX_RUNNING = 2;
/** Addresses whose name is remembered. */
const MAX_REMEMBERED = 1000;
/** How long: a page of logins from one host, not longer than names may be wrong. */
const REMEMBERED_MS = 15_000;

/** A name; `none`: the address has none; null: nobody could tell. */
type Named = { readonly name: string } | 'none' | null;

/** Null once the turn has come. */
interface Askers {
  waiting: (() => boolean)[] | null;
}

interface Remembered {
  readonly named: Promise<Named>;
  readonly atMs: number;
  /** Whether those who ask before its turn comes are still there by then. */
  readonly askers: Askers;
}

/**
 * Tells whether an address is that of a host name: its name is looked up, and that name's addresses have to be it
 * again, for whoever owns an address may give it any name. Source: manual, `auth-pg-hba-conf`, host names.
 */
export class HostNames {
  readonly #clock: Clock;
  readonly #resolver: NameResolver;
  readonly #remembered = new Map<string, Remembered>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(clock: Clock, resolver: NameResolver = systemResolver) {
    this.#clock = clock;
    this.#resolver = resolver;
  }

  /**
   * Whether `ip` is a host of `pattern`: a name in lower case, or with a leading dot what names end in. Null: nobody
   * could tell. Nothing is looked up for somebody who is not there any more when its turn comes. Never rejects.
   */
  async isHost(ip: string, pattern: string, isWanted: () => boolean): Promise<boolean | null> {
    const named = await this.#nameOf(ip, isWanted);
    if (named === null) return null;
    if (named === 'none') return false;
    const { name } = named;
    const fits = pattern.startsWith('.') ? name.endsWith(pattern) && name !== pattern : name === pattern;
    if (!fits) return false;
    try {
      return (await this.#inTurn(() => this.#resolver.forward(name))).includes(ip);
    } catch (error) {
      return isNotFound(error) ? false : null;
    }
  }

  #nameOf(ip: string, isWanted: () => boolean): Promise<Named> {
    const nowMs = this.#clock.nowMs();
    const known = this.#remembered.get(ip);
    if (known !== undefined && nowMs - known.atMs < REMEMBERED_MS) {
      known.askers.waiting?.push(isWanted);
      return known.named;
    }
    const askers: Askers = { waiting: [isWanted] };
    const ask = async (): Promise<string> => {
      // Not in the call that asks: it has yet to be remembered.
      await null;
      const isAnybodyThere = askers.waiting?.some((isThere) => isThere()) === true;
      askers.waiting = null;
      if (isAnybodyThere) return this.#resolver.reverse(ip);
      // The next one is to have it looked up.
      if (this.#remembered.get(ip)?.askers === askers) this.#remembered.delete(ip);
      throw new Error('nobody wants to know');
    };
    const named = this.#inTurn(ask).then(
      (name): Named => ({ name: name.toLowerCase().replace(/\.$/, '') }),
      (error: unknown): Named => (isNotFound(error) ? 'none' : null),
    );
    this.#remembered.delete(ip);
    this.#remembered.set(ip, { named, atMs: nowMs, askers });
    if (this.#remembered.size > MAX_REMEMBERED) {
      for (const oldest of this.#remembered.keys()) {
        this.#remembered.delete(oldest);
        break;
      }
    }
    return named;
  }

  async #inTurn<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#running >= MAX_RUNNING) await new Promise<void>((turn) => this.#waiting.push(turn));
    else this.#running++;
    try {
      return await ask();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOTFOUND';
}
