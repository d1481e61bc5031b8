import { textEncoding } from './sql-name.ts';
import { mayConcernStatements } from './sql-prefilter.ts';
import { type ParameterForm, readReset, readSet } from './sql-set.ts';
import { type FoundName, StatementCursor } from './statement-cursor.ts';

/** How the session that a text is for reads it: `standard_conforming_strings`, and PostgreSQL's `client_encoding`. */
export interface ReadingOptions {
  readonly standardConformingStrings: boolean;
  readonly clientEncoding: string;
}

/** What a statement does to prepared statements, parameters and transactions. */
export type StatementForm =
  /** `PREPARE name …`; from `restStart` on, its parameters' types and what it does. */
  | (FoundName & { readonly kind: 'prepare'; readonly restStart: number })
  /** `EXECUTE name …`; not `isPlain`: in EXPLAIN or CREATE TABLE … AS, where it carries out nothing but a query. */
  | (FoundName & { readonly kind: 'execute'; readonly isPlain: boolean })
  | (FoundName & { readonly kind: 'deallocate' })
  | { readonly kind: 'deallocate-all' }
  | { readonly kind: 'discard-all' }
  | ParameterForm
  /** COMMIT, END, PREPARE TRANSACTION. */
  | { readonly kind: 'commit' }
  /** ROLLBACK, ABORT, also to a savepoint. */
  | { readonly kind: 'rollback' }
  | { readonly kind: 'other' };

/** A statement and its bytes in the buffer, from its first token to its last, without its `;`. */
export type SqlStatement = StatementForm & { readonly start: number; readonly end: number };

/** PREPARE, EXECUTE or DEALLOCATE of a name. */
export type NamedForm = Extract<SqlStatement, { readonly name: string; readonly nameStart: number }>;

export function isNamed(statement: SqlStatement): statement is NamedForm {
  const { kind } = statement;
  return kind === 'prepare' || kind === 'execute' || kind === 'deallocate';
}

export function isDropping({ kind }: SqlStatement): boolean {
  return kind === 'deallocate-all' || kind === 'discard-all';
}

const OTHER: StatementForm = { kind: 'other' };
const COMMIT: StatementForm = { kind: 'commit' };
const ROLLBACK: StatementForm = { kind: 'rollback' };

/**
 * The statements in the SQL text `bytes[start..end)`, as the message brought it and without its terminating zero,
 * in their order. Empty ones are left out. What PostgreSQL refuses may come out as anything; what it accepts in
 * some version from 14 on comes out as it understands it, or null is returned: it cannot be read with certainty.
 * The result holds no view of the bytes.
 *
 * Source: manual, `sql-syntax-lexical`, `sql-prepare`, `sql-execute`, `sql-deallocate`, `sql-discard`, `sql-explain`,
 * `sql-createtableas`, `sql-set`, `sql-reset`, `sql-createfunction`, `sql-commit`, `sql-rollback`.
 */
export function readStatements(
  bytes: Buffer,
  start: number,
  end: number,
  options: ReadingOptions,
): readonly SqlStatement[] | null {
  const encoding = textEncoding(options.clientEncoding);
  if (encoding.hasAsciiTrails && !isAscii(bytes, start, end)) return null;
  const cursor = new StatementCursor(bytes, start, end, options.standardConformingStrings, encoding);
  const statements: SqlStatement[] = [];
  while (cursor.begin()) {
    const first = cursor.start;
    const form = formAt(cursor);
    cursor.skip();
    statements.push({ ...form, start: first, end: cursor.lastEnd });
  }
  return cursor.failed ? null : statements;
}

/** As {@link readStatements}; null also where none of them names or drops statements. */
export function readForms(
  bytes: Buffer,
  start: number,
  end: number,
  options: ReadingOptions,
): readonly SqlStatement[] | null {
  if (!mayConcernStatements(bytes, start, end)) return null;
  const statements = readStatements(bytes, start, end, options);
  return statements?.some((statement) => isNamed(statement) || isDropping(statement)) === true
    ? statements
    : null;
}

