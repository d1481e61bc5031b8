import { randomBytes } from 'node:crypto';

/** Process ID and secret together. */
export const CANCEL_KEY_BYTES = 8;

/** 8 random bytes for BackendKeyData; the first four are a process ID to the client, so their top bit is 0. */
export function newCancelKey(): Buffer {
  const key = randomBytes(CANCEL_KEY_BYTES);
  key[0] = (key[0] as number) & 0x7f;
  return key;
}
