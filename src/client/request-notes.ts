import type { Change } from '../prepared/ledger.ts';
import type { StatementShape } from '../prepared/statement-shape.ts';
import { type Statement, StatementUse } from '../prepared/statement.ts';
import type { TextChange } from '../prepared/text-change.ts';
import type { RequestNote } from '../relay/outstanding.ts';

/** What hangs on the answer to one request: for each of its statements the changes that it makes, all or none. */
export class ChangeNote implements RequestNote {
  readonly uses = null;
  gives: Statement | null = null;
  based: Iterable<Statement> = [];
  /** One entry for each statement; a message that is no Query counts as one. */
  readonly steps: Change[][];
  readonly #names: ReadonlyMap<string, string> | string | null;
  readonly #text: TextChange | null;
  /** What PostgreSQL says about the request is in another encoding than the client's. */
  readonly isForeign: boolean;
  #done = 0;

  /** `names`: the client's names by those for servers, or the only one there is. `text`: how the text was changed. */
  constructor(
    steps: Change[][],
    names: ReadonlyMap<string, string> | string | null = null,
    text: TextChange | null = null,
    isForeign = false,
  ) {
    this.steps = steps;
    this.#names = names;
    this.#text = text;
    this.isForeign = isForeign;
  }

  /** PostgreSQL ends the transaction ahead of the last CommandComplete: where that fails, the statement was done. */
  get isAtLast(): boolean {
    const last = this.steps.length - 1;
    return last > 0 && this.#done === last && this.steps[last]?.length !== 0;
  }

  step(): void {
    for (const change of this.steps[this.#done++] ?? []) change.settle();
  }

  end(): void {
    for (; this.#done < this.steps.length; this.#done++) {
      for (const change of this.steps[this.#done] ?? []) change.undo();
    }
  }

  nameOf(serverName: string): string | null {
    const names = this.#names;
    return typeof names === 'string' || names === null ? names : (names.get(serverName) ?? null);
  }

  position(sent: number): number {
    return this.#text?.position(sent) ?? sent;
  }
}

/** The note on a Bind or Describe that changes what portal there is, or what the client is told of. */
export class ChangingUse extends StatementUse {
  #change: Change | null;

  constructor(statement: Statement, name: string, kept: { end(): void } | null, change: Change) {
    super(statement, name, kept);
    this.#change = change;
  }

  override step(): void {
    super.step();
    this.#change?.settle();
    this.#change = null;
  }

  override end(): void {
    this.#change?.undo();
  }
}

/** The note on a Bind of a statement whose rows are not what the client has been told of them. */
export class RefusedUse extends StatementUse {}

/** The note on a Describe of ours, which fills `shape`; `failed`: it was not answered with what it asks for. */
export class ShapeNote implements RequestNote {
  readonly uses: Statement;
  readonly #shape: StatementShape;
  #failed: (() => void) | null;

  constructor(statement: Statement, shape: StatementShape, failed: () => void) {
    this.uses = statement;
    this.#shape = shape;
    this.#failed = failed;
  }

  step(): void {
    this.#failed = null;
  }

  end(): void {
    this.#failed?.();
  }

  nameOf(): null {
    return null;
  }

  position(sent: number): number {
    return sent;
  }

  parameters(body: Buffer): void {
    this.#shape.describeParameters(body);
  }

  rows(body: Buffer | null): void {
    this.#shape.describe(body);
  }
}

/** The note on a message that makes these changes. */
export function note(name: string | null, ...changes: Change[]): ChangeNote {
  return new ChangeNote([changes], name);
}

/** Two changes that one request makes, if any. */
export function both(one: Change | null, other: Change | null): Change | null {
  if (one === null || other === null) return one ?? other;
  return {
    settle: () => {
      one.settle();
      other.settle();
    },
    undo: () => {
      one.undo();
      other.undo();
    },
  };
}

/** As {@link note}; null where there is no change. */
export function noteOf(change: Change | null): ChangeNote | null {
  return change === null ? null : note(null, change);
}
