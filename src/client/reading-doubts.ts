import { threadId } from 'node:worker_threads';
import { RareSet } from '../base/rare.ts';
import type { Change } from '../prepared/ledger.ts';
import { isKnown, type Reading, readingOf } from '../prepared/reading.ts';
import { readEffects } from '../prepared/statement-effects.ts';
import type { ReadingChange } from '../prepared/sql-reading.ts';
import type { Statement, StatementCache } from '../prepared/statement.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';
import { TxStatus } from '../wire/codes.ts';

/**
 * So that no two texts whose reading is unknown are taken for one, in whichever thread: servers, with what is prepared
 * there, go from one to another.
 */
let lastUnknown = 0;

/** As a parameter's value: not known, and no other is the same. */
function newUnknown(): string {
  return `\0${threadId}.${++lastUnknown}`;
}

/**
 * How the session reads is not known while a SET of it is on its way, or the end of a transaction in which it was changed:
 * PostgreSQL reports it at the next ReadyForQuery. What is prepared in a later stretch waits for that; in the same one
 * it cannot, and is its client's alone. How it is read counts as known once ReadyForQuery comes and nothing speaks
 * against it: no error, nothing rolled back.
 */
export class ReadingDoubts {
  /** Stands for whatever is not known of how this session reads. */
  readonly unknown = newUnknown();
  /** Not answered yet. */
  readonly #sent = new RareSet<Change>();
  /** Answered, and not reported. */
  #done = 0;
  readonly #indexes = new RareSet<number>();
  #isLocal = false;
  #isSpoiled = false;
  /** A ROLLBACK is among what was sent. */
  #goesBack = false;
  /** Prepared since; held. */
  readonly #open = new RareSet<Statement>();
  /** What has changed in the transaction that is open: its end may take that back. */
  readonly #inTransaction = new RareSet<number>();
  readonly #cache: StatementCache;

  constructor(cache: StatementCache) {
    this.#cache = cache;
  }

  get areAny(): boolean {
    return this.#sent.size > 0 || this.#done > 0;
  }

  /** Whether the end of a transaction would change anything. */
  get mayGoBack(): boolean {
    return this.areAny || this.#inTransaction.size > 0;
  }

  /** Whether waiting may end them: a ReadyForQuery is due from `tracker`'s server. */
  areAhead({ queue }: RequestTracker): boolean {
    return this.areAny && (queue.syncs > 0 || queue.queries > 0);
  }

  /**
   * Whether a change in a further stretch has to wait: what `tracker`'s server reports then would not tell any more how
   * a text is read that is prepared already.
   */
  refuseMore(tracker: RequestTracker): boolean {
    return this.#open.size > 0 && this.areAhead(tracker);
  }

  /**
   * A request is sent that makes the change, as far as it is one of parameters that `counts` takes. Gives what hangs on its
   * answer, if anything.
   */
  sent(made: ReadingChange | null, counts: (index: number) => boolean = () => true): Change[] {
    if (made === null) return [];
    const { indexes, isLocal, end } = made;
    const all = (end === null ? indexes : [...indexes, ...this.#indexes, ...this.#inTransaction]).filter(
      counts,
    );
    if (all.length === 0) return [];
    if (end === 'rollback') this.#goesBack = true;
    // Changed twice, what a statement was read by is not what is reported in the end.
    this.#letGo(end === 'rollback' || (end === 'commit' && this.#isLocal) ? all : indexes.filter(counts));
    for (const index of all) this.#indexes.add(index);
    this.#isLocal ||= isLocal;
    const change: Change = {
      settle: () => this.#answered(change),
      undo: () => {
        if (this.#answered(change)) this.#isSpoiled = true;
      },
    };
    this.#sent.add(change);
    return [change];
  }

  /** Nothing will tell any more how those are read of which one of these is not known. */
  #letGo(indexes: readonly number[]): void {
    for (const statement of this.#open) {
      if (indexes.some((index) => !isKnown(statement.reading.values[index] ?? ''))) this.#forget(statement);
    }
  }

  #answered(change: Change): boolean {
    if (!this.#sent.delete(change)) return false;
    this.#done++;
    return true;
  }

  /** How the session reads, as far as it is known. */
  reading(values: readonly string[]): Reading {
    if (!this.areAny) return readingOf(values);
    return readingOf(values.map((value, i) => (this.#indexes.has(i) ? newUnknown() : value)));
  }

  /** It was prepared by that reading. */
  prepared(statement: Statement): void {
    if (!this.areAny || this.#open.has(statement)) return;
    statement.users++;
    this.#open.add(statement);
  }

  #forget(statement: Statement): void {
    this.#open.delete(statement);
    this.#cache.release(statement);
  }

  /** The server has said that the value at `index` is another now. */
  reported(index: number): void {
    this.#inTransaction.add(index);
  }

  /** Something has failed: what was done since the last ReadyForQuery may be undone. */
  failed(): void {
    if (this.#done > 0) this.#isSpoiled = true;
  }

  /** Something was rolled back. Where that was seen coming, what hangs on it was let go when it was sent. */
  rolledBack(): void {
    if (!this.#goesBack) this.failed();
  }

  /** ReadyForQuery with `status` has come; the session's values are `values` now. */
  ready(status: number, values: () => readonly string[]): void {
    if (status === TxStatus.Idle) this.#inTransaction.clear();
    else if (this.#done > 0) for (const index of this.#indexes) this.#inTransaction.add(index);
    if (this.#done === 0) return;
    this.#done = 0;
    if (this.#sent.size > 0) return;
    const isKnown = !this.#isSpoiled && !(this.#isLocal && status === TxStatus.Idle);
    if (isKnown && this.#open.size > 0) {
      const now = values();
      for (const statement of this.#open) {
        statement.readBy(now);
        if (statement.isGuess) readNow(statement);
      }
    }
    this.end();
  }

  /** There are none any more: the session is at rest. */
  end(): void {
    this.#sent.clear();
    this.#done = 0;
    for (const statement of this.#open) this.#forget(statement);
    this.#indexes.clear();
    this.#isLocal = false;
    this.#isSpoiled = false;
    this.#goesBack = false;
  }
}

/** How the text is read has become known: as it was when it was prepared, whatever was set behind it. */
function readNow(statement: Statement): void {
  const [clientEncoding, standardConformingStrings] = statement.reading.values;
  const bytes = Buffer.from(statement.text, 'latin1');
  readEffects(statement, bytes, 0, bytes.length, {
    standardConformingStrings: standardConformingStrings !== 'off',
    clientEncoding: clientEncoding || 'UTF8',
  });
}
