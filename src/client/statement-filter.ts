import type { ClientStatements } from '../prepared/client-statements.ts';
import { type Change, UNSETTLED } from '../prepared/ledger.ts';
import { nameEnd, nameOf, renamed } from '../prepared/message-names.ts';
import type { ServerStatements } from '../prepared/server-statements.ts';
import { STATEMENT, type Statement, type StatementCache } from '../prepared/statement.ts';
import { ReplyAction, type RequestNote } from '../relay/outstanding.ts';
import type { RequestFilter } from '../relay/request-filter.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F } from '../wire/codes.ts';
import { closeComplete, parseComplete } from '../wire/complete.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';

/** Names that begin a Bind, a whole Describe or Close: no more of them is held to be looked at. Bytes. */
const NAMES_LIMIT = 64 * 1024;

/** A Parse that is held whole. PostgreSQL takes texts of up to 1 GB; nobody writes them. Bytes. */
const TEXT_LIMIT = 64 * 1024 * 1024;

/** The server connection that requests go to. */
export interface StatementServer {
  readonly tracker: RequestTracker;
  readonly statements: ServerStatements;
  /** The client has whole messages only, so one of ours may follow. */
  readonly sinkAtBoundary: boolean;
}

/** What the filter needs of the session that it belongs to. */
export interface StatementHost {
  readonly cache: StatementCache;
  readonly statements: ClientStatements;
  /** The linked server. */
  readonly server: StatementServer | null;
  /** `max_prepared_statements`. */
  readonly limit: number;
  readonly stats: { clientParseCount: number; serverParseCount: number; bindCount: number };
  reply(bytes: Buffer): void;
}

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
 * Names that the client has not given pass as they are: the server's own error is the right one.
 */
export class StatementFilter implements RequestFilter {
  readonly #host: StatementHost;

  constructor(host: StatementHost) {
    this.#host = host;
  }

  look(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    switch (type) {
      case F.Parse:
        if (end === body) return Math.min(1, bodyBytes);
        if (chunk[body] === 0) return 0;
        if (bodyBytes > TEXT_LIMIT) throw new ProtocolViolation('broken Parse packet');
        return bodyBytes;
      case F.Bind:
        return this.#lookAtBind(chunk, body, end, bodyBytes);
      case F.Describe:
      case F.Close:
        if (end - body < 2) return Math.min(2, bodyBytes);
        if (chunk[body] !== STATEMENT || chunk[body + 1] === 0) return 0;
        if (bodyBytes > NAMES_LIMIT) throw new ProtocolViolation(brokenText(type));
        return bodyBytes;
      default:
        return 0;
    }
  }

  answerAlone(type: number, chunk: Buffer, body: number, end: number): Buffer | null {
    if (type !== F.Close) return null;
    const name = onlyName(type, chunk, body + 1, end);
    this.#host.statements.set(name, null, 0).settle();
    return closeComplete;
  }

  pass(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    const { tracker } = this.#server;
    // Whether PostgreSQL does this request or skips it depends on what it did with a Sync, and nothing tells that.
    if (tracker.isUnsure)
      throw new ProtocolViolation('prepared statement behind a Sync inside a failed COPY');
    if (tracker.isUncertain) return -1;
    switch (type) {
      case F.Parse:
        return this.#parse(chunk, body, end, out);
      case F.Bind:
        return this.#bind(chunk, body, end, bodyBytes, out);
      case F.Describe:
        return this.#describe(chunk, body, end, out);
      default:
        return this.#close(chunk, body, end);
    }
  }

