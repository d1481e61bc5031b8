import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort, workerData } from 'node:worker_threads';
import { keep } from './corpus.ts';
import { Coverage } from './coverage.ts';
import { Breaking, fuzzRound } from './round.ts';
import type { Target } from './target.ts';
import { targets } from './targets.ts';

/** Room for the input at hand, which a parser that hangs cannot tell any more. */
export const INPUT_BYTES = 128 * 1024;

/** What a worker is to do. `shared`: number of inputs so far, length of the one at hand (Int32 each), its bytes. */
export interface FuzzTask {
  readonly name: string;
  readonly seconds: number;
  readonly seed: number;
  readonly shared: SharedArrayBuffer;
}

export interface Report {
  readonly runs: number;
  readonly blocks: number;
  readonly kept: number;
  readonly growthBytes: number;
  readonly broken: { readonly bytes: Uint8Array; readonly why: string } | null;
}

async function work({ name, seconds, seed, shared }: FuzzTask): Promise<Report> {
  const target = targets.find((each) => each.name === name) as Target;
  const counters = new Int32Array(shared, 0, 2);
  const atHand = new Uint8Array(shared, 8);
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  await using coverage = await Coverage.begin((url) => url.includes('/src/'));
  gc();
  const before = process.memoryUsage().heapUsed;
  const endMs = performance.now() + seconds * 1000;
  let kept = 0;
  const report = (runs: number, broken: Report['broken']): Report => {
    gc();
    const growthBytes = process.memoryUsage().heapUsed - before;
    return { runs, blocks: coverage.size, kept, growthBytes, broken };
  };
  try {
    const runs = await fuzzRound(
      target,
      seed,
      { runs: Number.POSITIVE_INFINITY, until: () => performance.now() > endMs },
      coverage,
      {
        running: (bytes) => {
          counters[1] = Math.min(bytes.length, INPUT_BYTES);
          atHand.set(bytes.subarray(0, INPUT_BYTES));
          Atomics.add(counters, 0, 1);
        },
        found: (bytes) => {
          keep(target, bytes);
          kept++;
        },
      },
    );
    return report(runs, null);
  } catch (error) {
    if (!(error instanceof Breaking)) throw error;
    return report(0, { bytes: error.bytes, why: error.message });
  }
}

if (parentPort !== null && workerData !== undefined)
  parentPort.postMessage(await work(workerData as FuzzTask));
