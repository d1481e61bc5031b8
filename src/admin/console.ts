/**
 * The console of one client that has logged in to database `pgbouncer`: whole client messages in, bytes for the
 * client out. It knows the commands and their answers, and nothing of sockets, pools or settings: those are
 * behind {@link Control}.
 */
import assert from 'node:assert';
import { LocalTime } from '../base/local-time.ts';
import type { Logger } from '../base/log.ts';
import { FrontendType } from '../wire/codes.ts';
import { readBind, readExecute, readParse, readTarget } from '../wire/extended-query.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { Reader } from '../wire/reader.ts';
import { readyForQuery } from '../wire/ready-for-query.ts';
import { emptyQueryResponse } from '../wire/result.ts';
import type { Role } from './access.ts';
import type { CommandContext } from './commands.ts';
import { ConsoleSession } from './console-session.ts';
import type { Control } from './control.ts';
import { ExtendedQuery } from './extended-query.ts';
import { type Plan, readText } from './plan.ts';
import { type ConsoleReply, end, quit, refuse, replyTo, say, silence } from './reply.ts';

export type { ConsoleReply } from './reply.ts';

/**
 * The largest message body that the console reads, in bytes: what drivers send to load types takes several thousand.
 * PgBouncer's limit is `pkt_buf`.
 */
export const MAX_CONSOLE_BODY_BYTES = 16 * 1024;

export interface ConsoleOptions {
  readonly role: Role;
  /** Whom the client has logged in as. */
  readonly user: string;
  readonly control: Control;
  readonly log: Logger;
  /** The answer to SHOW VERSION, the same as the first line of `--version`. */
  readonly version: string;
}

/** How a message of these types is named in the error for one that is broken. */
const EXTENDED: ReadonlyMap<number, string> = new Map([
  [FrontendType.Parse, 'Parse'],
  [FrontendType.Bind, 'Bind'],
  [FrontendType.Describe, 'Describe'],
  [FrontendType.Execute, 'Execute'],
  [FrontendType.Close, 'Close'],
]);

export class AdminConsole {
  readonly #options: ConsoleOptions;
  readonly #localTime = new LocalTime();
  readonly #session = new ConsoleSession();
  readonly #extended = new ExtendedQuery(this.#session);
  /** An error has been told: messages are skipped up to the next Sync. */
  #isSkipping = false;
  #busy = false;

  constructor(options: ConsoleOptions) {
    this.#options = options;
  }

  /**
   * Takes one whole message: its type byte and its body, which is borrowed until the call returns (not until
   * the promise resolves). The next message may come only when the promise has resolved, which for PAUSE,
   * SUSPEND and WAIT_CLOSE can take any time; `signal` aborts the wait when the client is gone. `send` takes what goes
   * ahead of the answer's end, and resolves when there may be more. Never rejects.
   * Source: manual, `protocol-flow`, Simple Query and Extended Query.
   */
  async message(
    type: number,
    body: Buffer,
    signal: AbortSignal,
    send: (bytes: Buffer) => Promise<void>,
  ): Promise<ConsoleReply> {
    assert(!this.#busy, 'console message while another is being answered');
    this.#busy = true;
    try {
      return await this.#answer(type, body, signal, send);
    } catch (error) {
      if (signal.aborted) return quit('client unexpected eof');
      this.#options.log.log('ERROR', `console command failed: ${String(error)}`);
      const reply = refuse('command failed, see logs for additional details');
      return EXTENDED.has(type) ? this.#extendedReply(reply) : this.#ready(reply);
    } finally {
      this.#busy = false;
    }
  }

  async #answer(
    type: number,
    body: Buffer,
    signal: AbortSignal,
    send: (bytes: Buffer) => Promise<void>,
  ): Promise<ConsoleReply> {
    switch (type) {
      case FrontendType.Query:
        return this.#isSkipping ? silence : this.#query(body, this.#context(signal), send);
      case FrontendType.Terminate:
        return quit('close req');
      case FrontendType.Sync:
        this.#isSkipping = false;
        return this.#ready(silence);
      case FrontendType.Flush:
        // Each answer is on its way already.
        return silence;
      default: {
        const name = EXTENDED.get(type);
        if (name === undefined) return end(`unsupported packet type for admin console: ${type}`);
        if (body.length > MAX_CONSOLE_BODY_BYTES) return end('incomplete pkt');
        if (this.#isSkipping) return silence;
        try {
          return this.#extendedReply(await this.#extendedQuery(type, body, this.#context(signal)));
        } catch (error) {
          if (error instanceof ProtocolViolation) return end(`broken ${name} packet`);
          throw error;
        }
      }
    }
  }

  #context(signal: AbortSignal): CommandContext {
    return { ...this.#options, localTime: this.#localTime, signal };
  }

  #extendedQuery(type: number, body: Buffer, context: CommandContext): ConsoleReply | Promise<ConsoleReply> {
    switch (type) {
      case FrontendType.Parse:
        return this.#extended.parse(readParse(body), context);
      case FrontendType.Bind:
        return this.#extended.bind(readBind(body));
      case FrontendType.Describe:
        return this.#extended.describe(readTarget(body));
      case FrontendType.Close:
        return this.#extended.close(readTarget(body));
      default:
        return this.#extended.execute(readExecute(body), context);
    }
  }

  async #query(
    body: Buffer,
    context: CommandContext,
    send: (bytes: Buffer) => Promise<void>,
  ): Promise<ConsoleReply> {
    if (body.length > MAX_CONSOLE_BODY_BYTES) return end('incomplete pkt');
    // Exactly one string: its zero byte is the body's last and only one.
    if (body.indexOf(0) !== body.length - 1 || body.length === 0) return end('bad packet');
    const text = new Reader(body).cstring();
    this.#session.statements.delete('');
    const reading = readText(text, context);
    if (!reading.ok) return this.#ready(replyTo(reading.outcome, text));
    const last = reading.plans.at(-1);
    if (last === undefined) return this.#ready(say(emptyQueryResponse));
    for (const plan of reading.plans.slice(0, -1)) {
      const reply = await this.#runUnnamed(plan, text, context);
      // What stands behind an error in the same text is not run.
      if (reply.error !== null || reply.closeReason !== null) return this.#ready(reply);
      // No statement is run before the client takes the answers to those ahead of it.
      await send(reply.bytes);
      context.signal.throwIfAborted();
    }
    return this.#ready(await this.#runUnnamed(last, text, context));
  }

  /** Runs a statement as the unnamed portal. */
  async #runUnnamed(plan: Plan, text: string, context: CommandContext): Promise<ConsoleReply> {
    if (this.#session.refusal(plan) === null) this.#session.portals.delete('');
    return replyTo(await this.#session.run(plan, context), text);
  }

  #extendedReply(reply: ConsoleReply): ConsoleReply {
    if (reply.error !== null) {
      this.#isSkipping = true;
      this.#session.failed();
    }
    return reply;
  }

  /** The answer with its ReadyForQuery, unless the console ends. */
  #ready(reply: ConsoleReply): ConsoleReply {
    if (reply.closeReason !== null) return reply;
    if (reply.error !== null) this.#session.failed();
    this.#session.settled();
    return { ...reply, bytes: Buffer.concat([reply.bytes, readyForQuery(this.#session.status)]) };
  }
}
