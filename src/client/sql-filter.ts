import { type Change, UNSETTLED } from '../prepared/ledger.ts';
import { nameEnd, nameOf } from '../prepared/message-names.ts';
import { setsIdentity } from '../prepared/sql-identity.ts';
import { mayConcernStatements } from '../prepared/sql-prefilter.ts';
import { changeOf, inParts, type ReadingChange, readingChange } from '../prepared/sql-reading.ts';
import { readStatements, type SqlStatement } from '../prepared/sql-statements.ts';
import type { Statement } from '../prepared/statement.ts';
import { type Replacement, TextChange } from '../prepared/text-change.ts';
import { ReplyAction } from '../relay/outstanding.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F, TxStatus } from '../wire/codes.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { readyForQuery } from '../wire/ready-for-query.ts';
import { commandComplete } from '../wire/result.ts';
import { Writer } from '../wire/writer.ts';
import { ChangeNote } from './request-notes.ts';
import { asItIs, lookAtText } from './sql-text.ts';
import type { StatementHost, StatementSender } from './statement-sender.ts';
import { dropping, type UnnamedForm, UnnamedForms } from './unnamed-forms.ts';

/** PREPARE, EXECUTE or DEALLOCATE of a name. */
type NamedForm = Extract<SqlStatement, { readonly name: string; readonly nameStart: number }>;

/** What a text has become that names statements. */
interface Rewritten {
  /** What each of its statements changes. */
  readonly steps: Change[][];
  readonly names: ReadonlyMap<string, string>;
  readonly text: TextChange;
}

/** How far the statements of one text have been seen to. */
class TextState {
  /** Prepared in it. */
  readonly prepared = new Set<Statement>();
  /** Known to the server ahead of it, and needed there. */
  readonly used = new Set<Statement>();
  /** The names given since all were dropped in it; null: they were not. */
  given: Set<string> | null = null;
}

/**
 * PREPARE, EXECUTE and DEALLOCATE as SQL: one namespace with the protocol's statements. The names in a text become
 * those for servers, and servers learn ahead of it what it builds on. What cannot be read with certainty passes as
 * it is.
 */
export class SqlFilter {
  readonly #host: StatementHost;
  readonly #sender: StatementSender;
  readonly #forms: UnnamedForms;

  constructor(host: StatementHost, sender: StatementSender) {
    this.#host = host;
    this.#sender = sender;
    this.#forms = new UnnamedForms(host.cache);
  }

  /** As RequestFilter.look, for a Query. */
  lookAtQuery(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    this.#forms.parsed(null);
    this.#forms.closed('');
    return lookAtText(chunk, body, Math.min(end, body + bodyBytes), body, bodyBytes, true);
  }

  /** As RequestFilter.look, for a Parse without a name, whose text begins behind `body`. */
  lookAtUnnamed(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    this.#forms.parsed(null);
    return lookAtText(chunk, body + 1, Math.min(end, body + bodyBytes), body, bodyBytes, false);
  }

  /** Whether a Bind has to be told of ({@link bound}). */
  get watchesBinds(): boolean {
    return this.#forms.areAny;
  }

  /** A Bind to `portal` goes by. */
  bound(portal: string, isUnnamedStatement: boolean): void {
    this.#forms.bound(portal, isUnnamedStatement);
  }

