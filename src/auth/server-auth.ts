/**
 * Our login on a server as pure steps: what to answer to its Authentication messages, or the verdict. Servers are
 * not trusted either: one that changes its mind mid-way, or skips proving that it knows the password, is refused.
 */
import { passwordMessage, saslInitialResponse, saslResponse } from '../wire/authentication.ts';
import { decodeBase64 } from './base64.ts';
import { sameBytes } from './constant-time.ts';
import type { ScramPassThroughKeys, ServerCredentials } from './credentials.ts';
import type { SaltedPasswordCache } from './derived-keys.ts';
import { md5Response, md5SecretHash } from './md5.ts';
import {
  authMessageOf,
  BINDING_TYPE,
  clientProof,
  NONCE_BYTES,
  SCRAM_MECHANISM,
  SCRAM_PLUS_MECHANISM,
  scramKeysOf,
  serverSignature,
  type TlsChannel,
} from './scram.ts';
import { channelBindingBytes, parseServerFinal, parseServerFirst } from './scram-messages.ts';
import { classifySecret, SCRAM_KEY_BYTES, type Secret } from './secret.ts';

/** An Authentication message, decoded. `data` is the SASL payload; `salt` is 4 bytes, borrowed for the call. */
export type ServerAuthRequest =
  | { readonly kind: 'ok' }
  | { readonly kind: 'cleartext' }
  | { readonly kind: 'md5'; readonly salt: Buffer }
  | { readonly kind: 'sasl'; readonly mechanisms: readonly string[] }
  | { readonly kind: 'saslContinue'; readonly data: string }
  | { readonly kind: 'saslFinal'; readonly data: string }
  | { readonly kind: 'other'; readonly code: number };

/**
 * What comes next. `send`: send the bytes (`note`: worth a log line). `wait`: nothing to send, the server goes on.
 * `ok`: logged in. `fail`: close; `message` is for clients and log, `logText` adds detail for the log alone.
 */
export type ServerAuthStep =
  | { readonly kind: 'send'; readonly bytes: Buffer; readonly note?: string }
  | { readonly kind: 'wait' }
  | { readonly kind: 'ok' }
  | { readonly kind: 'fail'; readonly message: string; readonly logText?: string };

/** One login on a server. Steps never throw and promises never reject. */
export interface ServerAuthExchange {
  request(message: ServerAuthRequest): ServerAuthStep | Promise<ServerAuthStep>;
}

export interface ServerAuthArgs {
  /** The name in our StartupMessage; md5 hashes contain it. */
  readonly user: string;
  readonly credentials: ServerCredentials;
  /** The TLS connection that it goes by, null in the clear; asked for when the server has asked for SASL. */
  readonly channel: () => TlsChannel | null;
  readonly randomBytes: (size: number) => Buffer;
  readonly saltedPasswords: SaltedPasswordCache;
}

/**
 * Begins a login on a server.
 * Errors: messages `server login failed: wrong password type`, `… none of the server's SASL authentication
 * mechanisms are supported`, `… invalid server signature`, `… failed to verify server signature`, and `failed to
 * answer authreq` for everything that a sound server does not send.
 * Source: manual, `protocol-flow`, `sasl-authentication`.
 */
export function createServerAuth(args: ServerAuthArgs): ServerAuthExchange {
  return new ServerLogin(args);
}

/** What our proof is made from. */
type ProofSource =
  | { readonly kind: 'password'; readonly password: string }
  | { readonly kind: 'keys'; readonly keys: ScramPassThroughKeys };

type State =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'answered' }
  | {
      readonly kind: 'saslBegun';
      readonly source: ProofSource;
      readonly nonce: string;
      readonly clientFirstBare: string;
      /** What `c=` is to hold, as base64. */
      readonly channelBinding: string;
    }
  | { readonly kind: 'deriving' }
  | { readonly kind: 'proofSent'; readonly signature: Buffer }
  | { readonly kind: 'serverProven' }
  | { readonly kind: 'over' };

/**
 * fresh -cleartext|md5-> answered -ok-> over; fresh -sasl-> saslBegun -saslContinue-> (deriving ->) proofSent
 * -saslFinal-> serverProven -ok-> over; fresh -ok-> over (trust). All else fails.
 */
