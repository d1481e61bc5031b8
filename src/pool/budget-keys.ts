import { hash } from 'node:crypto';
import { RecentlyUsed } from '../base/recently-used.ts';
import { type GrantKind, poolKey, type YieldScope } from './budget.ts';

/** Pairs of a database and a user whose hashes are remembered. */
const REMEMBERED = 4096;

/** 128 bits that stand for a key's text. */
export type KeyHash = Int32Array;

/** What a grant counts under beside `all`. */
export interface GrantKeys {
  readonly database: KeyHash;
  readonly user: KeyHash;
  readonly pool: KeyHash;
}

/**
 * The hash of a key's text. Names come from the network, and whoever found two with the same hash would have them share
 * a limit, so it is a strong one, cut.
 */
export function strongHash(text: string): KeyHash {
  const words = new Int32Array(4);
  const digest = hash('sha256', text, 'buffer');
  for (let word = 0; word < 4; word++) words[word] = digest.readInt32LE(4 * word);
  return words;
}

/** The keys that grants count under. Names cannot contain a zero byte. */
export class BudgetKeys {
  readonly #hash: (text: string) => KeyHash;
  readonly #remembered = new RecentlyUsed<GrantKeys>(REMEMBERED);

  constructor(hashText: (text: string) => KeyHash = strongHash) {
    this.#hash = hashText;
  }

  of(kind: GrantKind, database: string, user: string): GrantKeys {
    const pair = kind === 'server' ? `s${poolKey(database, user)}` : `c${poolKey(database, user)}`;
    let keys = this.#remembered.get(pair);
    if (keys === undefined) {
      keys = {
        database: this.database(kind, database),
        user: this.user(kind, user),
        pool: this.pool(kind, poolKey(database, user)),
      };
      this.#remembered.set(pair, keys);
    }
    return keys;
  }

  database(kind: GrantKind, name: string): KeyHash {
    return this.#hash(`${kind}:d:${name}`);
  }

  user(kind: GrantKind, name: string): KeyHash {
    return this.#hash(`${kind}:u:${name}`);
  }

  /** Of what server connections count under within a limit over several pools. */
  ofScope({ kind, name }: YieldScope): KeyHash {
    return kind === 'database' ? this.database('server', name) : this.user('server', name);
  }

  /** `key` as {@link poolKey} makes it. */
  pool(kind: GrantKind, key: string): KeyHash {
    return this.#hash(`${kind}:p:${key}`);
  }
}
