import {
  createServerAuth,
  type ServerAuthArgs,
  type ServerAuthExchange,
  type ServerAuthRequest,
  type ServerAuthStep,
} from '../auth/server-auth.ts';
import type { WelcomeData } from '../pool/context.ts';
import { AuthCode, BackendType as B, TxStatus } from '../wire/codes.ts';
import { type ErrorFields, parseErrorFields } from '../wire/error-fields.ts';
import { isCancelKeyLength } from '../wire/backend-key-data.ts';
import { parseNegotiateProtocolVersion } from '../wire/negotiate-protocol-version.ts';
import { parseParameterStatus } from '../wire/parameter-status.ts';
import { errorOf, fatal, type PgErrorFields, ProtocolViolation } from '../wire/pg-error.ts';
import { Reader } from '../wire/reader.ts';
import { type ByteReader, FramedReader } from '../wire/framed-reader.ts';

/** Largest message a server may send before ReadyForQuery, and most that is kept of them all. Bytes. */
const MAX_LOGIN_BODY_BYTES = 1024 * 1024;

/** What one ParameterStatus costs beside its bytes, so that empty ones are not free. */
const PARAMETER_OVERHEAD_BYTES = 64;

/** The connection that logs in, as {@link ServerLogin} uses it. */
export interface ServerLoginHost {
  send(bytes: Buffer): void;
  /** An asynchronous step runs: no more bytes until it is over. */
  pause(): void;
  resume(): void;
  loggedIn(result: ServerLoginResult): void;
  /** The server refused, or cannot be answered. */
  failed(failure: ServerLoginFailure): void;
  note(text: string): void;
}

export interface ServerLoginResult {
  /** BackendKeyData's body: process ID and secret; null when the server sent none (some proxies do not). */
  readonly backendKey: Buffer | null;
  readonly welcome: WelcomeData;
}

/** `fields`: the server's ErrorResponse; null when the failure is ours to name, then `message` says it. */
export interface ServerLoginFailure {
  readonly message: string;
  readonly fields: ErrorFields | null;
}

/** What clients that wait for this login are told: the server's own words and SQLSTATE, as far as it has any. */
export function loginError({ message, fields }: ServerLoginFailure): PgErrorFields {
  return fields === null ? fatal(message) : errorOf(fields, message);
}

/**
 * The login on a server, from our StartupMessage to its first ReadyForQuery. Messages come whole and capped;
 * each is taken for hostile until it has been read to its end.
 * Source: manual, `protocol-flow`, Start-up; docs/decisions/0001-framing.md says why the codec is our own here.
 */
