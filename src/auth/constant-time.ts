/** Comparisons whose time tells an attacker nothing about the secret. */
import { createHash, timingSafeEqual } from 'node:crypto';

/**
 * Whether two byte strings are equal. They may differ in length: both are hashed first, so neither the length
 * nor the first difference of a secret shows in the time taken.
 */
export function sameBytes(a: Buffer, b: Buffer): boolean {
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
}
