import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type AdHocSecret, SaltedPasswordCache, ScramVerifierCache } from '../../src/auth/derived-keys.ts';
import { Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';

const salt = Buffer.from('0123456789abcdef');

/** Counts the derivations asked of it. */
class CountingQueue extends Pbkdf2Queue {
  count = 0;
  /** Those that were still wanted when their turn came. */
  done = 0;

  override derive(
    password: Buffer,
    with_: Buffer,
    iterations: number,
    isWanted: () => boolean = () => true,
  ): Promise<Buffer> {
    this.count++;
    return super.derive(password, with_, iterations, () => {
      if (isWanted()) this.done++;
      return isWanted();
    });
  }
}

/** A queue whose derivations end when the test says so, in the order in which they were asked for. */
class HeldQueue extends Pbkdf2Queue {
  readonly wanted: (() => boolean)[] = [];
  readonly #ends: ((isDone: boolean) => void)[] = [];

  override derive(
    _password: Buffer,
    _salt: Buffer,
    _iterations: number,
    isWanted: () => boolean,
  ): Promise<Buffer> {
    this.wanted.push(isWanted);
    return new Promise((resolve, reject) => {
      this.#ends.push((isDone) => (isDone ? resolve(Buffer.alloc(32)) : reject(new Error('nobody waits'))));
    });
  }

  /** The turn of the next one comes. */
  async end(): Promise<void> {
    const wanted = this.wanted.shift()?.() === true;
    this.#ends.shift()?.(wanted);
    await setImmediate();
  }
}

const secret = (over: Partial<AdHocSecret> = {}): AdHocSecret => ({
  ...{ user: 'u', password: 'p', isMadeUp: false, salt, iterations: 10 },
  ...over,
});
const yes = () => true;
const no = () => false;

test('a thousand logins of one user at once are served by one derivation, and it by those that are behind it', async () => {
  const queue = new CountingQueue();
  const cache = new ScramVerifierCache(queue);
  const all = await Promise.all(Array.from({ length: 1000 }, () => cache.prove(secret(), yes, yes)));
  expect(new Set(all).size).toBe(1);
  // Those that begin beside it cannot be taken back.
  expect(queue.done).toBeLessThanOrEqual(4);
});

test('a known verifier comes at once; another iteration count makes another', async () => {
  const cache = new ScramVerifierCache(new Pbkdf2Queue());
  const verifier = await cache.prove(secret(), yes, yes);
  expect(verifier).toMatchObject({ iterations: 10, salt });
  expect(cache.prove(secret(), yes, yes)).toBe(verifier);
  expect(await cache.prove(secret({ iterations: 20 }), yes, yes)).toMatchObject({ iterations: 20 });
});

test('user and password do not run into each other, and a new password gets a new verifier', async () => {
  const queue = new CountingQueue();
  const cache = new ScramVerifierCache(queue);
  const one = await cache.prove(secret({ user: 'ab', password: 'c' }), yes, yes);
  const other = await cache.prove(secret({ user: 'a', password: 'bc' }), yes, yes);
  const changed = await cache.prove(secret({ user: 'ab', password: 'd' }), yes, yes);
  expect(queue.count).toBe(3);
  expect(new Set([one, other, changed].map((each) => each?.storedKey.toString('hex'))).size).toBe(3);
});

describe('whoever guesses waits for as many derivations, and puts as many in the queue, for a user', () => {
  const states = ['nobody knows', 'who has logged in', 'who logs in', 'whom others guess'] as const;
  const names = states.flatMap((state) => [true, false].map((isMadeUp) => ({ state, isMadeUp })));
  test.each(names)('$state: $isMadeUp', async ({ state, isMadeUp }) => {
    const queue = new HeldQueue();
    const cache = new ScramVerifierCache(queue);
    const guessed = secret({ isMadeUp });
    let before = 0;
    if (state === 'who has logged in') {
      void cache.prove(guessed, isMadeUp ? no : yes, yes);
      await queue.end();
    } else if (state !== 'nobody knows') {
      void cache.prove(guessed, state === 'who logs in' && !isMadeUp ? yes : no, yes);
      before = 1;
    }
    for (let attempt = 0; attempt < 2; attempt++) {
      let isOver = false;
      const answer = Promise.resolve(cache.prove(guessed, no, yes)).finally(() => {
        isOver = true;
      });
      expect(queue.wanted.length).toBe(before + 1);
      for (let i = 0; i < before; i++) await queue.end();
      before = 0;
      await setImmediate();
      expect(isOver).toBe(false);
      await queue.end();
      expect(isOver).toBe(true);
      expect(await answer).toBeNull();
    }
  });

  test.each([
    true,
    false,
  ])('nothing is derived for one who has left, and the next one gets his: %s', async (isMadeUp) => {
    const queue = new HeldQueue();
    const cache = new ScramVerifierCache(queue);
    const guessed = secret({ isMadeUp });
    const gone = Promise.resolve(cache.prove(guessed, no, no));
    void gone.catch(() => {});
    const there = Promise.resolve(cache.prove(guessed, no, yes));
    const isSkipped = queue.wanted[0]?.() === false;
    // Of a user it serves the one who is there.
    expect(isSkipped).toBe(isMadeUp);
    await queue.end();
    await queue.end();
    expect(await there).toBeNull();
  });
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
