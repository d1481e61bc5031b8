import { sameBytes } from '../auth/constant-time.ts';
import { fewRandomBytes } from '../base/random.ts';
import { PROCESS_ID_BYTES } from '../wire/backend-key-data.ts';
import { MAX_HOPS, markKey, withHops } from './peer-key.ts';

/** Bytes of the secret behind the process ID: protocol 3.0 has room for no more, 3.2 gets as many as PostgreSQL's. */
const SECRET_BYTES_30 = 4;
const SECRET_BYTES_32 = 32;

/** A peer's id leaves 2^15 process IDs: with so many clients two have to share one. */
const TRIES = 4;

interface Issued<T> {
  readonly key: Buffer;
  readonly owner: T;
  /** It names its peer, and comes with fewer hops than it was given when others have handed it on. */
  readonly isMarked: boolean;
}

/**
 * The cancel keys that clients hold: who brings one back may cancel what its owner runs. A key is a process ID of
 * ours (random, positive, no two alike unless there are too many of them) and a random secret, which is compared in
 * constant time; it tells nothing of any server's. Among peers a part of it says whose it is (see `peer-key.ts`).
 * Source: manual, `protocol-flow`, Canceling Requests in Progress; `protocol-message-formats`, BackendKeyData.
 */
export class CancelKeys<T> {
  /** Nearly always one per process ID. */
  readonly #byProcessId = new Map<number, readonly [Issued<T>, ...Issued<T>[]]>();
  /** Stands in for the key of a process ID that nobody has: looking for it takes as long. */
  readonly #nobody = fewRandomBytes(PROCESS_ID_BYTES + SECRET_BYTES_32);
  readonly #random: (bytes: number) => Buffer;
  #size = 0;

  constructor(random: (bytes: number) => Buffer = fewRandomBytes) {
    this.#random = random;
  }

  /** Keys that are out. */
  get size(): number {
    return this.#size;
  }

  /** A new key for a client that speaks protocol 3.`minor`: 8 bytes, or 36 from 3.2 on. `peerId` 0: we have no peers. */
  issue(owner: T, minor: number, peerId: number): Buffer {
    const secretBytes = minor >= 2 ? SECRET_BYTES_32 : SECRET_BYTES_30;
    for (let tries = 1; ; tries++) {
      const key = this.#random(PROCESS_ID_BYTES + secretBytes);
      key[0] = (key[0] as number) & 0x7f;
      if (peerId !== 0) markKey(key, peerId);
      const processId = processIdOf(key);
      const sharing = this.#byProcessId.get(processId);
      if (processId === 0 || (sharing !== undefined && tries < TRIES)) continue;
      if (sharing?.some((other) => other.key.equals(key)) === true) continue;
      const issued = { key, owner, isMarked: peerId !== 0 };
      this.#byProcessId.set(processId, sharing === undefined ? [issued] : [issued, ...sharing]);
      this.#size++;
      return key;
    }
  }

  /** Whose key this is, or null. `key` may have any length from that of a 3.0 key on. */
  find(key: Buffer): T | null {
    let owner: T | null = null;
    const candidates = this.#byProcessId.get(processIdOf(key));
    if (candidates === undefined) sameBytes(this.#nobody, key);
    else {
      for (const issued of candidates) {
        if (sameBytes(issued.key, issued.isMarked ? withHops(key, MAX_HOPS) : key)) owner = issued.owner;
      }
    }
    return owner;
  }

  /** The owner is gone. */
  revoke(key: Buffer): void {
    const processId = processIdOf(key);
    const sharing = this.#byProcessId.get(processId);
    if (sharing === undefined) return;
    if (sharing.length === 1 && sharing[0].key === key) {
      this.#byProcessId.delete(processId);
      this.#size--;
      return;
    }
    const [first, ...others] = sharing.filter((issued) => !issued.key.equals(key));
    this.#size -= sharing.length - others.length - (first === undefined ? 0 : 1);
    if (first === undefined) this.#byProcessId.delete(processId);
    else this.#byProcessId.set(processId, [first, ...others]);
  }
}

function processIdOf(key: Buffer): number {
  return key.readInt32BE(0);
}
