/**
 * `npm run fuzz [-- parser…] [--seconds N] [--seed N]`: runs inputs through parsers of what comes from outside, guided by
 * which blocks of the sources they reach; N seconds for each (60 by default), then the next. Inputs that reach something
 * new join `corpus/`. An input that breaks a parser, or that it does not come back from, is written beside it and shown.
 * Exit code 1 when there was one.
 */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { keep } from './corpus.ts';
import type { Target } from './target.ts';
import { targets } from './targets.ts';
import { type FuzzTask, INPUT_BYTES, type Report } from './worker.ts';

/** Longer than this is a hang. */
const HANG_MS = 10_000;
const LOOK_MS = 500;
const BROKEN = join(import.meta.dirname, 'broken');

async function fuzz(target: Target, seconds: number, seed: number): Promise<boolean> {
  const shared = new SharedArrayBuffer(8 + INPUT_BYTES);
  const counters = new Int32Array(shared, 0, 2);
  const task: FuzzTask = { name: target.name, seconds, seed, shared };
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: task });
  const broken = (bytes: Buffer, why: string): false => {
    console.log(`${target.name}: BROKEN (seed ${seed}): ${why}\n  ${keep(target, bytes, BROKEN)}`);
    return false;
  };
  const atHand = (): Buffer => Buffer.from(new Uint8Array(shared, 8, counters[1])).subarray();
  return new Promise((resolve) => {
    let seen = -1;
    let sinceMs = performance.now();
    const looking = setInterval(() => {
      const now = Atomics.load(counters, 0);
      if (now !== seen) {
        seen = now;
        sinceMs = performance.now();
      } else if (performance.now() - sinceMs > HANG_MS) {
        end(broken(atHand(), `does not come back within ${HANG_MS / 1000} s`));
      }
    }, LOOK_MS);
    const end = (isSound: boolean): void => {
      clearInterval(looking);
      void worker.terminate();
      resolve(isSound);
    };
    worker.on('message', ({ runs, blocks, kept, broken: found, growthBytes }: Report) => {
      if (found !== null) return end(broken(Buffer.from(found.bytes), found.why));
      const growth = (growthBytes / 1024 / 1024).toFixed(1);
      console.log(
        `${target.name}: ${runs} inputs, ${blocks} blocks reached, ${kept} inputs kept, heap +${growth} MiB`,
      );
      end(true);
    });
    worker.on('error', (error) => end(broken(atHand(), String(error))));
  });
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } },
});
const chosen = positionals.length === 0 ? targets : targets.filter(({ name }) => positionals.includes(name));
if (chosen.length === 0) {
  console.error(`no such parser; there are ${targets.map(({ name }) => name).join(', ')}`);
  process.exit(1);
}
let isSound = true;
for (const target of chosen) {
  isSound =
    (await fuzz(target, Number(values.seconds), Number(values.seed ?? randomInt(2 ** 31)))) && isSound;
}
process.exitCode = isSound ? 0 : 1;
