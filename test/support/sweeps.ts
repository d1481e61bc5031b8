import { expect } from 'vitest';
import { SWEEP_INTERVAL_MS } from '../../src/daemon/janitor.ts';
import { waitFor } from './wait-for.ts';

/** Lets the pooler's sweep run a few times: for what must not happen although it had the chance. */
export async function sweepsPass(count = 2): Promise<void> {
  const startMs = performance.now();
  await waitFor(() => performance.now() - startMs > count * SWEEP_INTERVAL_MS, { what: `${count} sweeps` });
}

/**
 * A timeout strikes after its time, at one of the next sweeps; on a busy machine those are late. So the lower
 * bound is exact and the upper one generous.
 */
export function expectStruckAfter(seconds: number, startMs: number): void {
  const tookMs = performance.now() - startMs;
  expect(tookMs).toBeGreaterThan(seconds * 1000 - 5);
  expect(tookMs).toBeLessThan(seconds * 1000 + 10_000);
}
