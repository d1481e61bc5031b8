import { randomFillSync } from 'node:crypto';

/** One call to the generator costs as much as dozens of keys' worth of bytes. */
const DRAWN_BYTES = 4096;

const drawn = Buffer.alloc(DRAWN_BYTES);
let left = 0;

/** As `randomBytes` of `node:crypto`, for a few bytes at a time. The caller's own; nothing of them is kept. */
export function fewRandomBytes(bytes: number): Buffer {
  if (bytes > left) {
    if (bytes > DRAWN_BYTES) throw new RangeError(`${bytes} are not a few bytes`);
    randomFillSync(drawn);
    left = DRAWN_BYTES;
  }
  left -= bytes;
  // Kept for long, mostly: bytes of Node's pool would keep all that lies beside them.
  const taken = Buffer.alloc(bytes);
  // One by one: a call out of JavaScript for so few costs more.
  for (let i = 0; i < bytes; i++) {
    taken[i] = drawn[left + i] as number;
    drawn[left + i] = 0;
  }
  return taken;
}
