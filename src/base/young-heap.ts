import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/** Both halves. */
const YOUNG_BYTES = 8 * 1024 * 1024;

/** Far more than it takes to get there. */
const MAX_ROUNDS = 100;

/** V8's own. Another thread may have put 1 in its place. */
const USUAL_FACTOR = 2;

/** Some 100 kB at a time. */
const OBJECTS_PER_ROUND = 4000;

/**
 * Lets the space in which V8 makes new objects grow to 8 MiB, and then no further. V8 would have it grow to 32 MiB while
 * many log in, and never give that back; smaller than this, it is collected so often that transactions feel it. The
 * longest half must outlive a collection or two for V8 to enlarge it, so objects are made for that. Source: V8's flag
 * `semi_space_growth_factor`, which it looks at whenever it might enlarge the space.
 *
 * Each thread has a space of its own, and calls this when it begins; the flag is the process's. Where two begin at once, one
 * may stay a step smaller or larger.
 */
export function boundYoungHeap(): void {
  setFlagsFromString(`--semi-space-growth-factor=${USUAL_FACTOR}`);
  let kept: object[] = [];
  for (let round = 0; round < MAX_ROUNDS && youngBytes() < YOUNG_BYTES; round++) {
    for (let i = 0; i < OBJECTS_PER_ROUND; i++) kept.push({ i });
    if (kept.length > 10 * OBJECTS_PER_ROUND) kept = [];
  }
  setFlagsFromString('--semi-space-growth-factor=1');
}

function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0;
}
