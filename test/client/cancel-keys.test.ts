import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { CancelKeys } from '../../src/client/cancel-keys.ts';
import { hopsOf, peerIdOf, withHops } from '../../src/client/peer-key.ts';

describe('a cancel key', () => {
  it.each([
    [0, 8],
    [1, 8],
    [2, 36],
  ])('for a client of protocol 3.%i has %i bytes, the first four a process ID', (minor, bytes) => {
    const keys = new CancelKeys<string>();
    for (let i = 0; i < 200; i++) {
      const key = keys.issue('ann', minor, 0);
      expect(key).toHaveLength(bytes);
      expect(key.readInt32BE(0)).toBeGreaterThan(0);
    }
  });

  it('finds its owner until it is revoked', () => {
    const keys = new CancelKeys<string>();
    const [ann, bob] = [keys.issue('ann', 0, 0), keys.issue('bob', 2, 0)];
    expect([keys.find(ann), keys.find(bob), keys.size]).toEqual(['ann', 'bob', 2]);
    keys.revoke(ann);
    expect([keys.find(ann), keys.find(bob), keys.size]).toEqual([null, 'bob', 1]);
  });

  it.each([0, 2])('of protocol 3.%i finds nobody with any bit changed, cut short or made longer', (minor) => {
    const keys = new CancelKeys<string>();
    const key = keys.issue('ann', minor, 0);
    for (let bit = 0; bit < key.length * 8; bit++) {
      const other = Buffer.from(key);
      other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(keys.find(other), `bit ${bit}`).toBeNull();
    }
    for (let length = 4; length < key.length; length++) {
      expect(keys.find(key.subarray(0, length)), `${length} bytes`).toBeNull();
    }
    for (const more of [1, 4, 28, 224]) {
      expect(keys.find(Buffer.concat([key, Buffer.alloc(more)])), `${more} more`).toBeNull();
    }
    expect(keys.find(key)).toBe('ann');
  });

  it('shares its process ID with no other, nor is that 0, so that none takes the place of another', () => {
    // The first is 0 with its sign bit taken off; the third and the fourth have the second's.
    const draws = [
      '8000000001010101',
      '0000000702020202',
      '8000000703030303',
      '0000000704040404',
      '0000000805050505',
    ];
    const keys = new CancelKeys<string>(() => Buffer.from(draws.shift() ?? '', 'hex'));
    const [ann, bob] = [keys.issue('ann', 0, 0), keys.issue('bob', 0, 0)];
    expect([ann.toString('hex'), bob.toString('hex')]).toEqual(['0000000702020202', '0000000805050505']);
    expect([keys.find(ann), keys.find(bob)]).toEqual(['ann', 'bob']);
  });

  it('has a secret of its own in every byte', () => {
    const keys = new CancelKeys<number>();
    const issued = Array.from({ length: 64 }, (_, i) => keys.issue(i, 2, 0));
    for (let at = 4; at < 36; at++) {
      // 64 random bytes of which less than 20 differ would be a miracle.
      expect(new Set(issued.map((key) => key[at])).size, `byte ${at}`).toBeGreaterThan(20);
    }
  });
});

describe('a cancel key among peers', () => {
  it.each([
    [0, 8],
    [2, 36],
  ])('of protocol 3.%i is as long as any, says whose it is, and may be handed on three times', (minor, bytes) => {
    const keys = new CancelKeys<string>();
    for (const peerId of [1, 0x0102, 16_383, 65_535]) {
      const key = keys.issue('ann', minor, peerId);
      expect(key).toHaveLength(bytes);
      expect(key.readInt32BE(0)).toBeGreaterThan(0);
      expect([key[1], key[2]]).toEqual([peerId & 0xff, peerId >> 8]);
      expect((key[7] as number) & 3).toBe(3);
      expect([peerIdOf(key), hopsOf(key)]).toEqual([peerId, 3]);
    }
  });

  it.each([
    0, 2,
  ])('of protocol 3.%i finds its owner with any number of hops left, and by no other change', (minor) => {
    const keys = new CancelKeys<string>();
    const key = keys.issue('ann', minor, 7);
    for (const hops of [0, 1, 2, 3]) expect(keys.find(withHops(key, hops))).toBe('ann');
    for (let bit = 0; bit < key.length * 8; bit++) {
      const other = Buffer.from(key);
      other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
      const isHops = bit >> 3 === 7 && (bit & 7) < 2;
      expect(keys.find(other), `bit ${bit}`).toBe(isHops ? 'ann' : null);
    }
    for (let length = 4; length < key.length; length++) expect(keys.find(key.subarray(0, length))).toBeNull();
  });

  it('keeps its random bits: 45 in 3.0', () => {
    const keys = new CancelKeys<number>();
    const issued = Array.from({ length: 200 }, (_, i) => keys.issue(i, 0, 9));
    const random = [0, 3, 4, 5, 6, 7].map((at) => new Set(issued.map((key) => key[at])).size);
    for (const [i, size] of random.entries()) expect(size, `random byte ${i}`).toBeGreaterThan(30);
  });

  it('is found although more clients are there than process IDs are left', () => {
    // A peer's id leaves 2^15 process IDs; here 2^5 are left.
    const keys = new CancelKeys<number>((bytes) => {
      const key = randomBytes(bytes);
      key.fill(0, 0, 3);
      key[3] = (key[3] as number) & 31;
      return key;
    });
    const count = 400;
    const issued = Array.from({ length: count }, (_, i) => keys.issue(i, 0, 3));
    expect(keys.size).toBe(count);
    expect(new Set(issued.map((key) => key.readInt32BE(0))).size).toBe(32);
    for (const [i, key] of issued.entries()) if (keys.find(key) !== i) expect.fail(`the key of ${i} is lost`);
    for (const [i, key] of issued.entries()) if (i % 2 === 0) keys.revoke(key);
    expect(keys.size).toBe(count / 2);
    for (const [i, key] of issued.entries()) {
      if (keys.find(key) !== (i % 2 === 0 ? null : i)) expect.fail(`the key of ${i} is wrong`);
    }
  });

  it('that was issued before peer_id was set still finds its owner', () => {
    const keys = new CancelKeys<string>();
    const [before, after] = [keys.issue('ann', 0, 0), keys.issue('bob', 0, 5)];
    expect([keys.find(before), keys.find(after)]).toEqual(['ann', 'bob']);
    keys.revoke(after);
    keys.revoke(after);
    expect([keys.find(before), keys.find(after), keys.size]).toEqual(['ann', null, 1]);
  });
});
