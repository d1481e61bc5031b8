import { describe, expect, it } from 'vitest';
import { CancelKeys } from '../../src/client/cancel-keys.ts';

describe('a cancel key', () => {
  it.each([
    [0, 8],
    [1, 8],
    [2, 36],
  ])('for a client of protocol 3.%i has %i bytes, the first four a process ID', (minor, bytes) => {
    const keys = new CancelKeys<string>();
    for (let i = 0; i < 200; i++) {
      const key = keys.issue('ann', minor);
      expect(key).toHaveLength(bytes);
      expect(key.readInt32BE(0)).toBeGreaterThan(0);
    }
  });

  it('finds its owner until it is revoked', () => {
    const keys = new CancelKeys<string>();
    const [ann, bob] = [keys.issue('ann', 0), keys.issue('bob', 2)];
    expect([keys.find(ann), keys.find(bob), keys.size]).toEqual(['ann', 'bob', 2]);
    keys.revoke(ann);
    expect([keys.find(ann), keys.find(bob), keys.size]).toEqual([null, 'bob', 1]);
  });

  it.each([0, 2])('of protocol 3.%i finds nobody with any bit changed, cut short or made longer', (minor) => {
    const keys = new CancelKeys<string>();
    const key = keys.issue('ann', minor);
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
    const [ann, bob] = [keys.issue('ann', 0), keys.issue('bob', 0)];
    expect([ann.toString('hex'), bob.toString('hex')]).toEqual(['0000000702020202', '0000000805050505']);
    expect([keys.find(ann), keys.find(bob)]).toEqual(['ann', 'bob']);
  });

  it('has a secret of its own in every byte', () => {
    const keys = new CancelKeys<number>();
    const issued = Array.from({ length: 64 }, (_, i) => keys.issue(i, 2));
    for (let at = 4; at < 36; at++) {
      // 64 random bytes of which less than 20 differ would be a miracle.
      expect(new Set(issued.map((key) => key[at])).size, `byte ${at}`).toBeGreaterThan(20);
    }
  });
});
