import { timingSafeEqual } from 'node:crypto';
import {
  authenticationSASL,
  authenticationSASLContinue,
  authenticationSASLFinal,
  readSaslInitialResponse,
  type SaslInitialResponse,
} from '../wire/authentication.ts';
import { fatal, ProtocolViolation } from '../wire/pg-error.ts';
import type { ClientAuthArgs, ClientAuthExchange, ClientAuthStep } from './client-auth.ts';
import { passThroughKeys } from './credentials.ts';
import type { AdHocSecret } from './derived-keys.ts';
import { MAX_PBKDF2_ITERATIONS } from './pbkdf2-queue.ts';
import {
  authMessageOf,
  BINDING_TYPE,
  NONCE_BYTES,
  recoverClientKey,
  SCRAM_MECHANISM,
  SCRAM_PLUS_MECHANISM,
  serverSignature,
  storedKeyOf,
} from './scram.ts';
import {
  channelBindingBytes,
  type ClientFirst,
  MAX_SCRAM_MESSAGE_BYTES,
  parseClientFinal,
  parseClientFirst,
  serverFirst,
} from './scram-messages.ts';
import { mockSalt, mockVerifier } from './mock-verifier.ts';
import type { ScramVerifier, Secret } from './secret.ts';

/** Room for a mechanism's name and the length in front of the first message. */
const INITIAL_RESPONSE_SLACK = 128;

type State =
  | { readonly kind: 'created' }
  | { readonly kind: 'awaitingFirst' }
  | {
      readonly kind: 'awaitingFinal';
      readonly clientFirst: ClientFirst;
      readonly channelBinding: Buffer;
      readonly challenge: string;
      readonly nonce: string;
      readonly secret: ScramVerifier | AdHocSecret;
    }
  | { readonly kind: 'deriving' }
  | { readonly kind: 'over' };

/**
 * The server's part of SCRAM-SHA-256 towards a client, with channel binding where the connection has what to bind to.
 * Without a usable secret it plays the whole exchange
 * against a made-up verifier ("mock") and fails at the end like a wrong password.
 *
 * created -start-> awaitingFirst -client-first-> awaitingFinal -client-final-> (deriving ->) over; anything else
 * -> over, as a failure.
 */
export class ClientScramExchange implements ClientAuthExchange {
  readonly #args: ClientAuthArgs;
  readonly #secret: Secret | null;
  #state: State = { kind: 'created' };

  /** `secret` null: unknown user. An md5 secret cannot serve SCRAM and is treated alike. */
  constructor(args: ClientAuthArgs, secret: Secret | null) {
    this.#args = args;
    this.#secret = secret;
  }

