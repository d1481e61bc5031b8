import { parseErrorFields } from '../wire/error-fields.ts';
import { SqlState } from '../wire/pg-error.ts';
import { type Change, Ledger, UNSETTLED, type Unsettled } from './ledger.ts';
import { movedShape, type ShapeData, StatementShape } from './statement-shape.ts';
import type { Statement, StatementCache, StatementText } from './statement.ts';

/** One statement of a server that goes to another event loop. Plain data. */
export interface MovedStatement {
  readonly name: string;
  /** Null: it is long, or there is no room; who uses it there sends it with the text, and finds it prepared. */
  readonly text: StatementText | null;
  /** What its rows are; null: nobody has asked. */
  readonly shape: ShapeData | null;
  /** The server has lost it, or cannot use it any more. */
  readonly isDoubtful: boolean;
  /** As {@link ServerStatements.isReadBy} knows it. */
  readonly readBy: string | null;
}

/** Texts that go along with a server: each, and all of them. Bytes of latin1. */
const TEXT_LIMIT = 4 * 1024;
const TEXTS_LIMIT = 64 * 1024;

/** The statements that one server connection knows, least recently used first. */
export class ServerStatements extends Ledger<Statement, Statement> {
  #last: Statement | null = null;
  /** A name of ours stands for another text on the server than we think: nobody may use it any more. */
  isBroken = false;
  /** A text with a name of ours has been sent: also without statements its unnamed one and its portals may be such. */
  wereAny = false;
  /** The server said that it doesn't have them, or cannot use them any more. */
  readonly #doubtful = new Set<Statement>();
  /** What their rows are, as far as that was asked for since they were prepared. */
  readonly #shapes = new Map<Statement, StatementShape>();
  /** The session that used it last reads otherwise than it was prepared: so. */
  readonly #readBy = new Map<Statement, string>();

  /** Whether requests of stretch `segment` may count on `statement`, which counts as used then. */
  has(statement: Statement, segment: number): boolean | Unsettled {
    const found = this.get(statement, segment);
    if (found === UNSETTLED) return UNSETTLED;
    if (found === null || this.#doubtful.has(statement)) return false;
    if (this.#last !== statement) {
      this.touch(statement);
      this.#last = statement;
    }
    return true;
  }

  /**
   * The ErrorResponse with `body` answers a request that builds on `statement`, or has `given` prepared: where it says that
   * the server has lost the one, or cannot use it any more ("cached plan must not change result type"), the next use sends
   * it anew; where it has the other already, nobody knows what else it has.
   */
  requestFailed(statement: Statement | null, given: Statement | null, body: Buffer): void {
    if (statement === null && given === null) return;
    const { sqlstate } = parseErrorFields(body);
    if (given !== null && sqlstate === SqlState.duplicatePreparedStatement) this.isBroken = true;
    if (statement === null) return;
    if (sqlstate === SqlState.invalidSqlStatementName || sqlstate === SqlState.featureNotSupported) {
      this.doubt(statement);
    }
  }

  /**
   * Whether `statement` says what it should to a session that reads constants by `key`; null: as it was prepared. When a
   * table or the search_path changes, PostgreSQL reads them anew by what is set at the next use, whose ever that is. Its
   * user lives with that, as with a session of its own; nobody else has to.
   */
  isReadBy(statement: Statement, key: string | null): boolean {
    const last = this.#readBy.get(statement);
    return last === undefined || last === key;
  }

  /** A session uses it that reads constants by `key`; null: as it was prepared. */
  usedBy(statement: Statement, key: string | null): void {
    if (key === null) this.#readBy.delete(statement);
    // What is neither there nor on its way would be kept here for ever.
    else if (this.holds(statement) || this.isPending(statement)) this.#readBy.set(statement, key);
  }

  /** What its rows are; null: it was not asked for them. */
  shapeOf(statement: Statement): StatementShape | null {
    return this.#shapes.get(statement) ?? null;
  }

  /** Whether it is asked for them in another stretch than `segment`, and has not answered. */
  isAsked(statement: Statement, segment: number): boolean {
    const shape = this.#shapes.get(statement);
    return shape !== undefined && shape.rows === null && shape.segment !== segment;
  }

  /** It is asked for them now, in stretch `segment` of a session of this client_encoding. */
  shaped(statement: Statement, encoding: string, segment: number): StatementShape {
    const shape = new StatementShape(encoding, segment);
    this.#shapes.set(statement, shape);
    return shape;
  }

  /** There was no answer to that. */
  unshaped(statement: Statement, shape: StatementShape): void {
    if (this.#shapes.get(statement) === shape) this.#shapes.delete(statement);
  }

  /** The next use sends it anew. */
  doubt(statement: Statement): void {
    // What is being closed may come back.
    if (this.holds(statement) || this.isPending(statement)) this.#doubtful.add(statement);
  }

  /** It was sent anew, with the same name. */
  renewed(statement: Statement): void {
    this.#doubtful.delete(statement);
    this.#shapes.delete(statement);
    this.#readBy.delete(statement);
  }

  /** It is sent in stretch `segment`. */
  add(statement: Statement, segment: number): Change {
    this.wereAny = true;
    this.#last = null;
    this.#shapes.delete(statement);
    const wasDoubtful = this.#doubtful.delete(statement);
    const change = this.#forgetting(statement, statement, segment);
    return {
      settle: change.settle,
      undo: () => {
        change.undo();
        // Where it was skipped, what it was to replace is still there.
        this.#undone(statement, wasDoubtful);
      },
    };
  }

  /** It is closed in stretch `segment`. */
  remove(statement: Statement, segment: number): Change {
    this.#last = null;
    this.#shapes.delete(statement);
    const wasDoubtful = this.#doubtful.delete(statement);
    const change = this.#forgetting(statement, null, segment);
    return {
      settle: () => {
        change.settle();
        if (!this.holds(statement)) this.#doubtful.delete(statement);
        this.#forgetGone(statement);
      },
      undo: () => {
        change.undo();
        this.#undone(statement, wasDoubtful);
      },
    };
  }

  /** A request of stretch `segment` gives its name another text: what builds on it from here on has it sent anew. */
  misnamed(statement: Statement, segment: number): Change {
    const change = this.set(statement, statement, segment);
    this.doubt(statement);
    return {
      settle: change.settle,
      undo: () => {
        change.undo();
        this.#forgetGone(statement);
      },
    };
  }

  #undone(statement: Statement, wasDoubtful: boolean): void {
    if (wasDoubtful) this.doubt(statement);
    this.#forgetGone(statement);
  }

  /** Of what has gone back to nothing, which nobody holds here any more, nothing stays. */
  #forgetGone(statement: Statement): void {
    if (this.holds(statement) || this.isPending(statement)) return;
    this.#doubtful.delete(statement);
    this.#readBy.delete(statement);
  }

