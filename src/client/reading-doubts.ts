import type { Change } from '../prepared/ledger.ts';
import { type Reading, readingOf } from '../prepared/reading.ts';
import type { ReadingChange } from '../prepared/sql-reading.ts';
import type { Statement } from '../prepared/statement.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';
import { TxStatus } from '../wire/codes.ts';

/** So that no two texts whose reading is unknown are taken for one. Begins as no value does. */
let lastUnknown = 0;

/**
 * How the session reads is not known while a SET of it is on its way: PostgreSQL reports it at the next ReadyForQuery.
 * What is prepared in a later stretch waits for that; in the same one it cannot, and is its client's alone. How it is
 * read counts as known once ReadyForQuery comes and nothing speaks against it: no error, nothing rolled back.
 */
export class ReadingDoubts {
  /** Not answered yet. */
  #sent = 0;
  /** Answered, and not reported. */
  #done = 0;
  readonly #indexes = new Set<number>();
  #isLocal = false;
  #isSpoiled = false;
  /** Prepared since. */
  readonly #open = new Set<Statement>();

  get areAny(): boolean {
    return this.#sent > 0 || this.#done > 0;
  }

  /** Whether waiting may end them: a ReadyForQuery is due from `tracker`'s server. */
  areAhead({ queue }: RequestTracker): boolean {
    return this.areAny && (queue.syncs > 0 || queue.queries > 0);
  }

  /** A request is sent that makes the change. */
  sent({ indexes, isLocal }: ReadingChange): Change {
    // Changed twice, what a statement was read by is not what is reported in the end.
    if (indexes.some((index) => this.#indexes.has(index))) this.#open.clear();
    this.#sent++;
    for (const index of indexes) this.#indexes.add(index);
    this.#isLocal ||= isLocal;
    const over = () => {
      this.#sent--;
      this.#done++;
    };
    return { settle: over, undo: over };
  }

  /** How the session reads, as far as it is known. */
  reading(values: readonly string[]): Reading {
    if (!this.areAny) return readingOf(values);
    return readingOf(values.map((value, i) => (this.#indexes.has(i) ? `\0${++lastUnknown}` : value)));
  }

  /** It was prepared by that reading. */
  prepared(statement: Statement): void {
    if (this.areAny) this.#open.add(statement);
  }

  /** Something has failed or was rolled back. */
  spoiled(): void {
    if (this.areAny) this.#isSpoiled = true;
  }

  /** ReadyForQuery with `status` has come; the session's values are `values` now. */
  ready(status: number, values: () => readonly string[]): void {
    if (this.#done === 0) return;
    this.#done = 0;
    if (this.#sent > 0) return;
    const isKnown = !this.#isSpoiled && !(this.#isLocal && status === TxStatus.Idle);
    if (isKnown && this.#open.size > 0) {
      const now = values();
      for (const statement of this.#open) statement.readBy(now);
    }
    this.#open.clear();
    this.#indexes.clear();
    this.#isLocal = false;
    this.#isSpoiled = false;
  }
}
