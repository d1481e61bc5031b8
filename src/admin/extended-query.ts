import { bindComplete, closeComplete, noData, parseComplete, portalSuspended } from '../wire/complete.ts';
import {
  type BindMessage,
  type ExecuteMessage,
  parameterDescription,
  type ParseMessage,
  TargetKind,
  type TargetMessage,
} from '../wire/extended-query.ts';
import { SqlState } from '../wire/pg-error.ts';
import {
  commandComplete,
  dataRows,
  emptyQueryResponse,
  Format,
  rowDescription,
  TypeOid,
} from '../wire/result.ts';
import type { CommandContext } from './commands.ts';
import { type ConsoleSession, inFailedTransaction, type Portal, type Prepared } from './console-session.ts';
import { readText } from './plan.ts';
import { type ConsoleReply, refuse, replyTo, say } from './reply.ts';

/** As many statements, and as many portals, one console may have: it is no place to keep things. */
const MAX_STATEMENTS = 1000;
const MAX_PORTALS = 50;
/** Rows that portals may keep beside one result, until they are fetched. */
const MAX_KEPT_ROWS = 10_000;

/**
 * The extended query protocol of one console. Each method answers one message, without ReadyForQuery; an answer with
 * an error in it makes its caller skip the messages up to the next Sync. Texts of errors are PostgreSQL's.
 * Source: manual, `protocol-flow`, Extended Query.
 */
export class ExtendedQuery {
  readonly #session: ConsoleSession;

  constructor(session: ConsoleSession) {
    this.#session = session;
  }

  parse({ name, text, typeCount }: ParseMessage, context: CommandContext): ConsoleReply {
    const { statements } = this.#session;
    if (name === '') statements.delete('');
    const reading = readText(text, context);
    if (!reading.ok) return replyTo(reading.outcome, text);
    const { plans } = reading;
    if (plans.length > 1) {
      return refuse('cannot insert multiple commands into a prepared statement', SqlState.syntaxError);
    }
    const plan = plans[0] ?? null;
    const refusal = plan === null ? null : this.#session.refusal(plan);
    if (refusal !== null) return replyTo(refusal, text);
    if (typeCount > (plan?.parameters ?? 0)) return noParameters();
    if (statements.has(name)) {
      return refuse(`prepared statement "${name}" already exists`, SqlState.duplicatePreparedStatement);
    }
    if (statements.size >= MAX_STATEMENTS) return tooMany('prepared statements', MAX_STATEMENTS);
    statements.set(name, { plan, text, parameters: plan?.parameters ?? 0 });
    return say(parseComplete);
  }

  bind({ portal, statement, ...message }: BindMessage): ConsoleReply {
    const { statements, portals } = this.#session;
    const prepared = statements.get(statement);
    if (prepared === undefined) return noStatement(statement);
    const { parameterFormats, parameterCount, resultFormats } = message;
    if (parameterFormats.length > 1 && parameterFormats.length !== parameterCount) {
      return refuse(
        `bind message has ${parameterFormats.length} parameter formats but ${parameterCount} parameters`,
      );
    }
    if (parameterCount !== prepared.parameters) {
      return refuse(
        `bind message supplies ${parameterCount} parameters, but prepared statement "${statement}" requires ` +
          `${prepared.parameters}`,
      );
    }
    const refusal = this.#session.refusal(prepared.plan);
    if (refusal !== null) return replyTo(refusal, prepared.text);
    if (portal === '') portals.delete('');
    else if (portals.has(portal))
      return refuse(`cursor "${portal}" already exists`, SqlState.duplicateCursor);
    if (portals.size >= MAX_PORTALS) return tooMany('portals', MAX_PORTALS);
    // Formats of a result that there isn't mean nothing.
    const columns = prepared.plan?.columns?.length ?? 0;
    const formats = columns === 0 ? [] : formatsOf(resultFormats, columns);
    const isLost = typeof formats === 'string';
    // As PostgreSQL: what is wrong with the formats is found when the portal is there, and it stays in the failed transaction.
    portals.set(portal, {
      prepared,
      formats: isLost ? [] : formats,
      depth: this.#session.savepoints.length,
      rest: null,
      isDone: false,
      isLost,
    });
    return isLost ? refuse(formats) : say(bindComplete);
  }

  describe({ kind, name }: TargetMessage): ConsoleReply {
    if (kind === TargetKind.statement) {
      const prepared = this.#session.statements.get(name);
      if (prepared === undefined) return noStatement(name);
      const types = Array<number>(prepared.parameters).fill(TypeOid.text);
      const formats = prepared.plan?.columns?.map(() => Format.text) ?? [];
      return this.#rowsOf(prepared, formats, parameterDescription(types));
    }
    if (kind !== TargetKind.portal) return refuse(`invalid DESCRIBE message subtype ${kind}`);
    const portal = this.#session.portals.get(name);
    if (portal === undefined) return noPortal(name);
    return this.#rowsOf(portal.prepared, portal.formats);
  }

