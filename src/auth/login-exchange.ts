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
import { type LdapCheck, LdapExchange } from './ldap-exchange.ts';
import type { LoginRule } from './login-rule.ts';
import type { TlsChannel } from './scram.ts';
import type { FoundSecret, LookupAsker } from './secret-lookups.ts';

/** Who wants to log in, as far as that is known before anything is proved. */
export interface LoginApplicant {
  readonly database: string;
  readonly user: string;
  readonly isConsole: boolean;
  readonly replication: Replication;
  /** Null over the unix socket. */
  readonly ip: string | null;
  /** Who the system says is at the other end of the unix socket; null over TCP and where it doesn't say. */
  readonly peerUid: number | null;
  /** Null while the connection is in the clear. */
  readonly tls: (ClientTls & TlsChannel) | null;
}

/** What TLS says of a client. Its certificate, if it has shown one, has been verified. */
export interface ClientTls {
  readonly peerCertificate: {
    readonly commonName: string | null;
    readonly altNames: readonly string[];
  } | null;
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
  /** Checks a typed password with LDAP servers. Never rejects. */
  readonly ldap: LdapCheck;
  readonly args: Omit<ClientAuthArgs, 'method' | 'user' | 'secretText' | 'channel'>;
  /** By the configuration as it is now; null: no rule is for this applicant. */
  rule(applicant: LoginApplicant, asker: LookupAsker): LoginRule | null | Promise<LoginRule | null>;
  /** Whether a certificate (or, over the unix socket, the system) proves a name that may log in as this user. */
  isProven(applicant: LoginApplicant, rule: LoginRule, asker: LookupAsker): boolean | Promise<boolean>;
  /** What is stored for the applicant's name. */
  secret(applicant: LoginApplicant, asker: LookupAsker): StoredSecret | Promise<StoredSecret>;
  /** Asks PostgreSQL anew, for a name for which `secret` gave an answer of an earlier login. */
  refresh(applicant: LoginApplicant, asker: LookupAsker): Promise<FoundSecret>;
  /** Whether the name stands in `auth_file`, so that auth_query has no say about it. */
  isListed(name: string): boolean;
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
  #rule: LoginRule | null = null;
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
    return then(this.#sources.rule(this.#applicant, this), (rule) => this.#go(rule));
  }

  #go(rule: LoginRule | null): Later<ClientAuthStep> {
    if (rule === null) return failed(fatal('no authentication method is found'), 'no rule is for this login');
    this.#rule = rule;
    const { method } = rule;
    switch (method) {
      case 'reject':
        return failed(fatal('login rejected'), `${rule.key} rejects it`);
      case 'any':
        return this.#exchange(method, null, null);
      case 'cert':
      case 'peer':
        return then(this.#sources.isProven(this.#applicant, rule, this), (isProven) => {
          if (!isProven)
            return failed(fatal(PROOF_TEXT[method]), 'the name that is proved may not log in as this user');
          return then(this.#sources.secret(this.#applicant, this), (stored) => this.#let(method, stored));
        });
      case 'ldap':
        if (rule.ldap === null) return failed(fatal('auth_ldap_options is null'), 'no options for LDAP');
        this.#inner = new LdapExchange(rule.ldap, this.#applicant.user, this.#sources.ldap);
        return this.#inner.start();
      default:
        return then(this.#sources.secret(this.#applicant, this), (stored) => this.#begin(method, stored));
    }
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
    if (method === 'trust') return this.#let(method, stored);
    if (stored.kind === 'stored') return this.#exchange(method, stored.secret, null);
    const found: FoundSecret = stored.kind === 'unknown' ? { kind: 'none' } : stored.found;
    if (found.kind === 'failed') return failed(found.error, 'auth_query failed');
    this.#isUnknown = found.kind === 'none';
    const isCached = stored.kind === 'queried' && stored.isCached;
    return this.#exchange(method, secretOf(found), nameOf(found), isCached);
  }

