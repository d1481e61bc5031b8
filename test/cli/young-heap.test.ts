import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

const MIB = 1024 * 1024;

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
  const url = new URL('../../src/cli/young-heap.ts', import.meta.url).href;
  const args = ['--input-type=module', '-e', script.replace('YOUNG_HEAP', url)];
  return Number(execFileSync(process.execPath, args, { encoding: 'utf8' }));
}

test('the space for new objects grows to 8 MiB and no further, however many there are; V8 would let it', () => {
  const bounded = newSpaceBytes(`import { boundYoungHeap } from 'YOUNG_HEAP'; boundYoungHeap();`);
  // As much of it may be counted on the way from one half to the other.
  expect(bounded).toBeGreaterThanOrEqual(8 * MIB);
  expect(bounded).toBeLessThan(10 * MIB);
  expect(newSpaceBytes('')).toBeGreaterThan(12 * MIB);
});
