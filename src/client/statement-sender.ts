import type { ClientStatements } from '../prepared/client-statements.ts';
import { type Change, UNSETTLED } from '../prepared/ledger.ts';
import { constantsKey, type Reading, readingSwitch } from '../prepared/reading.ts';
import { isNamed, type ReadingOptions } from '../prepared/sql-statements.ts';
import type { StatementShape } from '../prepared/statement-shape.ts';
import type { ServerStatements } from '../prepared/server-statements.ts';
import {
  NO_STATEMENT,
  PORTAL,
  STATEMENT,
  type Statement,
  type StatementCache,
} from '../prepared/statement.ts';
import { TextChange } from '../prepared/text-change.ts';
import { ReplyAction } from '../relay/outstanding.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';
import { isFull } from '../relay/room.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F } from '../wire/codes.ts';
import { sync } from '../wire/frontend.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { Writer } from '../wire/writer.ts';
import type { KeptStretch } from './kept-stretch.ts';
import type { ReadingDoubts } from './reading-doubts.ts';
import { ChangeNote, note, ShapeNote } from './request-notes.ts';
import { UnnamedForms } from './unnamed-forms.ts';

/** The server connection that requests go to. */
export interface StatementServer {
  readonly tracker: RequestTracker;
  readonly statements: ServerStatements;
  /** The client has whole messages only, so one of ours may follow. */
  readonly sinkAtBoundary: boolean;
  /** Values of parameters that are its own and not those which RESET leads to, by name in lower case. */
  readonly base: ReadonlyMap<string, string>;
  /** No other client gets it. */
  closeNeeded: boolean;
}

/** What acts on a session's prepared statements needs of the session. */
export interface StatementHost {
  readonly cache: StatementCache;
  readonly statements: ClientStatements;
  /** The linked server. */
  readonly server: StatementServer | null;
  /** What can be sent once more when the server's plan is out of date. */
  readonly kept: KeptStretch;
  /** `max_prepared_statements`. */
  readonly limit: number;
  readonly stats: { clientParseCount: number; serverParseCount: number; bindCount: number };
  /** How the session reads SQL. */
  readonly reading: ReadingOptions & Reading;
  readonly doubts: ReadingDoubts;
  reply(bytes: Buffer): void;
}

/** CloseComplete answers it in any transaction, also in one that has failed. */
const CLOSES_NOTHING = new Writer(64).begin(F.Close).byte(STATEMENT).bytes(NO_STATEMENT).end().take();

/** What opens a stretch of the extended protocol. */
const STRETCH: ReadonlySet<number> = new Set([F.Parse, F.Bind, F.Describe, F.Execute, F.Close]);

const NONE: ReadonlySet<Statement> = new Set();

/** A Parse message behind its name. */
const ANYTHING = 'SELECT 1\0\0\0';

/** Has servers learn and forget statements, by messages of ours whose answers nobody sees. */
export class StatementSender {
  /** What they name is not closed to make room. */
  readonly forms: UnnamedForms;
  readonly #host: StatementHost;
  /** Requests under way that drop all statements. */
  #drops = 0;

  constructor(host: StatementHost) {
    this.#host = host;
    this.forms = new UnnamedForms(host.cache);
  }

  get server(): StatementServer {
    const { server } = this.#host;
    if (server === null) throw new Error('a request is looked at without a server');
    return server;
  }

  /** Nothing but the next Sync can tell what PostgreSQL did with an earlier one. */
  get isStuck(): boolean {
    const { tracker } = this.server;
    return tracker.isAmbiguous && !tracker.mayBeStuck;
  }

  /**
   * A request of `type` would begin a stretch where a probe alone can tell what PostgreSQL did with an earlier one: none
   * is possible before the end of the stretch, which may name statements yet.
   */
  awaitsProbe(type: number): boolean {
    const tracker = this.#host.server?.tracker;
    return tracker?.isAmbiguous === true && STRETCH.has(type) && tracker.mayBeStuck;
  }