export class ServerLogin implements ByteReader {
  readonly #host: ServerLoginHost;
  readonly #auth: ServerAuthExchange;
  readonly #reader = new FramedReader(
    MAX_LOGIN_BODY_BYTES,
    () => true,
    (type, body) => this.#message(type, body),
  );
  readonly #askedMinor: number;
  #isNegotiated = false;
  #isVersionTaken = false;
  #isAuthenticated = false;
  #isOver = false;
  #backendKey: Buffer | null = null;
  readonly #welcome: (readonly [string, string])[] = [];
  #welcomeBytes = 0;
  /** Bytes that came while an asynchronous step ran. */
  #held: Buffer[] = [];
  #isBusy = false;
  /** The bytes being read came before our last answer went out. */
  #isBelated = false;

  /** `askedMinor`: what the StartupMessage asked for. */
  constructor(host: ServerLoginHost, auth: ServerAuthArgs, askedMinor: number) {
    this.#host = host;
    this.#askedMinor = askedMinor;
    this.#auth = createServerAuth(auth);
  }

  /** The server has come to authentication, and so goes on in the version that was asked for, or negotiated. */
  get isVersionTaken(): boolean {
    return this.#isVersionTaken;
  }

  /** The connection is closing: nothing more is reported. */
  abandon(): void {
    this.#isOver = true;
  }

  /** Throws ProtocolViolation when the server breaks the protocol. */
  feed(chunk: Buffer, start: number, end: number): number {
    if (this.#isOver) return end;
    if (this.#isBusy) {
      this.#held.push(Buffer.from(chunk.subarray(start, end)));
      return end;
    }
    const pos = this.#reader.feed(chunk, start, end);
    if (this.#isBusy && pos < end) {
      this.#held.push(Buffer.from(chunk.subarray(pos, end)));
      return end;
    }
    return pos;
  }

  #message(type: number, body: Buffer): boolean {
    if (this.#isOver) return false;
    switch (type) {
      case B.Authentication:
        return this.#authentication(body);
      case B.ErrorResponse: {
        const fields = parseErrorFields(body);
        this.#fail({ message: fields.message ?? 'server login failed', fields });
        return false;
      }
      case B.NoticeResponse:
        return true;
      case B.NegotiateProtocolVersion:
        // Nothing depends on the version that we end up with: of a key any length is taken.
        if (this.#isNegotiated || this.#isVersionTaken)
          throw new ProtocolViolation('unknown pkt from server');
        parseNegotiateProtocolVersion(body, this.#askedMinor);
        this.#isNegotiated = true;
        return true;
      case B.ParameterStatus:
        this.#expectAuthenticated();
        this.#welcomeBytes += body.length + PARAMETER_OVERHEAD_BYTES;
        if (this.#welcomeBytes > MAX_LOGIN_BODY_BYTES) throw new ProtocolViolation('bad pkt header');
        this.#welcome.push(parseParameterStatus(body, 0, body.length));
        return true;
      case B.BackendKeyData:
        this.#expectAuthenticated();
        if (this.#backendKey !== null) throw new ProtocolViolation('unknown pkt from server');
        if (!isCancelKeyLength(body.length)) throw new ProtocolViolation('bad pkt header');
        this.#backendKey = body;
        return true;
      case B.ReadyForQuery:
        this.#expectAuthenticated();
        if (body.length !== 1 || body[0] !== TxStatus.Idle) throw new ProtocolViolation('unknown pkt');
        this.#isOver = true;
        this.#host.loggedIn({ backendKey: this.#backendKey, welcome: this.#welcome });
        return false;
      default:
        throw new ProtocolViolation('unknown pkt from server');
    }
  }

  #expectAuthenticated(): void {
    if (!this.#isAuthenticated) throw new ProtocolViolation('unknown pkt from server');
  }

  #authentication(body: Buffer): boolean {
    // Going on without our answer is no server's way; errors and notices may come at any time.
    if (this.#isAuthenticated || this.#isBelated) throw new ProtocolViolation('unknown pkt from server');
    const request = parseAuthentication(body);
    this.#isVersionTaken = true;
    const step = this.#auth.request(request);
    if (!(step instanceof Promise)) return this.#apply(step);
    this.#isBusy = true;
    this.#host.pause();
    // Nobody above catches what is thrown from here on: it would end the process.
    step.then((result) => this.#resumeWith(result)).catch((error: unknown) => this.#failWith(error));
    return false;
  }

  #resumeWith(step: ServerAuthStep): void {
    if (this.#isOver) return;
    this.#isBusy = false;
    this.#host.resume();
    const held = this.#held;
    this.#held = [];
    if (!this.#apply(step)) return;
    this.#isBelated = true;
    for (const bytes of held) this.feed(bytes, 0, bytes.length);
    this.#isBelated = false;
  }

  #failWith(error: unknown): void {
    const isViolation = error instanceof ProtocolViolation;
    if (!isViolation) {
      this.#host.note(`internal error: ${error instanceof Error ? error.stack : String(error)}`);
    }
    if (this.#isOver) return;
    this.#fail({ message: isViolation ? error.message : 'failed to answer authreq', fields: null });
  }

  #apply(step: ServerAuthStep): boolean {
    switch (step.kind) {
      case 'send':
        if (step.note !== undefined) this.#host.note(step.note);
        this.#host.send(step.bytes);
        return true;
      case 'wait':
        return true;
      case 'ok':
        this.#isAuthenticated = true;
        return true;
      case 'fail':
        if (step.logText !== undefined) this.#host.note(step.logText);
        this.#fail({ message: step.message, fields: null });
        return false;
    }
  }

  #fail(failure: ServerLoginFailure): void {
    this.#isOver = true;
    this.#host.failed(failure);
  }
}

/** Reads an Authentication message's body. Throws ProtocolViolation when it is too short or too long for its code. */
function parseAuthentication(body: Buffer): ServerAuthRequest {
  const reader = new Reader(body);
  const code = reader.int32();
  switch (code) {
    case AuthCode.Ok:
      return complete(reader, { kind: 'ok' });
    case AuthCode.CleartextPassword:
      return complete(reader, { kind: 'cleartext' });
    case AuthCode.MD5Password:
      return complete(reader, { kind: 'md5', salt: reader.bytes(4) });
    case AuthCode.SASL: {
      const mechanisms: string[] = [];
      for (let name = reader.cstring(); name !== ''; name = reader.cstring()) mechanisms.push(name);
      return complete(reader, { kind: 'sasl', mechanisms });
    }
    case AuthCode.SASLContinue:
      return { kind: 'saslContinue', data: reader.bytes(reader.remaining).toString('utf8') };
    case AuthCode.SASLFinal:
      return { kind: 'saslFinal', data: reader.bytes(reader.remaining).toString('utf8') };
    default:
      return { kind: 'other', code };
  }
}

function complete(reader: Reader, request: ServerAuthRequest): ServerAuthRequest {
  if (reader.remaining !== 0) throw new ProtocolViolation('unknown pkt from server');
  return request;
}
