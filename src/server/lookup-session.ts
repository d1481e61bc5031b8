import assert from 'node:assert';
import type { ListNode } from '../base/list.ts';
import type { LogLevel } from '../base/log.ts';
import type { ClientState, DedicatedClient, LoginFailure, PoolServer } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import { errorText } from '../wire/error-fields.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { bindUnnamed, describeUnnamedPortal, execute, parseUnnamed, sync } from '../wire/frontend.ts';
import type { PgErrorFields } from '../wire/pg-error.ts';
import { type LookupAnswer, LookupReader } from './lookup-reader.ts';

/** One query that a login needs an answer to. */
export interface Lookup {
  readonly sql: string;
  readonly parameters: readonly string[];
  /** How often it was sent. */
  tries: number;
  /** When it was sent, monotonic ms. */
  sentMs: number;
  /** Somebody still waits for the answer. */
  isWanted(): boolean;
  /** `log` writes a line with the server connection's name. */
  answered(answer: LookupAnswer, log: (level: LogLevel, text: string) => void): void;
  /** PostgreSQL has not let us in. */
  refused(error: PgErrorFields): void;
  /** There will be no answer. Null: the connection was lost. */
  failed(error: PgErrorFields | null): void;
}

/** Whoever the session works for. */
export interface LookupSource {
  /** The next lookup to be sent; null: there is none. */
  next(): Lookup | null;
  /** See {@link DedicatedClient.mayWrite}. */
  mayWrite(): boolean;
  /** The connection is there. */
  opened(): void;
  /** The connection is gone, or never came about: `sent` was not answered. */
  over(session: LookupSession, end: LookupEnd, sent: readonly Lookup[]): void;
}

/** `refused`: the pool serves nobody, for `error`. `lost`: the connection ended. `closed`: nothing was left to do. */
export type LookupEnd =
  | { readonly kind: 'notOpened'; readonly failure: LoginFailure }
  | { readonly kind: 'refused'; readonly error: PgErrorFields }
  | { readonly kind: 'lost' }
  | { readonly kind: 'closed' };

/** The server connection as a session works with it. */
interface LookupServer extends PoolServer {
  readonly conn: { write(bytes: Buffer): boolean };
  read(reader: ByteReader): void;
  log(level: LogLevel, message: string): void;
}

/** Lookups that are sent ahead of the answer to the first. */
const MAX_SENT = 32;

/**
 * A server connection for lookups alone: `auth_query` and questions of membership. It is opened as
 * the pool's others are, takes its place in all limits, and no client is ever linked to it; nor is anything set on it
 * but `client_encoding`, so that no client's `search_path` decides what the query reads (CVE-2025-12819).
 */
export class LookupSession implements DedicatedClient {
  listPrev: ListNode | null = null;
  listNext: ListNode | null = null;
  listOwner: object | null = null;
  state: ClientState = 'login';
  waitStartMs = 0;
  readonly id: number;
  readonly replication = 'none';
  readonly startup = [['client_encoding', 'UTF8']] as const;
  readonly pool: Pool;
  readonly #source: LookupSource;
  readonly #reader: LookupReader;
  readonly #sent: Lookup[] = [];
  #server: LookupServer | null = null;
  #wasLinked = false;
  #idleSinceMs = 0;

