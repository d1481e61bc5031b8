import { expect, test } from 'vitest';
import { Turns } from '../../src/base/turns.ts';
import { waitFor } from '../support/wait-for.ts';

/** Takes turns that the test ends. */
class Stage {
  readonly turns = new Turns(2);
  readonly begun: string[] = [];
  readonly ends: PromiseWithResolvers<string>[] = [];
  readonly gone = new Set<string>();

  take(name: string, party?: string): Promise<string> {
    return this.turns.take({
      ...(party === undefined ? {} : { party }),
      isWanted: () => !this.gone.has(name),
      work: () => {
        this.begun.push(name);
        const end = Promise.withResolvers<string>();
        this.ends.push(end);
        return end.promise;
      },
      unwanted: () => `${name} is not wanted`,
    });
  }

  /** Ends the one that has begun as the nth, once it has. */
  async end(nth: number): Promise<void> {
    await waitFor(() => this.ends.length > nth, { what: 'its turn' });
    this.ends[nth]?.resolve(this.begun[nth] ?? '');
  }
}

test('so many at a time, the others in their order, also behind one that has failed', async () => {
  const stage = new Stage();
  const taken = ['0', '1', '2', '3'].map((name) => stage.take(name));
  expect(stage.begun).toEqual(['0', '1']);
  stage.ends[1]?.reject(new Error('one'));
  await expect(taken[1]).rejects.toThrow('one');
  await waitFor(() => stage.begun.length === 3, { what: 'the third' });
  expect(stage.begun).toEqual(['0', '1', '2']);
  for (const nth of [0, 2, 3]) await stage.end(nth);
  expect(await Promise.all([taken[0], taken[2], taken[3]])).toEqual(['0', '2', '3']);
  const last = stage.take('4');
  await stage.end(4);
  expect(await last).toBe('4');
});

test('what nobody wants goes with the sweep, or when its turn comes', async () => {
  const stage = new Stage();
  const taken = ['0', '1', '2', '3', '4'].map((name) => stage.take(name));
  stage.gone.add('2');
  stage.turns.sweep();
  expect(await taken[2]).toBe('2 is not wanted');
  stage.gone.add('3');
  await stage.end(0);
  await stage.end(2);
  expect(await Promise.all([taken[3], taken[4]])).toEqual(['3 is not wanted', '4']);
  expect(stage.begun).toEqual(['0', '1', '4']);
});

test('one party after the other', async () => {
  const stage = new Stage();
  for (const i of [0, 1, 2, 3]) void stage.take(`a${i}`, 'a');
  for (const i of [0, 1]) void stage.take(`b${i}`, 'b');
  void stage.take('c0', 'c');
  for (let nth = 0; nth < 7; nth++) await stage.end(nth);
  expect(stage.begun).toEqual(['a0', 'a1', 'a2', 'b0', 'c0', 'a3', 'b1']);
});
