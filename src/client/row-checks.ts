import type { Change } from '../prepared/ledger.ts';
import { nameEnd } from '../prepared/message-names.ts';
import {
  isSameParameters,
  isSameRows,
  type NamedPortal,
  type StatementShape,
  UNKNOWN,
} from '../prepared/statement-shape.ts';
import type { Statement } from '../prepared/statement.ts';
import { describesRows } from '../prepared/stretch.ts';
import { NEEDS_ANSWERS, NEEDS_MORE } from '../relay/request-filter.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { TxStatus } from '../wire/codes.ts';
import type { StatementHost, StatementSender, StatementServer } from './statement-sender.ts';

/** A Bind and what follows it are held up to here for a description. Bytes. */
const WAIT_LIMIT = 16 * 1024;

/** It may go, or must fail; or it has to wait (see `RequestFilter.pass`). */
export type RowVerdict = boolean | typeof NEEDS_ANSWERS | typeof NEEDS_MORE;

/**
 * Sees to it that no client gets rows that are not what it has been told of them. PostgreSQL never changes what a
 * session's prepared statement gives ("cached plan must not change result type"); ours may have been prepared on other
 * servers at other times, or for clients with another search_path.
 *
 * Servers are asked for a statement's rows when they prepare it. Where a client that was told of them elsewhere runs it
 * without asking, it waits for the answer.
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
   * Whether a Bind of `statement` by `name`, whose body begins at `body` of `bytes`, is right, or must fail. What the
   * client sends behind it, `bytes[behind, end)` and on, may tell it of the rows before they come.
   */
  check(
    name: string,
    statement: Statement,
    portal: string,
    bytes: Buffer,
    body: number,
    behind: number,
    end: number,
    out: RunWriter,
  ): RowVerdict {
    const told = this.#host.statements.told.of(name, statement);
    if (told === null) return this.#decided(true);
    const { tracker, statements: known } = this.#server;
    const shape = known.shapeOf(statement);
    const isKnown = known.has(statement, tracker.segment) === true;
    const hasParameters = isKnown && isSameParameters(told.parameters, shape);
    if (hasParameters && isSameRows(told.rows, shape)) return this.#decided(true);
    // It is skipped, or fails for another reason.
    if (tracker.isSkipped || (tracker.txStatus === TxStatus.Failed && tracker.isQuiet))
      return this.#decided(true);
    const isDescribed = describesRows(bytes, behind, end, name, portal);
    if (isDescribed === 'incomplete' && Math.max(behind, end) - body <= WAIT_LIMIT) return NEEDS_MORE;
    if (isDescribed === true && (hasParameters || isSameParameters(told.parameters, null)))
      return this.#decided(true);
    if (shape !== null && shape.rows === null) return NEEDS_ANSWERS;
    if (isKnown && shape !== null && shape === this.#asked) {
      // PostgreSQL counts parameters before it looks at rows.
      const count = parameterCountOf(bytes, body, Math.min(behind, end));
      return this.#decided(count !== null && shape.parameterCount !== null && count !== shape.parameterCount);
    }
    // As it is now, and for this client.
    this.#sender.teach(statement, out);
    this.#asked = known.shapeOf(statement);
    return NEEDS_ANSWERS;
  }

  /**
   * A Bind of `statement` by `name`, which is there, to `portal` is about to be sent: what hangs on its answer.
   * {@link NEEDS_ANSWERS}: what transaction it is in has to be known first.
   */
  bound(
    name: string,
    statement: Statement,
    portal: string,
    out: RunWriter,
  ): Change | null | typeof NEEDS_ANSWERS {
    const { tracker, statements: known } = this.#server;
    const { queue } = tracker;
    // Prepared by SQL. A portal that is described in a later stretch is one of a transaction; else there is time for that.
    if (known.shapeOf(statement) === null && !tracker.isAtRest && !tracker.isSkipped) {
      if (queue.syncs > 0 || queue.queries > 0) return NEEDS_ANSWERS;
      if (tracker.isSurelyUsable) this.#sender.ask(statement, out);
    }
    const { segment } = tracker;
    const shape = known.shapeOf(statement);
    const of: NamedPortal = { name, statement, shape, segment, before: null, isTakenBack: false };
    const { told } = this.#host.statements;
    if (!tracker.isAtRest) return told.boundAnew(portal, of);
    // There is no portal then.
    told.bound(portal, of);
    return null;
  }

  /** The client asks for `statement`, its `name`, which is there; `send` sends that. */
  telling(name: string, statement: Statement, out: RunWriter, send: (told: Change | null) => void): void {
    const { statements: known } = this.#server;
    const before = known.shapeOf(statement);
    const shape = before ?? this.#sender.shaped(statement);
    send(this.#host.statements.told.tell(name, statement, shape, false));
    // Behind it, for the failure is the client's.
    if (before === null) this.#sender.ask(statement, out, shape);
  }

  /** It asks for `portal`, likewise. */
  tellingPortal(portal: NamedPortal, out: RunWriter, send: (told: Change | null) => void): void {
    const { name, statement, segment } = portal;
    const { told } = this.#host.statements;
    const { tracker, statements: known } = this.#server;
    const isThere =
      segment === tracker.segment && !this.#sender.isStuck && known.has(statement, segment) === true;
    const before = portal.shape ?? (isThere ? known.shapeOf(statement) : null);
    const shape = before ?? (isThere ? this.#sender.shaped(statement) : UNKNOWN);
    send(told.tell(name, statement, shape, true));
    if (before === null && isThere) this.#sender.ask(statement, out, shape);
  }

  #decided(verdict: boolean): boolean {
    this.#asked = null;
    return verdict;
  }

  get #server(): StatementServer {
    return this.#sender.server;
  }
}

/** How many parameters the Bind whose body is `bytes[body, end)` and on supplies; null: that comes only later. */
function parameterCountOf(bytes: Buffer, body: number, end: number): number | null {
  const portalEnd = nameEnd(bytes, body, end);
  const statementEnd = portalEnd < 0 ? -1 : nameEnd(bytes, portalEnd + 1, end);
  const formats = statementEnd + 1;
  if (statementEnd < 0 || formats + 2 > end) return null;
  const count = formats + 2 + 2 * bytes.readUInt16BE(formats);
  return count + 2 > end ? null : bytes.readUInt16BE(count);
}
