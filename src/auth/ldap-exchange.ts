import { isUtf8 } from 'node:buffer';
import type { LdapOptions } from '../config/ldap-options.ts';
import { authenticationCleartextPassword } from '../wire/authentication.ts';
import { fatal } from '../wire/pg-error.ts';
import type { ClientAuthExchange, ClientAuthStep } from './client-auth.ts';
import { readTypedPassword } from './typed-password.ts';

/** Null: the password is right; else why not, for the log, without anything secret. */
export type LdapCheck = (
  options: LdapOptions,
  user: string,
  password: string,
  isWanted: () => boolean,
) => Promise<string | null>;

/**
 * A login whose password an LDAP server checks. What was typed is kept for logins on PostgreSQL.
 * Source: PgBouncer `auth_type` ldap.
 */
export class LdapExchange implements ClientAuthExchange {
  readonly #options: LdapOptions;
  readonly #user: string;
  readonly #check: LdapCheck;
  #state: 'created' | 'awaiting' | 'over' = 'created';
  #isAbandoned = false;

  constructor(options: LdapOptions, user: string, check: LdapCheck) {
    this.#options = options;
    this.#user = user;
    this.#check = check;
  }

  start(): ClientAuthStep {
    if (this.#state !== 'created') return this.#refuse('login started twice');
    this.#state = 'awaiting';
    return { kind: 'send', bytes: authenticationCleartextPassword() };
  }

  password(body: Buffer): ClientAuthStep | Promise<ClientAuthStep> {
    if (this.#state !== 'awaiting') return this.#refuse('password message out of turn');
    this.#state = 'over';
    const read = readTypedPassword(body, (logText) => this.#refuse(logText));
    if (!('typed' in read)) return read;
    if (!isUtf8(read.typed)) return this.#refuse('the password is not UTF-8');
    const secretText = read.typed.toString('utf8');
    return this.#check(this.#options, this.#user, secretText, () => !this.#isAbandoned).then((problem) =>
      problem === null
        ? { kind: 'ok', bytes: null, credentials: { secretText, scramKeys: null } }
        : this.#refuse(problem),
    );
  }

  abandon(): void {
    this.#isAbandoned = true;
  }

  #refuse(logText: string): ClientAuthStep {
    this.#state = 'over';
    return { kind: 'fail', error: fatal('LDAP authentication failed'), logText };
  }
}
