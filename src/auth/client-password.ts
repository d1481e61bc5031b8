import { authenticationCleartextPassword, authenticationMD5Password } from '../wire/authentication.ts';
import { fatal } from '../wire/pg-error.ts';
import type { ClientAuthArgs, ClientAuthExchange, ClientAuthStep } from './client-auth.ts';
import { sameBytes } from './constant-time.ts';
import { md5ResponseMatches, md5SecretHash } from './md5.ts';
import { mockVerifier } from './mock-verifier.ts';
import { saslprep } from './saslprep.ts';
import { scramKeysOf } from './scram.ts';
import type { Secret } from './secret.ts';
import { readTypedPassword } from './typed-password.ts';

/** A login by one PasswordMessage: in the clear, or hashed with MD5. `secret` null: fail at the end. */
export class ClientPasswordExchange implements ClientAuthExchange {
  readonly #args: ClientAuthArgs;
  readonly #method: 'plain' | 'md5';
  readonly #secret: Secret | null;
  readonly #salt: Buffer;
  #state: 'created' | 'awaiting' | 'over' = 'created';
  #abandoned = false;

  constructor(args: ClientAuthArgs, method: 'plain' | 'md5', secret: Secret | null) {
    this.#args = args;
    this.#method = method;
    this.#secret = secret;
    this.#salt = method === 'md5' ? args.randomBytes(4) : Buffer.alloc(0);
  }

  start(): ClientAuthStep {
    if (this.#state !== 'created') return this.#refuse('login started twice');
    this.#state = 'awaiting';
    const bytes =
      this.#method === 'md5' ? authenticationMD5Password(this.#salt) : authenticationCleartextPassword();
    return { kind: 'send', bytes };
  }

  password(body: Buffer): ClientAuthStep | Promise<ClientAuthStep> {
    if (this.#state !== 'awaiting') return this.#refuse('password message out of turn');
    this.#state = 'over';
    const read = readTypedPassword(body, (logText) => this.#refuse(logText));
    if (!('typed' in read)) return read;
    return this.#method === 'md5' ? this.#checkMd5(read.typed) : this.#checkPlain(read.typed);
  }

  abandon(): void {
    this.#abandoned = true;
  }

  #checkMd5(typed: Buffer): ClientAuthStep {
    const { user, mockSecret } = this.#args;
    // Someone unknown is compared with a hash that nobody can meet, so that the steps are the same.
    const secret = this.#secret;
    let hash: string;
    if (secret?.kind === 'md5') hash = secret.hash;
    else hash = md5SecretHash(secret?.kind === 'plain' ? secret.password : mockSecret, user);
    const matches = md5ResponseMatches(typed, hash, this.#salt);
    return this.#verdict(matches && secret !== null);
  }

  #checkPlain(typed: Buffer): ClientAuthStep | Promise<ClientAuthStep> {
    // Someone unknown is compared with a secret that nobody can meet, of the kind that others have: that takes as long.
    const secret = this.#secret ?? this.#mockSecret();
    const isKnown = this.#secret !== null;
    switch (secret.kind) {
      case 'plain':
        return this.#verdict(sameBytes(typed, Buffer.from(secret.password)) && isKnown);
      case 'md5': {
        const hash = md5SecretHash(typed, this.#args.user);
        return this.#verdict(sameBytes(Buffer.from(hash), Buffer.from(secret.hash)) && isKnown);
      }
      case 'scram': {
        // Prepared bytes are copied: the body belongs to the caller again when this returns.
        const password = Buffer.from(saslprep(typed));
        return this.#args.pbkdf2
          .derive(password, secret.salt, secret.iterations, () => !this.#abandoned)
          .then(
            (salted) => this.#verdict(sameBytes(scramKeysOf(salted).storedKey, secret.storedKey) && isKnown),
            (error: Error) => this.#refuse(error.message),
          );
      }
    }
  }

  #mockSecret(): Secret {
    const { user, mockSecret, mock } = this.#args;
    const { kind } = mock(false);
    if (kind === 'scram') return { kind, ...mockVerifier(this.#args) };
    return kind === 'md5'
      ? { kind, hash: md5SecretHash(mockSecret, user) }
      : { kind, password: mockSecret.toString('hex') };
  }

  #verdict(matches: boolean): ClientAuthStep {
    if (matches) {
      const { secretText } = this.#args;
      return { kind: 'ok', bytes: null, credentials: { secretText, scramKeys: null } };
    }
    return this.#refuse(this.#secret === null ? 'no such user, or no password stored' : 'wrong password');
  }

  #refuse(logText: string): ClientAuthStep {
    this.#state = 'over';
    return { kind: 'fail', error: fatal('password authentication failed'), logText };
  }
}
