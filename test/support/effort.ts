/**
 * How much a run is to try: `npm test` has five minutes on two cores, `npm run test:wide` what that leaves out and
 * `.ci/run` adds, `npm run test:full` has the time for everything.
 */
const has = (name: string): boolean => process.env[name] !== undefined;

/** `npm run test:full`. */
export const isFull = has('PGWEIR_TEST_FULL');

/** A run of test/faults, whose tests try what those of `test:wide` do. */
export const isOfFaults = has('PGWEIR_TEST_FAULTS');

/** `npm run test:wide` and what tries as much. */
export const isWide = has('PGWEIR_TEST_WIDE') || isOfFaults || isFull;

/** Of three numbers the one for this run; `wide` serves `npm test`, too, where that has none of its own. */
export function byEffort(of: {
  readonly quick?: number;
  readonly wide: number;
  readonly full: number;
}): number {
  if (isFull) return of.full;
  return isWide ? of.wide : (of.quick ?? of.wide);
}