  /** Most have no name at all: two zeros. */
  #lookAtBind(chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    if (end - body < 2) return Math.min(2, bodyBytes);
    if (chunk[body] === 0 && chunk[body + 1] === 0) return 0;
    const portal = nameEnd(chunk, body, end);
    if (portal >= 0) {
      const statement = nameEnd(chunk, portal + 1, end);
      if (statement === portal + 1) return 0;
      if (statement >= 0) return statement + 1 - body;
    }
    // Cut inside the names: as much of it as may hold them.
    if (end - body >= Math.min(bodyBytes, NAMES_LIMIT)) throw new ProtocolViolation('broken Bind packet');
    return Math.min(bodyBytes, NAMES_LIMIT);
  }

  #parse(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { cache, statements, stats } = this.#host;
    const { tracker, statements: known } = this.#server;
    const { segment } = tracker;
    const zero = nameEnd(chunk, body, end);
    if (zero < 0) throw new ProtocolViolation('broken Parse packet');
    const name = nameOf(chunk, body, zero);
    const current = statements.get(name, segment);
    if (current === UNSETTLED) return -1;
    const statement = cache.hold('parse', chunk.toString('latin1', zero + 1, end));
    try {
      const isThere = known.has(statement, segment);
      if (isThere === UNSETTLED) return -1;
      stats.clientParseCount++;
      if (current !== null) {
        // The name is taken: the server finds that out by itself, behind everything else that may be wrong.
        if (!isThere) this.#teach(statement, ReplyAction.Swallow, note(null), out);
        out.put(statement.parseMessage());
        tracker.sent(F.Parse, ReplyAction.Forward, null, note(name));
        return end;
      }
      const change = statements.set(name, statement, segment);
      if (isThere && tracker.isSurelyUsable) {
        tracker.opened();
        this.#answer(F.Parse, parseComplete, change);
      } else {
        // Where it is there, too: whether it would be taken depends on the transaction, and only PostgreSQL knows.
        this.#teach(statement, ReplyAction.Forward, note(name, change), out);
      }
      return end;
    } finally {
      cache.release(statement);
    }
  }

  #bind(chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    const { stats } = this.#host;
    const { tracker } = this.#server;
    const start = nameEnd(chunk, body, end) + 1;
    const zero = nameEnd(chunk, start, end);
    const statement = this.#named(chunk, start, zero, out);
    if (statement === UNSETTLED) return -1;
    stats.bindCount++;
    tracker.sent(F.Bind, ReplyAction.Forward, null, statement?.use ?? null);
    out.put(
      renamed(F.Bind, chunk, body, bodyBytes, start, zero, statement?.nameBytes ?? own(chunk, start, zero)),
    );
    return zero + 1;
  }

  #describe(chunk: Buffer, body: number, end: number, out: RunWriter): number {
    const { tracker } = this.#server;
    const zero = nameEnd(chunk, body + 1, end);
    if (zero !== end - 1) throw new ProtocolViolation('broken Describe packet');
    const statement = this.#named(chunk, body + 1, zero, out);
    if (statement === UNSETTLED) return -1;
    tracker.sent(F.Describe, ReplyAction.Forward, null, statement?.use ?? null);
    const nameBytes = statement?.nameBytes ?? own(chunk, body + 1, zero);
    out.put(renamed(F.Describe, chunk, body, end - body, body + 1, zero, nameBytes));
    return end;
  }

  #close(chunk: Buffer, body: number, end: number): number {
    const { statements } = this.#host;
    const { tracker } = this.#server;
    const name = onlyName(F.Close, chunk, body + 1, end);
    const current = statements.get(name, tracker.segment);
    if (current === UNSETTLED) return -1;
    this.#answer(F.Close, closeComplete, statements.set(name, null, tracker.segment));
    return end;
  }

  /** The statement that the client calls `chunk[start, zero)`, made sure of on the server; null: it has none. */
  #named(chunk: Buffer, start: number, zero: number, out: RunWriter): Statement | null | typeof UNSETTLED {
    const { statements } = this.#host;
    const { tracker, statements: known } = this.#server;
    const { segment } = tracker;
    const statement = statements.get(nameOf(chunk, start, zero), segment);
    if (statement === UNSETTLED || statement === null) return statement;
    const isThere = known.has(statement, segment);
    if (isThere === UNSETTLED) return UNSETTLED;
    if (!isThere) this.#teach(statement, ReplyAction.Swallow, note(null), out);
    return statement;
  }

  /** Sends the statement; the least recently used ones make room for it. `hanging` gets what that changes. */
  #teach(statement: Statement, action: ReplyAction, hanging: Note, out: RunWriter): void {
    const { limit, stats } = this.#host;
    const { tracker, statements: known } = this.#server;
    if (known.holds(statement)) this.#forget(statement, out);
    stats.serverParseCount++;
    out.put(statement.parseMessage());
    hanging.changes.push(known.add(statement, tracker.segment));
    tracker.sent(F.Parse, action, null, hanging);
    for (let old = known.surplus(limit); old !== null; old = known.surplus(limit)) this.#forget(old, out);
  }

  #forget(statement: Statement, out: RunWriter): void {
    const { tracker, statements: known } = this.#server;
    out.put(statement.closeMessage());
    tracker.sent(F.Close, ReplyAction.Swallow, null, note(null, known.remove(statement, tracker.segment)));
  }

  /** An answer that is ours to give: behind what is owed, or now. */
  #answer(type: number, bytes: Buffer, change: Change): void {
    const { tracker, sinkAtBoundary } = this.#server;
    if (tracker.owesNothing && sinkAtBoundary) {
      change.settle();
      this.#host.reply(bytes);
    } else {
      tracker.sent(type, ReplyAction.Synthesize, bytes, note(null, change));
    }
  }

  get #server(): StatementServer {
    const { server } = this.#host;
    if (server === null) throw new Error('a request is looked at without a server');
    return server;
  }
}

/** What hangs on the answer to one request: changes that it makes, all of which it makes or none. */
class Note implements RequestNote {
  readonly name: string | null;
  readonly uses = null;
  readonly changes: Change[];
  #isDone = false;

  constructor(name: string | null, changes: Change[]) {
    this.name = name;
    this.changes = changes;
  }

  step(): void {
    this.#isDone = true;
    for (const change of this.changes) change.settle();
  }

  end(): void {
    if (!this.#isDone) for (const change of this.changes) change.undo();
  }

  position(sent: number): number {
    return sent;
  }
}

function note(name: string | null, ...changes: Change[]): Note {
  return new Note(name, changes);
}

/** The name with its zero, as the client sent it. */
function own(chunk: Buffer, start: number, zero: number): Buffer {
  return chunk.subarray(start, zero + 1);
}

/** The name that is all that `chunk[start, end)` holds. */
function onlyName(type: number, chunk: Buffer, start: number, end: number): string {
  const zero = nameEnd(chunk, start, end);
  if (zero !== end - 1) throw new ProtocolViolation(brokenText(type));
  return nameOf(chunk, start, zero);
}

function brokenText(type: number): string {
  return type === F.Close ? 'broken Close packet' : 'broken Describe packet';
}
