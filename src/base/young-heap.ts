import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

const MIB = 1024 * 1024;

/** Of one of the two halves: V8 copies what lives from one to the other. */
const HALF_MIB = 4;

/** A little less, for V8 keeps some bytes of it for itself. */
const GROWN_BYTES = (HALF_MIB - 0.25) * MIB;

/** V8's own. */
const USUAL_FACTOR = 2;

/**
 * A worker's `maxYoungGenerationSizeMb` for a space as {@link boundYoungHeap} bounds it. V8 counts a third half, of large
 * new objects.
 */
export const YOUNG_MIB = 3 * HALF_MIB;

/**
 * Lets the space in which V8 makes new objects grow to two halves of 4 MiB, and then no further. V8 would have it grow to
 * 32 MiB while many log in, and not give that back while they go on.
 *
 * V8 enlarges the space behind a collection that much has outlived, and takes it back to its smallest when there has been
 * little to do for a while; so the bound is put in place when the space has grown, and taken away when it has become smaller.
 * Source: V8's flag `semi_space_growth_factor`, which it looks at whenever it might enlarge the space.
 *
 * For a process with one event loop: the flag is the process's. Threads have limits of their own, {@link YOUNG_MIB}.
 */
export function boundYoungHeap(): void {
  let isBound = false;
  // Told behind each collection; the space grows by one step in several of them.
  const observer = new PerformanceObserver(() => {
    const isGrown = halfBytes() >= GROWN_BYTES;
    if (isGrown === isBound) return;
    isBound = isGrown;
    setFlagsFromString(`--semi-space-growth-factor=${isGrown ? 1 : USUAL_FACTOR}`);
  });
  observer.observe({ entryTypes: ['gc'] });
}

/** What a half has room for, whether there is memory behind all of it yet or not. */
function halfBytes(): number {
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
  return space === undefined ? 0 : space.space_used_size + space.space_available_size;
}
