import { errorResponse, noticeResponse } from '../wire/error-response.ts';
import { fatal, SqlState } from '../wire/pg-error.ts';
import { commandComplete, resultSet } from '../wire/result.ts';
import type { Outcome } from './commands.ts';

/** What to do after a message: send `bytes` (possibly none) and, with a reason, close the connection. */
export interface ConsoleReply {
  readonly bytes: Buffer;
  /** Why the console ends, for the log; null while it goes on. */
  readonly closeReason: string | null;
  /** The error that `bytes` tell the client, for the log; null when there is none. */
  readonly error: string | null;
}

const NOTHING = Buffer.alloc(0);

/** The answer to a message that none is owed to. */
export const silence: ConsoleReply = Object.freeze({ bytes: NOTHING, closeReason: null, error: null });

/** Messages, and the console goes on. */
export function say(...messages: readonly Buffer[]): ConsoleReply {
  return { bytes: Buffer.concat(messages), closeReason: null, error: null };
}

/** An error, and the console goes on. */
export function refuse(
  message: string,
  sqlstate: string = SqlState.protocolViolation,
  detail?: string,
): ConsoleReply {
  const bytes = errorResponse({
    severity: 'ERROR',
    sqlstate,
    message,
    ...(detail !== undefined && { detail }),
  });
  return { bytes, closeReason: null, error: message };
}

/** Ends the console without a word. */
export function quit(closeReason: string): ConsoleReply {
  return { bytes: NOTHING, closeReason, error: null };
}

/** Ends the console with a FATAL error. */
export function end(reason: string): ConsoleReply {
  return { bytes: errorResponse(fatal(reason)), closeReason: reason, error: reason };
}

/** What a command has come to, without ReadyForQuery. Rows are all of them, described, in text. */
export function replyTo(outcome: Outcome, query: string): ConsoleReply {
  switch (outcome.kind) {
    case 'rows':
      return say(resultSet(outcome.columns, outcome.rows, outcome.tag));
    case 'done':
      if (outcome.notice === null) return say(commandComplete(outcome.tag));
      return say(notice(outcome.notice), commandComplete(outcome.tag));
    case 'help':
      return say(notice('Console usage', outcome.text), commandComplete('SHOW'));
    case 'failed':
      return refuse(outcome.message, outcome.sqlstate, outcome.detail);
    case 'unknown':
      return { ...refuse(invalidCommand(query)), error: invalidCommand(withoutSecrets(query)) };
    case 'shutdown':
      return quit('SHUTDOWN');
  }
}

function invalidCommand(text: string): string {
  return `invalid command '${text}', use SHOW HELP;`;
}

/** For the log: a value that SET could not make out may be a password, and so may what stands behind that word. */
function withoutSecrets(query: string): string {
  const end = /\bset\s+"?\w{0,63}|pass|pwd|secret|ldap/i.exec(query);
  if (end === null) return query;
  const shown = query.slice(0, end.index + end[0].length);
  return shown === query ? shown : `${shown} ...`;
}

function notice(message: string, detail?: string): Buffer {
  const sqlstate = SqlState.successfulCompletion;
  return noticeResponse(detail === undefined ? { sqlstate, message } : { sqlstate, message, detail });
}