class ServerLogin implements ServerAuthExchange {
  readonly #args: ServerAuthArgs;
  #state: State = { kind: 'fresh' };

  constructor(args: ServerAuthArgs) {
    this.#args = args;
  }

  request(message: ServerAuthRequest): ServerAuthStep | Promise<ServerAuthStep> {
    const state = this.#state;
    switch (message.kind) {
      case 'ok':
        return this.#ok(state);
      case 'cleartext':
        if (state.kind !== 'fresh') return this.#outOfTurn('a cleartext password');
        return this.#cleartext();
      case 'md5':
        if (state.kind !== 'fresh') return this.#outOfTurn('an MD5 password');
        return this.#md5(message.salt);
      case 'sasl':
        if (state.kind !== 'fresh') return this.#outOfTurn('SASL');
        return this.#sasl(message.mechanisms);
      case 'saslContinue':
        if (state.kind !== 'saslBegun') return this.#outOfTurn('SASL continuation');
        return this.#serverFirst(message.data, state);
      case 'saslFinal':
        if (state.kind !== 'proofSent') return this.#outOfTurn('the end of SASL');
        return this.#serverFinal(message.data, state.signature);
      case 'other':
        return this.#fail('failed to answer authreq', `unsupported authentication request ${message.code}`);
    }
  }

