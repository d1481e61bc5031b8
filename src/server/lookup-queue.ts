import type { Pool } from '../pool/pool.ts';
import type { LoginFailure } from '../pool/peers.ts';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import { type Lookup, type LookupEnd, LookupSession, type LookupSource } from './lookup-session.ts';

/** What a queue needs of the process. */
export interface LookupQueueHost {
  /** The pool of the queue's database and user, made if need be; null: the database is gone. */
  openPool(): Pool | null;
  nextId(): number;
  /** Whether a line about its connections is to be written. */
  mayWrite(): boolean;
  /** Takes a turn for an attempt to connect. */
  turn(attempt: Attempt): void;
  /** Such an attempt has come to nothing. */
  failed(): void;
  /** Calls, and logs what is thrown: nobody else would catch it. */
  guard(call: () => void): void;
}

/** An attempt to connect, which somebody waits for as long as {@link isWanted} says so. */
export interface Attempt {
  isWanted(): boolean;
  /** Called once, in its turn, or when it needs none; calls `leave` as soon as it has come to something, or to nothing. */
  begin(leave: () => void): void;
}

/** A lookup that was on its way when its connection ended is sent once more; some other end may be its fault. */
const MAX_TRIES = 2;

/** A pause between attempts to connect, however short `server_login_retry` is. */
const SHORTEST_RETRY_MS = 100;

/**
 * The lookups on one database as one user, first come, first served, over one connection that is kept while it is
 * used. Where PostgreSQL cannot be reached they wait, and it is tried anew each `server_login_retry`; where it refuses
 * the login they fail, and so do those that come before the next attempt is due.
 */
export class LookupQueue implements LookupSource {
  readonly #host: LookupQueueHost;
  readonly #waiting: Lookup[] = [];
  #session: LookupSession | null = null;
  #retryMs = 0;
  #refusal: PgErrorFields | null = null;
  /** It is about to connect, or waits for its turn. */
  #opens = false;
  #leave: (() => void) | null = null;

  constructor(host: LookupQueueHost) {
    this.#host = host;
  }

  /** Nothing is waiting, and there is no connection: if anything, it remembers how the last attempt has failed. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#session === null && !this.#opens;
  }

  /** It knows nothing, either: the next attempt to connect may be made. */
  isEmpty(nowMs: number): boolean {
    return this.isIdle && nowMs >= this.#retryMs;
  }

  /** Another configuration is in force: what has failed may go well now. */
  forgive(): void {
    this.#retryMs = 0;
    this.#refusal = null;
  }

  add(lookup: Lookup, nowMs: number): void {
    if (this.#refusal !== null && nowMs < this.#retryMs) {
      lookup.refused(this.#refusal);
      return;
    }
    this.#waiting.push(lookup);
    if (this.#session !== null) this.#session.send();
    else if (nowMs >= this.#retryMs) this.#openSoon();
  }

  next(): Lookup | null {
    for (let lookup = this.#waiting.shift(); lookup !== undefined; lookup = this.#waiting.shift()) {
      if (lookup.isWanted()) return lookup;
      lookup.failed(null);
    }
    return null;
  }

  mayWrite(): boolean {
    return this.#host.mayWrite();
  }

  /** Called a few times a second; `isWanted` as with {@link LookupSession.sweep}. */
  sweep(nowMs: number, isWanted: (pool: Pool) => boolean): void {
    const session = this.#session;
    if (session !== null) session.sweep(nowMs, isWanted(session.pool));
    this.#dropUnwanted();
    if (this.#waiting.length === 0) session?.giveUp();
    if (this.#session === null && this.#waiting.length > 0 && nowMs >= this.#retryMs) this.#openSoon();
  }

  opened(): void {
    this.#leaveTurn();
  }

  over(session: LookupSession, end: LookupEnd, sent: readonly Lookup[]): void {
    if (this.#session === session) this.#session = null;
    this.#leaveTurn();
    const again = sent.filter(({ tries }) => tries < MAX_TRIES);
    for (const lookup of sent) if (lookup.tries >= MAX_TRIES) lookup.failed(null);
    this.#waiting.unshift(...again);
    if (end.kind === 'notOpened') this.#failed(session.pool, end.failure);
    else if (end.kind === 'refused') this.#failAll(end.error);
    else if (this.#waiting.length > 0) this.#openSoon();
  }

  #failed(pool: Pool, { serverError, failWaiting }: LoginFailure): void {
    this.#retryMs = pool.nowMs + Math.max(pool.limits.serverLoginRetryMs, SHORTEST_RETRY_MS);
    this.#refusal = null;
    this.#host.failed();
    if (!failWaiting || serverError === null) return;
    this.#refusal = serverError;
    for (const lookup of this.#waiting.splice(0)) lookup.refused(serverError);
  }

  #failAll(error: PgErrorFields): void {
    for (const lookup of this.#waiting.splice(0)) lookup.failed(error);
  }

  #dropUnwanted(): void {
    for (const lookup of this.#waiting.splice(0)) {
      if (lookup.isWanted()) this.#waiting.push(lookup);
      else lookup.failed(null);
    }
  }

  /** Not at once: this may be called while the pool is being emptied. */
  #openSoon(): void {
    if (this.#opens) return;
    this.#opens = true;
    const isWanted = (): boolean => this.#waiting.length > 0;
    queueMicrotask(() => this.#host.turn({ isWanted, begin: (leave) => this.#begin(leave) }));
  }

  #begin(leave: () => void): void {
    this.#opens = false;
    this.#leave = leave;
    this.#dropUnwanted();
    if (this.#waiting.length > 0) this.#host.guard(() => this.#open());
    if (this.#session === null) this.#leaveTurn();
  }

  #leaveTurn(): void {
    this.#leave?.();
    this.#leave = null;
  }

  #open(): void {
    const pool = this.#host.openPool();
    if (pool === null) {
      this.#failAll(fatal('bouncer config error'));
      return;
    }
    this.#refusal = null;
    this.#session = new LookupSession(this.#host.nextId(), pool, this);
    this.#session.start();
  }
}
