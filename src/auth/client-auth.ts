/**
 * A client's login as pure steps: what to send, or the verdict. Knows neither sockets nor timers nor pools; the
 * caller sends the bytes, feeds the bodies of `p` messages and keeps the deadline.
 */
import { fatal, type PgErrorFields } from '../wire/pg-error.ts';
import { ClientPasswordExchange } from './client-password.ts';
import { ClientScramExchange } from './client-scram.ts';
import type { LoginCredentials } from './credentials.ts';
import type { ScramVerifierCache } from './derived-keys.ts';
import type { MockProfile } from './mock-profile.ts';
import type { Pbkdf2Queue } from './pbkdf2-queue.ts';
import type { TlsChannel } from './scram.ts';
import { classifySecret, type Secret } from './secret.ts';

/** PgBouncer's `auth_type`, as far as passwords go; HBA, cert and the rest resolve to one of these before. */
export type ClientAuthMethod = 'any' | 'trust' | 'plain' | 'md5' | 'scram-sha-256';

/**
 * What comes next in a login.
 * `send`: send the bytes, wait for the next `p` message.
 * `ok`: the client is who it says; `bytes` (SASLFinal) go out ahead of AuthenticationOk, at once or with it.
 * `fail`: send the error and close. `logText` says what the client must not learn; it holds no secret.
 */
export type ClientAuthStep =
  | { readonly kind: 'send'; readonly bytes: Buffer }
  | {
      readonly kind: 'ok';
      readonly bytes: Buffer | null;
      readonly credentials: LoginCredentials;
      /** Who the client is from now on, where that is another name than it gave. */
      readonly user?: string;
    }
  | { readonly kind: 'fail'; readonly error: PgErrorFields; readonly logText?: string };

/**
 * One login. Steps never throw and promises never reject; while a promise is pending, leave the socket paused: a
 * further `password()` in that time fails the login.
 */
export interface ClientAuthExchange {
  /** Call once, first. */
  start(): ClientAuthStep | Promise<ClientAuthStep>;
  /** Takes the body of a `p` message; borrowed until this returns. */
  password(body: Buffer): ClientAuthStep | Promise<ClientAuthStep>;
  /** The client is gone: work that still waits in the queue is skipped. Any step still to come is meaningless. */
  abandon(): void;
}

/** What a login is decided on. */
export interface ClientAuthArgs {
  readonly method: ClientAuthMethod;
  /** The login name; part of md5 hashes and of mock salts. */
  readonly user: string;
  /** The stored secret; null when nobody of that name is known, which must not show before the verdict. */
  readonly secretText: string | null;
  /** The TLS connection that it comes by; null in the clear. */
  readonly channel: TlsChannel | null;
  /** Source of salts and nonces, `crypto.randomBytes` outside tests. */
  readonly randomBytes: (size: number) => Buffer;
  /** Random bytes that stay the same for the process's life (and across its threads). */
  readonly mockSecret: Buffer;
  /** PgBouncer's `scram_iterations`. */
  readonly scramIterations: number;
  /** As what somebody unknown is to pass; `isScram`: in a SCRAM exchange. */
  readonly mock: (isScram: boolean) => MockProfile;
  readonly verifiers: ScramVerifierCache;
  readonly pbkdf2: Pbkdf2Queue;
}

/**
 * Begins a login.
 * Errors (all FATAL 08P01): `password authentication failed`, `SASL authentication failed`, `"trust"
 * authentication failed`, `empty password returned by client`, `password too long`, `client selected an invalid
 * SASL authentication mechanism`.
 * Source: PgBouncer `auth_type`; manual, `protocol-flow`, `sasl-authentication`.
 */
export function createClientAuth(args: ClientAuthArgs): ClientAuthExchange {
  const { method, secretText } = args;
  if (method === 'any') return new ImmediateExchange(accepted(secretText));
  if (method === 'trust') {
    const error = fatal('"trust" authentication failed');
    return new ImmediateExchange(
      secretText === null ? { kind: 'fail', error, logText: 'no such user' } : accepted(secretText),
    );
  }
  // A known user without a password can log in no more than an unknown one.
  const secret: Secret | null = secretText ? classifySecret(secretText) : null;
  const kind = secret?.kind ?? args.mock(false).kind;
  if (method === 'scram-sha-256' || (method === 'md5' && kind === 'scram')) {
    return new ClientScramExchange(args, secret);
  }
  return new ClientPasswordExchange(args, method, secret);
}

function accepted(secretText: string | null): ClientAuthStep {
  return { kind: 'ok', bytes: null, credentials: { secretText, scramKeys: null } };
}

/** A login that asks nothing of the client. */
class ImmediateExchange implements ClientAuthExchange {
  readonly #verdict: ClientAuthStep;

  constructor(verdict: ClientAuthStep) {
    this.#verdict = verdict;
  }

  start(): ClientAuthStep {
    return this.#verdict;
  }

  password(_body: Buffer): ClientAuthStep {
    return {
      kind: 'fail',
      error: fatal('password authentication failed'),
      logText: 'unasked password message',
    };
  }

  abandon(): void {}
}
