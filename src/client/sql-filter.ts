import { type Change, UNSETTLED, type Unsettled } from '../prepared/ledger.ts';
import { nameEnd, nameOf } from '../prepared/message-names.ts';
import { setsIdentity } from '../prepared/sql-identity.ts';
import { mayConcernStatements } from '../prepared/sql-prefilter.ts';
import { executedBy, isLexedOtherwise } from '../prepared/read-otherwise.ts';
import { changeOf, type ReadingChange, readingChange } from '../prepared/sql-reading.ts';
import { isDropping, isNamed, isUnreadable, readForm, readForms } from '../prepared/sql-statements.ts';
import { STATEMENT, type Statement } from '../prepared/statement.ts';
import { ReplyAction } from '../relay/outstanding.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F, TxStatus } from '../wire/codes.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { Writer } from '../wire/writer.ts';
import { answerDeallocate } from './lone-deallocate.ts';
import { LongTexts } from './long-texts.ts';
import { ChangeNote } from './request-notes.ts';
import { SqlRewriter } from './sql-rewriter.ts';
import { asItIs, isUnread, lookAtText } from './sql-text.ts';
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

  constructor(host: StatementHost, sender: StatementSender) {
    this.#host = host;
    this.#sender = sender;
    this.#rewriter = new SqlRewriter(host, sender);
    this.#forms = sender.forms;
  }

  /** As RequestFilter.look, for a Query. */
  lookAtQuery(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    this.#forms.dropped();
    this.#forms.closed('');
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

  /** Whether a Bind has to be told of ({@link bound}). */
  get watchesBinds(): boolean {
    return this.#forms.areAny;
  }

  /** A Bind to `portal` goes by. True: it builds on other statements, and {@link passBind} has to see to them. */
  bound(portal: string, isUnnamedStatement: boolean): boolean {
    this.#forms.bound(portal, isUnnamedStatement);
    this.#forgetTooMany();
    return isUnnamedStatement && this.#forms.basedForms().length > 0;
  }

  /** A Bind to `portal` is sent of a statement that has a name. */
  boundTo(portal: string, { sql, setsReading: change }: Statement): void {
    if (sql !== null && isDropping(sql)) this.#bindTo(portal, dropping(changeOf(sql)));
    else if (change !== null && (change.indexes.length > 0 || this.#host.doubts.mayGoBack))
      this.#bindTo(portal, changing(change));
  }

  #bindTo(portal: string, form: UnnamedForm): void {
    this.#forms.boundTo(portal, form);
    this.#forgetTooMany();
  }

  /** What their execution does to the server is not noticed then. */
  #forgetTooMany(): void {
    if (!this.#forms.hasTooMany) return;
    this.#forms.endPortals();
    const { server } = this.#host;
    if (server !== null) server.closeNeeded = true;
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
    if (portal !== null) this.#bindTo(portal, form);
    this.#forms.release(form);
    const nameBytes = Buffer.from(`${serverName}\0`, 'latin1');
    return { nameBytes, note: new ChangeNote([], names, form.text) };
  }

  /** As RequestFilter.look, for an Execute. */
  lookAtExecute(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    if (!this.#forms.hasPortals || bodyBytes > EXECUTE_LIMIT) return 0;
    if (end > body && chunk[body] === 0 && this.#forms.portal('') === null) return 0;
    return bodyBytes;
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

  /** As RequestFilter.pass, for a Query that is there as a whole. */
  passQuery(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { tracker, sinkAtBoundary } = this.#sender.server;
    const { cache } = this.#host;
    if (this.#awaitsReading(chunk, body, end - 1)) return -1;
    this.#watch(chunk, body, end - 1, true);
    const statements = chunk[end - 1] === 0 ? readForms(chunk, body, end - 1, this.#host.reading) : null;
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
    const { steps, names, text } = this.#rewriter.rewrite(chunk, body, end - 1, statements, out);
    this.#sender.endStretch(wasOpen, out);
    const bytes = text.take();
    out.put(new Writer(bytes.length + 6).begin(F.Query).bytes(bytes).byte(0).end().take());
    tracker.sent(F.Query, ReplyAction.Forward, null, new ChangeNote(steps, names, text));
    tracker.segment++;
    return end;
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
    const statement = readForm(chunk, body + 1, zero, this.#host.reading);
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
    const hanging = form === null && !this.#forms.isStanding ? null : this.#noteOfUnnamed(form);
    return asItIs(F.Parse, body, end, out, () => tracker.sent(F.Parse, ReplyAction.Forward, null, hanging));
  }

  /** The unnamed statement becomes `form`, unless its Parse fails or is skipped. */
  #noteOfUnnamed(form: UnnamedForm | null): ChangeNote {
    const { tracker } = this.#sender.server;
    const fate = this.#forms.parsed(form);
    const undo = (): void => {
      if (tracker.failedNote === hanging) fate.failed();
      else fate.skipped();
    };
    const change: Change = { settle: () => fate.done(), undo };
    const hanging = new ChangeNote([[change]], form?.names ?? null, form?.text ?? null);
    return hanging;
  }

  /**
   * As RequestFilter.pass, for a Bind of the unnamed statement. That may stand there from an earlier transaction, since when
   * other clients have had the server, and what it builds on made room for theirs.
   */
  passBind(body: number, bodyBytes: number, out: RunWriter): number {
    const { tracker, statements: known } = this.#sender.server;
    const { segment } = tracker;
    const bases: Statement[] = [];
    for (const { name, statement } of this.#forms.basedForms()) {
      const current = this.#host.statements.get(name, segment);
      if (current === UNSETTLED) return -1;
      // Without its name it is not to be found.
      if (current !== statement) continue;
      if (known.has(statement, segment) === UNSETTLED) return -1;
      bases.push(statement);
    }
    // Not later: what rows an EXECUTE gives is known from its Bind on.
    for (const statement of bases) this.#sender.ensure(statement, out);
    return asItIs(F.Bind, body, body + bodyBytes, out, () => tracker.sent(F.Bind));
  }

  /** As RequestFilter.pass, for an Execute that is there as a whole. */
  passExecute(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { statements } = this.#host;
    const { tracker, statements: known } = this.#sender.server;
    const zero = nameEnd(chunk, body, end);
    const form = zero < 0 ? null : this.#forms.portal(nameOf(chunk, body, zero));
    if (form === null) return asItIs(F.Execute, body, end, out, () => tracker.sent(F.Execute));
    if (form.change !== null && this.#host.doubts.refuseMore(tracker)) return -1;
    if (form.kind === 'change') {
      const hanging = this.#noteOfChange(form.change);
      return asItIs(F.Execute, body, end, out, () =>
        tracker.sent(F.Execute, ReplyAction.Forward, null, hanging),
      );
    }
    if (!this.#sender.isCertain()) return -1;
    if (form.kind === 'drop') {
      const drops = new ChangeNote([[this.#sender.drops(), ...this.#host.doubts.sent(form.change)]]);
      return asItIs(F.Execute, body, end, out, () =>
        tracker.sent(F.Execute, ReplyAction.Forward, null, drops),
      );
    }
    const current = statements.get(form.name, tracker.segment);
    if (current === UNSETTLED) return -1;
    const { statement, taken } = form;
    const { segment } = tracker;
    const changes: Change[] = [];
    if (statement === null) {
      // It means nothing that we know of.
    } else if (form.kind === 'execute') {
      // A SET may have come since the portal was made.
      this.#sender.used(statement);
      changes.push(...this.#sender.executed(statement));
    } else if (form.kind === 'deallocate') {
      // The name may have gone, or be another's by now.
      changes.push(known.remove(statement, segment));
      if (current === statement) changes.push(statements.set(form.name, null, segment));
    } else if (form.kind === 'prepare') {
      changes.push(...this.#prepares(form.name, statement, taken, current !== null, out));
    }
    const hanging = new ChangeNote([changes], form.names, form.text);
    return asItIs(F.Execute, body, end, out, () =>
      tracker.sent(F.Execute, ReplyAction.Forward, null, hanging),
    );
  }

  /** What PREPARE changes, executed now; `isGiven`: the name stands for a statement. */
  #prepares(
    name: string,
    statement: Statement,
    taken: Statement | null,
    isGiven: boolean,
    out: RunWriter,
  ): Change[] {
    const { tracker, statements: known } = this.#sender.server;
    if (isGiven) {
      // It has to fail, also where the name was free when the portal was made.
      this.#sender.ensure(taken ?? statement, out);
      return [known.overwritten(taken ?? statement)];
    }
    // Since the portal was made, another one of the same text may have been prepared.
    this.#sender.forget(taken ?? statement, out);
    if (taken === null) return this.#prepared(name, statement);
    // The name has been let go of since: this server gets the text by a name of another.
    const { segment } = tracker;
    const given = this.#host.statements.set(name, statement, segment);
    const change = known.set(taken, taken, segment);
    known.doubt(taken);
    return [given, change, known.overwritten(taken)];
  }

  /** Executed now, PREPARE gives the name. */
  #prepared(name: string, statement: Statement): Change[] {
    const { cache, statements, doubts } = this.#host;
    const { server } = this.#sender;
    const { segment } = server.tracker;
    const reading = executedBy(statement, this.#host.reading);
    if (reading === null)
      return [statements.set(name, statement, segment), server.statements.add(statement, segment)];
    // The server has it by the name of one that reads otherwise.
    server.closeNeeded = true;
    const meant = cache.hold('sql', statement.body, reading);
    doubts.prepared(meant);
    const change = statements.set(name, meant, segment);
    cache.release(meant);
    return [change];
  }

  /** Whoever has the server next must not be another user by the text. */
  #watch(chunk: Buffer, start: number, end: number, several: boolean): void {
    if (setsIdentity(chunk, start, end, several, this.#host.reading)) this.#sender.server.closeNeeded = true;
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

/** A longer Execute is none that we would know the portal of. Bytes. */
const EXECUTE_LIMIT = 4096;
