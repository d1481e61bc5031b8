import { pbkdf2Sync } from 'node:crypto';
import { expect, test } from 'vitest';
import { MAX_PBKDF2_ITERATIONS, Pbkdf2Error, Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';

const salt = Buffer.from('salt');

test('the key is PBKDF2 with HMAC-SHA-256', async () => {
  const key = await new Pbkdf2Queue().derive(Buffer.from('pencil'), salt, 10);
  expect(key).toEqual(pbkdf2Sync('pencil', salt, 10, 32, 'sha256'));
});

test('no more than the set number run at once, the rest wait and are served in order', async () => {
  const queue = new Pbkdf2Queue(1);
  const order: number[] = [];
  let most = 0;
  const all = [0, 1, 2, 3, 4].map(async (n) => {
    await queue.derive(Buffer.from(`p${n}`), salt, 100);
    most = Math.max(most, queue.running);
    order.push(n);
  });
  expect([queue.running, queue.waiting]).toEqual([1, 4]);
  await Promise.all(all);
  expect(order).toEqual([0, 1, 2, 3, 4]);
  expect(most).toBeLessThanOrEqual(1);
  expect([queue.running, queue.waiting]).toEqual([0, 0]);
});

test('work that nobody waits for any more is skipped and does not hold up the queue', async () => {
  const queue = new Pbkdf2Queue(1);
  const first = queue.derive(Buffer.from('a'), salt, 100);
  const skipped = queue.derive(Buffer.from('b'), salt, MAX_PBKDF2_ITERATIONS, () => false);
  const last = queue.derive(Buffer.from('c'), salt, 1);
  await expect(skipped).rejects.toBeInstanceOf(Pbkdf2Error);
  await first;
  expect(await last).toEqual(pbkdf2Sync('c', salt, 1, 32, 'sha256'));
});

test.each([
  0,
  -1,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  MAX_PBKDF2_ITERATIONS + 1,
  2 ** 31,
])('%d iterations are refused without occupying the queue', async (iterations) => {
  const queue = new Pbkdf2Queue(1);
  const refused = queue.derive(Buffer.from('a'), salt, iterations);
  expect([queue.running, queue.waiting]).toEqual([0, 0]);
  await expect(refused).rejects.toBeInstanceOf(Pbkdf2Error);
});
