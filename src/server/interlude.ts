import type { PoolClient, PoolServer } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import type { ClientEnd } from '../relay/link.ts';
import type { RequestTracker } from '../relay/request-tracker.ts';
import type { ErrorFields } from '../wire/error-fields.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { errorOf, SqlState } from '../wire/pg-error.ts';
import { type AskedValue, askingSql } from './asked-values.ts';
import type { OwnQueries } from './own-queries.ts';
import type { OwnQueryResult } from './own-query.ts';

/** A server that has said nothing for so long has probably answered all there is. */
const SILENCE_MS = 200;

/** Whoever may be owed more ReadyForQuery has sent Syncs into a COPY on purpose, and each costs us one. */
const MAX_READIES = 4096;

/** A query of ours is run so often when it is cancelled. */
const TRIES = 8;

type LinkedClient = PoolClient & ClientEnd;

/** The linked server connection. */
export interface InterludeHost extends PoolServer {
  readonly pool: Pool;
  readonly tracker: RequestTracker;
  /** As SessionState has them. */
  doubts(client: ClientEnd, isKept: boolean): readonly string[];
  answered(values: readonly AskedValue[], client: ClientEnd): void;
  /** Who reads from here on. */
  read(reader: ByteReader): void;
  /** Nothing is due any more; `atChunkEnd` is called once the chunk at hand is read to its end. */
  readOn(atChunkEnd: () => void): void;
  releaseIfDone(): void;
}

/** What we do on a linked server: before the client's requests, and before the two part. The client is held meanwhile. */
export class Interlude {
  readonly #host: InterludeHost;
  readonly #own: OwnQueries;
  readonly #responses: ByteReader & { readonly atBoundary: boolean };
  /** Waits for cancels of its own to be over. */
  #waiting: LinkedClient | null = null;

  /** `responses` reads what the linked client is to get. */
  constructor(
    host: InterludeHost,
    own: OwnQueries,
    responses: ByteReader & { readonly atBoundary: boolean },
  ) {
    this.#host = host;
    this.#own = own;
    this.#responses = responses;
  }

