import type { TestContext } from 'vitest';

/** Skips a test and says why, on the console, too: the usual report counts what was skipped and gives no reasons. */
export function skip(context: TestContext, reason: string): never {
  console.warn(`skipped: ${context.task.name}: ${reason}`);
  return context.skip(reason);
}
