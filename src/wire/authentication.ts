/**
 * The messages of the login exchange: Authentication* to clients; PasswordMessage, SASLInitialResponse and
 * SASLResponse to servers, and the readers of what clients send in them.
 * Source: manual, `protocol-message-formats`.
 */
import { AuthCode, BackendType, FrontendType } from './codes.ts';
import { ProtocolViolation } from './pg-error.ts';
import { Reader } from './reader.ts';
import { Writer } from './writer.ts';

function authentication(code: number): Writer {
  return new Writer(64).begin(BackendType.Authentication).int32(code);
}

/** In one buffer: each login by SCRAM has two of these. */
function authenticationText(code: number, data: string): Buffer {
  const bytes = Buffer.allocUnsafe(1 + 4 + 4 + data.length);
  bytes[0] = BackendType.Authentication;
  bytes.writeInt32BE(bytes.length - 1, 1);
  bytes.writeInt32BE(code, 5);
  bytes.write(data, 9, 'latin1');
  return bytes;
}

/** AuthenticationOk: ends the exchange. A new buffer each time, so that nobody can spoil a shared one. */
export function authenticationOk(): Buffer {
  return authentication(AuthCode.Ok).end().take();
}

/** AuthenticationCleartextPassword: asks for the password as it is. */
export function authenticationCleartextPassword(): Buffer {
  return authentication(AuthCode.CleartextPassword).end().take();
}

/** AuthenticationMD5Password. Shape: `salt` is 4 bytes. */
export function authenticationMD5Password(salt: Buffer): Buffer {
  return authentication(AuthCode.MD5Password).bytes(salt).end().take();
}

/** AuthenticationSASL: offers `mechanisms`, best first. */
export function authenticationSASL(mechanisms: readonly string[]): Buffer {
  const w = authentication(AuthCode.SASL);
  for (const mechanism of mechanisms) w.cstring(mechanism);
  return w.byte(0).end().take();
}

/** AuthenticationSASLContinue: a challenge in the middle of the exchange. `data` is ASCII. */
export function authenticationSASLContinue(data: string): Buffer {
  return authenticationText(AuthCode.SASLContinue, data);
}

/** AuthenticationSASLFinal: the last word of the mechanism, just ahead of AuthenticationOk. `data` is ASCII. */
export function authenticationSASLFinal(data: string): Buffer {
  return authenticationText(AuthCode.SASLFinal, data);
}

/** PasswordMessage: answers a cleartext request (the password) or an MD5 request (`md5` and 32 hex digits). */
export function passwordMessage(password: string): Buffer {
  return new Writer(64).begin(FrontendType.Password).cstring(password).end().take();
}

/** SASLInitialResponse: chooses `mechanism` and carries the first message, which is ASCII. */
export function saslInitialResponse(mechanism: string, data: string): Buffer {
  const bytes = Buffer.from(data, 'latin1');
  return new Writer(128)
    .begin(FrontendType.Password)
    .cstring(mechanism)
    .int32(bytes.length)
    .bytes(bytes)
    .end()
    .take();
}

/** SASLResponse: a further message of the mechanism, which is ASCII. */
export function saslResponse(data: string): Buffer {
  return new Writer(256).begin(FrontendType.Password).bytes(Buffer.from(data, 'latin1')).end().take();
}

/**
 * The password of a PasswordMessage's body, as a view of it.
 * Errors: ProtocolViolation when it is not one string that ends with the body.
 */
export function readPasswordMessage(body: Buffer): Buffer {
  if (body.indexOf(0) !== body.length - 1 || body.length === 0) {
    throw new ProtocolViolation('invalid password packet size');
  }
  return body.subarray(0, body.length - 1);
}

/** What a SASLInitialResponse says. `data` is a view of the body, or null when the client sent none (-1). */
export interface SaslInitialResponse {
  readonly mechanism: string;
  readonly data: Buffer | null;
}

/** Takes a SASLInitialResponse's body apart. Errors: ProtocolViolation when lengths do not add up. */
export function readSaslInitialResponse(body: Buffer): SaslInitialResponse {
  const reader = new Reader(body);
  const mechanism = reader.cstring();
  const length = reader.int32();
  const data = length === -1 ? null : reader.bytes(length);
  if (reader.remaining !== 0) throw new ProtocolViolation('bytes behind the SASL initial response');
  return { mechanism, data };
}
