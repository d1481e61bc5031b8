import { type Change, UNSETTLED } from '../prepared/ledger.ts';
import { nameEnd, nameOf, renamed } from '../prepared/message-names.ts';
import { isSameRows, LOST } from '../prepared/statement-shape.ts';
import { readEffects } from '../prepared/statement-effects.ts';
import { NO_STATEMENT, PORTAL, STATEMENT, type Statement, StatementUse } from '../prepared/statement.ts';
import { brokenText } from '../relay/malformed.ts';
import { ReplyAction, type RequestNote } from '../relay/outstanding.ts';
import { NEEDS_ANSWERS, type RequestFilter } from '../relay/request-filter.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F } from '../wire/codes.ts';
import { closeComplete, parseComplete } from '../wire/complete.ts';
import { ProtocolViolation, SynchronizationLost } from '../wire/pg-error.ts';
import { both, ChangingUse, note, RefusedUse } from './request-notes.ts';
import { RowChecks } from './row-checks.ts';
import { SqlFilter } from './sql-filter.ts';
import { asItIs } from './sql-text.ts';
import { type StatementHost, StatementSender, type StatementServer } from './statement-sender.ts';

/** Names that begin a Bind, a whole Describe or Close: no more of them is held to be looked at. Bytes. */
const NAMES_LIMIT = 64 * 1024;

/** A Parse that is held whole. PostgreSQL takes texts of up to 1 GB; nobody writes them. Bytes. */
const TEXT_LIMIT = 64 * 1024 * 1024;

/**
 * Prepared statements outside session mode (contract, §7): the names that a client gives are its own; servers know
 * each text under one name of ours, and learn it when a request needs it there.
 *
 * What a server is sent for a request that names a statement:
 *
 * | request | statement is there | it is not |
 * | --- | --- | --- |
 * | Parse | nothing: ParseComplete is ours to give | Parse |
 * | Bind, Describe | the same by our name | Parse (answer swallowed), then the same |
 * | Close | nothing: CloseComplete is ours to give | nothing |
 *
 * In place of nothing it is a Close of nothing where a COPY may be under way, see {@link StatementSender.answer}.
 * Names that the client has not given pass as they are: the server's own error is the right one.
 */
export class StatementFilter implements RequestFilter {
  readonly #host: StatementHost;
  readonly #sender: StatementSender;
  readonly #sql: SqlFilter;
  readonly #rows: RowChecks;
  /** Where the chunk ends that was looked at last. */
  #chunkEnd = 0;

  constructor(host: StatementHost) {
    this.#host = host;
    this.#sender = new StatementSender(host);
    this.#sql = new SqlFilter(host, this.#sender);
    this.#rows = new RowChecks(host, this.#sender);
  }

