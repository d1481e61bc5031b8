import { randomBytes } from 'node:crypto';

/** 8 random bytes for BackendKeyData; the first four are a process ID to the client, so their top bit is 0. */
export function newCancelKey(): Buffer {
  const key = randomBytes(8);
  key[0] = (key[0] as number) & 0x7f;
  return key;
}
