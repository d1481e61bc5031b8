import { lookup, lookupService } from 'node:dns/promises';
import type { Clock } from '../base/clock.ts';
import { RecentlyUsed } from '../base/recently-used.ts';
import { Turns } from '../base/turns.ts';

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
/** Strangers come from as many addresses as they like: so many look-ups wait, and what is beyond that nobody can tell. */
const MAX_WAITING = 1000;
/** How long somebody waits for an answer: as long as a resolver that gets none from two servers. */
const PATIENCE_MS = 10_000;
/** Addresses and names of which the answer is remembered. */
const MAX_REMEMBERED = 1000;
/** How long: a page of logins from one host, not longer than names may be wrong. */
const REMEMBERED_MS = 15_000;

/** Somebody who waits for an answer. */
interface Waiter {
  readonly untilMs: number;
  giveUp(): void;
}

/**
 * Tells whether an address is that of a host name: its name is looked up, and that name's addresses have to be it
 * again, for whoever owns an address may give it any name. Source: manual, `auth-pg-hba-conf`, host names.
 */
export class HostNames {
  readonly #clock: Clock;
  readonly #names: Answers<string>;
  readonly #addresses: Answers<readonly string[]>;
  /** Who has come first has waited longest. */
  readonly #waiters = new Set<Waiter>();

  constructor(clock: Clock, resolver: NameResolver = systemResolver) {
    this.#clock = clock;
    const turns = new Turns(MAX_RUNNING, MAX_WAITING);
    this.#names = new Answers(clock, turns, async (ip) => {
      const name = await resolver.reverse(ip);
      return name.toLowerCase().replace(/\.$/, '');
    });
    this.#addresses = new Answers(clock, turns, (name) => resolver.forward(name));
  }

  /**
   * Whether `ip` is a host of `pattern`: a name in lower case, or with a leading dot what names end in. Null: nobody
   * could tell, or not in time. Nothing is looked up for somebody who is not there any more when its turn comes. Never
   * rejects.
   */
  isHost(ip: string, pattern: string, isWanted: () => boolean): Promise<boolean | null> {
    const { promise, resolve } = Promise.withResolvers<boolean | null>();
    const waiter = { untilMs: this.#clock.nowMs() + PATIENCE_MS, giveUp: () => resolve(null) };
    this.#waiters.add(waiter);
    const isThere = (): boolean => this.#waiters.has(waiter) && isWanted();
    void this.#ask(ip, pattern, isThere).then((answer) => {
      this.#waiters.delete(waiter);
      resolve(answer);
    });
    return promise;
  }

  /** Called a few times a second: who has waited long enough is told that nobody can tell. */
  sweep(): void {
    const nowMs = this.#clock.nowMs();
    for (const waiter of this.#waiters) {
      if (nowMs < waiter.untilMs) return;
      this.#waiters.delete(waiter);
      waiter.giveUp();
    }
  }

  async #ask(ip: string, pattern: string, isThere: () => boolean): Promise<boolean | null> {
    const name = await this.#names.of(ip, isThere);
    if (name === null) return null;
    if (name === 'none') return false;
    const { found } = name;
    const fits = pattern.startsWith('.') ? found.endsWith(pattern) && found !== pattern : found === pattern;
    if (!fits) return false;
    const addresses = await this.#addresses.of(found, isThere);
    if (addresses === null) return null;
    return addresses !== 'none' && addresses.found.includes(ip);
  }
}

/** `none`: there is nothing; null: nobody could tell. */
type Answer<T> = { readonly found: T } | 'none' | null;

/** A question that is asked, or was of late. */
interface Remembered<T> {
  readonly answer: Promise<Answer<T>>;
  readonly atMs: number;
  /** Whether those who ask before its turn comes are still there by then. Null once it has come. */
  askers: (() => boolean)[] | null;
}

/** Asks in turn, each question once at a time, and remembers the answer for a moment. */
class Answers<T> {
  readonly #clock: Clock;
  readonly #turns: Turns;
  readonly #ask: (question: string) => Promise<T>;
  readonly #remembered = new RecentlyUsed<Remembered<T>>(MAX_REMEMBERED);

  constructor(clock: Clock, turns: Turns, ask: (question: string) => Promise<T>) {
    this.#clock = clock;
    this.#turns = turns;
    this.#ask = ask;
  }

  /** Never rejects. Null, too: all who asked are gone, or too much is asked. */
  of(question: string, isThere: () => boolean): Promise<Answer<T>> {
    const nowMs = this.#clock.nowMs();
    const known = this.#remembered.get(question);
    if (known !== undefined && nowMs - known.atMs < REMEMBERED_MS) {
      known.askers?.push(isThere);
      return known.answer;
    }
    if (this.#turns.isFull) return Promise.resolve(null);
    const asked: Remembered<T> = {
      answer: this.#turns.take(async () => {
        // Not in the call that asks: it has yet to be remembered.
        await null;
        return this.#inTurn(question, asked);
      }),
      atMs: nowMs,
      askers: [isThere],
    };
    this.#remembered.set(question, asked);
    return asked.answer;
  }

  async #inTurn(question: string, asked: Remembered<T>): Promise<Answer<T>> {
    const isAnybodyThere = asked.askers?.some((isThere) => isThere()) === true;
    asked.askers = null;
    if (!isAnybodyThere) {
      // The next one is to have it looked up.
      if (this.#remembered.get(question) === asked) this.#remembered.delete(question);
      return null;
    }
    try {
      return { found: await this.#ask(question) };
    } catch (error) {
      return isNotFound(error) ? 'none' : null;
    }
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOTFOUND';
}
