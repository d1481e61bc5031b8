import { Worker } from 'node:worker_threads';
import { YOUNG_MIB } from '../base/young-heap.ts';
import type { WorkerStart } from './worker-messages.ts';

/** The system has no thread to give, now. */
export class NoThread extends Error {}

let living = 0;

/** Whether threads have yet to end: Node's own end waits for them, and they for the system calls that they are in. */
export function areThreadsLeft(): boolean {
  return living > 0;
}

/** A thread that serves clients, from `start` on. Throws NoThread. */
export function newThread(number: number, start: WorkerStart): Worker {
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js';
  try {
    const thread = new Worker(new URL(file, import.meta.url), {
      workerData: start,
      name: `pgweir-${number}`,
      // Descriptors come from the main thread, and copies of them go.
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
    });
    living++;
    thread.once('exit', () => living--);
    return thread;
  } catch (error) {
    throw new NoThread(`worker ${number} cannot be started: ${String(error)}`);
  }
}