  /** As RequestFilter.look, for an Execute. */
  lookAtExecute(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    if (!this.#forms.hasPortals || bodyBytes > EXECUTE_LIMIT) return 0;
    if (end > body && chunk[body] === 0 && this.#forms.portal('') === null) return 0;
    return bodyBytes;
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
    const statements = this.#read(chunk, body, end - 1);
    return statements === null ? null : this.#answer(statements, TxStatus.Idle);
  }

  /** As RequestFilter.pass, for a Query that is there as a whole. */
  passQuery(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { tracker, sinkAtBoundary } = this.#sender.server;
    const { cache } = this.#host;
    if (this.#awaitsReading(chunk, body, end - 1)) return -1;
    this.#watch(chunk, body, end - 1, true);
    const statements = chunk[end - 1] === 0 ? this.#read(chunk, body, end - 1) : null;
    if (statements === null) {
      const hanging = this.#noteOfSet(chunk, body, end - 1, true);
      return asItIs(F.Query, body, end, out, () => tracker.sent(F.Query, ReplyAction.Forward, null, hanging));
    }
    if (!this.#sender.isCertain()) return -1;
    // What it changes hangs on itself alone, not on what fails around it.
    tracker.segment++;
    if (!this.#isSettled(chunk, statements)) return -1;
    cache.budget.check(2 * (end - body));
    if (tracker.isQuiet && sinkAtBoundary && tracker.isSurelyUsable) {
      const answer = this.#answer(statements, tracker.txStatus);
      if (answer !== null) {
        this.#host.reply(answer);
        return end;
      }
    }
    const wasOpen = tracker.isStretchOpen;
    const { steps, names, text } = this.#rewrite(chunk, body, end - 1, statements, out);
    this.#sender.endStretch(wasOpen, out);
    const bytes = text.take();
    out.put(new Writer(bytes.length + 6).begin(F.Query).bytes(bytes).byte(0).end().take());
    tracker.sent(F.Query, ReplyAction.Forward, null, new ChangeNote(steps, names, text));
    tracker.segment++;
    return end;
  }

  /** As RequestFilter.pass, for a Parse without a name that is there as a whole. */
  passUnnamed(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { tracker, statements: known } = this.#sender.server;
    const zero = nameEnd(chunk, body + 1, end);
    if (zero < 0) throw new ProtocolViolation('broken Parse packet');
    if (this.#awaitsReading(chunk, body + 1, zero)) return -1;
    this.#watch(chunk, body + 1, zero, false);
    const statements = this.#read(chunk, body + 1, zero);
    const [statement] = statements ?? [];
    if (
      statements?.length !== 1 ||
      statement === undefined ||
      !(isNamed(statement) || isDropping(statement))
    ) {
      const hanging = this.#noteOfSet(chunk, body + 1, zero, false);
      return asItIs(F.Parse, body, end, out, () => tracker.sent(F.Parse, ReplyAction.Forward, null, hanging));
    }
    if (!isNamed(statement)) {
      tracker.sent(F.Parse, ReplyAction.Forward, null, this.#noteOfUnnamed(dropping()));
      return asItIs(F.Parse, body, end, out, () => {});
    }
    if (!this.#sender.isCertain() || !this.#isSettled(chunk, statements)) return -1;
    const { cache, statements: mine } = this.#host;
    cache.budget.check(2 * (end - body));
    const current = mine.get(statement.name, tracker.segment) as Statement | null;
    // With a name that is taken, PREPARE has to fail: it gets that of the statement that has it.
    const isNew = statement.kind === 'prepare' && current === null;
    const meant = isNew ? cache.hold('sql', bodyOf(chunk, statement), this.#host.reading) : current;
    if (meant !== null && isNew) {
      this.#host.doubts.prepared(meant);
      this.#sender.forget(meant, out);
    } else if (meant !== null && known.has(meant, tracker.segment) !== true) this.#sender.teach(meant, out);
    const { nameStart, nameEnd: nameStop, name, kind } = statement;
    const replacements = meant === null ? [] : [{ start: nameStart, end: nameStop, text: meant.name }];
    const text = new TextChange(chunk, body + 1, zero, replacements, this.#isUtf8);
    const names = new Map(meant === null ? [] : [[meant.name, name]]);
    const bytes = text.take();
    const message = new Writer(bytes.length + end - zero + 8).begin(F.Parse).byte(0).bytes(bytes);
    out.put(message.bytes(chunk.subarray(zero, end)).end().take());
    const form: UnnamedForm = { kind, name, statement: meant, names, text };
    tracker.sent(F.Parse, ReplyAction.Forward, null, this.#noteOfUnnamed(form));
    if (meant !== null && isNew) cache.release(meant);
    return end;
  }

  /** The unnamed statement becomes `form`, unless its Parse fails or is skipped. */
  #noteOfUnnamed(form: UnnamedForm): ChangeNote {
    this.#forms.parsed(form);
    // What is skipped leaves the statement that was there before, which is none of ours, most likely.
    const skipped: Change = {
      settle: () => {},
      undo: () => this.#forms.undone(form),
    };
    return new ChangeNote([[skipped]], form.names, form.text);
  }

  /** As RequestFilter.pass, for an Execute that is there as a whole. */
  passExecute(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { statements } = this.#host;
    const { tracker, statements: known } = this.#sender.server;
    const zero = nameEnd(chunk, body, end);
    const form = zero < 0 ? null : this.#forms.portal(nameOf(chunk, body, zero));
    if (form === null) return asItIs(F.Execute, body, end, out, () => tracker.sent(F.Execute));
    if (!this.#sender.isCertain()) return -1;
    if (form.kind === 'drop') {
      const drops = new ChangeNote([[this.#sender.drops()]]);
      return asItIs(F.Execute, body, end, out, () =>
        tracker.sent(F.Execute, ReplyAction.Forward, null, drops),
      );
    }
    const current = statements.get(form.name, tracker.segment);
    if (current === UNSETTLED) return -1;
    const { statement } = form;
    const { segment } = tracker;
    const changes: Change[] = [];
    if (statement === null) {
      // It means nothing that we know of.
    } else if (form.kind === 'deallocate' && current === statement) {
      changes.push(statements.set(form.name, null, segment), known.remove(statement, segment));
    } else if (form.kind === 'prepare') {
      if (current !== null) changes.push(known.overwritten());
      else changes.push(statements.set(form.name, statement, segment), known.add(statement, segment));
    }
    const hanging = new ChangeNote([changes], form.names, form.text);
    return asItIs(F.Execute, body, end, out, () =>
      tracker.sent(F.Execute, ReplyAction.Forward, null, hanging),
    );
  }

  /** Whoever has the server next must not be another user by the text. */
  #watch(chunk: Buffer, start: number, end: number, several: boolean): void {
    if (setsIdentity(chunk, start, end, several, this.#host.reading)) this.#sender.server.closeNeeded = true;
  }

  /** Whether a text has to wait that names statements: how it is read will be known with an answer that is due. */
  #awaitsReading(chunk: Buffer, start: number, end: number): boolean {
    const { tracker } = this.#sender.server;
    return this.#host.doubts.areAhead(tracker) && mayConcernStatements(chunk, start, end);
  }

  /** What hangs on a text that names no statements: it may change how later ones are read. */
  #noteOfSet(chunk: Buffer, start: number, end: number, several: boolean): ChangeNote | null {
    const { doubts, reading } = this.#host;
    const change = readingChange(chunk, start, end, several, reading);
    return change === null ? null : new ChangeNote([[doubts.sent(change)]]);
  }

  /** The statements of a text; null: none of them concerns us, or it cannot be read. */
  #read(chunk: Buffer, start: number, end: number): readonly SqlStatement[] | null {
    if (!mayConcernStatements(chunk, start, end)) return null;
    const statements = readStatements(chunk, start, end, this.#host.reading);
    return statements?.some((statement) => isNamed(statement) || isDropping(statement)) === true
      ? statements
      : null;
  }

  /** What needs no server, with nothing owed: the answer to a lone DEALLOCATE, which this carries out. */
  #answer(statements: readonly SqlStatement[], txStatus: number): Buffer | null {
    const [statement] = statements;
    if (statement === undefined || statements.length !== 1) return null;
    const mine = this.#host.statements;
    if (statement.kind === 'deallocate-all') {
      mine.clear();
      return Buffer.concat([commandComplete('DEALLOCATE ALL'), readyForQuery(txStatus)]);
    }
    if (statement.kind !== 'deallocate' || !mine.holds(statement.name)) return null;
    mine.set(statement.name, null, 0).settle();
    return Buffer.concat([commandComplete('DEALLOCATE'), readyForQuery(txStatus)]);
  }

  /** Whether it is known what the names in a text stand for and what the server has of that. */
  #isSettled(chunk: Buffer, statements: readonly SqlStatement[]): boolean {
    const { cache, statements: mine, reading } = this.#host;
    const { tracker, statements: known } = this.#sender.server;
    const { segment } = tracker;
    return statements.every((form) => {
      if (!isNamed(form)) return true;
      const current = mine.get(form.name, segment);
      if (current === UNSETTLED) return false;
      const isSettled = (statement: Statement | null) =>
        statement === null || known.has(statement, segment) !== UNSETTLED;
      if (!isSettled(current)) return false;
      return form.kind !== 'prepare' || isSettled(cache.find('sql', bodyOf(chunk, form), reading));
    });
  }

  #rewrite(
    chunk: Buffer,
    start: number,
    end: number,
    statements: readonly SqlStatement[],
    out: RunWriter,
  ): Rewritten {
    const names = new Map<string, string>();
    const replacements: Replacement[] = [];
    const text = new TextState();
    const later: ReadingChange[] = [];
    const steps = statements.map((form) => {
      const changes: Change[] = [];
      if (isDropping(form)) {
        changes.push(this.#sender.drops());
        text.given = new Set();
      }
      const change = changeOf(form);
      if (change !== null) {
        const [within, behind] = inParts(change);
        changes.push(this.#host.doubts.sent(within));
        later.push(behind);
      }
      if (!isNamed(form)) return changes;
      const statement = this.#carryOut(chunk, form, text, changes, out);
      if (statement === null) return changes;
      names.set(statement.name, form.name);
      replacements.push({ start: form.nameStart, end: form.nameEnd, text: statement.name });
      return changes;
    });
    const rewritten = new TextChange(chunk, start, end, replacements, this.#isUtf8);
    for (const change of later) steps.at(-1)?.push(this.#host.doubts.sent(change));
    return { steps, names, text: rewritten };
  }

  /**
   * Sees to what a statement needs on the server, and puts what it changes into `changes`. Gives the statement that
   * it means; null: none, it passes as it is.
   */
  #carryOut(
    chunk: Buffer,
    form: NamedForm,
    text: TextState,
    changes: Change[],
    out: RunWriter,
  ): Statement | null {
    const { cache, statements: mine } = this.#host;
    const { tracker, statements: known } = this.#sender.server;
    const { segment } = tracker;
    const current = mine.get(form.name, segment) as Statement | null;
    if (form.kind !== 'prepare') {
      if (current === null) return null;
      if (known.has(current, segment) !== true) this.#sender.teach(current, out, text.used);
      text.used.add(current);
      if (form.kind === 'deallocate') {
        changes.push(mine.set(form.name, null, segment), known.remove(current, segment));
      }
      return current;
    }
    if (current !== null && text.given?.has(form.name) !== false) {
      // The name is taken: the server finds that out by itself, behind everything else that may be wrong.
      if (known.has(current, segment) !== true) this.#sender.teach(current, out, text.used);
      text.used.add(current);
      changes.push(known.overwritten());
      return current;
    }
    const { reading } = this.#host;
    let body = bodyOf(chunk, form);
    // Another of this text may prepare or use the same: the server has to know them by two names.
    for (
      let same = cache.find('sql', body, reading);
      same !== null && (text.prepared.has(same) || text.used.has(same));
      same = cache.find('sql', body, reading)
    ) {
      body += ' ';
    }
    const statement = cache.hold('sql', body, reading);
    this.#host.doubts.prepared(statement);
    text.prepared.add(statement);
    text.given?.add(form.name);
    this.#sender.forget(statement, out);
    changes.push(mine.set(form.name, statement, segment), known.add(statement, segment));
    cache.release(statement);
    return statement;
  }

  get #isUtf8(): boolean {
    return this.#host.reading.clientEncoding === 'UTF8';
  }
}

/** A longer Execute is none that we would know the portal of. Bytes. */
const EXECUTE_LIMIT = 4096;

function isNamed(statement: SqlStatement): statement is NamedForm {
  const { kind } = statement;
  return kind === 'prepare' || kind === 'execute' || kind === 'deallocate';
}

function isDropping({ kind }: SqlStatement): boolean {
  return kind === 'deallocate-all' || kind === 'discard-all';
}

/** What a PREPARE says behind the name, latin1. */
function bodyOf(chunk: Buffer, form: NamedForm & { readonly end: number }): string {
  return ` ${chunk.toString('latin1', form.nameEnd, form.end)}`;
}
