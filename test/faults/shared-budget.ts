import { type Fault, fault } from './fault.ts';

const SECTION = 'src/base/shared-section.ts';
const KEEPER = 'src/pool/budget-keeper.ts';
const DEATH = 'test/pool/budget-death.test.ts';
const THREADS = 'test/pool/budget-threads.test.ts';

/** Limits that several threads share, and what is left of one that dies. */
export const sharedBudgetFaults: readonly Fault[] = [
  fault(
    'what a dead thread was in the middle of stays half done',
    {
      file: SECTION,
      find: 'this.#undo();\n    this.#lock.freeOf(dead);',
      replace: 'this.commit();\n    this.#lock.freeOf(dead);',
    },
    [DEATH],
  ),
  fault(
    'threads ask for grants without the lock',
    { file: SECTION, find: 'this.#lock.acquire();\n    return', replace: 'return' },
    [THREADS],
  ),
  fault(
    'who hands a grant over still has it counted',
    { file: 'src/pool/shared-counts.ts', find: 'this.#section.add(at + from, -1);', replace: '' },
    [DEATH],
  ),
  fault(
    'grants of a dead thread come back while its servers live',
    {
      file: KEEPER,
      find: "records.kindOf(record) !== 'server' || !custody.has(record)",
      replace: 'true',
    },
    [DEATH],
  ),
  fault(
    'the descriptor of a server that was given back stays open',
    {
      file: 'src/pool/shared-budget.ts',
      find: "if (grant.kind === 'server') fd = custody.take(record);",
      replace: '',
    },
    [DEATH],
  ),
  fault(
    'a refused thread is not rung',
    {
      file: 'src/pool/shared-budget.ts',
      find: 'if (isWaitedFor(kind)) this.#view.counts.markRefused(slot, this.#me);',
      replace: '',
    },
    ['test/pool/budget.test.ts'],
  ),
];
