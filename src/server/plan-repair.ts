import { NO_STATEMENT, type Statement } from '../prepared/statement.ts';
import type { ServerStatements } from '../prepared/server-statements.ts';
import { isStalePlan } from '../prepared/stale-plan.ts';
import type { StretchNeeds } from '../prepared/stretch.ts';
import type { ClientEnd, KeptRequests } from '../relay/link.ts';
import type { OwnQueries } from './own-queries.ts';
import { ReplyAction } from '../relay/outstanding.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';
import { BackendType as B, FrontendType as F, HEADER_BYTES } from '../wire/codes.ts';
import { isEnding, parseErrorFields } from '../wire/error-fields.ts';
import { type ByteReader, FramedReader } from '../wire/framed-reader.ts';
import { sync } from '../wire/frontend.ts';
import { parseParameterStatus } from '../wire/parameter-status.ts';
import { SqlState } from '../wire/pg-error.ts';
import { Writer } from '../wire/writer.ts';

/** A statement as the server has it now. */
interface Renewed {
  /** The types of its parameters are those that they were. */
  readonly sameParameters: boolean;
  readonly columns: number;
}

/** The server connection as the repair sees it. */
export interface RepairHost {
  readonly conn: { write(bytes: Buffer): boolean };
  readonly tracker: RequestTracker;
  readonly statements: ServerStatements;
  parameterStatus(name: string, value: string): void;
  /** Who reads from here on. */
  read(reader: ByteReader): void;
}

/**
 * What happens when PostgreSQL cannot use a prepared statement any more because its result has another type now
 * (`cached plan must not change result type`): the statement is prepared anew, and the client's requests are sent
 * once more, where nothing but them has been sent since the connection was at rest. See decision 7.
 *
 * ```
 *  error ──▶ held back ──▶ the client is held ──▶ its ReadyForQuery (we send Sync if it has not)
 *        ──▶ as needed, the statement described, prepared anew, described
 *        ──▶ right: requests again   wrong: a request that fails, with the error that was held back
 * ```
 */
export class PlanRepair {
  readonly #host: RepairHost;
  /** Where it is noted that the server is not the client's meanwhile. */
  readonly #own: OwnQueries;
  /** Reads what is the client's. */
  readonly #answers: ByteReader;
  /** What the client gets when the repair turns out to be wrong; then in place of the error that comes next. */
  #error: Buffer | null = null;
  #statement: Statement | null = null;
  #kept: KeptRequests | null = null;
  #needs: StretchNeeds | null | undefined;
  #isReady = false;
  /** Why a statement could not be taught: the client's request behind that fails for the lack of it. */
  #cause: Buffer | null = null;
  /** The client's own Sync was sent. */
  #hasSync = false;

  constructor(host: RepairHost, own: OwnQueries, answers: ByteReader) {
    this.#host = host;
    this.#own = own;
    this.#answers = answers;
  }

  /**
   * A request of `client` has failed with the error of `body`, or one of ours alone (`isSwallowed`). Gives what the
   * client gets; null: nothing (yet), or it is gone.
   */
  failed(client: ClientEnd | null, body: Buffer, isSwallowed: boolean): Buffer | null {
    const { tracker, conn, statements } = this.#host;
    const note = tracker.failedNote;
    const statement = note?.uses ?? null;
    statements.requestFailed(statement, note?.gives ?? null, body);
    for (const each of note?.based ?? []) statements.requestFailed(each, null, body);
    if (note?.isAtLast === true && !isOfText(body)) statements.isBroken = true;
    if (client === null) return null;
    const { kept } = client;
    const error = client.error(body, note);
    if (isSwallowed) {
      this.#cause = error;
      return null;
    }
    const due = this.#error;
    if (due !== null) {
      this.#error = null;
      return due;
    }
    const cause = this.#cause;
    this.#cause = null;
    if (cause !== null && isForLack(body, error)) return cause;
    const isStale = kept.isGiven ? isStaleForNew(body) : isStalePlan(body);
    if (statement === null || !kept.canRepeat(note) || !isStale || !isAlone(tracker)) {
      kept.end();
      return error;
    }
    statements.doubt(statement);
    this.#own.isRepairing = true;
    this.#error = error;
    this.#statement = statement;
    this.#kept = kept;
    this.#needs = undefined;
    this.#isReady = false;
    this.#hasSync = tracker.queue.syncs > 0;
    if (this.#hasSync) tracker.queue.swallowLast();
    kept.hold((needs) => {
      this.#needs = needs;
      if (this.#isReady) this.#begin();
      else if (!this.#hasSync) {
        conn.write(sync);
        tracker.sent(F.Sync, ReplyAction.Swallow);
      }
    });
    return null;
  }

  /** While active: the server is at rest again. */
  ready(): void {
    this.#isReady = true;
    if (this.#needs !== undefined) this.#begin();
  }

  /** The link is over. */
  end(): void {
    this.#own.isRepairing = false;
    this.#error = null;
    this.#cause = null;
    this.#kept = null;
    this.#statement = null;
    // The end of the chunk may still have to come.
    this.#needs = undefined;
  }

  #begin(): void {
    const needs = this.#needs ?? null;
    if (needs === null) this.#pass();
    else if (!needs.sameParameters && needs.columns < 0) this.#repeat();
    else this.#renew(needs);
  }

  /** Has the statement prepared anew, to see what it is now. */
  #renew(needs: StretchNeeds): void {
    const statement = this.#statement as Statement;
    if (statement.origin !== 'parse') {
      this.#pass();
      return;
    }
    const describe = statement.describeMessage();
    const done = (renewed: Renewed | null): void => {
      this.#host.read(this.#answers);
      if (renewed !== null) this.#host.statements.renewed(statement);
      const isRight =
        renewed !== null &&
        (renewed.sameParameters || !needs.sameParameters) &&
        (needs.columns < 0 || needs.columns === renewed.columns);
      if (isRight) this.#repeat();
      else this.#pass();
    };
    this.#host.read(new RenewalReader(done, (type, body) => this.#unasked(type, body)));
    // The first one fails, behind the parameters' types.
    this.#host.conn.write(
      Buffer.concat([describe, sync, statement.closeMessage(), statement.parseMessage(), describe, sync]),
    );
  }

