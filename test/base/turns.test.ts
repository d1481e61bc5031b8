import { expect, test } from 'vitest';
import { Turns } from '../../src/base/turns.ts';
import { waitFor } from '../support/wait-for.ts';

test('so many at a time, the others in their order, also behind one that has failed', async () => {
  const turns = new Turns(2, 2);
  const begun: number[] = [];
  const ends: PromiseWithResolvers<number>[] = [];
  const take = (i: number): Promise<number> =>
    turns.take(() => {
      begun.push(i);
      const end = Promise.withResolvers<number>();
      ends.push(end);
      return end.promise;
    });
  const taken = [0, 1].map(take);
  expect(turns.isFull).toBe(false);
  taken.push(...[2, 3].map(take));
  expect(turns.isFull).toBe(true);
  expect(begun).toEqual([0, 1]);
  ends[1]?.reject(new Error('one'));
  await expect(taken[1]).rejects.toThrow('one');
  await waitFor(() => begun.length === 3, { what: 'the third' });
  expect(begun).toEqual([0, 1, 2]);
  expect(turns.isFull).toBe(false);
  for (let i = 0; i < 4; i++) {
    await waitFor(() => ends.length > i, { what: 'the next one' });
    if (i !== 1) ends[i]?.resolve(i);
  }
  expect(await Promise.all([taken[0], taken[2], taken[3]])).toEqual([0, 2, 3]);
  expect(await turns.take(() => 4)).toBe(4);
});
