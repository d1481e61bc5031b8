/** A parser of bytes from outside, as the fuzzer sees it. */
export interface Target {
  readonly name: string;
  /** What inputs are made from, beside what was kept in `corpus/`. */
  readonly seeds: readonly (string | Buffer)[];
  /** Pieces that mean something to the parser. */
  readonly words: readonly string[];
  /** Longest input. Bytes. */
  readonly maxBytes: number;
  /** Reads `bytes`; throws on what must not be, and on nothing else. */
  run(bytes: Buffer): void | Promise<void>;
}

/** Runs `work`, in which errors of these classes are right answers. */
export function allowing<T>(classes: readonly (new (...args: never[]) => Error)[], work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (classes.some((each) => error instanceof each)) return null;
    throw error;
  }
}

/** Throws unless it holds. */
export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}
