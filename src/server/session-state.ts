import type { Abandonment } from '../pool/peers.ts';
import { type MovedStatement, ServerStatements } from '../prepared/server-statements.ts';
import type { StatementCache } from '../prepared/statement.ts';
import type { WelcomeData } from '../pool/context.ts';
import {
  type ExtraParameters,
  hasUser,
  isIdentity,
  mayBeBase,
  mayBeGiven,
  NO_EXTRAS,
  SESSION_USER,
  UNKNOWN,
  USER,
  withExtra,
} from '../relay/extra-parameters.ts';
import type { ClientEnd } from '../relay/link.ts';
import { UnreadText } from '../relay/outstanding.ts';
import { RequestTracker } from '../relay/request-tracker.ts';
import type { TrackedParameters, TrackedValues } from '../relay/tracked-parameters.ts';
import { TxStatus } from '../wire/codes.ts';
import type { SessionTag } from '../wire/command-complete.ts';
import { parameterStatus } from '../wire/parameter-status.ts';
import type { AskedValue } from './asked-values.ts';

/** What is known of a session that goes to another event loop, at rest. Plain data. */
export interface MovedSession {
  /** As TrackedValues; every event loop of a process tracks the same ones. */
  readonly parameters: TrackedValues;
  readonly isSet: readonly boolean[];
  readonly extras: ExtraParameters;
  readonly base: ExtraParameters;
  readonly begunWith: TrackedValues;
  readonly silent: readonly string[];
  readonly reported: ReadonlyMap<string, string>;
  readonly first: ReadonlyMap<string, string>;
  readonly spelled: ReadonlyMap<string, string>;
  readonly configured: ReadonlyMap<string, string>;
  readonly loginUser: string | null;
  readonly statements: readonly MovedStatement[];
  readonly wereStatements: boolean;
}

/** The role of a session in which nobody has set one. */
const NO_ROLE = 'none';

const NON_ASCII = /[^\0-\u007f]/;

/**
 * What PostgreSQL keeps for a server connection's session, as far as it follows clients, and what it owes them. What it says about a
 * parameter counts at once. What it doesn't say has to be asked for when a client may have changed it, and what a
 * RESET has led to: it knows nothing of what the client gave ({@link doubts}).
 */
export abstract class SessionState {
  readonly tracker = new RequestTracker();
  readonly parameters: TrackedValues;
  readonly statements: ServerStatements;
  extras: ExtraParameters = NO_EXTRAS;
  abandoned: Abandonment | null = null;
  base: ExtraParameters = NO_EXTRAS;
  silent: readonly string[] = [];
  readonly isSet: boolean[] = [];
  readonly begunWith: TrackedValues;
  readonly tracked: TrackedParameters;
  /** By name in lower case: what the server has said last. */
  readonly #reported = new Map<string, string>();
  /** By name in lower case: as the server spells it. */
  readonly #spelled = new Map<string, string>();
  /** Something was set since the client was linked. */
  #wasSet = false;
  protected wasReset = false;
  /** By index of tracked parameters: what those were, of which something was reported since. */
  #atLink: { readonly value: string | null; readonly isSet: boolean }[] = [];
  /** Reported, in bytes of whose encoding we know nothing, or by whom it was changed. */
  readonly #unread = new Set<string>();
  /** As `#reported`, what it has said first: to these RESET goes back. */
  readonly #first = new Map<string, string>();
  /** Of parameters without a declaration: what the configuration has set, to which RESET goes back. */
  readonly #configured = new Map<string, string>();
  /** The user that a session is of which has set none; null: the server couldn't be asked for what it has set. */
  #loginUser: string | null = null;
  /** What is reported of who the session is, where it is another now. */
  readonly #others = new Set<string>();
  #closeNeeded = false;

  constructor(tracked: TrackedParameters, statements: StatementCache) {
    this.tracked = tracked;
    this.parameters = tracked.emptyValues();
    this.begunWith = tracked.emptyValues();
    this.statements = new ServerStatements(statements);
  }

