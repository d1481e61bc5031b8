import { nameEnd } from '../prepared/message-names.ts';
import { setsIdentity } from '../prepared/sql-identity.ts';
import { UnreadText } from '../relay/outstanding.ts';
import type { RequestFilter } from '../relay/request-filter.ts';
import type { RunWriter } from '../relay/run-writer.ts';
import { FrontendType as F } from '../wire/codes.ts';
import { asItIs, HELD_TEXT_LIMIT, lookAtText, passUnread } from './sql-text.ts';
import type { StatementHost, StatementServer } from './statement-sender.ts';

/**
 * Outside session mode without prepared statements (`max_prepared_statements = 0`): all passes as it is, but a server
 * whose session a text makes another user's is not used again.
 */
export class IdentityFilter implements RequestFilter {
  readonly #host: StatementHost;

  constructor(host: StatementHost) {
    this.#host = host;
  }

  look(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number): number {
    if (type !== F.Query && type !== F.Parse) return 0;
    const stop = Math.min(end, body + bodyBytes);
    if (type === F.Query) return lookAtText(chunk, body, stop, body, bodyBytes, true);
    const zero = nameEnd(chunk, body, stop);
    if (zero >= 0) return lookAtText(chunk, zero + 1, stop, body, bodyBytes, false);
    // PostgreSQL takes names of any length: behind a very long one the text stays unread.
    return stop - body < HELD_TEXT_LIMIT ? Math.min(bodyBytes, HELD_TEXT_LIMIT) : 1;
  }

  answerAlone(): null {
    return null;
  }

  pass(type: number, chunk: Buffer, body: number, end: number, bodyBytes: number, out: RunWriter): number {
    const server = this.#host.server as StatementServer;
    if (end - body < bodyBytes) {
      if (type === F.Query) return passUnread(body, bodyBytes, out, server.tracker, new UnreadText(false));
      server.closeNeeded = true;
      return asItIs(type, body, body + bodyBytes, out, () => server.tracker.sent(type));
    }
    const text = type === F.Query ? body : nameEnd(chunk, body, end) + 1;
    const zero = nameEnd(chunk, text, end);
    const { reading } = this.#host;
    if (setsIdentity(chunk, text, zero < 0 ? end : zero, type === F.Query, reading))
      server.closeNeeded = true;
    return asItIs(type, body, end, out, () => server.tracker.sent(type));
  }
}