  start(): ClientAuthStep {
    if (this.#state.kind !== 'created') return this.#refuse('login started twice');
    this.#state = { kind: 'awaitingFirst' };
    return { kind: 'send', bytes: authenticationSASL(this.#mechanisms()) };
  }

  password(body: Buffer): ClientAuthStep | Promise<ClientAuthStep> {
    const state = this.#state;
    if (body.length > MAX_SCRAM_MESSAGE_BYTES + INITIAL_RESPONSE_SLACK) {
      return this.#refuse('SASL message too long');
    }
    switch (state.kind) {
      case 'awaitingFirst':
        return this.#first(body);
      case 'awaitingFinal':
        return this.#final(body, state);
      case 'created':
      case 'deriving':
      case 'over':
        return this.#refuse('SASL message out of turn');
    }
  }

  abandon(): void {
    this.#state = { kind: 'over' };
  }

  #first(body: Buffer): ClientAuthStep | Promise<ClientAuthStep> {
    let response: SaslInitialResponse;
    try {
      response = readSaslInitialResponse(body);
    } catch (error) {
      if (error instanceof ProtocolViolation) return this.#refuse(error.message);
      throw error;
    }
    const { mechanism } = response;
    if (!this.#mechanisms().includes(mechanism)) {
      this.#state = { kind: 'over' };
      return {
        kind: 'fail',
        error: fatal('client selected an invalid SASL authentication mechanism'),
      };
    }
    const clientFirst = response.data === null ? null : parseClientFirst(response.data.toString('latin1'));
    if (clientFirst === null) return this.#refuse('malformed client-first-message');
    const wrong = this.#wrongBinding(mechanism, clientFirst);
    if (wrong !== null) return this.#refuse(wrong);

    const secret = this.#provable();
    if ('password' in secret && secret.iterations > MAX_PBKDF2_ITERATIONS)
      return this.#refuse('too many iterations');
    return this.#challenge(clientFirst, secret);
  }

  #challenge(clientFirst: ClientFirst, secret: ScramVerifier | AdHocSecret): ClientAuthStep {
    const nonce = clientFirst.nonce + this.#args.randomBytes(NONCE_BYTES).toString('base64');
    const challenge = serverFirst({ nonce, salt: secret.salt, iterations: secret.iterations });
    const hash = clientFirst.flag === 'p' ? this.#hash : null;
    const channelBinding = channelBindingBytes(clientFirst.gs2Header, hash);
    this.#state = { kind: 'awaitingFinal', clientFirst, channelBinding, challenge, nonce, secret };
    return { kind: 'send', bytes: authenticationSASLContinue(challenge) };
  }

  #final(
    body: Buffer,
    state: Extract<State, { kind: 'awaitingFinal' }>,
  ): ClientAuthStep | Promise<ClientAuthStep> {
    const { clientFirst, channelBinding, challenge, nonce, secret } = state;
    const message = parseClientFinal(body.toString('latin1'));
    if (message === null) return this.#refuse('malformed client-final-message');
    // Somebody in between has shown the client another certificate, or has changed what it asked for.
    if (!message.channelBinding.equals(channelBinding)) return this.#refuse('channel binding differs');
    if (message.nonce !== nonce) return this.#refuse('nonce differs');

    const authMessage = authMessageOf(clientFirst.bare, challenge, message.withoutProof);
    let clientKey: Buffer | null = null;
    const isProven = (verifier: ScramVerifier): boolean => {
      clientKey = recoverClientKey(message.proof, verifier.storedKey, authMessage);
      return timingSafeEqual(storedKeyOf(clientKey), verifier.storedKey);
    };
    const verdict = (verifier: ScramVerifier | null): ClientAuthStep =>
      this.#verdict(verifier, authMessage, clientKey);
    if (!('password' in secret)) {
      if (isProven(secret)) return verdict(secret);
      if (!this.#args.mock(true).derives) return verdict(null);
    }
    this.#state = { kind: 'deriving' };
    const isWaiting = (): boolean => this.#state.kind === 'deriving';
    const derived = 'password' in secret ? secret : this.#adHoc(null);
    const found = this.#args.verifiers.prove(derived, isProven, isWaiting);
    if (!(found instanceof Promise)) return verdict(found);
    return found.then(
      (verifier) => (isWaiting() ? verdict(verifier) : this.#refuse('SASL message out of turn')),
      (error: Error) => this.#refuse(error.message),
    );
  }

  /** `verifier` null: the proof is not of what is stored. `clientKey`: of the verifier that was tried last. */
  #verdict(verifier: ScramVerifier | null, authMessage: string, clientKey: Buffer | null): ClientAuthStep {
    this.#state = { kind: 'over' };
    const secret = this.#secret;
    if (secret === null) return this.#refuse('no such user, or no password stored');
    if (secret.kind === 'md5') return this.#refuse('the stored secret is an md5 hash');
    if (verifier === null) return this.#refuse('wrong password');

    const signature = serverSignature(verifier.serverKey, authMessage);
    return {
      kind: 'ok',
      bytes: authenticationSASLFinal(`v=${signature.toString('base64')}`),
      credentials: {
        secretText: this.#args.secretText,
        // An ad-hoc verifier's keys fit no server; its plaintext does.
        scramKeys:
          secret.kind === 'scram' && clientKey !== null ? passThroughKeys(clientKey, verifier) : null,
      },
    };
  }

  /** What the client can bind to, null for nothing. */
  get #hash(): Buffer | null {
    return this.#args.channel?.endPointHash ?? null;
  }

  /** What is offered, best first. */
  #mechanisms(): readonly string[] {
    return this.#hash === null ? [SCRAM_MECHANISM] : [SCRAM_PLUS_MECHANISM, SCRAM_MECHANISM];
  }

  /** Why mechanism and header don't go together; null when they do. Source: RFC 5802, section 6. */
  #wrongBinding(mechanism: string, { flag, bindingType }: ClientFirst): string | null {
    if (mechanism === SCRAM_PLUS_MECHANISM) {
      if (flag !== 'p') return 'a mechanism with channel binding, and none in the message';
      return bindingType === BINDING_TYPE ? null : 'unsupported channel binding type';
    }
    if (flag === 'p') return 'a mechanism without channel binding, and one in the message';
    // Somebody in between has taken our offer out.
    if (flag === 'y' && this.#hash !== null)
      return 'the client has not seen that channel binding was offered';
    return null;
  }

  /** What the client has to prove; of a password, nothing is derived before it has tried to. */
  #provable(): ScramVerifier | AdHocSecret {
    const secret = this.#secret;
    if (secret?.kind === 'scram') return secret;
    if (secret?.kind === 'plain') return this.#adHoc(secret.password);
    return this.#args.mock(true).kind === 'scram' ? mockVerifier(this.#args) : this.#adHoc(null);
  }

  /** `known` null: nobody's. */
  #adHoc(known: string | null): AdHocSecret {
    const { user, scramIterations, mockSecret } = this.#args;
    const password = known ?? mockSecret.toString('hex');
    // The same salt whether the user exists or not, also after the user list changes.
    return {
      user,
      password,
      isMadeUp: known === null,
      salt: mockSalt(this.#args),
      iterations: scramIterations,
    };
  }

  #refuse(logText: string): ClientAuthStep {
    this.#state = { kind: 'over' };
    return { kind: 'fail', error: fatal('SASL authentication failed'), logText };
  }
}