  /**
   * Whether it is known which requests sent now will be done, and more may be sent. False: that depends on answers,
   * or on a probe. Throws where it {@link isStuck}.
   */
  isCertain(): boolean {
    const { tracker } = this.server;
    if (this.isStuck) throw new ProtocolViolation('prepared statement behind a Sync inside a failed COPY');
    return !tracker.isAmbiguous && !tracker.isUncertain && !isFull(tracker) && this.#drops === 0;
  }

  /** A request that drops all statements is sent: until it is answered nothing is certain. */
  drops(): Change {
    const { statements: known } = this.server;
    this.#drops++;
    const over = () => {
      this.#drops--;
    };
    const settle = () => {
      over();
      // What it says comes behind the first bytes of its answer, and the client's next request may come in between.
      known.clear();
      this.#host.statements.clear();
    };
    return { settle, undo: over };
  }

  /**
   * Sends a `parse` statement; the least recently used ones make room for it. `hanging` gets what that changes in
   * its last step.
   */
  parse(
    statement: Statement,
    action: ReplyAction,
    hanging: ChangeNote,
    out: RunWriter,
    kept: ReadonlySet<Statement> = NONE,
  ): void {
    const { tracker, statements: known } = this.server;
    this.forget(statement, out);
    this.#host.stats.serverParseCount++;
    out.put(statement.parseMessage());
    hanging.gives = statement;
    hanging.steps.at(-1)?.push(known.add(statement, tracker.segment));
    tracker.sent(F.Parse, action, null, hanging);
    this.#makeRoom(out, kept);
  }

