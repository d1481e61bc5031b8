import { classifySecret, type Secret } from './secret.ts';

/** What the login of somebody unknown is made to look like. */
export interface MockProfile {
  readonly kind: Secret['kind'];
  /** Of a SCRAM challenge. */
  readonly iterations: number;
  readonly saltBytes: number;
  /** A wrong proof by SCRAM takes a derivation from all: some secrets are in the clear, and theirs do. */
  readonly derives: boolean;
}

/** Bytes of the salts that PostgreSQL and we ourselves make. */
export const USUAL_SALT_BYTES = 16;

/** `iterations` 0: as many as new secrets have. */
type Kind = Omit<MockProfile, 'derives'>;

const USUAL: Kind = { kind: 'plain', iterations: 0, saltBytes: USUAL_SALT_BYTES };

/** Secrets that auth_query has found, of which the kind is remembered. */
const MAX_RECENT = 256;

/**
 * Counts what kinds of secret there are, so that an unknown user can be asked as most users are: whoever guesses names
 * learns nothing from the method, the iteration count or the length of the salt. Keeps no secret.
 */
export class SecretTally {
  readonly #recent: Kind[] = [];
  #counts = new Map<string, number>();

  /** The secrets of `auth_file`, in place of those before. */
  setStored(texts: Iterable<string>): void {
    this.#counts = new Map();
    for (const text of texts) if (text !== '') this.#count(kindOf(text), 1);
    for (const kind of this.#recent) this.#count(kind, 1);
  }

  /** auth_query has found a secret. */
  add(text: string): void {
    if (text === '') return;
    const kind = kindOf(text);
    this.#count(kind, 1);
    this.#recent.push(kind);
    if (this.#recent.length <= MAX_RECENT) return;
    const oldest = this.#recent.shift();
    if (oldest !== undefined) this.#count(oldest, -1);
  }

  /**
   * The commonest kind; with `isScram` of those that a SCRAM login can be made from. `iterations`: those of secrets
   * that are made from plaintext.
   */
  profile(isScram: boolean, iterations: number): MockProfile {
    let best = USUAL;
    let most = 0;
    let derives = false;
    for (const [key, count] of this.#counts) {
      const kind = parseKey(key);
      if (kind.kind === 'plain') derives = true;
      if (isScram && kind.kind === 'md5') continue;
      if (count < most || (count === most && kind.kind !== 'scram')) continue;
      best = kind;
      most = count;
    }
    derives ||= best.kind === 'plain';
    return { ...best, iterations: best.iterations || iterations, derives };
  }

  #count(kind: Kind, by: number): void {
    const key = `${kind.kind}:${kind.iterations}:${kind.saltBytes}`;
    const count = (this.#counts.get(key) ?? 0) + by;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}

function parseKey(key: string): Kind {
  const [kind, iterations, saltBytes] = key.split(':');
  return { kind: kind as Kind['kind'], iterations: Number(iterations), saltBytes: Number(saltBytes) };
}

function kindOf(text: string): Kind {
  const secret = classifySecret(text);
  if (secret.kind !== 'scram') return { ...USUAL, kind: secret.kind };
  return { kind: 'scram', iterations: secret.iterations, saltBytes: secret.salt.length };
}