  /** As {@link set}; who has read it last counts no more, unless it is there as it was. */
  #forgetting(statement: Statement, value: Statement | null, segment: number): Change {
    const readBy = this.#readBy.get(statement) ?? null;
    this.#readBy.delete(statement);
    const change = this.set(statement, value, segment);
    if (readBy === null) return change;
    return {
      settle: change.settle,
      undo: () => {
        change.undo();
        if (this.holds(statement)) this.#readBy.set(statement, readBy);
      },
    };
  }

  /**
   * A request has been sent that fails because `statement` is there. When it succeeds, that one was lost, and its name
   * stands for another text now.
   */
  overwritten(statement: Statement): Change {
    return {
      settle: () => {
        this.isBroken = true;
        this.doubt(statement);
      },
      undo: () => {},
    };
  }

  override clear(): void {
    super.clear();
    this.#doubtful.clear();
    this.#shapes.clear();
    this.#readBy.clear();
    this.#last = null;
  }

  /** All of them, in order, for the event loop that the server goes to. None may be on its way. */
  moved(): MovedStatement[] {
    let left = TEXTS_LIMIT;
    // The last ones used are the likeliest to be used next.
    const newestFirst = [...this.entries()].reverse().map(([statement]): MovedStatement => {
      const { name, origin, body, reading, isBlank } = statement;
      const isCarried = !isBlank && body.length <= Math.min(TEXT_LIMIT, left);
      if (isCarried) left -= body.length;
      const shape = this.#shapes.get(statement);
      return {
        name,
        text: isCarried ? { origin, body, reading } : null,
        shape: shape?.data ?? null,
        isDoubtful: this.#doubtful.has(statement),
        readBy: this.#readBy.get(statement) ?? null,
      };
    });
    return newestFirst.reverse();
  }

  /** The server comes from another event loop, and knows these; `cache` is this loop's. */
  restore(statements: readonly MovedStatement[], cache: StatementCache): void {
    for (const { name, text, shape, isDoubtful, readBy } of statements) {
      const statement = cache.holdNamed(name, text);
      this.add(statement, 0).settle();
      cache.release(statement);
      if (shape !== null) this.#shapes.set(statement, movedShape(shape));
      if (isDoubtful) this.#doubtful.add(statement);
      this.usedBy(statement, readBy);
    }
  }

  /** The least recently used one, in none of `kept`, that may be closed when there are more than `limit`; null: none. */
  surplus(limit: number, ...kept: readonly ReadonlySet<Statement>[]): Statement | null {
    if (this.size <= limit) return null;
    for (const [statement] of this.entries()) {
      if (!this.isPending(statement) && !kept.some((some) => some.has(statement))) return statement;
    }
    return null;
  }
}