  look(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    if (this.#sender.awaitsProbe(type)) return Math.min(1, bodyBytes);
    switch (type) {
      case F.Parse:
        if (end === body) return Math.min(1, bodyBytes);
        if (chunk[body] === 0) return this.#sql.lookAtUnnamed(chunk, body, end, bodyBytes);
        if (bodyBytes > TEXT_LIMIT) throw new ProtocolViolation('broken Parse packet');
        return bodyBytes;
      case F.Bind:
        return this.#lookAtBind(chunk, body, end, bodyBytes);
      case F.Describe:
      case F.Close:
        if (end - body < 2) return Math.min(2, bodyBytes);
        if (chunk[body] === PORTAL) {
          if (type === F.Describe) return this.#lookAtPortal(chunk, body, end, bodyBytes);
          return this.#sql.portals.areAny && bodyBytes <= NAMES_LIMIT ? bodyBytes : 0;
        }
        if (chunk[body] !== STATEMENT || chunk[body + 1] === 0) return 0;
        if (bodyBytes > NAMES_LIMIT) throw new ProtocolViolation(brokenText(type));
        return bodyBytes;
      case F.Query:
        return this.#sql.lookAtQuery(chunk, body, end, bodyBytes);
      case F.Execute:
        return this.#sql.portals.lookAtExecute(chunk, body, end, bodyBytes);
      default:
        return 0;
    }
  }

  answerAlone(type: number, chunk: Buffer, body: number, end: number): Buffer | null {
    // A server that is being probed may still owe answers, which go first.
    if (this.#host.server !== null) return null;
    if (type === F.Query) return this.#sql.answerAlone(chunk, body, end);
    if (type !== F.Close) return null;
    const name = onlyName(type, chunk, body + 1, end);
    this.#host.statements.set(name, null, 0).settle();
    return closeComplete;
  }

  pass(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    const rest = this.#pass(type, chunk, body, end, bodyBytes, out);
    // PostgreSQL takes nothing but data there. It would wait for answers, and they for it.
    if (rest === NEEDS_ANSWERS && this.#server.tracker.awaitsCopyEnd)
      throw new SynchronizationLost(`unexpected message type 0x${type.toString(16)} during COPY from stdin`);
    return rest;
  }

  #pass(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    if (this.#sender.awaitsProbe(type)) return NEEDS_ANSWERS;
    switch (type) {
      case F.Parse:
        return chunk[body] === 0
          ? this.#sql.passUnnamed(chunk, body, end, bodyBytes, out)
          : this.#parse(chunk, body, end, out);
      case F.Query:
        return this.#sql.passQuery(chunk, body, end, bodyBytes, out);
      case F.Execute:
        return this.#sql.portals.passExecute(chunk, body, end, out);
      case F.Bind: {
        const zero = nameEnd(chunk, body, end);
        if (chunk[zero + 1] !== 0) break;
        return this.#sql.portals.passBind(nameOf(chunk, body, zero), body, bodyBytes, out);
      }
    }
    const isPortal = type !== F.Bind && chunk[body] === PORTAL;
    if (isPortal && type === F.Close)
      return this.#sql.portals.passClose(onlyName(type, chunk, body + 1, end), body, end, out);
    // A portal's Describe names no statement: nothing ends the client for its sake.
    if (!(isPortal && this.#sender.isStuck) && !this.#sender.isCertain()) return -1;
    switch (type) {
      case F.Bind:
        return this.#bind(chunk, body, end, bodyBytes, out);
      case F.Describe:
        return this.#describe(chunk, body, end, out);
      default:
        return this.#close(chunk, body, end, out);
    }
  }

  /** See {@link SqlFilter.formerName}. */
  formerName(serverName: string): string | null {
    return this.#sql.formerName(serverName);
  }

  /** The link is over. */
  unlinked(): void {
    this.#sql.unlinked();
    this.#rows.unlinked();
  }

  /** The client is gone, or requests are not looked at for a while. */
  end(): void {
    this.#sql.end();
  }

  /** Most have no name at all: two zeros. */
  #lookAtBind(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    // It has no names, and PostgreSQL refuses it.
    if (bodyBytes < 2) return 0;
    if (end - body < 2) return 2;
    // What stands behind it is another message's.
    const stop = Math.min(end, body + bodyBytes);
    const { told } = this.#host.statements;
    if (chunk[body] === 0 && chunk[body + 1] === 0) {
      told.bound('', null);
      return this.#sql.portals.watchesBinds ? 2 : 0;
    }
    this.#chunkEnd = end;
    const portal = nameEnd(chunk, body, stop);
    const statement = portal < 0 ? -1 : nameEnd(chunk, portal + 1, stop);
    if (statement >= 0) {
      const isUnnamed = statement === portal + 1;
      if (isUnnamed) told.bound(nameOf(chunk, body, portal), null);
      return isUnnamed && !this.#sql.portals.watchesBinds ? 0 : statement + 1 - body;
    }
    // Cut inside the names: as much of it as may hold them.
    if (stop - body >= Math.min(bodyBytes, NAMES_LIMIT)) throw new ProtocolViolation('broken Bind packet');
    return Math.min(bodyBytes, NAMES_LIMIT);
  }

  /** The Describe of a portal: of interest where it tells the client what it does not know yet. */
  #lookAtPortal(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    const { server, statements } = this.#host;
    if (server === null) return 0;
    const zero = nameEnd(chunk, body + 1, Math.min(end, body + bodyBytes));
    if (zero < 0) return bodyBytes <= NAMES_LIMIT ? bodyBytes : 0;
    const { told } = statements;
    // Most have no name: nothing is made of it.
    const portal = told.portal(zero === body + 1 ? '' : nameOf(chunk, body + 1, zero));
    if (portal === null) return 0;
    if (portal === LOST) {
      statements.blur();
      return 0;
    }
    const rows = told.of(portal.name, portal.statement)?.rows;
    return rows !== undefined && isSameRows(rows, portal.shape) ? 0 : bodyBytes;
  }

  #parse(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { cache, statements, stats, kept, doubts } = this.#host;
    const { tracker, statements: known } = this.#server;
    const { segment } = tracker;
    if (!this.#sender.isCertain() || doubts.areAhead(tracker)) return -1;
    const { reading } = this.#host;
    const zero = nameEnd(chunk, body, end);
    if (zero < 0) throw new ProtocolViolation('broken Parse packet');
    const name = nameOf(chunk, body, zero);
    const current = statements.get(name, segment);
    if (current === UNSETTLED) return -1;
    const { usedBytes } = cache.budget;
    const statement = cache.hold('parse', chunk.toString('latin1', zero + 1, end), reading);
    const isNew = cache.budget.usedBytes !== usedBytes;
    const stop = nameEnd(chunk, zero + 1, end);
    readEffects(statement, chunk, zero + 1, stop < 0 ? end : stop, reading);
    doubts.prepared(statement);
    try {
      if (isNew) cache.budget.check(0);
      const isThere = known.has(statement, segment);
      if (isThere === UNSETTLED) return -1;
      stats.clientParseCount++;
      if (current !== null) {
        // The name is taken: the server finds that out by itself, behind everything else that may be wrong.
        if (!isThere) this.#sender.parse(statement, ReplyAction.Swallow, note(null), out);
        out.put(statement.parseMessage());
        // Should it succeed, there was none any more, and it has given the name.
        const [here, mine] = [
          known.set(statement, statement, segment),
          statements.set(name, statement, segment),
        ];
        tracker.sent(F.Parse, ReplyAction.Forward, null, note(name, here, mine));
        return end;
      }
      const change = statements.set(name, statement, segment);
      if (isThere && tracker.isSurelyUsable) {
        tracker.opened();
        if (tracker.isAtRest) kept.given(name, segment);
        this.#sender.answer(F.Parse, parseComplete, change, out);
      } else {
        // Where it is there, too: whether it would be taken depends on the transaction, and only PostgreSQL knows.
        this.#sender.parse(statement, ReplyAction.Forward, note(name, change), out);
        this.#sender.ask(statement, out);
      }
      return end;
    } finally {
      cache.release(statement);
    }
  }

  #bind(chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    const { stats, kept, statements } = this.#host;
    const { tracker } = this.#server;
    const start = nameEnd(chunk, body, end) + 1;
    const zero = nameEnd(chunk, start, end);
    const name = nameOf(chunk, start, zero);
    const statement = this.#named(name);
    if (statement === UNSETTLED) return NEEDS_ANSWERS;
    const portal = nameOf(chunk, body, start - 1);
    const standIn = statement === null ? null : this.#sql.standIn(name, statement, portal, out);
    if (standIn === UNSETTLED) return NEEDS_ANSWERS;
    let nameBytes = standIn?.nameBytes ?? statement?.nameBytes ?? chunk.subarray(start, zero + 1);
    let use: RequestNote | null = standIn?.note ?? null;
    if (statement !== null && standIn === null) {
      const isRight = this.#rows.check(
        name,
        statement,
        portal,
        chunk,
        body,
        body + bodyBytes,
        this.#chunkEnd,
        out,
      );
      if (typeof isRight === 'number') return isRight;
      if (isRight) {
        this.#sender.ensure(statement, out);
        const bound = this.#rows.bound(name, statement, portal, out);
        if (bound === NEEDS_ANSWERS) return bound;
        if (statement.spoilsSession || statement.isGuess) this.#server.closeNeeded = true;
        use = this.#use(
          F.Bind,
          statement,
          name,
          body,
          bodyBytes,
          both(bound, this.#sql.portals.boundTo(portal, statement)),
        );
      } else {
        use = new RefusedUse(statement, name);
        nameBytes = NO_STATEMENT;
      }
    } else {
      statements.told.bound(portal, null);
    }
    stats.bindCount++;
    tracker.sent(F.Bind, ReplyAction.Forward, null, use);
    if (kept.isKeeping) kept.binds++;
    out.put(renamed(F.Bind, chunk, body, bodyBytes, start, zero, nameBytes));
    return zero + 1;
  }

