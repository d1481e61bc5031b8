import { ADMIN_DATABASE } from '../admin/access.ts';
import {
  readSecretAnswer,
  type FoundSecret,
  type LookupTarget,
  SecretLookups,
} from '../auth/secret-lookups.ts';
import { DEFAULT_AUTH_QUERY } from '../config/settings-table.ts';
import { Turns } from '../base/turns.ts';
import type { Pool } from '../pool/pool.ts';
import { type Attempt, LookupQueue } from '../server/lookup-queue.ts';
import type { LookupAnswer } from '../server/lookup-reader.ts';
import { fatal, type PgErrorFields, SqlState } from '../wire/pg-error.ts';
import type { PoolerState } from './context.ts';

/** Databases and users of which it is remembered that PostgreSQL has refused; `*` could make any number of them. */
const MAX_REFUSED = 1000;

/**
 * What the default `auth_query` means, wherever it is asked: the owner of a database says what `search_path` is there, and
 * could have auth_user run operators and read tables of his own.
 */
const QUALIFIED_AUTH_QUERY =
  'SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END' +
  ' FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin';

/** Names that `*` stands for are as many as strangers can think of: so many are tried at a time. */
const MAX_UNPROVEN = 8;

/** Whose lines those about them are, in {@link PeerLines}. */
const UNPROVEN = 'unknown databases';
const MISCONFIGURED = 'databases with a wrong auth_dbname';

/** What PostgreSQL says of one database, and of others not. */
const OF_DATABASE: ReadonlySet<string> = new Set([
  SqlState.invalidCatalogName,
  SqlState.objectNotInPrerequisiteState,
  SqlState.insufficientPrivilege,
]);

/** What says in PostgreSQL's sources that a database has as many connections as it may have. */
const OF_FULL_DATABASE = 'CheckMyDatabase';

/** An answer, or the error that a login ends with instead; `refusal`: what PostgreSQL has said. */
type Outcome =
  | { readonly answer: LookupAnswer }
  | { readonly error: PgErrorFields; readonly refusal: PgErrorFields | null };

const LOST = fatal('bouncer config error');

/** Where something is looked up. */
type Place = Pick<LookupTarget, 'database' | 'user'>;

/** What is looked up. */
interface Question {
  readonly sql: string;
  readonly parameters: readonly string[];
  /** Somebody still waits for the answer. */
  isWanted(): boolean;
  /** Hears of the answer as soon as it is there; `log` writes a line with the server connection's name. */
  complain?(answer: LookupAnswer, log: (text: string) => void): void;
}

/**
 * `auth_query`: what PostgreSQL is asked about the names that log in, on connections of their own in the pool of
 * `auth_dbname` and `auth_user`. Source: contract, §2.6.
 */
