import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import type { Replication } from '../wire/replication.ts';
import {
  type ClientAuthArgs,
  type ClientAuthExchange,
  type ClientAuthMethod,
  type ClientAuthStep,
  createClientAuth,
} from './client-auth.ts';
import { ClientPasswordExchange } from './client-password.ts';
import type { FoundSecret, LookupAsker } from './secret-lookups.ts';

/** Who wants to log in, as far as that is known before anything is proved. */
export interface LoginApplicant {
  readonly database: string;
  readonly user: string;
  readonly isConsole: boolean;
  readonly replication: Replication;
}

/** What is stored for a name. */
export type StoredSecret =
  /** In a file: `secret` may be empty, which nobody can meet. */
  | { readonly kind: 'stored'; readonly secret: string }
  /** `auth_query` has answered; `isCached`: for an earlier login. */
  | { readonly kind: 'queried'; readonly found: FoundSecret; readonly isCached: boolean }
  | { readonly kind: 'unknown' };

/** Where a login's facts come from; given by the daemon. */
export interface LoginSources {
  readonly args: Omit<ClientAuthArgs, 'method' | 'user' | 'secretText'>;
  /** By the configuration as it is now. */
  method(applicant: LoginApplicant): ClientAuthMethod;
  /** What is stored for the applicant's name. */
  secret(applicant: LoginApplicant, asker: LookupAsker): StoredSecret | Promise<StoredSecret>;
  /** Asks PostgreSQL anew, for a name for which `secret` gave an answer of an earlier login. */
  refresh(applicant: LoginApplicant, asker: LookupAsker): Promise<FoundSecret>;
  /** The login has failed on such an answer: the next one is not to go by it. */
  distrust(applicant: LoginApplicant): void;
  note(text: string): void;
}

type Later<T> = T | Promise<T>;

/**
 * One login from its beginning: which method it is by, what is stored for the name, then the exchange. An unknown
 * name, one without a row in auth_query and a wrong password look the same from outside, but where nothing is asked
 * (trust, any).
 */
export class LoginExchange implements ClientAuthExchange, LookupAsker {
  readonly #applicant: LoginApplicant;
  readonly #sources: LoginSources;
  #inner: ClientAuthExchange | null = null;
  #again: Again | null = null;
  #isUnknown = false;
  #isAbandoned = false;

  constructor(applicant: LoginApplicant, sources: LoginSources) {
    this.#applicant = applicant;
    this.#sources = sources;
  }

  get isAbandoned(): boolean {
    return this.#isAbandoned;
  }

