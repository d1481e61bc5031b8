import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { YOUNG_MIB } from '../../src/base/young-heap.ts';

const URL_OF_IT = new URL('../../src/base/young-heap.ts', import.meta.url).href;

/** What a half of the space has room for, in MiB. */
const HALF = `
  import { getHeapSpaceStatistics } from 'node:v8';
  function half() {
    const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
    return (space.space_used_size + space.space_available_size) / 1024 / 1024;
  }`;

/** It doubles each time. */
const NEXT_STEP = 7.9;

/**
 * Turns of the event loop in which many objects are made that outlive a collection; gives how large a half was, but for
 * the largest tenth: amid a collection it may be told as more than there is room for.
 */
const WORK = `
  async function work() {
    const halves = [];
    let kept = [];
    for (let turn = 0; turn < 200; turn++) {
      for (let i = 0; i < 20_000; i++) kept.push({ i });
      if (kept.length > 200_000) kept = [];
      halves.push(half());
      await new Promise((resolve) => setImmediate(resolve));
    }
    return halves.sort((a, b) => a - b).at(-20);
  }`;

/** The numbers that a script in a process of its own prints. */
function runs(script: string): number[] {
  const args = ['--expose-gc', '--input-type=module', '-e', `${HALF}${WORK}${script}`];
  return execFileSync(process.execPath, args, { encoding: 'utf8' }).trim().split(/\s+/).map(Number);
}

test('the space for new objects grows as V8 likes, to two halves of 4 MiB and no further, and again when V8 has taken it back', () => {
  const script = `
    import { boundYoungHeap } from '${URL_OF_IT}';
    boundYoungHeap();
    console.log(half());
    console.log(await work());
    // As V8 does it when there has been nothing to do for a while.
    gc({ type: 'major', flavor: 'last-resort' });
    console.log(half());
    console.log(await work());`;
  const [before, grown, takenBack, again] = runs(script) as [number, number, number, number];
  expect(before).toBeLessThan(1.1);
  expect(grown).toBeGreaterThan(3.9);
  expect(grown).toBeLessThan(NEXT_STEP);
  expect(takenBack).toBeLessThan(1.1);
  expect(again).toBeGreaterThan(3.9);
  expect(again).toBeLessThan(NEXT_STEP);
});

test('V8 would let it grow further', () => {
  expect(runs('console.log(await work());')[0]).toBeGreaterThan(NEXT_STEP);
});

test('in a thread it grows as far, by the limit that it is given', () => {
  const inThread = `${HALF}${WORK}
    work().then((largest) => console.log(largest));`;
  const script = `
    import { Worker } from 'node:worker_threads';
    new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(inThread)})), {
      resourceLimits: { maxYoungGenerationSizeMb: ${YOUNG_MIB} },
    });`;
  const [largest] = runs(script);
  expect(largest).toBeGreaterThan(3.9);
  expect(largest).toBeLessThan(NEXT_STEP);
});