  async execute({ portal: name, maxRows }: ExecuteMessage, context: CommandContext): Promise<ConsoleReply> {
    const portal = this.#session.portals.get(name);
    if (portal === undefined) return noPortal(name);
    const { plan, text } = portal.prepared;
    if (plan === null) return say(emptyQueryResponse);
    const refusal = portal.isLost ? inFailedTransaction : this.#session.refusal(plan);
    if (refusal !== null) return replyTo(refusal, text);
    if (portal.isDone) {
      return refuse(`portal "${name}" cannot be run`, SqlState.objectNotInPrerequisiteState);
    }
    if (portal.rest === null) {
      if (this.#keptRows > MAX_KEPT_ROWS) return tooMany('rows in portals', MAX_KEPT_ROWS);
      const outcome = await this.#session.run(plan, context);
      if (outcome.kind !== 'rows') {
        portal.isDone = true;
        if (outcome.kind !== 'failed') this.#session.executed(plan);
        return replyTo(outcome, text);
      }
      portal.rest = { rows: outcome.rows, tag: outcome.tag, next: 0 };
    }
    this.#session.executed(plan);
    return fetch(portal, portal.rest, maxRows);
  }

  get #keptRows(): number {
    let count = 0;
    for (const { rest } of this.#session.portals.values()) if (rest !== null) count += rest.rows.length;
    return count;
  }

  close({ kind, name }: TargetMessage): ConsoleReply {
    if (kind === TargetKind.statement) this.#session.statements.delete(name);
    else if (kind === TargetKind.portal) this.#session.portals.delete(name);
    else return refuse(`invalid CLOSE message subtype ${kind}`);
    return say(closeComplete);
  }

  #rowsOf({ plan, text }: Prepared, formats: readonly Format[], ...before: Buffer[]): ConsoleReply {
    const columns = plan?.columns ?? null;
    if (columns === null) return say(...before, noData);
    const refusal = this.#session.refusal(plan);
    if (refusal !== null) return replyTo(refusal, text);
    return say(...before, rowDescription(columns, formats));
  }
}

/** The next rows of a portal that has been run. */
function fetch(portal: Portal, rest: NonNullable<Portal['rest']>, maxRows: number): ConsoleReply {
  const columns = portal.prepared.plan?.columns ?? [];
  const limit = maxRows > 0 ? rest.next + maxRows : rest.rows.length;
  const rows = rest.rows.slice(rest.next, limit);
  let bytes: Buffer;
  try {
    bytes = dataRows(columns, rows, portal.formats);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refuse('integer out of range', SqlState.numericValueOutOfRange);
  }
  rest.next += rows.length;
  // As PostgreSQL: as many rows as were asked for, and it doesn't look whether there are more.
  if (maxRows > 0 && rows.length === maxRows) return say(bytes, portalSuspended);
  portal.rest = { ...rest, rows: [], next: 0 };
  // As PostgreSQL's, it counts the rows of this Execute alone.
  return say(bytes, commandComplete(rest.tag.replace(/^(SELECT) .*/, `$1 ${rows.length}`)));
}

/** One format for each column, from none, one for all, or one for each; or what is wrong with them. */
function formatsOf(codes: readonly number[], columns: number): readonly Format[] | string {
  if (codes.length > 1 && codes.length !== columns) {
    return `bind message has ${codes.length} result formats but query has ${columns} columns`;
  }
  const formats: Format[] = [];
  for (const code of codes) {
    if (code !== Format.text && code !== Format.binary) return `unsupported format code: ${code}`;
    formats.push(code);
  }
  return formats.length > 1 ? formats : Array<Format>(columns).fill(formats[0] ?? Format.text);
}

function noStatement(name: string): ConsoleReply {
  const which = name === '' ? 'unnamed prepared statement' : `prepared statement "${name}"`;
  return refuse(`${which} does not exist`, SqlState.invalidSqlStatementName);
}

function noPortal(name: string): ConsoleReply {
  return refuse(`portal "${name}" does not exist`, SqlState.invalidCursorName);
}

function noParameters(): ConsoleReply {
  return refuse('commands of the console take no parameters', SqlState.featureNotSupported);
}

function tooMany(what: string, limit: number): ConsoleReply {
  return refuse(`too many ${what} on the console (limit ${limit})`, SqlState.configurationLimitExceeded);
}
