import type { Clock } from '../base/clock.ts';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import { RecentlyUsed } from '../base/recently-used.ts';

/** Where and how a name is looked up. Plain data; `key` is the same for what gives the same answers. */
export interface LookupTarget {
  readonly key: string;
  readonly database: string;
  readonly user: string;
  readonly sql: string;
  /** Nobody but the client has named the database, which need not be there. */
  readonly isGuessed: boolean;
}

/** What PostgreSQL knows of a name. `name` is the first column, and who the client is once it has proved it. */
export type FoundSecret =
  | { readonly kind: 'row'; readonly name: string; readonly secret: string | null }
  /** `isUnsure`: something else was wrong, which nobody is to learn. */
  | { readonly kind: 'none'; readonly isUnsure?: true }
  | { readonly kind: 'failed'; readonly error: PgErrorFields };

/** A login that waits. Identity matters: several may wait for the same answer. */
export interface LookupAsker {
  readonly isAbandoned: boolean;
}

/** An answer, and whether it is one from before this login. */
export interface LookupResult {
  readonly found: FoundSecret;
  readonly isCached: boolean;
}

export interface SecretLookupsParts {
  readonly clock: Clock;
  /** How long an answer may be used again; 0: not at all. */
  readonly ttlMs: () => number;
  /** Asks PostgreSQL. Never rejects. */
  readonly run: (target: LookupTarget, name: string, isWanted: () => boolean) => Promise<FoundSecret>;
}

/** Names with an answer are as many as there are roles; those without are as many as strangers can think of. */
const MAX_KNOWN = 10_000;
const MAX_UNKNOWN = 1_000;

interface Entry {
  readonly found: FoundSecret;
  readonly atMs: number;
}

interface Pending {
  readonly promise: Promise<FoundSecret>;
  readonly askers: Set<LookupAsker>;
}

/**
 * Secrets that `auth_query` finds. Logins of the same name share one query, and its answer serves those of the next
 * moments; a login that fails on such an answer has it looked up anew (pgbouncer #1302). Holds secrets: never log it.
 */
export class SecretLookups {
  readonly #parts: SecretLookupsParts;
  readonly #known = new RecentlyUsed<Entry>(MAX_KNOWN);
  readonly #unknown = new RecentlyUsed<Entry>(MAX_UNKNOWN);
  readonly #pending = new Map<string, Pending>();

  constructor(parts: SecretLookupsParts) {
    this.#parts = parts;
  }

  /** The answer for `name`, at once where there is a fresh one. */
  find(target: LookupTarget, name: string, asker: LookupAsker): LookupResult | Promise<LookupResult> {
    const key = keyOf(target, name);
    const entry = this.#known.get(key) ?? this.#unknown.get(key);
    const ageMs = entry === undefined ? Infinity : this.#parts.clock.nowMs() - entry.atMs;
    if (entry !== undefined && ageMs < this.#parts.ttlMs()) return { found: entry.found, isCached: true };
    return this.refresh(target, name, asker).then((found) => ({ found, isCached: false }));
  }

  /** As {@link find}, from PostgreSQL. */
  refresh(target: LookupTarget, name: string, asker: LookupAsker): Promise<FoundSecret> {
    const key = keyOf(target, name);
    const pending = this.#pending.get(key);
    if (pending !== undefined) {
      pending.askers.add(asker);
      return pending.promise;
    }
    const askers = new Set([asker]);
    const isWanted = () => [...askers].some(({ isAbandoned }) => !isAbandoned);
    const promise = this.#parts.run(target, name, isWanted).then((found) => {
      if (this.#pending.get(key)?.askers === askers) {
        this.#pending.delete(key);
        this.#keep(key, found);
      }
      return found;
    });
    this.#pending.set(key, { promise, askers });
    return promise;
  }

  /** What is known of `name` may be out of date: the next login has it looked up. */
  distrust(target: LookupTarget, name: string): void {
    const key = keyOf(target, name);
    this.#known.delete(key);
    this.#unknown.delete(key);
  }

  /** Another configuration is in force. Answers on their way still serve those who wait for them. */
  clear(): void {
    this.#known.clear();
    this.#unknown.clear();
    this.#pending.clear();
  }

  #keep(key: string, found: FoundSecret): void {
    this.#known.delete(key);
    this.#unknown.delete(key);
    const isNews = found.kind === 'row' || (found.kind === 'none' && found.isUnsure !== true);
    if (!isNews || this.#parts.ttlMs() === 0) return;
    const entries = found.kind === 'row' ? this.#known : this.#unknown;
    entries.set(key, { found, atMs: this.#parts.clock.nowMs() });
  }
}

/** Longest name of a role that a login can end as. Bytes; PgBouncer's limit. */
const MAX_NAME_BYTES = 127;

/**
 * Reads the answer to `auth_query`: two columns, the last row counts. `complain` gets what is wrong with it, for the
 * log. Source: PgBouncer `auth_query`.
 */
export function readSecretAnswer(
  answer: {
    readonly columns: number;
    readonly row: readonly (string | null)[] | null;
    readonly isError: boolean;
  },
  complain: (text: string) => void,
): FoundSecret {
  const failed: FoundSecret = { kind: 'failed', error: fatal('bouncer config error') };
  if (answer.isError) return failed;
  if (answer.columns !== 2) {
    complain(`expected 2 columns from auth_query, not ${answer.columns}`);
    return failed;
  }
  if (answer.row === null) return { kind: 'none' };
  const [name = null, secret = null] = answer.row;
  if (name === null) {
    complain('auth_query response contained null user name');
    return failed;
  }
  if (name === '' || Buffer.byteLength(name) > MAX_NAME_BYTES) {
    complain('auth_query response contained a user name that can be nobody’s');
    return failed;
  }
  return { kind: 'row', name, secret };
}

/** Names from the network have no zero byte. */
function keyOf(target: LookupTarget, name: string): string {
  return `${target.key}\0${name}`;
}
