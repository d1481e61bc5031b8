import {
  type Budget,
  type ClientAsk,
  type Grant,
  LocalBudget,
  type Refusal,
  type ServerAsk,
} from '../../src/pool/budget.ts';
import { BudgetKeeper } from '../../src/pool/budget-keeper.ts';
import { SharedBudget, type SharedBudgetParts } from '../../src/pool/shared-budget.ts';
import { type BudgetSizes, Layout, type SharedMemory } from '../../src/pool/shared-memory.ts';

/** Names of three owners. */
export const [A, B, C] = ['worker 0', 'worker 1', 'worker 2'] as const;

export const SERVER: ServerAsk = {
  owner: A,
  database: 'db',
  user: 'app',
  poolLimit: 0,
  databaseLimit: 0,
  userLimit: 0,
};
export const CLIENT: ClientAsk = {
  owner: A,
  database: 'db',
  user: 'app',
  totalLimit: 0,
  databaseLimit: 0,
  userLimit: 0,
};

export function granted(answer: Grant | Refusal): Grant {
  if (typeof answer === 'string') throw new Error(`refused: ${answer}`);
  return answer;
}

/** The budget, as the event loop of each owner has it. */
export type BudgetOf = (owner: string) => Budget;

/** Each kind of budget, made anew. */
export const BUDGETS: readonly (readonly [name: string, make: () => BudgetOf])[] = [
  [
    'of one event loop',
    () => {
      const budget = new LocalBudget();
      return () => budget;
    },
  ],
  [
    'of several event loops',
    () => {
      const stage = new SharedStage();
      return (owner) => stage.budgetOf(owner);
    },
  ],
];

export const SMALL: BudgetSizes = { owners: 3, servers: 16, clients: 16, places: 16, keys: 64 };

/** Several owners of one shared memory, all in this thread. */
export class SharedStage {
  readonly memory: SharedMemory;
  readonly budgets: SharedBudget[];
  readonly keeper: BudgetKeeper;
  /** What was rung, and what was said. */
  readonly rings: number[] = [];
  readonly full: string[] = [];
  /** Descriptors that are open; a duplicate is a number that was never used. */
  readonly open = new Set<number>();
  /** Beside what budgets do when they are rung. */
  onRing: (owner: number) => void = () => {};
  /** What was handed reaches its owner's thread. */
  onHand: (owner: number, grant: Grant) => void = (owner, grant) => this.budget(owner).handed(grant);
  /** A server was refused. */
  onRefused: (database: string, user: string) => void = () => {};
  /** No descriptor is left. */
  isExhausted = false;
  /** How often something was left to the keeper. */
  leftBehind = 0;
  #lastFd = 100;

  constructor(sizes: BudgetSizes = SMALL, seams: ConstructorParameters<typeof SharedBudget>[3] = {}) {
    this.memory = Layout.make(sizes);
    this.budgets = Array.from(
      { length: sizes.owners },
      (_, owner) => new SharedBudget(this.memory, owner, this.#parts, seams),
    );
    this.keeper = new BudgetKeeper(this.memory, this.#parts);
  }

  budget(owner: number): SharedBudget {
    return this.budgets[owner] as SharedBudget;
  }

  budgetOf(name: string): SharedBudget {
    return this.budgets.find((budget) => budget.name === name) as SharedBudget;
  }

  /** A new thread in the place of one. */
  restart(owner: number): SharedBudget {
    const budget = new SharedBudget(this.memory, owner, this.#parts);
    this.budgets[owner] = budget;
    return budget;
  }

  newFd(): number {
    this.open.add(++this.#lastFd);
    return this.#lastFd;
  }

  close(fd: number): void {
    if (!this.open.delete(fd)) throw new Error(`${fd} is not open`);
  }

  /** Each owner joins, and does nothing. */
  joinAll(): this {
    for (const budget of this.budgets) {
      budget.join(budget.name, { onFreed: () => {}, yieldServer: () => 'nothing' as const });
    }
    return this;
  }

  get #parts(): SharedBudgetParts {
    return {
      ring: (owner) => {
        this.rings.push(owner);
        this.budget(owner).rung();
        this.onRing(owner);
      },
      askYield: (owner, request) => this.budget(owner).yieldAsked(request),
      hand: (owner, grant) => this.onHand(owner, grant),
      duplicate: () => (this.isExhausted ? null : this.newFd()),
      closeDescriptor: (fd) => this.close(fd),
      leftBehind: () => void this.leftBehind++,
      refused: (database, user) => this.onRefused(database, user),
      full: (what) => void this.full.push(what),
    };
  }
}
