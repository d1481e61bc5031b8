/** A measured value, and how much had been done by then. */
export interface Reading {
  readonly done: number;
  readonly value: number;
}

/**
 * By how much a value grows with each thing done, in the long run: from the median of one quarter of the readings, by default the
 * second, to that of the last. What is ahead of that is what fills caches, and a median does not mind a few outliers.
 */
export function growthPerUnit(readings: readonly Reading[], from: 'second' | 'third' = 'second'): number {
  const quarter = Math.floor(readings.length / 4);
  if (quarter === 0) throw new Error(`${readings.length} readings make no quarters`);
  const start = from === 'second' ? quarter : 2 * quarter;
  const early = readings.slice(start, start + quarter);
  const late = readings.slice(-quarter);
  const units = median(late.map(({ done }) => done)) - median(early.map(({ done }) => done));
  return (median(late.map(({ value }) => value)) - median(early.map(({ value }) => value))) / units;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}