  /** As ServerEnd.alignParameters. */
  align(texts: readonly string[], done: (error: ErrorFields | null) => void, triesLeft = TRIES): void {
    this.#own.runAll('varcache_apply failed', texts, ({ error, isIdle }) => {
      if (isIdle && isCancelled(error) && triesLeft > 1) {
        this.align(texts, done, triesLeft - 1);
        return;
      }
      this.#host.read(this.#responses);
      done(error ?? (isIdle ? null : {}));
    });
  }

  /** The server has said nothing for `silentMs`. */
  sweep(client: LinkedClient, silentMs: number): void {
    const { pool } = this.#host;
    const { queryTimeoutMs } = pool.limits;
    // No query of the client's is open while it is held for something of ours, nor counted when it comes.
    const runsOurs = this.#own.isRunning || this.#own.isProbing;
    const isOurs = this.#own.mayBeLeft || (runsOurs && client.queryStartMs === 0);
    if (isOurs && queryTimeoutMs > 0 && silentMs > queryTimeoutMs) {
      pool.closeLinked(this.#host, 'query timeout', 'query timeout');
      return;
    }
    if (silentMs <= SILENCE_MS || this.#host.dedicatedTo !== null) return;
    const { tracker } = this.#host;
    if (this.#own.isProbing && tracker.isCopyIn && tracker.lost.isCopyEnded(tracker.queue) === 'unknown') {
      this.giveUp();
      return;
    }
    if (!tracker.mayBeStuck) return;
    // Each answer makes it fewer, and a session is in no hurry to part.
    if (pool.limits.poolMode === 'session' && tracker.lost.readies > MAX_READIES) return;
    // Not amid an answer, which the client may read slowly: the probe begins with a message of its own.
    if (!this.#own.isBusy && client.atBoundary && this.#responses.atBoundary) this.probe(client);
  }

  /** The answers cannot be counted: finds out what the server still owes to the client, and passes it on first. */
  probe(client: LinkedClient): void {
    const host = this.#host;
    const { tracker } = host;
    if (tracker.lost.readies > MAX_READIES) {
      this.giveUp();
      return;
    }
    client.hold();
    const copyBegan = (): boolean => {
      // Where nobody knows the server's silence will tell.
      if (tracker.lost.isCopyEnded(tracker.queue) !== false) return false;
      tracker.lost.isCopyProbed = true;
      host.readOn(() => this.#next(client));
      return true;
    };
    const done = (status: number): void => {
      if (tracker.isMistaken) host.closeNeeded = true;
      tracker.reset();
      tracker.txStatus = status;
      // What was counted wrongly is over, too.
      client.answered(status, true);
      this.#goOn(client);
    };
    const { areEnded, isStretchOpen, lost } = tracker;
    const failed = () => this.giveUp();
    const owed = this.#responses;
    this.#own.probe({ owed, readies: lost.readies, areEnded, isStretchOpen, copyBegan, done, failed });
  }

  /** What the server owes cannot be found out. */
  giveUp(): void {
    this.#host.pool.closeLinked(this.#host, 'answers cannot be told apart', 'server conn crashed?');
  }

  /** Asks for what the client may have changed without a word from the server, if there is anything. */
  asks(client: LinkedClient): boolean {
    const host = this.#host;
    const names = host.doubts(client, host.pool.limits.poolMode === 'session');
    if (names.length === 0) return false;
    if (this.#waitsForCancels(client)) return true;
    client.hold();
    this.#ask(names, client, TRIES);
    return true;
  }

  #ask(names: readonly string[], client: LinkedClient, triesLeft: number): void {
    const host = this.#host;
    const answered = (values: readonly AskedValue[], { error, isIdle }: OwnQueryResult): void => {
      if (error === null && isIdle) {
        host.answered(values, client);
        this.#goOn(client);
      } else if (isCancelled(error) && triesLeft > 1) {
        this.#ask(names, client, triesLeft - 1);
      } else {
        const told = errorOf(error ?? {}, 'invalid server parameter');
        host.pool.closeLinked(host, 'asking for parameters failed', told);
      }
    };
    this.#own.ask(askingSql(names, triesLeft < TRIES), answered);
  }

  /** The link stays, but what the client gave has to be set again. */
  relink(client: LinkedClient): void {
    if (!this.#waitsForCancels(client)) client.linked(this.#host);
  }

  /** Requests of `client` may not be sent now: we do something on the server, or are about to. */
  isInTheWay(client: LinkedClient): boolean {
    return this.#own.isBusy || this.#waiting === client;
  }

  /** No cancel is under way any more. */
  cancelsOver(): void {
    const client = this.#waiting;
    this.#waiting = null;
    if (client !== null) this.#next(client);
  }

  /**
   * A cancel of what the client ran would hit what is ours: one that isn't sent is dropped, one that is under way is
   * waited for.
   */
  #waitsForCancels(client: LinkedClient): boolean {
    const host = this.#host;
    host.pool.cancels.detach(host);
    if (host.cancelsInFlight === 0) return false;
    client.hold();
    this.#waiting = client;
    return true;
  }

  /** The link ends, or the client goes on. */
  #goOn(client: LinkedClient): void {
    this.#host.read(this.#responses);
    this.#host.readOn(() => this.#next(client));
  }

  #next(client: LinkedClient): void {
    const host = this.#host;
    if (host.link !== client) return;
    host.releaseIfDone();
    // Unless one thing of ours has led to another.
    if (host.link !== client || !this.isInTheWay(client)) client.goOn();
  }
}

/** By a request of the client that was for what ran before, or by a timeout of the client's own. */
function isCancelled(error: ErrorFields | null): boolean {
  return error?.sqlstate === SqlState.queryCanceled;
}
