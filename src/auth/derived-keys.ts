/**
 * Two small memories that keep PBKDF2 out of repeated logins. Both hold secrets and live as long as the process;
 * both drop the entry that was used longest ago once they are full. A derivation under way serves all who
 * ask for it, so a thousand clients that log in at once wait for one.
 */
import { hash } from 'node:crypto';
import type { Pbkdf2Queue } from './pbkdf2-queue.ts';
import { RecentlyUsed } from '../base/recently-used.ts';
import { saslprep } from './saslprep.ts';
import { scramKeysOf } from './scram.ts';
import type { ScramVerifier } from './secret.ts';

/** Keys are digests: they bound the size of an entry and parts cannot run into each other. */
function cacheKey(...parts: readonly (string | Buffer)[]): string {
  const digests = parts.map((part) => hash('sha256', part, 'buffer'));
  return hash('sha256', Buffer.concat(digests), 'base64');
}

/** A password that a client is to prove. */
export interface AdHocSecret {
  readonly user: string;
  readonly password: string;
  /** There is no such user: nothing proves it, which is not to show in the time that it takes. */
  readonly isMadeUp: boolean;
  readonly salt: Buffer;
  readonly iterations: number;
}

/** A derivation under way, and those who want it. */
interface Pending {
  readonly verifier: Promise<ScramVerifier>;
  readonly askers: (() => boolean)[];
}

/**
 * SCRAM verifiers made from plaintext secrets ("ad-hoc"), one per user, password and iteration count.
 */
export class ScramVerifierCache {
  readonly #pbkdf2: Pbkdf2Queue;
  readonly #cache: RecentlyUsed<ScramVerifier>;
  readonly #pending = new Map<string, Pending>();

  constructor(pbkdf2: Pbkdf2Queue, capacity = 4096) {
    this.#pbkdf2 = pbkdf2;
    this.#cache = new RecentlyUsed(capacity);
  }

  /**
   * The secret's verifier, if `isProven` says that the client's proof is of that; null: it isn't. A yes takes what it
   * takes, and nothing where the verifier is known. A no always takes a derivation of its own, begun at once: so its time
   * tells neither whether there is such a user, nor whether that one has logged in of late or does so now. Nothing is
   * derived for whom `isWanted` says is gone.
   * Errors: rejects with Pbkdf2Error.
   */
  prove(
    secret: AdHocSecret,
    isProven: (verifier: ScramVerifier) => boolean,
    isWanted: () => boolean,
  ): ScramVerifier | Promise<ScramVerifier | null> {
    const { user, password, iterations, isMadeUp } = secret;
    const key = cacheKey(user, password, String(iterations));
    const known = this.#cache.get(key);
    if (known !== undefined && isProven(known)) return known;
    const pending = this.#pending.get(key);
    if (known === undefined && pending === undefined && !isMadeUp)
      return this.#first(key, secret, isProven, isWanted);
    return this.#beside(secret, pending ?? null, isProven, isWanted);
  }

  /** Derives the verifier, for others who come meanwhile, too. */
  async #first(
    key: string,
    secret: AdHocSecret,
    isProven: (verifier: ScramVerifier) => boolean,
    isWanted: () => boolean,
  ): Promise<ScramVerifier | null> {
    const askers = [isWanted];
    const forget = (): void => {
      if (this.#pending.get(key) === pending) this.#pending.delete(key);
    };
    const isAnybodyThere = (): boolean => {
      const isSo = askers.some((isThere) => isThere());
      // Whoever comes next must not wait for what is not derived.
      if (!isSo) forget();
      return isSo;
    };
    const pending: Pending = { verifier: this.#derive(secret, isAnybodyThere), askers };
    this.#pending.set(key, pending);
    try {
      const verifier = await pending.verifier;
      this.#cache.set(key, verifier);
      return isProven(verifier) ? verifier : null;
    } finally {
      forget();
    }
  }

  /** Takes a derivation for nothing, unless `pending` has a yes before its turn comes. */
  async #beside(
    secret: AdHocSecret,
    pending: Pending | null,
    isProven: (verifier: ScramVerifier) => boolean,
    isWanted: () => boolean,
  ): Promise<ScramVerifier | null> {
    let isServed = false;
    const own = this.#derive(secret, () => !isServed && isWanted());
    if (pending !== null) {
      // Nobody may be left to hear of it.
      own.catch(() => {});
      pending.askers.push(isWanted);
      const verifier = await pending.verifier;
      isServed = isProven(verifier);
      if (isServed) return verifier;
    }
    const made = await own;
    // As is done with those of others.
    if (secret.isMadeUp) isProven(made);
    return null;
  }

  async #derive(
    { password, salt, iterations }: AdHocSecret,
    isWanted: () => boolean,
  ): Promise<ScramVerifier> {
    const prepared = saslprep(Buffer.from(password));
    const { storedKey, serverKey } = scramKeysOf(
      await this.#pbkdf2.derive(prepared, salt, iterations, isWanted),
    );
    return { iterations, salt, storedKey, serverKey };
  }
}

function remember<V>(
  cache: RecentlyUsed<V | Promise<V>>,
  key: string,
  compute: () => Promise<V>,
): V | Promise<V> {
  const known = cache.get(key);
  if (known !== undefined) return known;
  const pending = compute();
  cache.set(key, pending);
  pending.then(
    (value) => cache.settle(key, pending, value),
    () => cache.settle(key, pending, null),
  );
  return pending;
}

/** SaltedPasswords for logins on servers, so that a reconnect to the same role repeats no PBKDF2. */
export class SaltedPasswordCache {
  readonly #pbkdf2: Pbkdf2Queue;
  readonly #cache: RecentlyUsed<Buffer | Promise<Buffer>>;

  constructor(pbkdf2: Pbkdf2Queue, capacity = 1024) {
    this.#pbkdf2 = pbkdf2;
    this.#cache = new RecentlyUsed(capacity);
  }

  /** The 32 bytes of SaltedPassword; at once when known. Errors: rejects with Pbkdf2Error. */
  saltedPassword(password: string, salt: Buffer, iterations: number): Buffer | Promise<Buffer> {
    return remember(this.#cache, cacheKey(password, salt, String(iterations)), () =>
      this.#pbkdf2.derive(saslprep(Buffer.from(password)), salt, iterations),
    );
  }
}
