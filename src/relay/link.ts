import type { Conn } from '../net/conn.ts';
import type { ServerStatements } from '../prepared/server-statements.ts';
import type { StretchNeeds } from '../prepared/stretch.ts';
import type { ErrorFields } from '../wire/error-fields.ts';
import type { ExtraParameters } from './extra-parameters.ts';
import type { GivenParameters } from './given-parameters.ts';
import type { RequestNote } from './outstanding.ts';
import type { RequestTarget } from './request-stream.ts';
import type { TrackedValues } from './tracked-parameters.ts';

/**
 * A link pairs a client with a server connection for a transaction or a session. The two sides never import
 * each other: each holds the other by one of these.
 */

/** Where a stream writes to. */
export type Outlet = Pick<Conn, 'write' | 'forward'>;

/** What a client has sent since it was at rest, as far as it can be sent once more; see `client/kept-stretch.ts`. */
export interface KeptRequests {
  /** There is such a request, and it is unanswered. */
  readonly isKeeping: boolean;
  /** Whether the request with `note` and all behind it can be sent once more. */
  canRepeat(note: RequestNote | null): boolean;
  /** The client has prepared the statement of the first of them just ahead of it, and was answered by us. */
  readonly isGiven: boolean;
  /**
   * From now on nothing of the client reaches the server but the rest of a message that is half sent. `decided` is
   * told, once that is out and the client awaits an answer, what has to hold for the requests to be sent once more;
   * null: they may not.
   */
  hold(decided: (needs: StretchNeeds | null) => void): void;
  /** Sends the requests once more, and what has come behind them. */
  repeat(): void;
  /** They have been sent: goes on behind them. */
  pass(): void;
  /** They have been answered. */
  end(): void;
}

/** The client side as its linked server connection sees it. */
export interface ClientEnd {
  readonly conn: Conn;
  /** What it has beside the tracked parameters; the linked server changes it where the client has. */
  extras: ExtraParameters;
  readonly given: GivenParameters;
  /** No message of the client is half sent to the server. */
  readonly atBoundary: boolean;
  readonly parameters: TrackedValues;
  /** ReadyForQuery with `status` was handed to `conn`; `isQuiet`: no further answer is owed. */
  answered(status: number, isQuiet: boolean): void;
  /** Its server is being probed: what it sends meanwhile is kept, until {@link goOn}. */
  hold(): void;
  /** Held back, here or by itself ({@link isStalled}): what it has sent goes on. */
  goOn(): void;
  /** It waits for answers to earlier requests before it can send the next one. */
  readonly isStalled: boolean;
  /** The ErrorResponse with `body` (borrowed) as the client may see it; the request that failed has `note`. */
  error(body: Buffer, note: RequestNote | null): Buffer;
  readonly kept: KeptRequests;
  /** The server has said that this parameter (lower case) has another value now. */
  reported(name: string): void;
  /** It has rolled something back. */
  rolledBack(): void;
  /** Its prepared statements are gone. */
  statementsDropped(): void;
  /** The server connection took what was pending: the client may be read again. */
  targetDrained(): void;
}

/** The server side as its linked client sees it. */
export interface ServerEnd extends RequestTarget {
  readonly conn: Conn;
  /** No client has had it before the one that is linked. */
  readonly isUntouched: boolean;
  /** What was set on it beside the tracked parameters, by us or by the linked client. */
  extras: ExtraParameters;
  /** By the index of tracked parameters: it is known that a SET has led to the value. */
  readonly isSet: boolean[];
  /** By the same: what `connect_query` has set of those that it reports; null = nothing. */
  readonly begunWith: TrackedValues;
  /** Tracked parameters that it doesn't report, in lower case. */
  readonly silent: readonly string[];
  /** Values of such parameters that `connect_query` has set: where nobody has others, they are as they were. */
  readonly base: ExtraParameters;
  readonly parameters: TrackedValues;
  readonly statements: ServerStatements;
  /** The client has whole messages only, so one of ours may follow. */
  readonly sinkAtBoundary: boolean;
  /** It is being probed: what it does meanwhile is the client's. */
  readonly isProbed: boolean;
  /** Runs queries of ours, sent together; `done` gets what PostgreSQL refuses first. The client sends nothing meanwhile. */
  alignParameters(texts: readonly string[], done: (error: ErrorFields | null) => void): void;
  /** The client's last message is out: ends the link if nothing is owed on either side. */
  releaseIfDone(): void;
  /** The client's connection drained: the server may be read again. */
  sinkDrained(): void;
}