  #describe(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { tracker } = this.#server;
    const zero = nameEnd(chunk, body + 1, end);
    if (zero !== end - 1) throw new ProtocolViolation('broken Describe packet');
    if (chunk[body] === PORTAL) return this.#describePortal(chunk, body, end, out);
    const name = nameOf(chunk, body + 1, zero);
    const statement = this.#named(name);
    if (statement === UNSETTLED) return NEEDS_ANSWERS;
    // Whatever else a text of SQL names, it has no rows.
    const standIn = statement?.sql?.kind === 'execute' ? this.#sql.standIn(name, statement, null, out) : null;
    if (standIn === UNSETTLED) return NEEDS_ANSWERS;
    const nameBytes = standIn?.nameBytes ?? statement?.nameBytes ?? chunk.subarray(body + 1, zero + 1);
    const send = (told: Change | null): void => {
      const use =
        standIn?.note ?? (statement && this.#use(F.Describe, statement, name, body, end - body, told));
      tracker.sent(F.Describe, ReplyAction.Forward, null, use);
      out.put(renamed(F.Describe, chunk, body, end - body, body + 1, zero, nameBytes));
    };
    if (statement === null || standIn !== null) send(null);
    else {
      this.#sender.ensure(statement, out);
      this.#rows.telling(name, statement, out, send);
    }
    return end;
  }

