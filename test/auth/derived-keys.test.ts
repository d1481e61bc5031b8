import { expect, test } from 'vitest';
import { SaltedPasswordCache, ScramVerifierCache } from '../../src/auth/derived-keys.ts';
import { Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';

const salt = Buffer.from('0123456789abcdef');

/** Counts the derivations asked of it. */
class CountingQueue extends Pbkdf2Queue {
  count = 0;

  override derive(password: Buffer, with_: Buffer, iterations: number): Promise<Buffer> {
    this.count++;
    return super.derive(password, with_, iterations);
  }
}

test('a thousand logins of one user at once derive one verifier', async () => {
  const queue = new CountingQueue();
  const cache = new ScramVerifierCache(queue);
  const all = await Promise.all(Array.from({ length: 1000 }, () => cache.verifier('u', 'p', salt, 10)));
  expect(queue.count).toBe(1);
  expect(new Set(all).size).toBe(1);
});

test('a known verifier comes at once and keeps its iteration count', async () => {
  const cache = new ScramVerifierCache(new Pbkdf2Queue());
  const verifier = await cache.verifier('u', 'p', salt, 10);
  expect(cache.verifier('u', 'p', salt, 20)).toBe(verifier);
  expect(verifier.iterations).toBe(10);
});

test('user and password do not run into each other, and a new password gets a new verifier', async () => {
  const queue = new CountingQueue();
  const cache = new ScramVerifierCache(queue);
  const one = await cache.verifier('ab', 'c', salt, 1);
  const other = await cache.verifier('a', 'bc', salt, 1);
  const changed = await cache.verifier('ab', 'd', salt, 1);
  expect(queue.count).toBe(3);
  expect(other.storedKey.equals(one.storedKey)).toBe(false);
  expect(changed.storedKey.equals(one.storedKey)).toBe(false);
});

test('a full cache drops the entry that was used longest ago', async () => {
  const queue = new CountingQueue();
  const cache = new SaltedPasswordCache(queue, 2);
  await cache.saltedPassword('a', salt, 1);
  await cache.saltedPassword('b', salt, 1);
  await cache.saltedPassword('a', salt, 1);
  await cache.saltedPassword('c', salt, 1);
  expect(queue.count).toBe(3);
  await cache.saltedPassword('a', salt, 1);
  expect(queue.count).toBe(3);
  await cache.saltedPassword('b', salt, 1);
  expect(queue.count).toBe(4);
});

test('password, salt and iterations each make an entry of their own', async () => {
  const queue = new CountingQueue();
  const cache = new SaltedPasswordCache(queue);
  await cache.saltedPassword('a', salt, 1);
  await cache.saltedPassword('a', salt, 2);
  await cache.saltedPassword('a', Buffer.from('other'), 1);
  await cache.saltedPassword('b', salt, 1);
  expect(queue.count).toBe(4);
});

test('a failed derivation is not remembered', async () => {
  class FailingOnce extends CountingQueue {
    override derive(password: Buffer, with_: Buffer, iterations: number): Promise<Buffer> {
      const key = super.derive(password, with_, iterations);
      return this.count === 1 ? Promise.reject(new Error('out of threads')) : key;
    }
  }
  const cache = new SaltedPasswordCache(new FailingOnce());
  await expect(cache.saltedPassword('a', salt, 1)).rejects.toThrow('out of threads');
  expect(await cache.saltedPassword('a', salt, 1)).toHaveLength(32);
});
