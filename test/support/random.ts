import { randomInt } from 'node:crypto';

/** Numbers that look random and come again with the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number from 0 up to but without `end`. */
  below(end: number): number {
    // mulberry32: short, and good enough to shuffle tests.
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return Math.floor((((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }
}

/**
 * Runs `work` with random numbers from a new seed, or from `PGWEIR_TEST_SEED` to repeat a run. The seed stands
 * in the error when it fails.
 */
export async function withSeed(work: (random: Random) => Promise<void>): Promise<void> {
  const seed = Number(process.env['PGWEIR_TEST_SEED'] ?? randomInt(2 ** 31));
  try {
    await work(new Random(seed));
  } catch (error) {
    const told = `with PGWEIR_TEST_SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`;
    // Said at once as well: of a long run that is ended by hand, no summary is printed.
    console.error(told);
    throw new Error(told, { cause: error });
  }
}