  /**
   * Lets in who has nothing more to prove, if there is such a user. What auth_query makes of the name has not been
   * proved, so it may be no other.
   */
  #let(method: 'trust' | 'cert' | 'peer', stored: StoredSecret): Later<ClientAuthStep> {
    const { user } = this.#applicant;
    if (stored.kind === 'stored') return this.#exchange('trust', stored.secret, null);
    if (stored.kind === 'unknown') return failed(fatal(PROOF_TEXT[method]), noSuchUser(this.#applicant));
    const { found } = stored;
    if (found.kind === 'failed') return failed(found.error, 'auth_query failed');
    if (found.kind === 'none') {
      if (!stored.isCached) return failed(fatal('no such user'), noSuchUser(this.#applicant));
      const again = this.#sources.refresh(this.#applicant, this);
      return again.then((anew) => this.#let(method, { kind: 'queried', found: anew, isCached: false }));
    }
    if (found.name !== user) {
      return failed(
        fatal('bouncer config error'),
        `auth_query gave another name, which ${method} does not prove`,
      );
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
    const { user, tls: channel } = this.#applicant;
    if (!isCached) {
      this.#inner = this.#renamed(createClientAuth({ ...args, method, user, secretText, channel }), name);
      return this.#inner.start();
    }
    const salts: Buffer[] = [];
    const randomBytes = (size: number): Buffer => {
      const bytes = args.randomBytes(size);
      salts.push(bytes);
      return bytes;
    };
    const exchange = createClientAuth({ ...args, randomBytes, method, user, secretText, channel });
    this.#inner = this.#renamed(exchange, name);
    this.#again = this.#onFailure(method, secretText, exchange, () => salts.shift() as Buffer);
    return this.#inner.start();
  }

  /** Who has proved to be `name` is let in as that, if the same rule is for that name, too. */
  #renamed(exchange: ClientAuthExchange, name: string | null): ClientAuthExchange {
    if (name === null || name === this.#applicant.user) return exchange;
    const rename = (step: ClientAuthStep): Later<ClientAuthStep> => {
      if (step.kind !== 'ok') return step;
      // Whoever owns the database may say there whose secret is what, and would get what the file has for that name.
      if (this.#sources.isListed(name))
        return failed(fatal('login rejected'), `${name} stands in auth_file, not for auth_query to prove`);
      const before = this.#rule;
      return then(this.#sources.rule({ ...this.#applicant, user: name }, this), (rule) =>
        // A RELOAD may have put another rule in the place of that one.
        rule !== null && rule.key === before?.key && rule.method === before.method
          ? { ...step, user: name }
          : failed(fatal('login rejected'), `another rule is for ${name}`),
      );
    };
    return {
      start: () => then(exchange.start(), rename),
      password: (body) => then(exchange.password(body), rename),
      abandon: () => exchange.abandon(),
    };
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
      const { user, tls: channel } = this.#applicant;
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
      const anew = createClientAuth({ ...args, randomBytes: salt, method, user, secretText, channel });
      if (!(anew instanceof ClientPasswordExchange)) return step;
      this.#inner = this.#renamed(anew, found.name);
      this.#inner.start();
      return this.#inner.password(body);
    };
  }
}

/** What a client is told whose name is not proved, by method. */
const PROOF_TEXT = {
  trust: '"trust" authentication failed',
  cert: 'certificate authentication failed',
  peer: 'unix socket login rejected',
} as const;

/** A step that has failed, and the message that it has failed on; gives the one that counts. */
type Again = (body: Buffer, step: ClientAuthStep) => Promise<ClientAuthStep>;

/** NULL never matches; an empty secret lets nobody in either. */
function secretOf(found: Exclude<FoundSecret, { kind: 'failed' }>): string | null {
  return found.kind === 'row' ? (found.secret ?? '') : null;
}

function nameOf(found: Exclude<FoundSecret, { kind: 'failed' }>): string | null {
  return found.kind === 'row' ? found.name : null;
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
