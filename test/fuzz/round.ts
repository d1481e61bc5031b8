import { Random } from '../support/random.ts';
import { corpusOf } from './corpus.ts';
import type { Coverage } from './coverage.ts';
import { mutate } from './mutate.ts';
import type { Target } from './target.ts';

/** An input that a parser cannot bear. */
export class Breaking extends Error {
  override readonly name = 'Breaking';
  readonly bytes: Buffer;

  constructor(target: Target, bytes: Buffer, cause: unknown) {
    const why = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    super(`${target.name} breaks on ${JSON.stringify(bytes.toString('latin1'))}: ${why}`, { cause });
    this.bytes = bytes;
  }
}

/** What goes on in a round. */
export interface RoundEvents {
  /** About to run: when it never comes back, this was the one. */
  running?(bytes: Buffer): void;
  /** It reached something new. */
  found?(bytes: Buffer): void;
}

/** So many inputs are run between two looks at what they have reached. */
const BATCH = 250;

/** Runs one input; throws {@link Breaking}. */
export async function runOne(target: Target, bytes: Buffer): Promise<void> {
  try {
    await target.run(bytes);
  } catch (error) {
    throw new Breaking(target, bytes, error);
  }
}

/**
 * Runs the corpus of `target`, then `runs` inputs made from it (or until `until` says so). With `coverage`, inputs that
 * reach something new join the corpus.
 */
export async function fuzzRound(
  target: Target,
  seed: number,
  { runs, until = () => false }: { readonly runs: number; readonly until?: () => boolean },
  coverage: Coverage | null = null,
  events: RoundEvents = {},
): Promise<number> {
  const random = new Random(seed);
  const corpus = corpusOf(target);
  for (const bytes of corpus) {
    events.running?.(bytes);
    await runOne(target, bytes);
  }
  coverage?.keep(await coverage.news());
  let done = 0;
  while (done < runs && !until()) {
    const batch: Buffer[] = [];
    for (let i = Math.min(BATCH, runs - done); i > 0; i--) {
      const bytes = mutate(random, corpus, target);
      batch.push(bytes);
      events.running?.(bytes);
      await runOne(target, bytes);
    }
    done += batch.length;
    if (coverage === null || (await coverage.news()).length === 0) continue;
    for (const bytes of await finders(target, batch, coverage, events)) {
      corpus.push(bytes);
      events.found?.(bytes);
    }
  }
  return done;
}

/** Those of `batch` that reach what the corpus does not, each half by itself. */
async function finders(
  target: Target,
  batch: readonly Buffer[],
  coverage: Coverage,
  events: RoundEvents,
): Promise<Buffer[]> {
  for (const bytes of batch) {
    events.running?.(bytes);
    await runOne(target, bytes);
  }
  const blocks = await coverage.news();
  if (blocks.length === 0) return [];
  if (batch.length === 1) {
    coverage.keep(blocks);
    return [...batch];
  }
  const half = batch.length >> 1;
  const first = await finders(target, batch.slice(0, half), coverage, events);
  return [...first, ...(await finders(target, batch.slice(half), coverage, events))];
}
