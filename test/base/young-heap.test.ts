import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

const MIB = 1024 * 1024;

const URL_OF_IT = new URL('../../src/base/young-heap.ts', import.meta.url).href;

/** Bytes of the space for new objects after half a million of them have outlived a collection, in a process of its own. */
function newSpaceBytes(prelude: string): number {
  const script = `${prelude}
    import { getHeapSpaceStatistics } from 'node:v8';
    let kept = [];
    for (let i = 0; i < 500_000; i++) {
      kept.push({ i });
      if (kept.length > 100_000) kept = [];
    }
    console.log(getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size);`;
  return Number(runs(script));
}

function runs(script: string): string {
  const args = ['--input-type=module', '-e', script.replaceAll('YOUNG_HEAP', URL_OF_IT)];
  return execFileSync(process.execPath, args, { encoding: 'utf8' });
}

test('the space for new objects grows to 8 MiB and no further, however many there are; V8 would let it', () => {
  const bounded = newSpaceBytes(`import { boundYoungHeap } from 'YOUNG_HEAP'; boundYoungHeap();`);
  // As much of it may be counted on the way from one half to the other.
  expect(bounded).toBeGreaterThanOrEqual(8 * MIB);
  expect(bounded).toBeLessThan(10 * MIB);
  expect(newSpaceBytes('')).toBeGreaterThan(10 * MIB);
});

test('a thread that begins later has as much of it, although the process keeps it from growing by then', () => {
  const size = `getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size`;
  const inThread = `
    import { getHeapSpaceStatistics } from 'node:v8';
    import { boundYoungHeap } from 'YOUNG_HEAP';
    boundYoungHeap();
    console.log(${size});`;
  const inMain = `
    import { Worker } from 'node:worker_threads';
    import { boundYoungHeap } from 'YOUNG_HEAP';
    boundYoungHeap();
    new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(inThread)})));`;
  const bytes = Number(runs(inMain));
  expect(bytes).toBeGreaterThanOrEqual(8 * MIB);
  expect(bytes).toBeLessThan(17 * MIB);
});