export class AuthQueries {
  readonly lookups: SecretLookups;
  readonly #state: PoolerState;
  readonly #queues = new Map<string, LookupQueue>();
  readonly #unproven = new Turns(MAX_UNPROVEN);

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
    const isGuessed = named === null && !this.#state.config.databases.has(database);
    const key = `${isGuessed}\0${authDatabase}\0${user}\0${sql}`;
    return { key, database: authDatabase, user, sql, isGuessed };
  }

  /** Runs `sql` with `parameters` where `target` says. Never rejects. */
  ask(target: Place & Pick<LookupTarget, 'isGuessed'>, question: Question): Promise<Outcome> {
    const { databases, door } = this.#state;
    if (!target.isGuessed) databases.resolve(target.database);
    const queue = this.#queueFor(target);
    return new Promise((resolve) => {
      const { isWanted, complain, ...asked } = question;
      const lookup = {
        ...asked,
        tries: 0,
        sentMs: 0,
        isWanted,
        answered: (answer: LookupAnswer, log: (level: 'WARNING', text: string) => void) => {
          // One that could say no more may be told from those that there are not.
          if (answer.error === null) databases.resolve(target.database);
          else if (databases.isUnproven(target.database)) door.lines.failed(UNPROVEN);
          complain?.(answer, (text) => log('WARNING', text));
          resolve({ answer });
        },
        // Who we log in as, and that it doesn't work, is nothing for those who have not logged in themselves.
        refused: (refusal: PgErrorFields) =>
          resolve({ error: isOurFault(refusal) ? LOST : refusal, refusal }),
        failed: (error: PgErrorFields | null) => resolve({ error: error ?? LOST, refusal: null }),
      };
      queue.add(lookup, this.#state.clock.nowMs());
    });
  }

  /** Another configuration is in force. */
  applied(): void {
    this.lookups.clear();
    for (const queue of this.#queues.values()) queue.forgive();
  }

  /** Called a few times a second. */
  sweep(): void {
    const nowMs = this.#state.clock.nowMs();
    if (this.#queues.size === 0) return;
    const waiting = this.#state.pools.all().filter(({ clients }) => clients.isWaiting);
    const isWanted = (pool: Pool): boolean =>
      waiting.some(({ database, user }) => database === pool.database || user === pool.user);
    const refused: string[] = [];
    for (const [key, queue] of this.#queues) {
      queue.sweep(nowMs, isWanted);
      if (queue.isEmpty(nowMs)) this.#queues.delete(key);
      else if (queue.isIdle) refused.push(key);
    }
    // The first ones were refused first.
    for (const key of refused.slice(0, Math.max(0, refused.length - MAX_REFUSED))) this.#queues.delete(key);
    this.#unproven.sweep();
  }

  async #find(target: LookupTarget, name: string, isWanted: () => boolean): Promise<FoundSecret> {
    const read = (answer: LookupAnswer, log: (text: string) => void): FoundSecret =>
      answer.isForeign
        ? { kind: 'none' }
        : readSecretAnswer({ ...answer, isError: answer.error !== null }, log);
    const { sql, isGuessed } = target;
    const outcome = await this.ask(target, { sql, parameters: [name], isWanted, complain: read });
    // Nobody learns which databases there are who has yet to prove who he is: there is no such user in that one.
    if ('error' in outcome) {
      const { error, refusal } = outcome;
      const tells = isGuessed && refusal !== null && tellsOf(target.database, refusal);
      return tells ? { kind: 'none', isUnsure: true } : { kind: 'failed', error };
    }
    const found = read(outcome.answer, () => {});
    if (isGuessed && found.kind === 'failed') return { kind: 'none', isUnsure: true };
    if (found.kind === 'row' && found.secret !== null) this.#state.tally.add(found.secret);
    return found;
  }

  #queueFor({ database, user }: Place): LookupQueue {
    const key = keyOf({ database, user });
    const known = this.#queues.get(key);
    if (known !== undefined) return known;
    const { databases, door } = this.#state;
    const isUnproven = (): boolean => databases.isUnproven(database);
    const queue = new LookupQueue({
      openPool: () => this.#state.openAuthPool(database, user),
      nextId: () => this.#state.nextId(),
      mayWrite: () => !isUnproven() || door.lines.mayWrite(UNPROVEN),
      turn: (attempt) => this.#turn(attempt, isUnproven),
      failed: () => {
        if (isUnproven()) door.lines.failed(UNPROVEN);
      },
      guard: (call) => this.#state.guard(call),
    });
    this.#queues.set(key, queue);
    return queue;
  }

  /** A database that need not be there waits for its turn, but no longer than it takes to be proved by somebody else. */
  #turn(attempt: Attempt, isUnproven: () => boolean): void {
    const atOnce = (): void => attempt.begin(() => {});
    if (!isUnproven()) {
      atOnce();
      return;
    }
    void this.#unproven.take({
      isWanted: () => isUnproven() && attempt.isWanted(),
      work: () => new Promise<void>((leave) => attempt.begin(leave)),
      unwanted: atOnce,
    });
  }

  #misconfigured(why: string): PgErrorFields {
    const { log, door } = this.#state;
    if (door.lines.mayWrite(MISCONFIGURED)) log.log('ERROR', why);
    door.lines.failed(MISCONFIGURED);
    return fatal('bouncer config error');
  }
}

function isOurFault({ sqlstate }: PgErrorFields): boolean {
  return sqlstate.startsWith('28') || sqlstate === SqlState.protocolViolation;
}

/** Whether PostgreSQL's refusal may be another one for a database that it does not have. */
function tellsOf(database: string, refusal: PgErrorFields): boolean {
  const { sqlstate, message, routine } = refusal;
  // Rules of its own let auth_user into some databases and not into others.
  if (OF_DATABASE.has(sqlstate) || isOurFault(refusal)) return true;
  if (sqlstate !== SqlState.tooManyConnections) return false;
  // The server itself may be full, too, which says nothing. Texts may be translated, and names be words of theirs.
  return routine === undefined ? message.includes(database) : routine === OF_FULL_DATABASE;
}

/** Names from the network have no zero byte. */
function keyOf({ database, user }: Place): string {
  return `${database}\0${user}`;
}