  /** Of a portal that is of interest, see {@link #lookAtPortal}. */
  #describePortal(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { statements } = this.#host;
    const { tracker } = this.#server;
    const portal = statements.told.portal(nameOf(chunk, body + 1, end - 1));
    const of = portal === LOST ? null : portal;
    const current = of === null ? null : statements.get(of.name, tracker.segment);
    if (current === UNSETTLED && !this.#sender.isStuck) return NEEDS_ANSWERS;
    const send = (told: Change | null): void => {
      const use = told === null || of === null ? null : new ChangingUse(of.statement, of.name, null, told);
      asItIs(F.Describe, body, end, out, () => tracker.sent(F.Describe, ReplyAction.Forward, null, use));
      out.put(chunk, body, end);
    };
    // The name may stand for another one by now.
    if (of !== null && of.statement === current) this.#rows.tellingPortal(of, out, send);
    else send(null);
    return end;
  }

  #close(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { statements } = this.#host;
    const { tracker } = this.#server;
    const name = onlyName(F.Close, chunk, body + 1, end);
    const current = statements.get(name, tracker.segment);
    if (current === UNSETTLED) return -1;
    this.#sender.answer(F.Close, closeComplete, statements.set(name, null, tracker.segment), out);
    return end;
  }

  /** The statement that the client calls `name`; null: it has none. */
  #named(name: string): Statement | null | typeof UNSETTLED {
    const { segment } = this.#server.tracker;
    const statement = this.#host.statements.get(name, segment);
    if (statement === UNSETTLED || statement === null) return statement;
    const { statements: known } = this.#server;
    const isUnsettled = known.has(statement, segment) === UNSETTLED || known.isAsked(statement, segment);
    return isUnsettled ? UNSETTLED : statement;
  }

  /** The note on a request of `type` that names `statement` by `name`, about to be sent; its body is at `body`. */
  #use(
    type: number,
    statement: Statement,
    name: string,
    body: number,
    bodyBytes: number,
    change: Change | null = null,
  ): StatementUse {
    const { kept } = this.#host;
    const { tracker } = this.#server;
    const keeps = tracker.isAtRest ? kept : null;
    const use =
      change === null
        ? new StatementUse(statement, name, keeps)
        : new ChangingUse(statement, name, keeps, change);
    if (keeps === null) return use;
    kept.begin(use, tracker.segment, type, body, bodyBytes);
    return use;
  }

  get #server(): StatementServer {
    return this.#sender.server;
  }
}

/** The name that is all that `chunk[start, end)` holds. */
function onlyName(type: number, chunk: Buffer, start: number, end: number): string {
  const zero = nameEnd(chunk, start, end);
  if (zero !== end - 1) throw new ProtocolViolation(brokenText(type));
  return nameOf(chunk, start, zero);
}
