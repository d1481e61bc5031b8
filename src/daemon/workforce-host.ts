import type { Worker } from 'node:worker_threads';
import type { Logger } from '../base/log.ts';
import type { BatchCalls } from '../net/native-batch.ts';
import type { SharedMemory } from '../pool/shared-memory.ts';
import type { Bells } from './delivery.ts';
import type { MainEnd, WorkerQuestion, WorkerStart } from './worker-messages.ts';

/** What the workforce itself gives a worker. */
type WorkforceStart =
  | 'owner'
  | 'owners'
  | 'memory'
  | 'standing'
  | 'era'
  | 'batchContext'
  | 'connections'
  | 'bell';

/** What the workforce needs of the process. */
export interface WorkforceHost {
  readonly log: Logger;
  readonly memory: SharedMemory;
  /** A worker's context is there for as long as it lives. */
  readonly batches: Pick<BatchCalls, 'newContext' | 'endContext'>;
  /** Wake workers for connections. */
  readonly bells: Bells;
  /** See `BudgetKeeper.published`. */
  published(owner: number, number: number): number;
  /** What a worker begins with now, but for what the workforce knows. */
  start(): Omit<WorkerStart, WorkforceStart>;
  /** Throws NoThread. */
  newThread(number: number, start: WorkerStart): Worker;
  answer(question: WorkerQuestion, from: MainEnd, signal: AbortSignal): unknown;
  /** A graceful shutdown has nothing to wait for in any worker; said again and again. */
  drained(last: 'server' | 'client'): void;
  /** A worker has left a server connection to the keeper of the budget. */
  leftBehind(): void;
  /** A worker has died: what it held is to be reclaimed. Resolves when another may take its place in the budget. */
  bury(owner: number): Promise<void>;
}
