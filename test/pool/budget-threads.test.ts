import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { BudgetKeeper } from '../../src/pool/budget-keeper.ts';
import { viewOf } from '../../src/pool/budget-view.ts';
import { SharedBudget } from '../../src/pool/shared-budget.ts';
import { Layout } from '../../src/pool/shared-memory.ts';
import { type Random, withSeed } from '../support/random.ts';
import { waitFor, within } from '../support/wait-for.ts';
import { audit } from './budget-audit.ts';
import { granted, SERVER } from './budget-stage.ts';
import {
  END,
  PLACES,
  POOL_LIMIT,
  PROGRESS,
  STOPPED,
  type ThreadTask,
  VIOLATIONS,
  WITNESS_WORDS,
} from './budget-thread.ts';

const OWNERS = 3;
const DEATHS = 24;

/** Threads that ask and give back at random, in a shared budget that is nearly always full. */
class Threads {
  readonly memory = Layout.make({ owners: OWNERS, servers: 8, clients: 4, places: 4, keys: 5 });
  readonly keeper = new BudgetKeeper(this.memory, { ring: () => {}, closeDescriptor: () => {} });
  readonly witness = new Int32Array(new SharedArrayBuffer(4 * WITNESS_WORDS));
  readonly #workers: Worker[] = [];
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  start(owner: number, stopAt: number, transfers = false): void {
    const seed = this.#random.below(2 ** 31);
    const witness = this.witness.buffer as SharedArrayBuffer;
    const task: ThreadTask = { memory: this.memory, owner, seed, witness, stopAt, transfers };
    this.#workers[owner] = new Worker(new URL('./budget-thread.ts', import.meta.url), { workerData: task });
  }

  progress(owner: number): number {
    return Atomics.load(this.witness, PROGRESS + owner);
  }

  get violations(): number {
    return Atomics.load(this.witness, VIOLATIONS);
  }

  /** One that has stopped inside of a section, and keeps the others from getting on. */
  get stopped(): number | undefined {
    return [0, 1, 2].find((owner) => Atomics.load(this.witness, STOPPED + owner) !== 0);
  }

  /** Others die as well that stop, with the lock, before the first is reclaimed. Tells whoever is dead. */
  async kill(owner: number): Promise<number[]> {
    await this.#workers[owner]?.terminate();
    for (let place = PLACES; place < WITNESS_WORDS; place++) {
      Atomics.compareExchange(this.witness, place, owner + 1, 0);
    }
    Atomics.store(this.witness, STOPPED + owner, 0);
    const dead = [owner];
    let isDone = false;
    const reclaimed = this.keeper.reclaim(owner).then(() => {
      isDone = true;
    });
    await waitFor(async () => {
      const { stopped } = this;
      if (stopped !== undefined) dead.push(...(await this.kill(stopped)));
      return isDone;
    });
    await reclaimed;
    return dead;
  }

  /** All give back what they have and end. */
  async end(): Promise<void> {
    const ends = this.#workers.map((worker) => once(worker, 'exit'));
    Atomics.store(this.witness, END, 1);
    await within(Promise.all(ends), 'the threads to end');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  async assertEmpty(): Promise<void> {
    for (let owner = 0; owner < OWNERS; owner++) await this.keeper.reclaim(owner);
    expect(audit(viewOf(this.memory, OWNERS))).toEqual([]);
    expect([this.keeper.count('server'), this.keeper.count('client')]).toEqual([0, 0]);
    const parts = {
      ring: () => {},
      askYield: () => {},
      hand: () => {},
      duplicate: () => null,
      closeDescriptor: () => {},
      full: () => {},
    };
    const budget = new SharedBudget(this.memory, 0, parts);
    for (let i = 0; i < POOL_LIMIT; i++) granted(budget.askServer({ ...SERVER, poolLimit: POOL_LIMIT }));
    expect(budget.askServer({ ...SERVER, poolLimit: POOL_LIMIT })).toBe('pool');
  }
}

describe('threads that share a budget', () => {
  it('never have more than the limits allow, whichever of them dies when', async () => {
    await withSeed(async (random) => {
      await using threads = new Threads(random);
      const stopAt = (): number => (random.below(3) === 0 ? 0 : 1 + random.below(3000));
      for (let owner = 0; owner < OWNERS; owner++) threads.start(owner, stopAt());
      for (let death = 0; death < DEATHS; death++) {
        const owner = random.below(OWNERS);
        const enough = threads.progress(owner) + random.below(5000);
        // One that has stopped inside of a section keeps the others from getting on: it is the one that dies.
        const dead = await waitFor(() => {
          const { stopped } = threads;
          return stopped !== undefined ? { owner: stopped } : threads.progress(owner) >= enough && { owner };
        });
        const gone = await threads.kill(dead.owner);
        expect(threads.violations).toBe(0);
        for (const each of gone) threads.start(each, stopAt());
      }
      // The last ones may stop, too.
      for (let owner = 0; owner < OWNERS; owner++) await threads.kill(owner);
      expect(threads.violations).toBe(0);
      await threads.assertEmpty();
    });
  });

  it('hand grants over without anybody seeing one more or one fewer', async () => {
    await withSeed(async (random) => {
      await using threads = new Threads(random);
      for (let owner = 0; owner < OWNERS; owner++) threads.start(owner, 0);
      const all = [0, 1, 2];
      await waitFor(() => all.every((owner) => threads.progress(owner) > 0));
      await threads.kill(0);
      // Only now, for nobody can be handed anything who is not there.
      threads.start(0, 0, true);
      const enough = threads.progress(0) + 20_000;
      await waitFor(() => threads.progress(0) >= enough);
      await threads.end();
      expect(threads.violations).toBe(0);
      expect(threads.keeper.count('server')).toBe(0);
      await threads.assertEmpty();
    });
  });
});
