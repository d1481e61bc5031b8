import { type Change, UNSETTLED, type Unsettled } from '../prepared/ledger.ts';
import { nameEnd } from '../prepared/message-names.ts';
import { setsIdentity } from '../prepared/sql-identity.ts';
import { mayConcernStatements } from '../prepared/sql-prefilter.ts';
import { isGuessed, isLexedOtherwise } from '../prepared/read-otherwise.ts';
import { ANYTHING, changeOf, type ReadingChange, readingChange } from '../prepared/sql-reading.ts';
import { isNamed, isUnreadable, readForm, readForms, type SqlStatement } from '../prepared/sql-statements.ts';
import { STATEMENT, type Statement } from '../prepared/statement.ts';
import { ReplyAction, UnreadText } from '../relay/outstanding.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F, TxStatus } from '../wire/codes.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { Writer } from '../wire/writer.ts';
import { answerDeallocate } from './lone-deallocate.ts';
import { LongTexts } from './long-texts.ts';
import { ChangeNote } from './request-notes.ts';
import { SqlPortals } from './sql-portals.ts';
import { SqlRewriter } from './sql-rewriter.ts';
import { asItIs, isUnread, lookAtText, passUnread } from './sql-text.ts';
import type { StatementHost, StatementSender } from './statement-sender.ts';
import { changing, dropping, type UnnamedForm, type UnnamedForms } from './unnamed-forms.ts';

/** What a Bind or Describe names in place of the client's statement. */
export interface StandIn {
  /** With its zero. */
  readonly nameBytes: Buffer;
  /** What hangs on the request. */
  readonly note: ChangeNote;
}

/**
 * PREPARE, EXECUTE and DEALLOCATE as SQL: one namespace with the protocol's statements. The names in a text become
 * those for servers, and servers learn ahead of it what it builds on. What cannot be read with certainty passes as
 * it is.
 */
export class SqlFilter {
  readonly #host: StatementHost;
  readonly #sender: StatementSender;
  readonly #rewriter: SqlRewriter;
  readonly #forms: UnnamedForms;
  readonly #longTexts = new LongTexts();
  readonly portals: SqlPortals;

  constructor(host: StatementHost, sender: StatementSender) {
    this.#host = host;
    this.#sender = sender;
    this.#rewriter = new SqlRewriter(host, sender);
    this.#forms = sender.forms;
    this.portals = new SqlPortals(host, sender);
  }

