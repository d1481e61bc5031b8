import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RareMap, RareSet } from '../../src/base/rare.ts';

const keys = fc.integer({ min: 0, max: 4 });
const steps = fc.array(
  fc.tuple(fc.constantFrom('put', 'delete', 'clear', 'look'), keys, fc.integer({ min: 0, max: 99 })),
);

test('a RareMap does what a Map does', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const rare = new RareMap<number, number>();
      const map = new Map<number, number>();
      for (const [what, key, value] of all) {
        if (what === 'put') {
          rare.set(key, value);
          map.set(key, value);
        } else if (what === 'delete') expect(rare.delete(key)).toBe(map.delete(key));
        else if (what === 'clear') {
          rare.clear();
          map.clear();
        }
        expect([rare.size, rare.has(key), rare.get(key)]).toEqual([map.size, map.has(key), map.get(key)]);
        expect([...rare]).toEqual([...map]);
        expect([[...rare.keys()], [...rare.values()]]).toEqual([[...map.keys()], [...map.values()]]);
      }
    }),
  );
});

test('a RareSet does what a Set does', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const rare = new RareSet<number>();
      const set = new Set<number>();
      for (const [what, key] of all) {
        if (what === 'put') {
          rare.add(key);
          set.add(key);
        } else if (what === 'delete') expect(rare.delete(key)).toBe(set.delete(key));
        else if (what === 'clear') {
          rare.clear();
          set.clear();
        }
        expect([rare.size, rare.has(key)]).toEqual([set.size, set.has(key)]);
        expect([...rare]).toEqual([...set]);
      }
    }),
  );
});

test('one may go on deleting from either while looking through it', () => {
  const map = new RareMap<number, number>();
  const set = new RareSet<number>();
  for (let i = 0; i < 9; i++) {
    map.set(i, i);
    set.add(i);
  }
  for (const [key] of map) map.delete(key);
  for (const value of set) set.delete(value);
  expect([map.size, set.size]).toEqual([0, 0]);
});
