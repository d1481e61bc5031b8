import { isSameParameters, isSameRows, type StatementShape } from '../prepared/statement-shape.ts';
import type { Statement } from '../prepared/statement.ts';
import { describesRows } from '../prepared/stretch.ts';
import { NEEDS_ANSWERS, NEEDS_MORE } from '../relay/request-filter.ts';
import { ReplyAction } from '../relay/outstanding.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F, TxStatus } from '../wire/codes.ts';
import { ShapeNote } from './request-notes.ts';
import type { StatementHost, StatementSender, StatementServer } from './statement-sender.ts';

/** It may go, or must fail; or it has to wait (see `RequestFilter.pass`). */
export type RowVerdict = boolean | typeof NEEDS_ANSWERS | typeof NEEDS_MORE;

/**
 * Sees to it that no client gets rows that are not what it has been told of them. PostgreSQL never changes what a
 * session's prepared statement gives ("cached plan must not change result type"); ours may have been prepared on other
 * servers at other times, or for clients with another search_path.
 *
 * Servers are asked for a statement's rows when a client asks the first time there, and when one that was told
 * of them elsewhere runs it without asking. In the latter case it waits for the answer.
 */
export class RowChecks {
  readonly #host: StatementHost;
  readonly #sender: StatementSender;
  /** What a server was asked for the Bind that waits now. */
  #asked: StatementShape | null = null;

  constructor(host: StatementHost, sender: StatementSender) {
    this.#host = host;
    this.#sender = sender;
  }

  /** The link is over. */
  unlinked(): void {
    this.#asked = null;
    this.#host.statements.told.endPortals();
  }

  /**
   * Whether a Bind of `statement` by `name` is right, or must fail. What the client sends behind it, `bytes[behind, end)`
   * and on, may tell it of the rows before they come.
   */
  check(
    name: string,
    statement: Statement,
    portal: string,
    bytes: Buffer,
    behind: number,
    end: number,
    out: RunWriter,
  ): RowVerdict {
    const told = this.#host.statements.told.of(name, statement);
    if (told === null) return true;
    const { tracker, statements: known } = this.#server;
    const shape = known.shapeOf(statement);
    const isKnown = known.has(statement, tracker.segment) === true;
    const hasParameters = isKnown && isSameParameters(told.parameters, shape);
    if (hasParameters && isSameRows(told.rows, shape)) return this.#decided(true);
    // It is skipped, or fails for another reason.
    if (tracker.isSkipped || tracker.txStatus === TxStatus.Failed) return this.#decided(true);
    const isDescribed = describesRows(bytes, behind, end, name, portal);
    if (isDescribed === 'incomplete') return NEEDS_MORE;
    if (isDescribed && (hasParameters || isSameParameters(told.parameters, null))) return this.#decided(true);
    if (shape !== null && shape.rows === null) return NEEDS_ANSWERS;
    if (isKnown && shape !== null && shape === this.#asked) return this.#decided(false);
    // As it is now, and for this client.
    this.#sender.teach(statement, out);
    this.#asked = known.shaped(statement);
    this.#ask(name, statement, this.#asked, out);
    return NEEDS_ANSWERS;
  }

  /**
   * The client asks the server for `statement`, its `name`, which is there, or a portal of it: `send` sends that; its
   * argument takes back that the client knows the answer, null where it knew already.
   */
  telling(
    name: string,
    statement: Statement,
    out: RunWriter,
    isPortal: boolean,
    send: (untold: (() => void) | null) => void,
  ): void {
    const { statements: known } = this.#server;
    const before = known.shapeOf(statement);
    const shape = before ?? known.shaped(statement);
    send(this.#host.statements.told.tell(name, statement, shape, isPortal));
    // Behind it, for the failure is the client's.
    if (before === null) this.#ask(name, statement, shape, out);
  }

  #ask(name: string, statement: Statement, shape: StatementShape, out: RunWriter): void {
    const { tracker, statements: known } = this.#server;
    out.put(statement.describeMessage());
    const hanging = new ShapeNote(statement, name, shape, () => known.unshaped(statement, shape));
    tracker.sent(F.Describe, ReplyAction.Swallow, null, hanging);
  }

  #decided(verdict: boolean): boolean {
    this.#asked = null;
    return verdict;
  }

  get #server(): StatementServer {
    return this.#sender.server;
  }
}
