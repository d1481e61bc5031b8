import { Session } from 'node:inspector/promises';

/** Which blocks of the sources have run, by V8's own counting. */
export class Coverage implements AsyncDisposable {
  readonly #session = new Session();
  readonly #kept = new Set<string>();
  readonly #isOurs: (url: string) => boolean;

  private constructor(isOurs: (url: string) => boolean) {
    this.#isOurs = isOurs;
  }

  /** `isOurs`: whether a module (its URL) counts. */
  static async begin(isOurs: (url: string) => boolean): Promise<Coverage> {
    const coverage = new Coverage(isOurs);
    coverage.#session.connect();
    await coverage.#session.post('Profiler.enable');
    await coverage.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    return coverage;
  }

  /** Blocks that are known to be reached. */
  get size(): number {
    return this.#kept.size;
  }

  /** Of the blocks that have run since this was asked last, those that are not kept. */
  async news(): Promise<string[]> {
    const fresh: string[] = [];
    const { result } = await this.#session.post('Profiler.takePreciseCoverage');
    for (const { url, functions } of result) {
      if (!this.#isOurs(url)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          const block = `${url}:${startOffset}:${endOffset}`;
          if (count > 0 && !this.#kept.has(block)) fresh.push(block);
        }
      }
    }
    return fresh;
  }

  /** From now on they are no news. */
  keep(blocks: readonly string[]): void {
    for (const block of blocks) this.#kept.add(block);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }
}
