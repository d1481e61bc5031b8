import { ClientStatements } from '../prepared/client-statements.ts';
import { errorForClient } from '../prepared/error-names.ts';
import { STALE_PLAN } from '../prepared/stale-plan.ts';
import { READING_PARAMETERS, readingSwitch } from '../prepared/reading.ts';
import type { Statement, StatementCache } from '../prepared/statement.ts';
import type { Pool } from '../pool/pool.ts';
import type { PoolStats } from '../pool/stats.ts';
import type { RequestNote } from '../relay/outstanding.ts';
import type { RequestFilter } from '../relay/request-filter.ts';
import { parseErrorFields } from '../wire/error-fields.ts';
import { errorResponse } from '../wire/error-response.ts';
import { SqlState } from '../wire/pg-error.ts';
import { IdentityFilter } from './identity-filter.ts';
import type { KeptStretch } from './kept-stretch.ts';
import { ReadingDoubts } from './reading-doubts.ts';
import { ChangeNote, RefusedUse } from './request-notes.ts';
import { StatementFilter } from './statement-filter.ts';
import type { StatementHost, StatementServer } from './statement-sender.ts';

const NAMES = READING_PARAMETERS.map((name) => name.toLowerCase());

/** The session as its prepared statements see it. */
export interface StatementSession {
  readonly kept: KeptStretch;
  readonly pool: Pool;
  readonly server: StatementServer | null;
  /** A parameter's value, as far as it follows the client; null: the server's own. */
  parameter(name: string): string | null;
  reply(bytes: Buffer): void;
}

/** In place of a name of ours that the client has none for: it never gets to see one. */
const UNKNOWN_NAME = '?';

/** In PostgreSQL's own words, for a plan that it would refuse if the session were the client's alone. */
const STALE = errorResponse(STALE_PLAN);

/** What one session has prepared, and what acts on its requests because of that. */
export class SessionStatements implements StatementHost {
  readonly cache: StatementCache;
  readonly statements: ClientStatements;
  readonly doubts: ReadingDoubts;
  readonly #session: StatementSession;
  readonly #filter: StatementFilter;
  readonly #identity: IdentityFilter;

  constructor(cache: StatementCache, session: StatementSession) {
    this.cache = cache;
    this.doubts = new ReadingDoubts(cache);
    this.statements = new ClientStatements(cache);
    this.#session = session;
    this.#filter = new StatementFilter(this);
    this.#identity = new IdentityFilter(this);
  }

  /** Null in session mode, where servers know statements by the client's own names. */
  get filter(): RequestFilter | null {
    const { poolMode, maxPreparedStatements } = this.#session.pool.limits;
    if (poolMode !== 'session' && maxPreparedStatements > 0) return this.#filter;
    // Names that are given now are not noticed: none may mean what it did when it is switched on again.
    this.#filter.end();
    if (this.statements.size > 0) this.statements.clear();
    return poolMode === 'session' ? null : this.#identity;
  }

  /** The link is over. */
  unlinked(): void {
    this.kept.end();
    this.doubts.end();
    this.#filter.unlinked();
  }

  get server(): StatementServer | null {
    return this.#session.server;
  }

  get kept(): KeptStretch {
    return this.#session.kept;
  }

  get limit(): number {
    return this.#session.pool.limits.maxPreparedStatements;
  }

  get stats(): PoolStats {
    return this.#session.pool.stats;
  }

  get reading(): StatementHost['reading'] {
    const session = this.#session;
    return {
      standardConformingStrings: session.parameter('standard_conforming_strings') !== 'off',
      clientEncoding: session.parameter('client_encoding') ?? 'UTF8',
      ...this.doubts.reading(this.#values()),
    };
  }

  #values(): string[] {
    return READING_PARAMETERS.map((name) => this.#session.parameter(name) ?? '');
  }

  /** ReadyForQuery with `status` has come. */
  answered(status: number): void {
    if (this.doubts.mayGoBack) this.doubts.ready(status, () => this.#values());
  }

  /** The server has said that this parameter (lower case) has another value now. */
  reported(name: string): void {
    const index = NAMES.indexOf(name);
    if (index >= 0) this.doubts.reported(index);
  }

  /** Prepared anew as the session is now, the statement would be what it is. */
  readsAlike(statement: Statement): boolean {
    const own = (name: string) => this.server?.base.get(name.toLowerCase());
    return readingSwitch(statement.text, statement.reading, this.reading, own) === null;
  }

  reply(bytes: Buffer): void {
    this.#session.reply(bytes);
  }

  /** The client is gone. */
  end(): void {
    this.#filter.end();
    this.doubts.end();
    this.statements.end();
  }

  /** The ErrorResponse with `body` (borrowed), whose request `note` hangs on, as the client may see it. */
  error(body: Buffer, note: RequestNote | null): Buffer {
    this.doubts.failed();
    if (note instanceof RefusedUse && parseErrorFields(body).sqlstate === SqlState.invalidSqlStatementName)
      return STALE;
    return errorForClient(body, {
      prefix: this.cache.prefix,
      nameOf: (serverName) =>
        note?.nameOf(serverName) ??
        this.statements.nameOf(serverName) ??
        this.#filter.formerName(serverName) ??
        UNKNOWN_NAME,
      position: (sent) => note?.position(sent) ?? sent,
      isForeign: note instanceof ChangeNote && note.isForeign,
    });
  }
}
