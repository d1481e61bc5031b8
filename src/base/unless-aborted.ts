/** Rejects with the signal's reason as soon as there is one, and leaves the work to itself then. */
export function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  // The first of two that are settled wins.
  return Promise.race([aborted, work]);
}
