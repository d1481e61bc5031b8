import { describe, expect, test } from 'vitest';
import {
  type FoundSecret,
  type LookupTarget,
  readSecretAnswer,
  SecretLookups,
} from '../../src/auth/secret-lookups.ts';
import { ManualClock } from '../support/manual-clock.ts';

const target: LookupTarget = { key: 'd\0u\0q', database: 'd', user: 'u', sql: 'q', isGuessed: false };
const asker = () => ({ isAbandoned: false });

/** Lookups that are answered when the test says so. */
class Asked {
  readonly clock = new ManualClock();
  readonly names: string[] = [];
  readonly wanted: (() => boolean)[] = [];
  readonly lookups: SecretLookups;
  #answers: ((found: FoundSecret) => void)[] = [];

  constructor(ttlMs = 1000) {
    this.lookups = new SecretLookups({
      clock: this.clock,
      ttlMs: () => ttlMs,
      run: (_target, name, isWanted) => {
        this.names.push(name);
        this.wanted.push(isWanted);
        return new Promise((resolve) => this.#answers.push(resolve));
      },
    });
  }

  /** Looks `name` up; gives the secret, and whether PostgreSQL was asked for it. */
  async find(name: string, secret: string | null): Promise<[string | null, boolean]> {
    const before = this.names.length;
    const result = this.lookups.find(target, name, asker());
    this.answer(secret === null ? { kind: 'none' } : { kind: 'row', name, secret });
    const { found } = await result;
    return [found.kind === 'row' ? found.secret : null, this.names.length > before];
  }

  answer(found: FoundSecret): void {
    for (const resolve of this.#answers.splice(0)) resolve(found);
  }
}

describe('answers', () => {
  test('serve until they are too old', async () => {
    const asked = new Asked();
    expect(await asked.find('a', '1')).toEqual(['1', true]);
    asked.clock.advance(999);
    expect(await asked.find('a', '2')).toEqual(['1', false]);
    asked.clock.advance(1);
    expect(await asked.find('a', '3')).toEqual(['3', true]);
  });

  test('are not kept with a time of 0, nor when there were none', async () => {
    const none = new Asked(0);
    expect(await none.find('a', '1')).toEqual(['1', true]);
    expect(await none.find('a', '2')).toEqual(['2', true]);
    const asked = new Asked();
    const failing = asked.lookups.find(target, 'a', asker());
    asked.answer({ kind: 'failed', error: { severity: 'FATAL', sqlstate: '08P01', message: 'x' } });
    expect((await failing).found.kind).toBe('failed');
    expect(await asked.find('a', '1')).toEqual(['1', true]);
    const hidden = asked.lookups.find(target, 'b', asker());
    asked.answer({ kind: 'none', isUnsure: true });
    expect((await hidden).found.kind).toBe('none');
    expect(await asked.find('b', '1')).toEqual(['1', true]);
  });

  test('that are distrusted are asked for again, found or not', async () => {
    const asked = new Asked();
    for (const secret of ['1', null]) {
      await asked.find('a', secret);
      expect(await asked.find('a', 'other')).toEqual([secret, false]);
      asked.lookups.distrust(target, 'a');
      expect(await asked.find('a', secret)).toEqual([secret, true]);
      asked.lookups.distrust(target, 'a');
    }
  });

  test('of one target are not those of another', async () => {
    const asked = new Asked();
    await asked.find('a', '1');
    const elsewhere = asked.lookups.find({ ...target, key: 'other' }, 'a', asker());
    expect(elsewhere).toBeInstanceOf(Promise);
  });

  test('for names that nobody has do not push out those of users, nor pile up', async () => {
    const asked = new Asked();
    await asked.find('a', '1');
    for (let i = 0; i < 1001; i++) await asked.find(`guess ${i}`, null);
    expect(await asked.find('a', '2')).toEqual(['1', false]);
    // The oldest guess has made room for the last one.
    expect(await asked.find('guess 1000', null)).toEqual([null, false]);
    expect(await asked.find('guess 0', null)).toEqual([null, true]);
  });

  test('do not outlive a new configuration, even those on their way', async () => {
    const asked = new Asked();
    const early = asked.lookups.find(target, 'a', asker());
    asked.lookups.clear();
    asked.answer({ kind: 'row', name: 'a', secret: 'old' });
    expect((await early).found).toMatchObject({ secret: 'old' });
    expect(await asked.find('a', 'new')).toEqual(['new', true]);
  });
});

test('logins of the same name at the same time share a query, which is wanted while one of them is there', async () => {
  const asked = new Asked();
  const askers = [{ isAbandoned: false }, { isAbandoned: false }];
  const results = askers.map((each) => asked.lookups.find(target, 'a', each));
  expect(asked.names).toEqual(['a']);
  const [first, second] = askers;
  if (first !== undefined) first.isAbandoned = true;
  expect(asked.wanted[0]?.()).toBe(true);
  if (second !== undefined) second.isAbandoned = true;
  expect(asked.wanted[0]?.()).toBe(false);
  asked.answer({ kind: 'none' });
  for (const result of results)
    expect(await result).toMatchObject({ found: { kind: 'none' }, isCached: false });
});

test.each([
  [
    { columns: 2, row: ['a', null] },
    { kind: 'row', name: 'a', secret: null },
  ],
  [
    { columns: 2, row: ['x'.repeat(127), 's'] },
    { kind: 'row', name: 'x'.repeat(127), secret: 's' },
  ],
  [{ columns: 2, row: ['x'.repeat(128), 's'] }, 'failed'],
  [{ columns: 2, row: ['', 's'] }, 'failed'],
  [{ columns: 2, row: [null, 's'] }, 'failed'],
  [{ columns: 1, row: ['a'] }, 'failed'],
  [{ columns: 0, row: null }, 'failed'],
  [{ columns: 2, row: null }, { kind: 'none' }],
])('the answer %j is read as %j', (answer, expected) => {
  const complaints: string[] = [];
  const found = readSecretAnswer({ ...answer, isError: false }, (text) => complaints.push(text));
  expect(found).toMatchObject(typeof expected === 'string' ? { kind: expected } : expected);
  expect(complaints.length).toBe(expected === 'failed' ? 1 : 0);
});