  /**
   * The login and `connect_query` are over. Gives what the server reports now, in the order of `welcome`; what it is
   * {@link silent} about has to be asked for.
   */
  begun(welcome: WelcomeData): WelcomeData {
    this.silent = this.tracked.silent(this.parameters);
    return welcome.map(([name, value]) => {
      const key = name.toLowerCase();
      const now = this.#reported.get(key) ?? value;
      if (now !== value && mayBeGiven(name) && this.#followed(key) < 0) this.#begunWith(key, now);
      return [name, now];
    });
  }

  /** The answer to that; `hasQuery`: there was a `connect_query`. Gives the names that mean nothing to the server. */
  known(values: readonly AskedValue[], hasQuery: boolean): string[] {
    for (const { name, value, isSet } of values) {
      if (value === null || !mayBeGiven(name)) continue;
      // Of a parameter without a declaration nothing more is known. It may be the configuration's.
      if (isSet ?? (hasQuery && value !== '')) this.#begunWith(name, value);
      else if (isSet === null) this.#configured.set(name, value);
    }
    this.#loginUser = values.length === 0 ? null : (this.#first.get(SESSION_USER) ?? null);
    // Last, for it decides what else may be set: connect_query's user is the one whose session clients have.
    for (const name of USER) {
      const asked = values.find((each) => each.name === name)?.value;
      const value = asked ?? this.#reported.get(name) ?? null;
      if (value !== null && value !== (this.#first.get(name) ?? NO_ROLE)) this.#begunWith(name, value);
    }
    for (const [key, value] of this.#reported) if (isIdentity(key)) this.#first.set(key, value);
    // A name with a dot may be given a meaning at any time.
    const unknown = values.filter(({ name, value }) => value === null && !name.includes('.'));
    const names = unknown.map(({ name }) => name);
    this.silent = this.silent.filter((name) => !names.includes(name));
    return names;
  }

  /** `connect_query` has set it. */
  #begunWith(key: string, value: string): void {
    const index = this.#followed(key);
    if (index >= 0) this.begunWith[index] = value;
    else if (mayBeBase(key)) this.base = withExtra(this.base, key, value);
  }

  /** The index of what is tracked and reported; -1: it isn't both. */
  #followed(key: string): number {
    return this.#reported.has(key) ? this.tracked.indexOf(key) : -1;
  }

  /** All of it; nobody uses it, and it is fit for anybody. */
  movedSession(): MovedSession {
    return {
      parameters: [...this.parameters],
      isSet: Array.from(this.parameters, (_value, i) => this.isSet[i] === true),
      extras: this.extras,
      base: this.base,
      begunWith: [...this.begunWith],
      silent: this.silent,
      reported: this.#reported,
      first: this.#first,
      spelled: this.#spelled,
      configured: this.#configured,
      loginUser: this.#loginUser,
      statements: this.statements.moved(),
      wereStatements: this.statements.wereAny,
    };
  }

  /** It is this, which another event loop has made of it; `cache` has this loop's statements. */
  restoreSession(all: MovedSession, cache: StatementCache): void {
    all.parameters.forEach((value, i) => {
      this.parameters[i] = value;
    });
    all.isSet.forEach((isSet, i) => {
      this.isSet[i] = isSet;
    });
    all.begunWith.forEach((value, i) => {
      this.begunWith[i] = value;
    });
    // One and the same object stands for none.
    this.extras = all.extras.size === 0 ? NO_EXTRAS : all.extras;
    this.base = all.base.size === 0 ? NO_EXTRAS : all.base;
    this.silent = all.silent;
    for (const [name, value] of all.reported) this.#reported.set(name, value);
    for (const [name, value] of all.first) this.#first.set(name, value);
    for (const [key, name] of all.spelled) this.#spelled.set(key, name);
    for (const [name, value] of all.configured) this.#configured.set(name, value);
    this.#loginUser = all.loginUser;
    this.statements.restore(all.statements, cache);
    this.statements.wereAny ||= all.wereStatements;
  }

  /** It is lent to another client. */
  protected lent(): void {
    this.#wasSet = false;
    this.wasReset = false;
    if (this.#atLink.length > 0) this.#atLink = [];
    if (this.#unread.size > 0) this.#unread.clear();
  }

  /** Before any client has it, the server reports a value. */
  protected introduced(name: string, value: string): void {
    const key = name.toLowerCase();
    this.#reported.set(key, value);
    if (!this.#first.has(key)) this.#first.set(key, value);
    this.#spelled.set(key, name);
    const index = this.tracked.indexOf(name);
    if (index >= 0) this.parameters[index] = value;
  }

  get isStreaming(): boolean {
    return this.tracker.isStreaming;
  }

  isIdleInTransaction(): boolean {
    return this.tracker.txStatus !== TxStatus.Idle && this.tracker.isQuiet;
  }

  /** An error may name what clients know by another name, or tell something of what is prepared. */
  get readsErrors(): boolean {
    return this.statements.wereAny || this.tracker.failedNote !== null;
  }

  /** Nobody else may have this session. */
  get closeNeeded(): boolean {
    return this.#closeNeeded || this.#others.size > 0 || this.statements.isBroken || this.isMidMessage;
  }

  set closeNeeded(needed: boolean) {
    this.#closeNeeded = needed;
  }

  /** A message that nobody asked for has come in part: its rest would be read as an answer. */
  protected abstract readonly isMidMessage: boolean;

  /** The server reports a value; `client` is whose doing it was, if it isn't gone. `isLinked`: else it was ours for one. */
  protected reported(name: string, value: string, client: ClientEnd | null, isLinked: boolean): void {
    const key = name.toLowerCase();
    this.#reported.set(key, value);
    client?.reported(key);
    // It comes in the client's encoding, which may have changed right before or behind.
    const isUnread = NON_ASCII.test(value);
    const known = isUnread ? UNKNOWN : value;
    if (isUnread && client !== null) this.#unread.add(key);
    const index = this.tracked.indexOf(name);
    // SET x TO DEFAULT is a RESET that doesn't say so; PostgreSQL knows whether this was one.
    if (this.#wasSet && value === this.#first.get(key)) {
      const back = client?.given.get(key) ?? this.begunWith[index] ?? this.base.get(key) ?? value;
      if (back !== value) this.wasReset = true;
    }
    if (index >= 0) {
      this.isSet[index] = client !== null && this.#hasBeenSet(index, known);
      this.parameters[index] = known;
      if (client !== null) client.parameters[index] = known;
    } else if (this.abandoned !== null) {
      // Whatever it is, nobody is there any more whom it could follow.
      this.#closeNeeded = true;
    } else if (isIdentity(key)) {
      // Another role or user is nothing that the next client may have; SET LOCAL has come to its end before.
      const isOther = value !== this.#first.get(key);
      if (client !== null && isOther) this.#others.add(key);
      else if (client !== null) this.#others.delete(key);
      // The reset query has led to the login's, and nobody knows what connect_query had made of it.
      else if (!isLinked && isOther && !hasUser(this.base)) this.#closeNeeded = true;
    } else if (client !== null && mayBeGiven(name)) {
      // Without a SET it may be PostgreSQL that has read its configuration again: that is nobody's to keep.
      if (!this.#wasSet) this.#unread.add(key);
      this.extras = withExtra(this.extras, key, known);
      client.extras = withExtra(client.extras, key, known);
    }
  }

  /** Whether a SET has led to `value`, which is reported of a tracked parameter. False: that isn't known. */
  #hasBeenSet(index: number, value: string): boolean {
    const isSet = this.isSet[index] === true;
    const atLink = this.#atLink[index] ?? { value: this.parameters[index] ?? null, isSet };
    this.#atLink[index] = atLink;
    // Back at what it was, by a ROLLBACK most likely, it is also that in this.
    if (value === atLink.value) return atLink.isSet && !this.wasReset;
    return this.#wasSet && !this.wasReset;
  }

  /** A statement was done that says `tag`, perhaps of a text that was not read. */
  protected doneUnread(tag: SessionTag): void {
    const { headNote } = this.tracker.queue;
    // It may have made the session another user's, or given names that the next client would find.
    if (headNote instanceof UnreadText && (tag === 'set' || (tag === 'prepare' && headNote.hidesNames)))
      this.closeNeeded = true;
  }

  /** A statement was done that says `tag`; `client` is whose it was. */
  protected done(tag: SessionTag, client: ClientEnd | null): void {
    if (tag === null || tag === 'prepare') return;
    if (tag === 'rollback') {
      client?.rolledBack();
      return;
    }
    if (tag !== 'set' && tag !== 'reset') {
      this.statements.clear();
      client?.statementsDropped();
      if (tag === 'deallocate') return;
    }
    if (client !== null) this.#wasSet = true;
    if (client !== null && tag !== 'set') this.wasReset = true;
    // The reset query's SET may lead to anything, and back (SET SESSION AUTHORIZATION DEFAULT).
    const isClients = tag === 'set' && client !== null;
    if (!isClients) this.isSet.fill(false);
    // The reset query is for nobody: behind it all is PostgreSQL's own, but for what connect_query has set.
    const isOver = tag === 'discard' && client === null && this.abandoned === null;
    const names = [...this.silent, ...this.extras.keys(), ...(isClients ? [] : this.base.keys())];
    for (const name of names) {
      if (isClients && this.#reported.has(name)) continue;
      this.extras = withExtra(this.extras, name, isOver && !this.base.has(name) ? null : UNKNOWN);
    }
  }

  /** Whether there may be {@link doubts}. */
  protected get isDoubtful(): boolean {
    return this.#wasSet || this.#unread.size > 0;
  }

  /**
   * Names in lower case of what has to be asked for before the client and the server part; `isKept`: before the client
   * goes on with it, whose all is that was set on it.
   */
  doubts(client: ClientEnd, isKept: boolean): string[] {
    const names = new Set(this.#unread);
    if (this.#wasSet) {
      for (const name of [...this.silent, ...client.extras.keys(), ...client.given.names()]) {
        if (this.wasReset || !this.#reported.has(name)) names.add(name);
      }
      if (this.wasReset) {
        this.begunWith.forEach((value, i) => {
          if (value !== null) names.add((this.tracked.names[i] as string).toLowerCase());
        });
      }
      if (isKept && this.wasReset && this.#loginUser !== null) {
        for (const name of this.base.keys()) names.add(name);
        // A role is that of a session's user.
        if (hasUser(this.base)) for (const name of USER) names.add(name);
      }
    }
    if (names.size === 0) this.lent();
    return [...names];
  }

  /** Whether `value` of a parameter without a declaration is what a RESET has led to. It makes most of them empty. */
  #isReset(name: string, value: string): boolean {
    if (!this.wasReset) return false;
    // Whether connect_query or the configuration has set what the session began with isn't known.
    return value === (this.#configured.get(name) ?? '') || value === this.base.get(name);
  }

  /** The answer to what {@link doubts} has given: the client keeps what it has set. */
  answered(values: readonly AskedValue[], client: ClientEnd): void {
    // pg_settings has neither of the two. Whoever has become another user has also left the role.
    const user = values.find(({ name }) => name === SESSION_USER)?.value ?? null;
    const isOther = user !== null && user !== this.#loginUser && user !== this.base.get(SESSION_USER);
    const isUserSet = (name: string, value: string): boolean =>
      isOther || value !== (name === SESSION_USER ? this.#loginUser : NO_ROLE);
    for (const { name, value, isSet } of values) {
      if (value === null) {
        this.extras = withExtra(this.extras, name, null);
        continue;
      }
      // Of a parameter without a declaration nothing more is known.
      const wasSet = isSet ?? (USER.includes(name) ? isUserSet(name, value) : !this.#isReset(name, value));
      const given = wasSet ? null : client.given.get(name);
      const index = this.tracked.indexOf(name);
      const begunWith = wasSet ? null : (this.base.get(name) ?? this.begunWith[index] ?? null);
      const isReported = this.#reported.has(name);
      if (index >= 0 && isReported) {
        this.parameters[index] = value;
        this.isSet[index] = wasSet;
        client.parameters[index] = given ?? begunWith ?? value;
      } else {
        const before = begunWith === null ? null : UNKNOWN;
        // Without one it has what connect_query has set.
        const own = value === this.base.get(name) ? null : value;
        this.extras = withExtra(this.extras, name, wasSet ? own : before);
        client.extras = withExtra(client.extras, name, wasSet ? own : given);
      }
      // PostgreSQL would have gone back to that at once, and said so.
      const back = given ?? begunWith;
      if (isReported && back !== null && back !== value) {
        client.conn.write(parameterStatus(this.#spelled.get(name) ?? name, back));
      }
    }
    this.lent();
  }
}
