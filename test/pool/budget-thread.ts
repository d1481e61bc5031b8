import { workerData } from 'node:worker_threads';
import { SharedSection } from '../../src/base/shared-section.ts';
import type { Grant } from '../../src/pool/budget.ts';
import { viewOf } from '../../src/pool/budget-view.ts';
import { SharedBudget } from '../../src/pool/shared-budget.ts';
import type { SharedMemory } from '../../src/pool/shared-memory.ts';
import { Random } from '../support/random.ts';
import { CLIENT, SERVER } from './budget-stage.ts';

/** What a thread of the random test is to do. */
export interface ThreadTask {
  readonly memory: SharedMemory;
  readonly owner: number;
  readonly seed: number;
  /** Int32 words, see below. */
  readonly witness: SharedArrayBuffer;
  /** Stops for ever at this step inside of a section; 0 = never. */
  readonly stopAt: number;
  /** Hands what it has to others, and takes it back. */
  readonly transfers: boolean;
}

/** Words of the witness: end, violations, then progress and stopped of each owner, then the places of each pool. */
export const END = 0;
export const VIOLATIONS = 1;
export const PROGRESS = 2;
export const STOPPED = 10;
export const PLACES = 20;

export const POOLS = 3;
export const POOL_LIMIT = 2;
export const TOTAL_LIMIT = 4;

/** Clients: in all, of which one of each user. */
const CLIENT_LIMIT = 2;

/** Places of each pool, then those of the database that all pools are of, of all clients, and of each user's. */
const DATABASE_PLACES = PLACES + POOLS * POOL_LIMIT;
const CLIENT_PLACES = DATABASE_PLACES + TOTAL_LIMIT;
const USER_PLACES = CLIENT_PLACES + CLIENT_LIMIT;
export const WITNESS_WORDS = USER_PLACES + POOLS;

class Stopping extends SharedSection {
  left = 0;
  stop: () => void = () => {};

  override write(index: number, value: number): void {
    this.#step();
    super.write(index, value);
  }

  override commit(): void {
    this.#step();
    super.commit();
  }

  #step(): void {
    if (this.left > 0 && --this.left === 0) this.stop();
  }
}

function run({ memory, owner, seed, witness, stopAt, transfers }: ThreadTask): void {
  const random = new Random(seed);
  const words = new Int32Array(witness);
  const never = new Int32Array(new SharedArrayBuffer(4));
  const view = viewOf(memory, owner, (layout, me) => {
    const section = new Stopping(layout.words, layout.section, me);
    section.left = stopAt;
    section.stop = () => {
      Atomics.store(words, STOPPED + owner, 1);
      Atomics.wait(never, 0, 0);
    };
    return section;
  });
  const quiet = {
    ring: () => {},
    askYield: () => {},
    hand: () => {},
    // None that could be closed by mistake.
    duplicate: () => 1 << 20,
    closeDescriptor: () => {},
    full: () => {},
  };
  const budget = new SharedBudget(memory, owner, quiet, { view });
  budget.join(budget.name, { onFreed: () => {}, yieldServer: () => 'nothing' as const });

  const sit = (at: number, places: number): number => {
    for (let look = 0; look < 1000; look++) {
      for (let place = at; place < at + places; place++) {
        if (Atomics.compareExchange(words, place, 0, owner + 1) === 0) return place;
      }
    }
    Atomics.add(words, VIOLATIONS, 1);
    return END;
  };
  const stand = (place: number): void => {
    if (place !== END) Atomics.store(words, place, 0);
  };
  const held: { grant: Grant; places: number[] }[] = [];
  const giveBack = (index: number): void => {
    const [one] = held.splice(index, 1);
    if (one === undefined) return;
    for (const place of one.places) stand(place);
    budget.giveBack(one.grant);
  };
  const logIn = (): void => {
    const user = random.below(POOLS);
    const ask = { ...CLIENT, owner: budget.name };
    const place = budget.askClient({ ...ask, user: '', totalLimit: CLIENT_LIMIT });
    if (typeof place === 'string') return;
    const places = [sit(CLIENT_PLACES, CLIENT_LIMIT)];
    const proved = budget.askClient({ ...ask, user: `u${user}`, userLimit: 1, held: place });
    if (typeof proved !== 'string') places.push(sit(USER_PLACES + user, 1));
    held.push({ grant: typeof proved === 'string' ? place : proved, places });
  };
  while (Atomics.load(words, END) === 0) {
    Atomics.add(words, PROGRESS + owner, 1);
    if (held.length > 0 && random.below(2) === 0) {
      giveBack(random.below(held.length));
    } else if (random.below(4) === 0) {
      logIn();
    } else if (transfers && held.length > 0 && random.below(3) === 0) {
      const one = random.pick(held);
      if (one.grant.kind !== 'server') continue;
      const to = random.below(memory.sizes.owners);
      const there = new SharedBudget(memory, to, quiet, { view });
      const given = budget.transfer(one.grant, to);
      const isThere = given !== null && there.arrived(given);
      const back = isThere ? there.transfer(given, owner) : null;
      if (back === null || !budget.arrived(back)) Atomics.add(words, VIOLATIONS, 1);
    } else {
      const pool = random.below(POOLS);
      const grant = budget.askServer({
        ...SERVER,
        owner: budget.name,
        user: `u${pool}`,
        poolLimit: POOL_LIMIT,
        databaseLimit: TOTAL_LIMIT,
      });
      if (typeof grant === 'string') continue;
      const places = [sit(PLACES + pool * POOL_LIMIT, POOL_LIMIT), sit(DATABASE_PLACES, TOTAL_LIMIT)];
      if (transfers) budget.custody.take(grant, 0);
      held.push({ grant, places });
    }
    // What everybody sees without the lock is within the limit, too.
    if (budget.count('server', { database: 'db' }) > TOTAL_LIMIT) Atomics.add(words, VIOLATIONS, 1);
  }
  while (held.length > 0) giveBack(0);
}

if (workerData !== undefined && workerData !== null && 'memory' in workerData) run(workerData as ThreadTask);