  /** As RequestFilter.look, for a Query. */
  lookAtQuery(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    // Within a stretch it may be skipped.
    if (this.#host.server?.tracker.isStretchOpen !== true) this.#forms.dropped();
    return this.#look(chunk, body, end, body, bodyBytes, true);
  }

  /** As RequestFilter.look, for a Parse without a name, whose text begins behind `body`. */
  lookAtUnnamed(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    const need = this.#look(chunk, body + 1, end, body, bodyBytes, false);
    return need === 0 && this.#forms.isStanding ? 1 : need;
  }

  #look(chunk: Buffer, text: number, end: number, body: number, bodyBytes: number, several: boolean): number {
    const stop = Math.min(end, body + bodyBytes);
    return lookAtText(chunk, text, stop, body, bodyBytes, several, this.#host.doubts.mayGoBack);
  }

  /**
   * A Bind to `portal`, or with null a Describe, is about to be sent of `statement`, the client's `name`. Where its text
   * names others the server gets one for that alone, with their names there. Null: it is the statement itself.
   */
  standIn(
    name: string,
    statement: Statement,
    portal: string | null,
    out: RunWriter,
  ): StandIn | null | Unsettled {
    const { sql } = statement;
    if (sql === null || !isNamed(sql)) return null;
    const { cache, statements: mine, doubts } = this.#host;
    const { server } = this.#sender;
    const { tracker } = server;
    const current = mine.get(sql.name, tracker.segment);
    if (current === UNSETTLED || doubts.areAhead(tracker)) return UNSETTLED;
    if (current === null && sql.kind !== 'prepare') return null;
    // What the server passes over need not have the text.
    if (tracker.isSkipped && !tracker.isUnsure) return null;
    const { length } = statement.body;
    if (!this.#longTexts.mayBeSent(length)) return UNSETTLED;
    const bytes = Buffer.from(statement.text, 'latin1');
    if (!this.#rewriter.isSettled(bytes, [sql])) return UNSETTLED;
    if (isLexedOtherwise(statement, this.#host.reading)) {
      server.closeNeeded = true;
      return null;
    }
    const { text, form } = this.#rewriter.rewriteOne(bytes, 0, bytes.length, sql, out);
    const serverName = `${cache.prefix}1`;
    const names = new Map([...form.names, [serverName, name]]);
    const types = Buffer.from(statement.body.slice(bytes.length), 'latin1');
    const message = new Writer(text.length + types.length + 96);
    message.begin(F.Close).byte(STATEMENT).cstring(serverName).end();
    out.put(message.begin(F.Parse).cstring(serverName).bytes(text).bytes(types).end().take());
    server.statements.wereAny = true;
    tracker.sent(F.Close, ReplyAction.Swallow, null, new ChangeNote([], names, form.text));
    const parsed = new ChangeNote([this.#longTexts.sent(length)], names, form.text);
    tracker.sent(F.Parse, ReplyAction.Swallow, null, parsed);
    const bound = portal === null ? null : this.portals.bindTo(portal, form);
    this.#forms.release(form);
    const nameBytes = Buffer.from(`${serverName}\0`, 'latin1');
    return { nameBytes, note: new ChangeNote(bound === null ? [] : [[bound]], names, form.text) };
  }

  /** See {@link UnnamedForms.formerName}. */
  formerName(serverName: string): string | null {
    return this.#forms.formerName(serverName);
  }

  /** The link is over. */
  unlinked(): void {
    this.#forms.endPortals();
  }

  /** Nothing is unnamed any more: the client is gone, or has to be taken for starting anew. */
  end(): void {
    this.#forms.end();
  }

  /** As RequestFilter.answerAlone, for a Query. */
  answerAlone(chunk: Buffer, body: number, end: number): Buffer | null {
    const statements = readForms(chunk, body, end - 1, this.#host.reading);
    return statements === null ? null : answerDeallocate(this.#host.statements, statements, TxStatus.Idle);
  }

  /** As RequestFilter.pass, for a Query. */
  passQuery(chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    if (end - body < bodyBytes) return this.#passUnread(body, bodyBytes, out);
    const { tracker, sinkAtBoundary } = this.#sender.server;
    const { cache } = this.#host;
    if (this.#awaitsReading(chunk, body, end - 1)) return -1;
    this.#watch(chunk, body, end - 1, true);
    const isRead = chunk[end - 1] === 0 && !this.#isGuessed(chunk, body, end - 1);
    const statements = isRead ? readForms(chunk, body, end - 1, this.#host.reading) : null;
    if (statements === null) {
      this.#leave(chunk, body, end - 1);
      const change = this.#changeIn(chunk, body, end - 1, true);
      if (change !== null && this.#host.doubts.refuseMore(tracker)) return -1;
      const hanging = this.#noteOfChange(change);
      return asItIs(F.Query, body, end, out, () => tracker.sent(F.Query, ReplyAction.Forward, null, hanging));
    }
    if (!this.#sender.isCertain()) return -1;
    // What it changes hangs on itself alone, not on what fails around it.
    tracker.segment++;
    if (!this.#rewriter.isSettled(chunk, statements)) return -1;
    cache.budget.check(2 * (end - body));
    if (tracker.isQuiet && sinkAtBoundary && tracker.isSurelyUsable) {
      const answer = answerDeallocate(this.#host.statements, statements, tracker.txStatus);
      if (answer !== null) {
        this.#host.reply(answer);
        return end;
      }
    }
    const wasOpen = tracker.isStretchOpen;
    const { steps, names, text, used } = this.#rewriter.rewrite(chunk, body, end - 1, statements, out);
    this.#sender.endStretch(wasOpen, out);
    const bytes = text.take();
    out.put(new Writer(bytes.length + 6).begin(F.Query).bytes(bytes).byte(0).end().take());
    const hanging = new ChangeNote(steps, names, text);
    hanging.based = used;
    tracker.sent(F.Query, ReplyAction.Forward, null, hanging);
    tracker.segment++;
    return end;
  }

  #passUnread(body: number, bodyBytes: number, out: RunWriter): number {
    const { doubts } = this.#host;
    const { tracker } = this.#sender.server;
    if (doubts.refuseMore(tracker)) return -1;
    const changes = doubts.sent(ANYTHING);
    const over = () => changes.forEach((change) => change.settle());
    return passUnread(body, bodyBytes, out, tracker, new UnreadText(true, over));
  }

  /** As RequestFilter.pass, for a Parse without a name. */
  passUnnamed(chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    const { server } = this.#sender;
    const { tracker } = server;
    if (end - body < bodyBytes) {
      if (isUnread(bodyBytes)) server.closeNeeded = true;
      return this.#passPlain(body, body + bodyBytes, out, null);
    }
    const zero = nameEnd(chunk, body + 1, end);
    if (zero < 0) throw new ProtocolViolation('broken Parse packet');
    if (this.#awaitsReading(chunk, body + 1, zero)) return -1;
    this.#watch(chunk, body + 1, zero, false);
    const isGuessed = this.#isGuessed(chunk, body + 1, zero);
    const read = readForm(chunk, body + 1, zero, this.#host.reading);
    const statement = isGuessed && read !== null && !hasPlainHead(chunk, read, zero) ? null : read;
    if (statement === null) {
      this.#leave(chunk, body + 1, zero);
      const change = this.#changeIn(chunk, body + 1, zero, false);
      return this.#passPlain(body, end, out, change === null ? null : changing(change));
    }
    if (!isNamed(statement)) {
      tracker.sent(F.Parse, ReplyAction.Forward, null, this.#noteOfUnnamed(dropping(changeOf(statement))));
      return asItIs(F.Parse, body, end, out, () => {});
    }
    if (!this.#sender.isCertain() || !this.#rewriter.isSettled(chunk, [statement])) return -1;
    const { text, form } = this.#rewriter.rewriteOne(chunk, body + 1, zero, statement, out);
    const message = new Writer(text.length + end - zero + 8).begin(F.Parse).byte(0).bytes(text);
    out.put(message.bytes(chunk.subarray(zero, end)).end().take());
    tracker.sent(F.Parse, ReplyAction.Forward, null, this.#noteOfUnnamed(form));
    this.#forms.release(form);
    return end;
  }

  /** A Parse without a name passes as it is, by which the unnamed statement becomes `form`. */
  #passPlain(body: number, end: number, out: RunWriter, form: UnnamedForm | null): number {
    const { tracker } = this.#sender.server;
    let hanging: ChangeNote | null = null;
    // In doubt nothing may hang on it: it counts as done.
    if (tracker.isUnsure) this.#forms.parsed(form, tracker.segment).settle();
    else if (form !== null || this.#forms.isStanding) hanging = this.#noteOfUnnamed(form);
    return asItIs(F.Parse, body, end, out, () => tracker.sent(F.Parse, ReplyAction.Forward, null, hanging));
  }

  /** The unnamed statement becomes `form`, unless its Parse fails or is skipped. */
  #noteOfUnnamed(form: UnnamedForm | null): ChangeNote {
    const { tracker } = this.#sender.server;
    const { settle, undo, lose } = this.#forms.parsed(form, tracker.segment);
    const change: Change = { settle, undo: () => (tracker.failedNote === hanging ? lose() : undo()) };
    const hanging = new ChangeNote([[change]], form?.names ?? null, form?.text ?? null);
    return hanging;
  }

  /** Whoever has the server next must not be another user by the text. */
  #watch(chunk: Buffer, start: number, end: number, several: boolean): void {
    if (setsIdentity(chunk, start, end, several, this.#host.reading)) this.#sender.server.closeNeeded = true;
  }

  /** Whether how a text is read hangs on what an earlier request of its stretch may have set: nobody reads it. */
  #isGuessed(chunk: Buffer, start: number, end: number): boolean {
    const { doubts, reading } = this.#host;
    if (!doubts.areAny || !isGuessed(chunk.toString('latin1', start, end), reading)) return false;
    this.#sender.server.closeNeeded = true;
    return true;
  }

  /** Nor must he find by a name what a text gives to it that nobody has read. */
  #leave(chunk: Buffer, start: number, end: number): void {
    if (isUnreadable(chunk, start, end, this.#host.reading)) this.#sender.server.closeNeeded = true;
  }

  /** Whether a text has to wait that names statements: how it is read will be known with an answer that is due. */
  #awaitsReading(chunk: Buffer, start: number, end: number): boolean {
    const { tracker } = this.#sender.server;
    return this.#host.doubts.areAhead(tracker) && mayConcernStatements(chunk, start, end);
  }

  /** What a text that names no statements changes of how later ones are read. */
  #changeIn(chunk: Buffer, start: number, end: number, several: boolean): ReadingChange | null {
    const { doubts, reading } = this.#host;
    return readingChange(chunk, start, end, several, reading, doubts.mayGoBack);
  }

  /** What hangs on a request that makes the change. */
  #noteOfChange(change: ReadingChange | null): ChangeNote | null {
    const changes = this.#host.doubts.sent(change);
    return changes.length === 0 ? null : new ChangeNote([changes]);
  }
}

/**
 * PREPARE, EXECUTE or DEALLOCATE of a name, up to there without a byte that may be read in several ways. Alone in its text,
 * and up to its `end`, it is that whatever follows.
 */
function hasPlainHead(chunk: Buffer, form: SqlStatement, end: number): boolean {
  if (!isNamed(form) || form.end !== end) return false;
  return /^[\w \t\n\r\f\v]+$/.test(chunk.toString('latin1', form.start, form.nameEnd));
}
