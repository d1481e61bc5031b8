import { isOfFaults } from './effort.ts';

/** A machine with other work is not a failure; below the time that a test has. With a seeded fault most waits are in vain. */
const DEADLINE_MS = isOfFaults ? 10_000 : 25_000;

/** How `waitFor` waits. */
export interface WaitOptions {
  /** Default: {@link DEADLINE_MS}. */
  readonly deadlineMs?: number;
  /** What is awaited, for the error; default: the condition's source. */
  readonly what?: string;
}

const POLL_MS = 5;

/**
 * Waits until `condition` gives something other than false, null or undefined, and gives that. Rejects after
 * the deadline, naming what was awaited. The only place in the tests with a timer.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Exclude<T, false | null | undefined>> {
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const until = performance.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (isThere(value)) return value;
    if (performance.now() >= until) {
      throw new Error(`waited ${deadlineMs} ms in vain for: ${options.what ?? String(condition)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Gives what `promise` gives, or rejects after the deadline, naming `what`. */
export async function within<T>(promise: Promise<T>, what: string, deadlineMs = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${deadlineMs} ms in vain for: ${what}`)), deadlineMs);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

function isThere<T>(value: T): value is Exclude<T, false | null | undefined> {
  return value !== false && value !== null && value !== undefined;
}