/** The only one of {@link readForms}; null also where there are others beside it. */
export function readForm(
  bytes: Buffer,
  start: number,
  end: number,
  options: ReadingOptions,
): SqlStatement | null {
  const statements = readForms(bytes, start, end, options);
  return statements?.length === 1 ? (statements[0] ?? null) : null;
}

/** Whether what the text says of statements cannot be read with certainty. */
export function isUnreadable(bytes: Buffer, start: number, end: number, options: ReadingOptions): boolean {
  return mayConcernStatements(bytes, start, end) && readStatements(bytes, start, end, options) === null;
}

function isAscii(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if ((bytes[at] as number) >= 0x80) return false;
  return true;
}

function formAt(cursor: StatementCursor): StatementForm {
  if (cursor.take('set')) return readSet(cursor) ?? OTHER;
  if (cursor.take('reset')) return readReset(cursor) ?? OTHER;
  if (cursor.take('prepare')) return readPrepare(cursor);
  if (cursor.take('deallocate')) return readDeallocate(cursor);
  if (cursor.take('commit') || cursor.take('end')) return COMMIT;
  if (cursor.take('rollback') || cursor.take('abort')) return ROLLBACK;
  if (cursor.take('discard')) return cursor.isWord('all') ? { kind: 'discard-all' } : OTHER;
  const isExplained = cursor.take('explain');
  if (isExplained) skipExplainOptions(cursor);
  if (cursor.take('execute')) return readExecute(cursor, !isExplained);
  return cursor.take('create') ? readCreate(cursor) : OTHER;
}

/** `name [(types)] AS …`. With a string in place of the name's follower it is PREPARE TRANSACTION. */
function readPrepare(cursor: StatementCursor): StatementForm {
  const isTransaction = cursor.isWord('transaction');
  const found = cursor.takeName();
  if (found === null || !(cursor.isSymbol('(') || cursor.isWord('as'))) return isTransaction ? COMMIT : OTHER;
  return { kind: 'prepare', ...found, restStart: cursor.start };
}

function readExecute(cursor: StatementCursor, isPlain: boolean): StatementForm {
  const found = cursor.takeName();
  return found === null ? OTHER : { kind: 'execute', ...found, isPlain };
}

/** `[PREPARE] name` or `[PREPARE] ALL`, where the name may well be `prepare`. */
function readDeallocate(cursor: StatementCursor): StatementForm {
  if (cursor.isWord('all')) return { kind: 'deallocate-all' };
  const isPrepare = cursor.isWord('prepare');
  let found = cursor.takeName();
  if (isPrepare && !cursor.atEnd) {
    if (cursor.isWord('all')) return { kind: 'deallocate-all' };
    found = cursor.takeName();
  }
  return found === null ? OTHER : { kind: 'deallocate', ...found };
}

/** Both ways to write them: in parentheses, or as ANALYZE VERBOSE. */
function skipExplainOptions(cursor: StatementCursor): void {
  if (cursor.isSymbol('(')) {
    cursor.skipParentheses();
    return;
  }
  if (!cursor.take('analyze')) cursor.take('analyse');
  cursor.take('verbose');
}

function readCreate(cursor: StatementCursor): StatementForm {
  if (cursor.isWord('schema')) cursor.skipWithoutBody();
  if (cursor.take('or')) cursor.take('replace');
  if (cursor.isWord('function') || cursor.isWord('procedure')) cursor.skipRoutine();
  if (!cursor.take('unlogged')) {
    if (!cursor.take('local')) cursor.take('global');
    if (!cursor.take('temporary')) cursor.take('temp');
  }
  if (!cursor.take('table')) return OTHER;
  // AS is reserved: the first one is followed by where the rows come from. `SELECT 1 AS execute` has a later one.
  if (!cursor.skipTo('as')) return OTHER;
  cursor.advance();
  return cursor.take('execute') ? readExecute(cursor, false) : OTHER;
}
