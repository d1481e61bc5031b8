/**
 * Two small memories that keep PBKDF2 out of repeated logins. Both hold secrets and live as long as the process;
 * both drop the entry that was used longest ago once they are full. A derivation under way is shared by all who
 * ask for it, so a thousand clients that log in at once cost one.
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

/**
 * SCRAM verifiers made from plaintext secrets ("ad-hoc"), one per user and password. An entry keeps the iteration
 * count that it was made with, also when `scram_iterations` changes. Source: PgBouncer `scram_iterations`.
 */
export class ScramVerifierCache {
  readonly #pbkdf2: Pbkdf2Queue;
  readonly #cache: RecentlyUsed<ScramVerifier | Promise<ScramVerifier>>;
  readonly #madeUp: RecentlyUsed<ScramVerifier | Promise<ScramVerifier>>;

  constructor(pbkdf2: Pbkdf2Queue, capacity = 4096) {
    this.#pbkdf2 = pbkdf2;
    this.#cache = new RecentlyUsed(capacity);
    this.#madeUp = new RecentlyUsed(capacity);
  }

  /**
   * The verifier of a user's password; at once when known. `salt` and `iterations` serve a new one. `isMadeUpFor`: there
   * is no such user, which is not to show in the time that it takes; those push out nothing of the others, and none is
   * derived for whom the call says is gone.
   * Errors: rejects with Pbkdf2Error.
   */
  verifier(
    user: string,
    password: string,
    salt: Buffer,
    iterations: number,
    isMadeUpFor: (() => boolean) | null = null,
  ): ScramVerifier | Promise<ScramVerifier> {
    return remember(isMadeUpFor === null ? this.#cache : this.#madeUp, cacheKey(user, password), async () => {
      const prepared = saslprep(Buffer.from(password));
      const salted = await this.#pbkdf2.derive(prepared, salt, iterations, isMadeUpFor ?? undefined);
      const { storedKey, serverKey } = scramKeysOf(salted);
      return { iterations, salt, storedKey, serverKey };
    });
  }
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
