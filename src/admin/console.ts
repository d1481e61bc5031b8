/**
 * The console of one client that has logged in to database `pgbouncer`: whole client messages in, bytes for the
 * client out. It knows the commands and their answers, and nothing of sockets, pools or settings: those are
 * behind {@link Control}.
 */
import assert from 'node:assert';
import { LocalTime } from '../base/local-time.ts';
import type { Logger } from '../base/log.ts';
import { FrontendType } from '../wire/codes.ts';
import { errorResponse, noticeResponse } from '../wire/error-response.ts';
import { fatal, SqlState } from '../wire/pg-error.ts';
import { Reader } from '../wire/reader.ts';
import { readyForQueryIdle } from '../wire/ready-for-query.ts';
import { commandComplete, emptyQueryResponse, resultSet } from '../wire/result.ts';
import type { Role } from './access.ts';
import { type Outcome, runCommand, runSet } from './commands.ts';
import type { Control } from './control.ts';
import { parseStatement } from './parse.ts';

/** The largest message body that the console reads, in bytes; PgBouncer's `pkt_buf` by default. */
export const MAX_CONSOLE_BODY_BYTES = 4096;

/** What to do after a message: send `bytes` (possibly none) and, with a reason, close the connection. */
export interface ConsoleReply {
  readonly bytes: Buffer;
  /** Why the console ends, for the log; null while it goes on. */
  readonly closeReason: string | null;
  /** The error that `bytes` tell the client, for the log; null when there is none. */
  readonly error: string | null;
}

export interface ConsoleOptions {
  readonly role: Role;
  readonly control: Control;
  readonly log: Logger;
  /** The answer to SHOW VERSION, the same as the first line of `--version`. */
  readonly version: string;
}

const NOTHING = Buffer.alloc(0);

export class AdminConsole {
  readonly #options: ConsoleOptions;
  readonly #localTime = new LocalTime();
  #busy = false;

  constructor(options: ConsoleOptions) {
    this.#options = options;
  }

  /**
   * Takes one whole message: its type byte and its body, which is borrowed until the call returns (not until
   * the promise resolves). The next message may come only when the promise has resolved, which for PAUSE,
   * SUSPEND and WAIT_CLOSE can take any time; `signal` aborts the wait when the client is gone. Never rejects.
   * Source: manual, `protocol-flow`, Simple Query.
   */
  async message(type: number, body: Buffer, signal: AbortSignal): Promise<ConsoleReply> {
    assert(!this.#busy, 'console message while another is being answered');
    this.#busy = true;
    try {
      return await this.#answer(type, body, signal);
    } catch (error) {
      if (signal.aborted) return quit('client unexpected eof');
      this.#options.log.log('ERROR', `console command failed: ${String(error)}`);
      return refuse('command failed, see logs for additional details');
    } finally {
      this.#busy = false;
    }
  }

  async #answer(type: number, body: Buffer, signal: AbortSignal): Promise<ConsoleReply> {
    switch (type) {
      case FrontendType.Query:
        return this.#query(body, signal);
      case FrontendType.Terminate:
        return quit('close req');
      case FrontendType.Parse:
      case FrontendType.Bind:
      case FrontendType.Execute:
        return end('bad packet', [
          consoleError('extended query protocol not supported by admin console'),
          readyForQueryIdle,
        ]);
      default:
        return end(`unsupported packet type for admin console: ${type}`);
    }
  }

  async #query(body: Buffer, signal: AbortSignal): Promise<ConsoleReply> {
    if (body.length > MAX_CONSOLE_BODY_BYTES) return end('incomplete pkt');
    // Exactly one string: its zero byte is the body's last and only one.
    if (body.indexOf(0) !== body.length - 1 || body.length === 0) return end('bad packet');
    const text = new Reader(body).cstring();
    const statement = parseStatement(text);
    const context = { ...this.#options, localTime: this.#localTime, signal };
    switch (statement.kind) {
      case 'empty':
        return goOn(emptyQueryResponse);
      case 'tooLong':
        return refuse('bad arguments');
      case 'invalid':
        return encode({ kind: 'unknown' }, text);
      case 'set':
        return encode(await runSet(context, statement.key, statement.value), text);
      case 'command':
        return encode(await runCommand(context, statement.word, statement.arg), text);
    }
  }
}

function encode(outcome: Outcome, query: string): ConsoleReply {
  switch (outcome.kind) {
    case 'rows':
      return goOn(resultSet(outcome.columns, outcome.rows, 'SHOW'));
    case 'done':
      if (outcome.notice === null) return goOn(commandComplete(outcome.tag));
      return goOn(notice(outcome.notice), commandComplete(outcome.tag));
    case 'help':
      return goOn(notice('Console usage', outcome.text), commandComplete('SHOW'));
    case 'failed':
      return refuse(outcome.message, outcome.sqlstate, outcome.detail);
    case 'unknown':
      return refuse(`invalid command '${query}', use SHOW HELP;`);
    case 'shutdown':
      return quit('SHUTDOWN');
  }
}

function goOn(...messages: Buffer[]): ConsoleReply {
  return { bytes: Buffer.concat([...messages, readyForQueryIdle]), closeReason: null, error: null };
}

/** Answers with an error; the console goes on. */
function refuse(message: string, sqlstate?: string, detail?: string): ConsoleReply {
  return { ...goOn(consoleError(message, sqlstate, detail)), error: message };
}

/** Ends the console without a word. */
function quit(closeReason: string): ConsoleReply {
  return { bytes: NOTHING, closeReason, error: null };
}

/** Ends the console with a FATAL error, after `before`. */
function end(reason: string, before: Buffer[] = []): ConsoleReply {
  const bytes = Buffer.concat([...before, errorResponse(fatal(reason))]);
  return { bytes, closeReason: reason, error: reason };
}

function consoleError(
  message: string,
  sqlstate: string = SqlState.protocolViolation,
  detail?: string,
): Buffer {
  return errorResponse({ severity: 'ERROR', sqlstate, message, ...(detail !== undefined && { detail }) });
}

function notice(message: string, detail?: string): Buffer {
  const sqlstate = SqlState.successfulCompletion;
  return noticeResponse(detail === undefined ? { sqlstate, message } : { sqlstate, message, detail });
}