  /** Meanwhile the server has said what is no answer of ours: a parameter is another, for its configuration was read anew. */
  #unasked(type: number, body: Buffer): void {
    if (type === B.ErrorResponse) {
      this.#own.ending('preparing anew failed', parseErrorFields(body), body);
      return;
    }
    if (type === B.ParameterStatus) this.#host.parameterStatus(...parseParameterStatus(body, 0, body.length));
    this.#own.passOn(type, body);
  }

  #repeat(): void {
    const kept = this.#kept;
    this.end();
    kept?.repeat();
  }

  /** The client gets its error, from a server that stands where it would stand behind it. */
  #pass(): void {
    const { conn, tracker } = this.#host;
    const kept = this.#kept;
    const error = this.#error;
    const fails = new Writer(64)
      .begin(F.Bind)
      .byte(0)
      .bytes(NO_STATEMENT)
      .int16(0)
      .int16(0)
      .int16(0)
      .end()
      .take();
    this.end();
    this.#error = error;
    tracker.sent(F.Bind);
    conn.write(this.#hasSync ? Buffer.concat([fails, sync]) : fails);
    if (this.#hasSync) tracker.sent(F.Sync);
    kept?.pass();
  }
}

/**
 * A statement of ours is missing, or the transaction has failed because it could not be prepared. `error` is what `body`
 * would be for the client: the same where it names none of ours.
 */
function isForLack(body: Buffer, error: Buffer): boolean {
  const { sqlstate } = parseErrorFields(body);
  if (sqlstate === SqlState.inFailedSqlTransaction) return true;
  return sqlstate === SqlState.invalidSqlStatementName && !error.subarray(HEADER_BYTES).equals(body);
}

/**
 * As {@link isStalePlan}, for a client that prepares the statement in the same stretch: to PostgreSQL it would be new.
 * Whatever it says of names and types in it may come from what they were before; and it may have lost it.
 */
function isStaleForNew(body: Buffer): boolean {
  const { sqlstate = '' } = parseErrorFields(body);
  if (isStalePlan(body) || sqlstate === SqlState.invalidSqlStatementName) return true;
  return sqlstate.startsWith(SYNTAX_OR_ACCESS_RULE) && sqlstate !== SqlState.insufficientPrivilege;
}

/** Class of SQLSTATEs. */
const SYNTAX_OR_ACCESS_RULE = '42';

/** Behind an error: nothing but its own stretch is under way. */
function isAlone({ queue, isUnsure }: RequestTracker): boolean {
  if (isUnsure || queue.queries > 0 || queue.copyEnds > 0) return false;
  return queue.syncs === 0 || (queue.syncs === 1 && queue.lastType === F.Sync);
}

/** An error or a description is read up to here. Bytes. */
const MAX_BODY_BYTES = 1024 * 1024;

/** Reads what comes of describing a statement, and of preparing it anew and describing it again. */
class RenewalReader implements ByteReader {
  readonly #reader: FramedReader;
  #readies = 0;
  #old: Buffer | null = null;
  #new: Buffer | null = null;
  #columns = -1;

  /** `unasked` hears of what is no answer (its body borrowed), and of the error that ends the connection. */
  constructor(done: (renewed: Renewed | null) => void, unasked: (type: number, body: Buffer) => void) {
    this.#reader = new FramedReader(MAX_BODY_BYTES, isRead, (type, body) => {
      if (type === B.ParameterStatus || type === B.NotificationResponse) {
        unasked(type, body);
      } else if (type === B.ErrorResponse) {
        if (isEnding(parseErrorFields(body))) unasked(type, body);
      } else if (type === B.ParameterDescription) {
        if (this.#readies === 0) this.#old = Buffer.from(body);
        else this.#new = Buffer.from(body);
      } else if (type === B.RowDescription || type === B.NoData) {
        this.#columns = type === B.NoData ? 0 : body.readUInt16BE(0);
      } else if (type === B.ReadyForQuery) {
        this.#readies++;
        if (this.#readies === 1) this.#columns = -1;
        else done(this.#result());
        return this.#readies < 2;
      }
      return true;
    });
  }

  feed(chunk: Buffer, start: number, end: number): number {
    return this.#reader.feed(chunk, start, end);
  }

  #result(): Renewed | null {
    if (this.#new === null || this.#columns < 0) return null;
    return { sameParameters: this.#old?.equals(this.#new) === true, columns: this.#columns };
  }
}

function isRead(type: number): boolean {
  switch (type) {
    case B.ErrorResponse:
    case B.NotificationResponse:
    case B.ParameterDescription:
    case B.ParameterStatus:
    case B.RowDescription:
    case B.NoData:
    case B.ReadyForQuery:
      return true;
    default:
      return false;
  }
}

/** Whether it is the statement's own, and not the end of its transaction that has failed. */
function isOfText(body: Buffer): boolean {
  return /^(?:0A|22|25|26|42)/.test(parseErrorFields(body).sqlstate ?? '');
}
