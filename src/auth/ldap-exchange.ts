import { isUtf8 } from 'node:buffer';
import type { LdapOptions } from '../config/ldap-options.ts';
import { authenticationCleartextPassword, readPasswordMessage } from '../wire/authentication.ts';
import { fatal, ProtocolViolation } from '../wire/pg-error.ts';
import type { ClientAuthExchange, ClientAuthStep } from './client-auth.ts';
import { MAX_PASSWORD_BYTES } from './client-password.ts';

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
    if (body.length > MAX_PASSWORD_BYTES + 1) return { kind: 'fail', error: fatal('password too long') };
    let typed: Buffer;
    try {
      typed = readPasswordMessage(body);
    } catch (error) {
      if (error instanceof ProtocolViolation) return this.#refuse(error.message);
      throw error;
    }
    // LDAP servers take a bind without a password for one without a name, and let it in.
    if (typed.length === 0) return { kind: 'fail', error: fatal('empty password returned by client') };
    if (!isUtf8(typed)) return this.#refuse('the password is not UTF-8');
    const secretText = typed.toString('utf8');
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
