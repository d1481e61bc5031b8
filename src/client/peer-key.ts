/**
 * What a cancel key says of the pooler that has issued it, so that another one which gets it can hand it on. Source:
 * contract, §5.8; PgBouncer reads and writes the same, so both may be peers.
 * ```
 *  byte   0           1..2              3..6      7                          8..35 (protocol 3.2)
 *        top bit 0   peer id, little    random    6 random bits, then        random
 *        then random endian                       2 bits: hops left
 * ```
 */

/** How often a request may be handed on: as much as 2 bits hold. */
export const MAX_HOPS = 3;

const PEER_ID_AT = 1;
const HOPS_AT = 7;

/** Writes a peer's id, and all hops, into a new key. */
export function markKey(key: Buffer, peerId: number): void {
  key.writeUInt16LE(peerId, PEER_ID_AT);
  key[HOPS_AT] = (key[HOPS_AT] as number) | MAX_HOPS;
}

/** The peer that has issued the key, if it was issued by one. */
export function peerIdOf(key: Buffer): number {
  return key.readUInt16LE(PEER_ID_AT);
}

/** How often the key may still be handed on. */
export function hopsOf(key: Buffer): number {
  return (key[HOPS_AT] as number) & MAX_HOPS;
}

/** The same key with so many hops left: a copy. */
export function withHops(key: Buffer, hops: number): Buffer {
  const copy = Buffer.from(key);
  copy[HOPS_AT] = ((key[HOPS_AT] as number) & ~MAX_HOPS) | hops;
  return copy;
}
