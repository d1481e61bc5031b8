import { ADMIN_DATABASE } from '../admin/access.ts';
import {
  readSecretAnswer,
  type FoundSecret,
  type LookupTarget,
  SecretLookups,
} from '../auth/secret-lookups.ts';
import { DEFAULT_AUTH_QUERY } from '../config/settings-table.ts';
import type { Pool } from '../pool/pool.ts';
import { LookupQueue } from '../server/lookup-queue.ts';
import type { LookupAnswer } from '../server/lookup-reader.ts';
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import type { PoolerState } from './context.ts';

/** Databases and users on which logins are looked up at a time; `*` could make any number of them. */
const MAX_QUEUES = 1000;

/**
 * What the default `auth_query` means, wherever it is asked: the owner of a database says what `search_path` is there, and
 * could have auth_user run operators and read tables of his own.
 */
const QUALIFIED_AUTH_QUERY =
  'SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END' +
  ' FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin';

/** An answer, or the error that a login ends with instead. */
type Outcome = { readonly answer: LookupAnswer } | { readonly error: PgErrorFields };

/**
 * `auth_query`: what PostgreSQL is asked about the names that log in, on connections of their own in the pool of
 * `auth_dbname` and `auth_user`. Source: contract, §2.6.
 */
export class AuthQueries {
  readonly lookups: SecretLookups;
  readonly #state: PoolerState;
  readonly #queues = new Map<string, LookupQueue>();

  constructor(state: PoolerState) {
    this.#state = state;
    this.lookups = new SecretLookups({
      clock: state.clock,
      ttlMs: () => state.config.own.auth_query_cache_time * 1000,
      run: (target, name, isWanted) => this.#find(target, name, isWanted),
    });
  }

  /**
   * Where a login to `database` looks names up; null: nowhere. An error where the configuration names a database that
   * cannot be used.
   */
  targetFor(database: string): LookupTarget | PgErrorFields | null {
    const { databases, config } = this.#state;
    const { settings } = config;
    const isConsole = database === ADMIN_DATABASE;
    const entry = isConsole ? null : databases.entryFor(database);
    // Of a database that doesn't exist nothing is told to those who have not proved who they are.
    if (!isConsole && entry === null) return null;
    const user = entry?.authUser ?? settings.auth_user;
    if (user === null || user === '') return null;
    const named = entry?.authDbname ?? (settings.auth_dbname || null);
    const authDatabase = named ?? database;
    if (authDatabase === ADMIN_DATABASE) {
      // Administrators stand in auth_file, then: on the console there is nothing to ask.
      if (named === null) return null;
      return this.#misconfigured(`cannot use the reserved "${ADMIN_DATABASE}" database as an auth_dbname`);
    }
    if (databases.entryFor(authDatabase) === null) {
      return this.#misconfigured(`authentication database "${authDatabase}" is not configured`);
    }
    if (databases.get(authDatabase)?.disabled === true) {
      return fatal(`authentication database "${authDatabase}" is disabled`);
    }
    const given = entry?.authQuery ?? settings.auth_query;
    const sql = given === DEFAULT_AUTH_QUERY ? QUALIFIED_AUTH_QUERY : given;
    return { key: `${authDatabase}\0${user}\0${sql}`, database: authDatabase, user, sql };
  }

  /** Runs `sql` with `parameters` where `target` says. Never rejects. */
  ask(
    target: Pick<LookupTarget, 'database' | 'user'>,
    sql: string,
    parameters: readonly string[],
    isWanted: () => boolean,
    complain: (answer: LookupAnswer, log: (text: string) => void) => void = () => {},
  ): Promise<Outcome> {
    const queue = this.#queueFor(target);
    if (queue === null) return Promise.resolve({ error: fatal('bouncer resources exhaustion') });
    return new Promise((resolve) => {
      const lookup = {
        sql,
        parameters,
        tries: 0,
        sentMs: 0,
        isWanted,
        answered: (answer: LookupAnswer, log: (level: 'WARNING', text: string) => void) => {
          complain(answer, (text) => log('WARNING', text));
          resolve({ answer });
        },
        failed: (error: PgErrorFields | null) => resolve({ error: error ?? fatal('bouncer config error') }),
      };
      queue.add(lookup, this.#state.clock.nowMs());
    });
  }

  /** Called a few times a second. */
  sweep(): void {
    const nowMs = this.#state.clock.nowMs();
    if (this.#queues.size === 0) return;
    const waiting = this.#state.pools.all().filter(({ clients }) => clients.isWaiting);
    const isWanted = (pool: Pool): boolean =>
      waiting.some(({ database, user }) => database === pool.database || user === pool.user);
    for (const [key, queue] of this.#queues) {
      queue.sweep(nowMs, isWanted);
      if (queue.isEmpty) this.#queues.delete(key);
    }
  }

  async #find(target: LookupTarget, name: string, isWanted: () => boolean): Promise<FoundSecret> {
    const read = (answer: LookupAnswer, log: (text: string) => void): FoundSecret =>
      answer.isForeign
        ? { kind: 'none' }
        : readSecretAnswer({ ...answer, isError: answer.error !== null }, log);
    const outcome = await this.ask(target, target.sql, [name], isWanted, read);
    if ('error' in outcome) return { kind: 'failed', error: outcome.error };
    const found = read(outcome.answer, () => {});
    if (found.kind === 'row' && found.secret !== null) this.#state.tally.add(found.secret);
    return found;
  }

  #queueFor({ database, user }: Pick<LookupTarget, 'database' | 'user'>): LookupQueue | null {
    const key = `${database}\0${user}`;
    const known = this.#queues.get(key);
    if (known !== undefined) return known;
    if (this.#queues.size >= MAX_QUEUES) return null;
    const queue = new LookupQueue({
      openPool: () => this.#state.openAuthPool(database, user),
      nextId: () => this.#state.nextId(),
      guard: (call) => this.#state.guard(call),
    });
    this.#queues.set(key, queue);
    return queue;
  }

  #misconfigured(why: string): PgErrorFields {
    this.#state.log.log('ERROR', why);
    return fatal('bouncer config error');
  }
}
