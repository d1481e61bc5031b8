import { lookup, lookupService } from 'node:dns/promises';
import type { Clock } from '../base/clock.ts';
import { RecentlyUsed } from '../base/recently-used.ts';
import { Turns } from '../base/turns.ts';
import { peerName } from './address.ts';

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
/** How long a question waits for its turn: then the next rule of the HBA file decides, before `client_login_timeout` does. */
const TURN_PATIENCE_MS = 15_000;
/** How long an answer is waited for: longer than a resolver that gets none from several servers. */
const PATIENCE_MS = 30_000;
/** Addresses and names of which the answer is remembered. */
const MAX_REMEMBERED = 1000;
/** How long: a page of logins from one host, not longer than names may be wrong. */
const REMEMBERED_MS = 15_000;

/**
 * Tells whether an address is that of a host name: its name is looked up, and that name's addresses have to be it
 * again, for whoever owns an address may give it any name. Source: manual, `auth-pg-hba-conf`, host names.
 */
export class HostNames {
  readonly #turns = new Turns(MAX_RUNNING);
  readonly #names: Answers<string>;
  readonly #addresses: Answers<readonly string[]>;

  constructor(clock: Clock, resolver: NameResolver = systemResolver) {
    this.#names = new Answers(clock, this.#turns, async (ip) => {
      const name = await resolver.reverse(ip);
      return name.toLowerCase().replace(/\.$/, '');
    });
    this.#addresses = new Answers(clock, this.#turns, (name) => resolver.forward(name));
  }

  /**
   * Whether `ip` is a host of `pattern`: a name in lower case, or with a leading dot what names end in. Null: nobody
   * could tell. Peers take turns, of IPv6 as networks; nothing is looked up for whoever is not there any more when his
   * comes. Never rejects.
   */
  async isHost(ip: string, pattern: string, isWanted: () => boolean): Promise<boolean | null> {
    const who = { party: peerName(ip), isWanted };
    const name = await this.#names.of(ip, who);
    if (name === null) return null;
    if (name === 'none') return false;
    const { found } = name;
    const fits = pattern.startsWith('.') ? found.endsWith(pattern) && found !== pattern : found === pattern;
    if (!fits) return false;
    const addresses = await this.#addresses.of(found, who);
    if (addresses === null) return null;
    return addresses !== 'none' && addresses.found.includes(ip);
  }

  /** Called a few times a second. */
  sweep(): void {
    this.#turns.sweep();
    this.#names.sweep();
    this.#addresses.sweep();
  }
}

/** `none`: there is nothing; null: nobody could tell. */
type Answer<T> = { readonly found: T } | 'none' | null;

/** Whose turn a look-up is, and whether somebody still waits for it. */
interface Asker {
  readonly party: string;
  isWanted(): boolean;
}

/** A question that is asked, or was of late. */
interface Remembered<T> {
  readonly answer: Promise<Answer<T>>;
  /** Those who ask before its turn comes. */
  askers: Asker[];
  /** When the answer was there; null: it isn't. */
  atMs: number | null;
}

/** A question that the resolver has been asked. */
interface Running {
  readonly sinceMs: number;
  giveUp(): void;
}

/** Asks in turn, each question once at a time, and remembers the answer for a moment. */
class Answers<T> {
  readonly #clock: Clock;
  readonly #turns: Turns;
  readonly #ask: (question: string) => Promise<T>;
  readonly #remembered = new RecentlyUsed<Remembered<T>>(MAX_REMEMBERED);
  readonly #running = new Set<Running>();

  constructor(clock: Clock, turns: Turns, ask: (question: string) => Promise<T>) {
    this.#clock = clock;
    this.#turns = turns;
    this.#ask = ask;
  }

  /** Never rejects. Null, too: all who asked are gone, or have waited too long. */
  of(question: string, asker: Asker): Promise<Answer<T>> {
    const known = this.#remembered.get(question);
    if (known?.atMs === null) known.askers.push(asker);
    const ageMs = this.#clock.nowMs() - (known?.atMs ?? this.#clock.nowMs());
    if (known !== undefined && ageMs < REMEMBERED_MS) return known.answer;
    const { promise, resolve } = Promise.withResolvers<Answer<T>>();
    const asked: Remembered<T> = { answer: promise, askers: [asker], atMs: null };
    this.#remembered.set(question, asked);
    const answered = (answer: Answer<T>): void => {
      asked.atMs ??= this.#clock.nowMs();
      resolve(answer);
    };
    const sinceMs = this.#clock.nowMs();
    void this.#turns.take({
      party: asker.party,
      isWanted: () => {
        asked.askers = asked.askers.filter((one) => one.isWanted());
        return asked.askers.length > 0 && this.#clock.nowMs() - sinceMs < TURN_PATIENCE_MS;
      },
      work: () => this.#run(question, answered),
      unwanted: () => {
        // The next one is to have it looked up.
        if (this.#remembered.get(question) === asked) this.#remembered.delete(question);
        resolve(null);
      },
    });
    return promise;
  }

  /** Called a few times a second. The turn lasts for as long as the resolver is busy with it. */
  sweep(): void {
    const nowMs = this.#clock.nowMs();
    for (const running of this.#running) if (nowMs - running.sinceMs >= PATIENCE_MS) running.giveUp();
  }

  async #run(question: string, answered: (answer: Answer<T>) => void): Promise<void> {
    const running = { sinceMs: this.#clock.nowMs(), giveUp: () => answered(null) };
    this.#running.add(running);
    try {
      answered({ found: await this.#ask(question) });
    } catch (error) {
      answered(isNotFound(error) ? 'none' : null);
    } finally {
      this.#running.delete(running);
    }
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOTFOUND';
}