  #ok(state: State): ServerAuthStep {
    switch (state.kind) {
      case 'fresh':
      case 'answered':
      case 'serverProven':
        this.#state = { kind: 'over' };
        return { kind: 'ok' };
      case 'saslBegun':
      case 'deriving':
      case 'proofSent':
        // An impostor who knows no password would do just this.
        return this.#fail(
          'server login failed: failed to verify server signature',
          'the server accepted the login without proving itself',
        );
      case 'over':
        return this.#outOfTurn('AuthenticationOk');
    }
  }

  /**
   * A hash is no password, so nothing would come of sending one; and whoever gets it, perhaps in the server's place, can log
   * in with it (md5) or, with what one SCRAM login shows, make the key that does.
   */
  #cleartext(): ServerAuthStep {
    const secret = this.#secret();
    if (secret.kind !== 'plain') return this.#fail('server login failed: wrong password type');
    this.#state = { kind: 'answered' };
    return { kind: 'send', bytes: passwordMessage(secret.password) };
  }

  #md5(salt: Buffer): ServerAuthStep {
    const { user } = this.#args;
    const secret = this.#secret();
    if (secret.kind === 'scram') return this.#fail('server login failed: wrong password type');
    this.#state = { kind: 'answered' };
    const hash = secret.kind === 'md5' ? secret.hash : md5SecretHash(secret.password, user);
    return { kind: 'send', bytes: passwordMessage(md5Response(hash, salt)) };
  }

  #sasl(mechanisms: readonly string[]): ServerAuthStep {
    const binding = this.#binding(mechanisms);
    if (!mechanisms.includes(binding.mechanism)) {
      return this.#fail(
        "server login failed: none of the server's SASL authentication mechanisms are supported",
      );
    }
    const source = this.#proofSource();
    if (source === null) return this.#fail('server login failed: wrong password type');
    const nonce = this.#args.randomBytes(NONCE_BYTES).toString('base64');
    // The server takes the name from the StartupMessage; the one here stays empty.
    const clientFirstBare = `n=,r=${nonce}`;
    const channelBinding = channelBindingBytes(binding.gs2Header, binding.hash).toString('base64');
    this.#state = { kind: 'saslBegun', source, nonce, clientFirstBare, channelBinding };
    const first = `${binding.gs2Header}${clientFirstBare}`;
    return { kind: 'send', bytes: saslInitialResponse(binding.mechanism, first) };
  }

  /**
   * The best mechanism for the connection, and the header that goes with it. `y` lets a server find out that somebody
   * has taken its offer of channel binding out. Source: RFC 5802, section 6.
   */
  #binding(mechanisms: readonly string[]): { mechanism: string; gs2Header: string; hash: Buffer | null } {
    const hash = this.#args.channel()?.endPointHash ?? null;
    if (hash === null) return { mechanism: SCRAM_MECHANISM, gs2Header: 'n,,', hash };
    if (!mechanisms.includes(SCRAM_PLUS_MECHANISM)) {
      return { mechanism: SCRAM_MECHANISM, gs2Header: 'y,,', hash: null };
    }
    return { mechanism: SCRAM_PLUS_MECHANISM, gs2Header: `p=${BINDING_TYPE},,`, hash };
  }

  #serverFirst(
    challenge: string,
    state: Extract<State, { kind: 'saslBegun' }>,
  ): ServerAuthStep | Promise<ServerAuthStep> {
    const { source, clientFirstBare } = state;
    const first = parseServerFirst(challenge);
    if (first === null) return this.#fail('failed to answer authreq', 'malformed server-first-message');
    if (!first.nonce.startsWith(state.nonce) || first.nonce.length === state.nonce.length) {
      return this.#fail('failed to answer authreq', 'the server nonce does not extend ours');
    }
    const withoutProof = `c=${state.channelBinding},r=${first.nonce}`;
    const authMessage = authMessageOf(clientFirstBare, challenge, withoutProof);
    const answer = (clientKey: Buffer, serverKey: Buffer, note?: string): ServerAuthStep => {
      const proof = clientProof(clientKey, authMessage);
      this.#state = { kind: 'proofSent', signature: serverSignature(serverKey, authMessage) };
      const bytes = saslResponse(`${withoutProof},p=${proof.toString('base64')}`);
      return note === undefined ? { kind: 'send', bytes } : { kind: 'send', bytes, note };
    };

    if (source.kind === 'keys') {
      const { clientKey, serverKey, salt, iterations } = source.keys;
      // Sent even if it cannot succeed: the server's own refusal then reaches the waiting clients.
      const fits = salt === first.salt.toString('base64') && iterations === first.iterations;
      const note = fits
        ? undefined
        : "the client's SCRAM secret is not the server's: salt or iterations differ";
      return answer(Buffer.from(clientKey, 'base64'), Buffer.from(serverKey, 'base64'), note);
    }

    const salted = this.#args.saltedPasswords.saltedPassword(source.password, first.salt, first.iterations);
    const withSalted = (saltedPassword: Buffer) => {
      const keys = scramKeysOf(saltedPassword);
      return answer(keys.clientKey, keys.serverKey);
    };
    if (!(salted instanceof Promise)) return withSalted(salted);
    this.#state = { kind: 'deriving' };
    return salted.then(
      (value) =>
        this.#state.kind === 'deriving' ? withSalted(value) : this.#outOfTurn('something while we computed'),
      (error: Error) => this.#fail('failed to answer authreq', error.message),
    );
  }

  #serverFinal(data: string, expected: Buffer): ServerAuthStep {
    const signature = parseServerFinal(data);
    if (signature === null) {
      return this.#fail(
        'server login failed: failed to verify server signature',
        'malformed server-final-message',
      );
    }
    if (!sameBytes(signature, expected)) return this.#fail('server login failed: invalid server signature');
    this.#state = { kind: 'serverProven' };
    return { kind: 'wait' };
  }

  /** The stored secret; none is an empty password, which the server refuses in its own words. */
  #secret(): Secret {
    return classifySecret(this.#args.credentials.secretText ?? '');
  }

  #proofSource(): ProofSource | null {
    const { secretText, scramKeys } = this.#args.credentials;
    const secret = this.#secret();
    // Keys of a pass-through serve where there is no password to derive our own from.
    if (scramKeys !== null && (secret.kind === 'scram' || !secretText)) {
      const isKey = (text: string) => decodeBase64(text, SCRAM_KEY_BYTES)?.length === SCRAM_KEY_BYTES;
      const sound = isKey(scramKeys.clientKey) && isKey(scramKeys.serverKey);
      return sound ? { kind: 'keys', keys: scramKeys } : null;
    }
    return secret.kind === 'plain' ? { kind: 'password', password: secret.password } : null;
  }

  #outOfTurn(what: string): ServerAuthStep {
    return this.#fail('failed to answer authreq', `the server sent or asked for ${what} out of turn`);
  }

  #fail(message: string, logText?: string): ServerAuthStep {
    this.#state = { kind: 'over' };
    return logText === undefined ? { kind: 'fail', message } : { kind: 'fail', message, logText };
  }
}
