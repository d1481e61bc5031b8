import { randomBytes } from 'node:crypto';
import { sameBytes } from '../auth/constant-time.ts';
import { PROCESS_ID_BYTES } from '../wire/backend-key-data.ts';

/** Bytes of the secret behind the process ID: protocol 3.0 has room for no more, 3.2 gets as many as PostgreSQL's. */
const SECRET_BYTES_30 = 4;
const SECRET_BYTES_32 = 32;

/**
 * The cancel keys that clients hold: who brings one back may cancel what its owner runs. A key is a process ID of
 * ours (random, positive, no two alike) and a random secret, which is compared in constant time; it tells nothing of
 * any server's.
 * Source: manual, `protocol-flow`, Canceling Requests in Progress; `protocol-message-formats`, BackendKeyData.
 */
export class CancelKeys<T> {
  readonly #byProcessId = new Map<number, { readonly key: Buffer; readonly owner: T }>();
  /** Stands in for the key of a process ID that nobody has: looking for it takes as long. */
  readonly #nobody = randomBytes(PROCESS_ID_BYTES + SECRET_BYTES_32);
  readonly #random: (bytes: number) => Buffer;

  constructor(random: (bytes: number) => Buffer = randomBytes) {
    this.#random = random;
  }

  /** Keys that are out. */
  get size(): number {
    return this.#byProcessId.size;
  }

  /** A new key for a client that speaks protocol 3.`minor`: 8 bytes, or 36 from 3.2 on. */
  issue(owner: T, minor: number): Buffer {
    const secretBytes = minor >= 2 ? SECRET_BYTES_32 : SECRET_BYTES_30;
    for (;;) {
      const key = this.#random(PROCESS_ID_BYTES + secretBytes);
      key[0] = (key[0] as number) & 0x7f;
      const processId = processIdOf(key);
      if (processId === 0 || this.#byProcessId.has(processId)) continue;
      this.#byProcessId.set(processId, { key, owner });
      return key;
    }
  }

  /** Whose key this is, or null. `key` may have any length from that of a process ID on. */
  find(key: Buffer): T | null {
    const entry = this.#byProcessId.get(processIdOf(key));
    const isSame = sameBytes(entry?.key ?? this.#nobody, key);
    return isSame && entry !== undefined ? entry.owner : null;
  }

  /** The owner is gone. */
  revoke(key: Buffer): void {
    this.#byProcessId.delete(processIdOf(key));
  }
}

function processIdOf(key: Buffer): number {
  return key.readInt32BE(0);
}
