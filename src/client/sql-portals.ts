import { type Change, UNSETTLED, type Unsettled } from '../prepared/ledger.ts';
import { nameEnd, nameOf } from '../prepared/message-names.ts';
import { executedBy } from '../prepared/read-otherwise.ts';
import { changeOf } from '../prepared/sql-reading.ts';
import { isDropping } from '../prepared/sql-statements.ts';
import type { Statement } from '../prepared/statement.ts';
import { ReplyAction } from '../relay/outstanding.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F } from '../wire/codes.ts';
import { ChangeNote, noteOf } from './request-notes.ts';
import { asItIs } from './sql-text.ts';
import type { StatementHost, StatementSender } from './statement-sender.ts';
import { changing, dropping, type UnnamedForm, type UnnamedForms } from './unnamed-forms.ts';

/** Portals of SQL that names or drops statements, or changes how texts are read: what executing them does is noticed. */
export class SqlPortals {
  readonly #host: StatementHost;
  readonly #sender: StatementSender;
  readonly #forms: UnnamedForms;

  constructor(host: StatementHost, sender: StatementSender) {
    this.#host = host;
    this.#sender = sender;
    this.#forms = sender.forms;
  }

  /** Whether a Bind of the unnamed statement has to be seen ({@link passBind}). */
  get watchesBinds(): boolean {
    return this.#forms.areAny;
  }

  /** Whether the Close of a portal has to be seen. */
  get areAny(): boolean {
    return this.#forms.hasPortals;
  }

  /** A Bind to `portal` is about to be sent of a statement that has a name: what hangs on its answer. */
  boundTo(portal: string, { sql, setsReading: change }: Statement): Change | null {
    if (sql !== null && isDropping(sql)) return this.bindTo(portal, dropping(changeOf(sql)));
    if (change === null && !this.#forms.hasPortals) return null;
    const changes = change !== null && (change.indexes.length > 0 || this.#host.doubts.mayGoBack);
    return this.bindTo(portal, changes ? changing(change) : null);
  }

  /** It will be `form`; null: nothing of concern, or gone. What hangs on the answer. */
  bindTo(portal: string, form: UnnamedForm | null): Change | null {
    const { server } = this.#sender;
    const hasRoom = this.#forms.hasRoomFor(portal);
    // What its execution does to the server is not noticed.
    if (form !== null && !hasRoom) server.closeNeeded = true;
    return this.#forms.boundTo(portal, hasRoom ? form : null, server.tracker.segment);
  }

  /** As RequestFilter.look, for an Execute. */
  lookAtExecute(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    if (!this.#forms.hasPortals) return 0;
    if (bodyBytes > EXECUTE_LIMIT) {
      const { server } = this.#host;
      if (server !== null) server.closeNeeded = true;
      return 0;
    }
    if (end > body && chunk[body] === 0 && !this.#forms.concerns('')) return 0;
    return bodyBytes;
  }

  /**
   * As RequestFilter.pass, for a Bind of the unnamed statement. That may stand there from an earlier transaction, since when
   * other clients have had the server, and what it builds on made room for theirs.
   */
  passBind(portal: string, body: number, bodyBytes: number, out: RunWriter): number {
    const { tracker, statements: known } = this.#sender.server;
    const { segment } = tracker;
    const form = this.#likely(this.#forms.unnamed(segment), this.#forms.newest);
    if (form === UNSETTLED) return -1;
    const names = form !== null && form.kind !== 'change';
    if (names && !this.#sender.isCertain()) return -1;
    const base = form?.kind === 'execute' || form?.kind === 'deallocate' ? form.statement : null;
    if (form !== null && base !== null) {
      const current = this.#host.statements.get(form.name, segment);
      if (current === UNSETTLED) return -1;
      if (known.has(base, segment) === UNSETTLED) return -1;
      // Without its name it is not to be found. Not later: what rows an EXECUTE gives is known from its Bind on.
      if (current === base) this.#sender.ensure(base, out);
    }
    const note = this.#noteOf(this.bindTo(portal, form));
    return asItIs(F.Bind, body, body + bodyBytes, out, () =>
      tracker.sent(F.Bind, ReplyAction.Forward, null, note),
    );
  }

  /**
   * `found`, or what it is most likely. Around a COPY that may fail nothing is waited for, since a probe would follow; and
   * where nothing but the next Sync can tell what was done, nothing is noticed.
   */
  #likely(found: UnnamedForm | null | Unsettled, newest: UnnamedForm | null): UnnamedForm | null | Unsettled {
    if (found === null) return null;
    const { server, isStuck } = this.#sender;
    const { tracker } = server;
    if (isStuck) {
      if (this.#forms.mayName) server.closeNeeded = true;
      return null;
    }
    const mayBeProbed =
      tracker.isUnsure || tracker.isUncertain || tracker.isCopyIn || tracker.queue.copyData > 0;
    return found === UNSETTLED && mayBeProbed ? newest : found;
  }

  /** What hangs on a request that makes `change`. In doubt that counts as made: nothing may hang on it there. */
  #noteOf(change: Change | null): ChangeNote | null {
    if (!this.#sender.server.tracker.isUnsure) return noteOf(change);
    change?.settle();
    return null;
  }

  /** As RequestFilter.pass, for the Close of `portal`. */
  passClose(portal: string, body: number, end: number, out: RunWriter): number {
    const { tracker } = this.#sender.server;
    const gone = this.#noteOf(this.bindTo(portal, null));
    return asItIs(F.Close, body, end, out, () => tracker.sent(F.Close, ReplyAction.Forward, null, gone));
  }

  /** As RequestFilter.pass, for an Execute that is there as a whole. */
  passExecute(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { statements } = this.#host;
    const { tracker, statements: known } = this.#sender.server;
    const zero = nameEnd(chunk, body, end);
    const portal = nameOf(chunk, body, Math.max(zero, body));
    const form = this.#likely(this.#forms.portal(portal, tracker.segment), this.#forms.newestPortal(portal));
    if (form === UNSETTLED) return -1;
    if (form === null) return asItIs(F.Execute, body, end, out, () => tracker.sent(F.Execute));
    if (form.change !== null && this.#host.doubts.refuseMore(tracker)) return -1;
    if (form.kind !== 'change' && !this.#sender.isCertain()) return -1;
    const { statement, taken } = form;
    const { segment } = tracker;
    const current = statements.get(form.name, segment);
    if (statement !== null && current === UNSETTLED) return -1;
    const changes = this.#host.doubts.sent(form.change);
    if (form.drops) changes.push(this.#sender.drops());
    if (statement === null) {
      // It means none that we know of.
    } else if (form.kind === 'execute') {
      // A SET may have come since the portal was made.
      this.#sender.used(statement);
    } else if (form.kind === 'deallocate') {
      // The name may have gone, or be another's by now.
      changes.push(known.remove(statement, segment));
      if (current === statement) changes.push(statements.set(form.name, null, segment));
    } else if (form.kind === 'prepare') {
      changes.push(...this.#prepares(form.name, statement, taken, current !== null, out));
    }
    const isNothing = form.kind === 'change' && changes.length === 0;
    const hanging = isNothing ? null : new ChangeNote([changes], form.names, form.text);
    if (hanging !== null && statement !== null && form.kind !== 'prepare') hanging.based = [statement];
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
    return [given, known.misnamed(taken, segment), known.overwritten(taken)];
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
    return [change, server.statements.misnamed(statement, segment)];
  }
}

/** PostgreSQL looks at the first bytes of a portal's name; what a longer Execute does is not noticed. Bytes. */
const EXECUTE_LIMIT = 4096;
