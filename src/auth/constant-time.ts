/** Comparisons whose time tells an attacker nothing about the secret. */
import { hash, timingSafeEqual } from 'node:crypto';

/**
 * Whether two byte strings are equal. They may differ in length: both are hashed first, so neither the length
 * nor the first difference of a secret shows in the time taken.
 */
export function sameBytes(a: Buffer, b: Buffer): boolean {
  return timingSafeEqual(hash('sha256', a, 'buffer'), hash('sha256', b, 'buffer'));
}
