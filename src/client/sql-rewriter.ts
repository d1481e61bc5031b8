import { type Change, UNSETTLED } from '../prepared/ledger.ts';
import { changeOf, isOfMessages, isOfStatements, type ReadingChange } from '../prepared/sql-reading.ts';
import { isDropping, isNamed, type NamedForm, type SqlStatement } from '../prepared/sql-statements.ts';
import type { Statement } from '../prepared/statement.ts';
import { type Replacement, TextChange } from '../prepared/text-change.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import type { StatementHost, StatementSender } from './statement-sender.ts';
import type { UnnamedForm } from './unnamed-forms.ts';

/** What a text has become that names statements. */
export interface Rewritten {
  /** What each of its statements changes. */
  readonly steps: Change[][];
  readonly names: ReadonlyMap<string, string>;
  readonly text: TextChange;
  /** What it builds on. */
  readonly used: ReadonlySet<Statement>;
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

/** Puts names for servers into simple queries that name statements, and has servers learn ahead of them what they need. */
export class SqlRewriter {
  readonly #host: StatementHost;
  readonly #sender: StatementSender;

  constructor(host: StatementHost, sender: StatementSender) {
    this.#host = host;
    this.#sender = sender;
  }

  /** Whether it is known what the names in a text stand for and what the server has of that. */
  isSettled(chunk: Buffer, statements: readonly SqlStatement[]): boolean {
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
      if (form.kind === 'prepare' && current !== null && !this.#sender.isTakenSettled(current)) return false;
      return form.kind !== 'prepare' || isSettled(cache.find('sql', bodyOf(chunk, form), reading));
    });
  }

  /** Has the server learn what the text builds on, and gives the text for it. */
  rewrite(
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
      const change = this.#changeOf(form);
      if (change !== null) {
        changes.push(...this.#host.doubts.sent(change, isOfStatements));
        later.push(change);
      }
      if (!isNamed(form)) return changes;
      const statement = this.#carryOut(chunk, form, text, changes, out);
      if (statement === null) return changes;
      // The first one fails of those whose names are taken.
      if (!names.has(statement.name)) names.set(statement.name, form.name);
      replacements.push({ start: form.nameStart, end: form.nameEnd, text: statement.name });
      return changes;
    });
    const rewritten = new TextChange(
      chunk,
      start,
      end,
      replacements,
      this.#host.reading.clientEncoding === 'UTF8',
    );
    for (const change of later) steps.at(-1)?.push(...this.#host.doubts.sent(change, isOfMessages));
    return { steps, names, text: rewritten, used: text.used };
  }

  /**
   * As {@link rewrite}, for the text `bytes[start, end)` of a message of the extended protocol, which is `form` alone. What
   * executing it means is held: the caller releases it.
   */
  rewriteOne(
    bytes: Buffer,
    start: number,
    end: number,
    form: NamedForm,
    out: RunWriter,
  ): { readonly text: Buffer; readonly form: UnnamedForm } {
    const { cache, statements: mine, doubts, reading } = this.#host;
    const { segment } = this.#sender.server.tracker;
    const { kind, name } = form;
    cache.budget.check(2 * (end - start));
    const current = mine.get(name, segment) as Statement | null;
    let statement = current;
    let taken: Statement | null = null;
    if (kind === 'prepare') {
      const body = this.#sender.bodyBeside(bodyOf(bytes, form), () => false);
      statement = cache.hold('sql', body, reading);
      doubts.prepared(statement);
      // With a name that is taken it has to fail.
      if (current !== null) taken = this.#sender.taken(current, out);
      else this.#sender.forget(statement, out);
    } else if (statement !== null) {
      if (kind === 'execute') this.#sender.ensureExecuted(statement, out);
      else this.#sender.ensure(statement, out);
    }
    const meant = taken ?? statement;
    const replacements =
      meant === null ? [] : [{ start: form.nameStart, end: form.nameEnd, text: meant.name }];
    const text = new TextChange(bytes, start, end, replacements, reading.clientEncoding === 'UTF8');
    const names = new Map(meant === null ? [] : [[meant.name, name]]);
    const change = this.#changeOf(form);
    const made: UnnamedForm = {
      kind,
      name,
      statement,
      taken,
      names,
      text,
      change,
      drops: current !== null && drops(form, current),
    };
    this.#sender.forms.keep(made);
    if (kind === 'prepare' && statement !== null) cache.release(statement);
    return { text: text.take(), form: made };
  }

  /** What a statement changes of how texts are read, also by what it executes. */
  #changeOf(form: SqlStatement): ReadingChange | null {
    if (form.kind !== 'execute' || !form.isPlain) return changeOf(form);
    const executed = this.#host.statements.get(form.name, this.#sender.server.tracker.segment);
    return executed === UNSETTLED ? null : (executed?.setsReading ?? null);
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
      if (form.kind === 'execute') {
        this.#sender.ensureExecuted(current, out, text.used);
        if (drops(form, current)) {
          changes.push(this.#sender.drops());
          text.given = new Set();
        }
      } else if (known.has(current, segment) !== true) this.#sender.teach(current, out, text.used);
      text.used.add(current);
      if (form.kind === 'deallocate') {
        changes.push(mine.set(form.name, null, segment), known.remove(current, segment));
      }
      return current;
    }
    if (current !== null && text.given?.has(form.name) !== false) {
      // The name is taken: the server finds that out by itself, behind everything else that may be wrong.
      const taken = this.#sender.taken(current, out, text.used);
      text.used.add(taken);
      changes.push(known.overwritten(taken));
      return taken;
    }
    const { reading } = this.#host;
    // Another of this text may prepare or use the same.
    const isInText = (same: Statement) => text.prepared.has(same) || text.used.has(same);
    const body = this.#sender.bodyBeside(bodyOf(chunk, form), isInText);
    const statement = cache.hold('sql', body, reading);
    this.#host.doubts.prepared(statement);
    text.prepared.add(statement);
    text.given?.add(form.name);
    this.#sender.forget(statement, out);
    changes.push(mine.set(form.name, statement, segment), known.add(statement, segment));
    cache.release(statement);
    return statement;
  }
}

/** Whether `form` executes `statement`, and that drops all. */
function drops(form: NamedForm, { sql }: Statement): boolean {
  return form.kind === 'execute' && form.isPlain && sql !== null && isDropping(sql);
}

/** What a PREPARE says behind the name, latin1. */
function bodyOf(chunk: Buffer, form: NamedForm & { readonly end: number }): string {
  return ` ${chunk.toString('latin1', form.nameEnd, form.end)}`;
}