  /** What is sent now is passed over: it has need of nothing, and tells nothing of what is there. */
  get #isPassedOver(): boolean {
    const { tracker } = this.server;
    return tracker.isSkipped && !tracker.isUnsure;
  }

  /** A request uses `statement`: the server has it then, and it says there what the session has prepared. */
  ensure(statement: Statement, out: RunWriter, kept: ReadonlySet<Statement> = NONE): void {
    if (this.#isPassedOver) return;
    const { tracker, statements: known } = this.server;
    const isThere = known.has(statement, tracker.segment) === true;
    if (!statement.hasConstants) {
      if (!isThere) this.teach(statement, out, kept);
      return;
    }
    const key = this.#constantsKey(statement);
    if (!isThere || !known.isReadBy(statement, key)) this.teach(statement, out, kept);
    known.usedBy(statement, key);
  }

  /** An EXECUTE carries `statement` out: as {@link ensure}, and what a Bind of it would lead to. */
  ensureExecuted(statement: Statement, out: RunWriter, kept: ReadonlySet<Statement> = NONE): void {
    this.ensure(statement, out, kept);
    // Names in its text are the client's there.
    const isNaming = statement.sql !== null && isNamed(statement.sql);
    if (statement.spoilsSession || statement.isGuess || isNaming) this.server.closeNeeded = true;
  }

  /** `statement` is used as it is, whatever the session has become since that was ensured. */
  used(statement: Statement): void {
    if (!statement.hasConstants) return;
    const { statements: known } = this.server;
    const key = this.#constantsKey(statement);
    known.usedBy(statement, known.isReadBy(statement, key) ? key : this.#host.doubts.unknown);
  }

  /** How the session reads its constants, where that is not as when it was prepared. */
  #constantsKey(statement: Statement): string | null {
    const { reading, doubts } = this.#host;
    return statement.isReadOtherwise(reading) ? constantsKey(reading, doubts.unknown) : null;
  }

  /**
   * The server learns the statement ahead of a request of the extended protocol that builds on it, and on those in
   * `kept`. It learns what the text said when the client prepared it, whatever the session has become since.
   */
  teach(statement: Statement, out: RunWriter, kept: ReadonlySet<Statement> = NONE): void {
    if (this.#isPassedOver) return;
    const { base } = this.server;
    const own = (name: string) => base.get(name.toLowerCase());
    const turn = readingSwitch(statement.text, statement.reading, this.#host.reading, own);
    const isForeign = turn?.changesEncoding === true;
    if (turn !== null) this.#carryOut(turn.there, new ChangeNote([[]], null, null, isForeign), out);
    this.#learn(statement, isForeign, out, kept);
    if (turn !== null) this.#carryOut(turn.back, new ChangeNote([[]], null, null, isForeign), out);
    this.ask(statement, out);
  }

  /** What the answer will be put into, when the server is asked next what the rows of `statement` are. */
  shaped(statement: Statement): StatementShape {
    const { tracker, statements: known } = this.server;
    return known.shaped(statement, this.#host.reading.values[0] ?? '', tracker.segment);
  }

  /**
   * Asks the server what the rows of `statement` are, which is there: at best when it has just been prepared, for later it
   * may be out of date, and the client's portals with it are not.
   */
  ask(statement: Statement, out: RunWriter, shape = this.shaped(statement)): void {
    const { tracker, statements: known } = this.server;
    out.put(statement.describeMessage());
    const hanging = new ShapeNote(statement, shape, () => known.unshaped(statement, shape));
    tracker.sent(F.Describe, ReplyAction.Swallow, null, hanging);
  }

  /**
   * What the server has for a name that is taken, so that it refuses to give it: `statement`, or where that is not there
   * any other will do, which needs no teaching.
   */
  taken(statement: Statement, out: RunWriter, kept: ReadonlySet<Statement> = NONE): Statement {
    const { cache } = this.#host;
    const { tracker, statements: known } = this.server;
    if (this.#isPassedOver || known.has(statement, tracker.segment) === true) return statement;
    const other = cache.hold('parse', ANYTHING);
    if (known.has(other, tracker.segment) !== true)
      this.parse(other, ReplyAction.Swallow, note(null), out, kept);
    cache.release(other);
    return other;
  }

  /**
   * What a PREPARE says of whose text one may be there already that `isNeeded`: a space makes it another, which the server
   * knows by another name.
   */
  bodyBeside(body: string, isNeeded: (same: Statement) => boolean): string {
    const { cache, reading } = this.#host;
    const named = this.forms.statements();
    for (let text = body; ; text += ' ') {
      const same = cache.find('sql', text, reading);
      if (same === null || !(isNeeded(same) || named?.has(same) === true)) return text;
    }
  }

  /** Whether it is known what {@link taken} finds. */
  isTakenSettled(statement: Statement): boolean {
    const { tracker, statements: known } = this.server;
    const other = this.#host.cache.find('parse', ANYTHING);
    if (other === null || known.has(statement, tracker.segment) === true) return true;
    return known.has(other, tracker.segment) !== UNSETTLED;
  }

  #learn(statement: Statement, isForeign: boolean, out: RunWriter, kept: ReadonlySet<Statement>): void {
    if (statement.origin === 'parse') {
      this.parse(statement, ReplyAction.Swallow, new ChangeNote([[]], null, null, isForeign), out, kept);
      return;
    }
    const { tracker, statements: known } = this.server;
    this.forget(statement, out);
    this.#host.stats.serverParseCount++;
    const change = known.add(statement, tracker.segment);
    const hanging = new ChangeNote([[change]], null, this.#asPrepared(statement), isForeign);
    hanging.gives = statement;
    this.#carryOut(statement.prepareText(), hanging, out);
    this.#makeRoom(out, kept);
  }

  /** Has `sql` (latin1) executed. `hanging` hangs on that. */
  #carryOut(sql: string, hanging: ChangeNote, out: RunWriter): void {
    // It takes a statement and a portal: of ours, for the client's unnamed ones may be in use.
    out.put(preparing(`${this.#host.cache.prefix}0`, sql));
    const { tracker } = this.server;
    const swallow = (type: number, its: ChangeNote | null) =>
      tracker.sent(type, ReplyAction.Swallow, null, its);
    const other = hanging.isForeign ? new ChangeNote([], null, null, true) : null;
    for (const type of [F.Close, F.Parse, F.Bind]) swallow(type, other);
    swallow(F.Execute, hanging);
    for (const type of [F.Close, F.Close]) swallow(type, other);
  }

  /** `PREPARE` as the client is likely to have written it, and as it is sent. */
  #asPrepared(statement: Statement): TextChange {
    const name = this.#host.statements.nameOf(statement.name) ?? '';
    // A space of ours stands ahead of the body.
    const text = Buffer.from(`PREPARE ${name}${statement.body.slice(1)}`, 'latin1');
    const start = 'PREPARE '.length;
    const named = { start, end: start + name.length, text: `${statement.name} ` };
    return new TextChange(text, 0, text.length, [named], statement.reading.values[0] === 'UTF8');
  }

  /** Ends what was begun by us since `wasOpen` was asked of the tracker: a simple query follows. */
  endStretch(wasOpen: boolean, out: RunWriter): void {
    const { tracker } = this.server;
    if (wasOpen || !tracker.isStretchOpen) return;
    out.put(sync);
    tracker.sent(F.Sync, ReplyAction.Swallow);
  }

  /** Closes the statement on the server if it may be there. */
  forget(statement: Statement, out: RunWriter): void {
    const { tracker, statements: known } = this.server;
    if (!known.holds(statement)) return;
    out.put(statement.closeMessage());
    tracker.sent(F.Close, ReplyAction.Swallow, null, note(null, known.remove(statement, tracker.segment)));
  }

  /**
   * An answer that is ours to give: behind what is owed, or now. Where a COPY may be under way then, PostgreSQL has to see that
   * something comes amid it that ends it: so it is asked, too.
   */
  answer(type: number, bytes: Buffer, change: Change, out: RunWriter): void {
    const { tracker, sinkAtBoundary } = this.server;
    if (tracker.owesNothing && sinkAtBoundary) {
      change.settle();
      this.#host.reply(bytes);
    } else if (tracker.queue.mayCopy) {
      out.put(CLOSES_NOTHING);
      tracker.sent(F.Close, ReplyAction.Rewrite, bytes, note(null, change));
    } else {
      tracker.sent(type, ReplyAction.Synthesize, bytes, note(null, change));
    }
  }

  #makeRoom(out: RunWriter, kept: ReadonlySet<Statement>): void {
    const { statements: known } = this.server;
    const { limit } = this.#host;
    if (known.size <= limit) return;
    const named = this.forms.statements() ?? NONE;
    const surplus = () => known.surplus(limit, kept, named);
    for (let old = surplus(); old !== null; old = surplus()) {
      this.forget(old, out);
      // Where requests are skipped, that was taken back at once.
      if (known.holds(old)) return;
    }
  }
}

/**
 * Parse, Bind, Execute and Close of `sql` (latin1) under a name of ours, for statement and portal. Where Execute fails,
 * PostgreSQL skips what closes the statement: so that is done ahead of it, too.
 */
function preparing(name: string, sql: string): Buffer {
  const text = Buffer.from(`${sql}\0`, 'latin1');
  return new Writer(160 + text.length)
    .begin(F.Close)
    .byte(STATEMENT)
    .cstring(name)
    .end()
    .begin(F.Parse)
    .cstring(name)
    .bytes(text)
    .int16(0)
    .end()
    .begin(F.Bind)
    .cstring(name)
    .cstring(name)
    .int16(0)
    .int16(0)
    .int16(0)
    .end()
    .begin(F.Execute)
    .cstring(name)
    .int32(0)
    .end()
    .begin(F.Close)
    .byte(PORTAL)
    .cstring(name)
    .end()
    .begin(F.Close)
    .byte(STATEMENT)
    .cstring(name)
    .end()
    .take();
}