  start(): Later<ClientAuthStep> {
    const method = this.#sources.method(this.#applicant);
    if (method === 'any') return this.#exchange(method, null, null);
    const stored = this.#sources.secret(this.#applicant, this);
    return then(stored, (secret) => this.#begin(method, secret));
  }

  password(body: Buffer): Later<ClientAuthStep> {
    const inner = this.#inner;
    if (inner === null)
      return failed(fatal('password authentication failed'), 'password message out of turn');
    const again = this.#again;
    if (again === null) return then(inner.password(body), (step) => this.#judged(step));
    // It is borrowed, and may be needed once more.
    const copy = Buffer.from(body);
    return then(inner.password(copy), (step) => {
      return step.kind === 'fail' ? again(copy, this.#judged(step)) : step;
    });
  }

  /** As many lines for the log, at the same time, as of a wrong password: writing them takes its time, too. */
  #judged(step: ClientAuthStep): ClientAuthStep {
    if (step.kind !== 'fail' || !this.#isUnknown) return step;
    this.#isUnknown = false;
    return { ...step, logText: noSuchUser(this.#applicant) };
  }

  abandon(): void {
    this.#isAbandoned = true;
    if (this.#isUnknown) this.#sources.note(noSuchUser(this.#applicant));
    this.#isUnknown = false;
    this.#inner?.abandon();
  }

  #begin(method: ClientAuthMethod, stored: StoredSecret): Later<ClientAuthStep> {
    if (stored.kind === 'stored') return this.#exchange(method, stored.secret, null);
    const found: FoundSecret = stored.kind === 'unknown' ? { kind: 'none' } : stored.found;
    if (found.kind === 'failed') return failed(found.error, 'auth_query failed');
    this.#isUnknown = found.kind === 'none';
    if (method === 'trust') return this.#trusted(found, stored.kind === 'queried');
    const isCached = stored.kind === 'queried' && stored.isCached;
    return this.#exchange(method, secretOf(found), nameOf(found), isCached);
  }

  /** Nothing is proved here: whoever the query makes of the name would be let in as that. */
  #trusted(found: Exclude<FoundSecret, { kind: 'failed' }>, isQueried: boolean): Later<ClientAuthStep> {
    if (found.kind === 'none') {
      this.#isUnknown = false;
      const text = isQueried ? 'no such user' : '"trust" authentication failed';
      return failed(fatal(text), noSuchUser(this.#applicant));
    }
    if (found.name !== this.#applicant.user) {
      return failed(fatal('bouncer config error'), 'auth_query gave another name, which trust cannot prove');
    }
    return this.#exchange('trust', secretOf(found), null);
  }

  #exchange(
    method: ClientAuthMethod,
    secretText: string | null,
    name: string | null,
    isCached = false,
  ): Later<ClientAuthStep> {
    const { args } = this.#sources;
    const { user } = this.#applicant;
    const salts: Buffer[] = [];
    const randomBytes = (size: number): Buffer => {
      const bytes = args.randomBytes(size);
      salts.push(bytes);
      return bytes;
    };
    const exchange = createClientAuth({ ...args, randomBytes, method, user, secretText });
    this.#inner = renamed(exchange, name, user);
    if (isCached) this.#again = this.#onFailure(method, secretText, exchange, () => salts.shift() as Buffer);
    return this.#inner.start();
  }

  /** A login that fails on what was known from before. */
  #onFailure(
    method: ClientAuthMethod,
    before: string | null,
    exchange: ClientAuthExchange,
    salt: () => Buffer,
  ): Again {
    return async (body, step) => {
      const { args } = this.#sources;
      const { user } = this.#applicant;
      // In a SCRAM exchange the salt has been said: only the next one can go by another secret.
      if (!(exchange instanceof ClientPasswordExchange)) {
        this.#sources.distrust(this.#applicant);
        return step;
      }
      const found = await this.#sources.refresh(this.#applicant, this);
      if (found.kind !== 'row' || this.#isAbandoned) return step;
      const secretText = secretOf(found);
      // What takes long is done once, whether the name is known or not.
      if (secretText === before) return step;
      const anew = createClientAuth({ ...args, randomBytes: salt, method, user, secretText });
      if (!(anew instanceof ClientPasswordExchange)) return step;
      this.#inner = renamed(anew, found.name, user);
      this.#inner.start();
      return this.#inner.password(body);
    };
  }
}

/** A step that has failed, and the message that it has failed on; gives the one that counts. */
type Again = (body: Buffer, step: ClientAuthStep) => Promise<ClientAuthStep>;

/** NULL never matches; an empty secret lets nobody in either. */
function secretOf(found: Exclude<FoundSecret, { kind: 'failed' }>): string | null {
  return found.kind === 'row' ? (found.secret ?? '') : null;
}

function nameOf(found: Exclude<FoundSecret, { kind: 'failed' }>): string | null {
  return found.kind === 'row' ? found.name : null;
}

function renamed(exchange: ClientAuthExchange, name: string | null, user: string): ClientAuthExchange {
  if (name === null || name === user) return exchange;
  const rename = (step: ClientAuthStep): ClientAuthStep =>
    step.kind === 'ok' ? { ...step, user: name } : step;
  return {
    start: () => then(exchange.start(), rename),
    password: (body) => then(exchange.password(body), rename),
    abandon: () => exchange.abandon(),
  };
}

function noSuchUser({ user }: LoginApplicant): string {
  return `no such user: ${user}`;
}

/** A login that is over before anything was asked. */
function failed(error: PgErrorFields, logText: string): ClientAuthStep {
  return { kind: 'fail', error, logText };
}

/** `next(value)`, at once when the value is there. */
function then<T, R>(value: Later<T>, next: (value: T) => Later<R>): Later<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}