  constructor(id: number, pool: Pool, source: LookupSource) {
    this.id = id;
    this.pool = pool;
    this.#source = source;
    this.#reader = new LookupReader(
      () => this.#sent.length > 0,
      (answer) => this.#answered(answer),
    );
  }

  /** When the oldest unanswered lookup was sent: `query_timeout` and `transaction_timeout` go by it. */
  get queryStartMs(): number {
    return this.#sent[0]?.sentMs ?? 0;
  }

  get xactStartMs(): number {
    return this.queryStartMs;
  }

  leaveIfGone(): boolean {
    return false;
  }

  mayWrite(): boolean {
    return this.#source.mayWrite();
  }

  /** Asks the pool for the connection. */
  start(): void {
    this.pool.dedicated.join(this);
  }

  linked(server: PoolServer): void {
    // The daemon's connector has made it.
    this.#server = server as LookupServer;
    this.#wasLinked = true;
    this.#server.read(this.#reader);
  }

  welcomed(): void {
    this.#idleSinceMs = this.pool.nowMs;
    this.#source.opened();
    this.send();
  }

  welcomeReady(): void {
    assert.fail('a lookup session has no login to finish');
  }

  unlinked(): void {
    this.#server = null;
  }

  notOpened(failure: LoginFailure): void {
    this.#end({ kind: 'notOpened', failure });
  }

  refused(error: PgErrorFields): void {
    if (this.state === 'gone') return;
    if (this.#server !== null) this.pool.closeServer(this.#server, error.message);
    this.#end(this.#wasLinked ? { kind: 'lost' } : { kind: 'refused', error });
  }

  /** Nobody waits for it any more: it asks for no connection, unless one is being opened. */
  giveUp(): void {
    if (this.state !== 'waiting_dedicated') return;
    for (const { dedicatedTo } of this.pool.servers.new) if (dedicatedTo === this) return;
    this.#end({ kind: 'closed' });
  }

  /** Sends what there is to send. */
  send(): void {
    const server = this.#server;
    if (server === null) return;
    while (this.#sent.length < MAX_SENT) {
      const lookup = this.#source.next();
      if (lookup === null) return;
      const bytes = Buffer.concat([
        parseUnnamed(lookup.sql),
        bindUnnamed(lookup.parameters),
        describeUnnamedPortal,
        execute(''),
        sync,
      ]);
      lookup.tries++;
      lookup.sentMs = this.pool.nowMs;
      this.#sent.push(lookup);
      const { stats } = this.pool;
      stats.queryCount++;
      stats.xactCount++;
      stats.received += bytes.length;
      server.conn.write(bytes);
    }
  }

  /**
   * Called a few times a second. `isWanted`: others wait for a place among the server connections. The connection goes
   * when it isn't needed, and when it has said nothing for the time that a login on it may take.
   */
  sweep(nowMs: number, isWanted: boolean): void {
    const server = this.#server;
    if (server === null) return;
    const { limits, paused } = this.pool;
    const [oldest] = this.#sent;
    if (oldest !== undefined) {
      const { serverConnectTimeoutMs: timeoutMs } = limits;
      const silentMs = nowMs - Math.max(oldest.sentMs, server.lastBytesMs);
      if (timeoutMs > 0 && silentMs > timeoutMs) this.#close(server, 'no answer to auth_query', 'lost');
      return;
    }
    const { serverIdleTimeoutMs: idleMs, serverLifetimeMs } = limits;
    if (paused) this.#close(server, 'pause mode');
    else if (isWanted) this.#close(server, 'evicted');
    else if (server.closeNeeded) this.#close(server, 'close_needed');
    else if (nowMs - server.connectMs >= serverLifetimeMs) this.#close(server, 'server lifetime over');
    else if (idleMs > 0 && nowMs - this.#idleSinceMs > idleMs) this.#close(server, 'server idle timeout');
  }

  #close(server: PoolServer, reason: string, kind: 'closed' | 'lost' = 'closed'): void {
    this.pool.closeServer(server, reason);
    this.#end({ kind });
  }

  #answered(answer: LookupAnswer): void {
    const lookup = this.#sent.shift();
    const server = this.#server;
    if (lookup === undefined || server === null) return;
    const nowMs = this.pool.nowMs;
    const { stats } = this.pool;
    const timeUs = Math.round((nowMs - lookup.sentMs) * 1000);
    stats.queryTimeUs += timeUs;
    stats.xactTimeUs += timeUs;
    this.#idleSinceMs = nowMs;
    if (answer.error !== null && this.mayWrite())
      server.log('ERROR', `error in auth_query: ${errorText(answer.error)}`);
    lookup.answered(answer, (level, text) => server.log(level, text));
    this.send();
  }

  #end(end: LookupEnd): void {
    if (this.state === 'gone') return;
    const sent = this.#sent.splice(0);
    this.#server = null;
    this.pool.leave(this);
    this.#source.over(this, end, sent);
  }
}
